"""Hours and days as stretches of constant offset from UTC: the arithmetic under the calendar."""

from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

from streamgauge.summaries.zones import DAY

HOUR = 3_600  # seconds
Int64s = NDArray[np.int64]


class Grid:
    """Hours or days over stretches of constant offset.

    ``opening[i]`` is the start of the bucket that stretch ``i`` begins in, and ``reached[i]`` that bucket's
    local number: whatever has no higher number belongs to it still. Everything else begins at a round local
    time.
    """

    def __init__(self, unit: int, starts: list[int], offsets: list[int]) -> None:
        self.unit, self.starts, self.offsets = unit, starts, offsets
        number = (starts[0] + offsets[0]) // unit
        self.reached, self.opening = [number], [number * unit - offsets[0]]
        for index in range(1, len(starts)):
            self._open(index)
        self._arrays = tuple(
            np.array(each, np.int64) for each in (starts, offsets, self.reached, self.opening)
        )

    def _open(self, index: int) -> None:
        # Both rules compare with what came just before, never with what follows: see the calendar.
        start, offset, before = self.starts[index], self.offsets[index], self.offsets[index - 1]
        number, number_before = (start + offset) // self.unit, (start - 1 + before) // self.unit
        if self.unit == DAY:
            begins = number > max(number_before, self.reached[-1])
        else:
            back_one_hour = before - offset == HOUR and (start + offset) % HOUR == 0
            begins = number != number_before or back_one_hour
        if begins:
            self.opening.append(start)
            self.reached.append(number)
        else:
            self.opening.append(self._start_in(index - 1, start - 1))
            self.reached.append(max(number_before, self.reached[-1]) if self.unit == DAY else number)

    def _start_in(self, index: int, second: int) -> int:
        number = (second + self.offsets[index]) // self.unit
        return (
            number * self.unit - self.offsets[index] if number > self.reached[index] else self.opening[index]
        )

    def start(self, second: int) -> int:
        return self._start_in(bisect_right(self.starts, second) - 1, second)

    def number(self, second: int) -> int:
        """The local number of the bucket: days or hours since 1970 on the wall clock."""
        index = bisect_right(self.starts, second) - 1
        return max((second + self.offsets[index]) // self.unit, self.reached[index])

    def end(self, second: int) -> int:
        """The first second after ``second`` that begins a bucket."""
        number = self.number(second)
        index = bisect_right(self.starts, second) - 1
        while True:
            natural = (number + 1) * self.unit - self.offsets[index]
            index += 1
            if index == len(self.starts) or natural < self.starts[index]:
                return natural
            if self.opening[index] == self.starts[index]:
                return self.starts[index]
            number = self.reached[index]

    def start_numbered(self, number: int) -> int:
        """The start of the first bucket of at least this number; days only, whose numbers never fall."""
        index = bisect_left(self.reached, number)
        natural = number * self.unit - self.offsets[max(index - 1, 0)]
        return natural if index == len(self.starts) else min(natural, self.starts[index])

    def start_each(self, at_us: Int64s, first: int, last: int) -> Int64s:
        """The start of each instant's bucket; all lie in the seconds from ``first`` to ``last``."""
        low, high = bisect_right(self.starts, first) - 1, bisect_right(self.starts, last)
        starts, offsets, reached, opening = (each[low:high] for each in self._arrays)
        if high - low == 1:
            offset, must_exceed, otherwise = offsets, reached, opening
        else:
            stretch = np.searchsorted(starts, at_us // 1_000_000, side="right") - 1
            offset, must_exceed, otherwise = offsets[stretch], reached[stretch], opening[stretch]
        number = (at_us + offset * 1_000_000) // (self.unit * 1_000_000)
        return np.where(number > must_exceed, number * self.unit - offset, otherwise)
