"""Sets of integers kept as sorted, disjoint, half-open ranges: PostgreSQL's `int8multirange`."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """The numbers of a lane that have been processed (rule P2).

    Neighbouring ranges coalesce, so a lane without holes is one range however many batches it had.
    Look-ups take O(log ranges); adding at the end takes O(1), elsewhere O(ranges).
    """

    __slots__ = ("_ends", "_firsts", "_size")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """Take `(first, end)` pairs in any order; they may overlap, and empty ones are ignored."""
        self._firsts: list[int] = []
        self._ends: list[int] = []
        self._size = 0
        for first, end in ranges:
            self.add(first, end)

    def add(self, first: int, end: int) -> None:
        """Add the integers of `[first, end)`; nothing when it is empty."""
        if end <= first:
            return
        firsts, ends = self._firsts, self._ends
        if not ends or first > ends[-1]:
            firsts.append(first)
            ends.append(end)
            self._size += end - first
            return
        # Ranges low..high-1 touch [first, end) and melt into one with it.
        low, high = bisect_left(ends, first), bisect_right(firsts, end)
        if low < high:
            self._size -= sum(ends[i] - firsts[i] for i in range(low, high))
            first, end = min(first, firsts[low]), max(end, ends[high - 1])
        firsts[low:high] = [first]
        ends[low:high] = [end]
        self._size += end - first

    def remove(self, first: int, end: int) -> None:
        """Take the integers of `[first, end)` out; those that are not in are no matter. O(ranges), at the beginning too."""
        firsts, ends = self._firsts, self._ends
        low, high = bisect_right(ends, first), bisect_left(firsts, end)
        if end <= first or low >= high:
            return
        left = [(firsts[low], first)] if firsts[low] < first else []
        right = [(end, ends[high - 1])] if end < ends[high - 1] else []
        self._size -= sum(ends[i] - firsts[i] for i in range(low, high))
        self._size += sum(stop - start for start, stop in left + right)
        firsts[low:high] = [start for start, _ in left + right]
        ends[low:high] = [stop for _, stop in left + right]

    def copy(self) -> "Ranges":
        """An independent copy."""
        other = Ranges()
        other._firsts, other._ends, other._size = self._firsts.copy(), self._ends.copy(), self._size
        return other

    def covers(self, first: int, end: int) -> bool:
        """Whether every integer of `[first, end)` is in the set; true for an empty range."""
        if end <= first:
            return True
        i = bisect_right(self._firsts, first) - 1
        return i >= 0 and end <= self._ends[i]

    def overlaps(self, first: int, end: int) -> bool:
        """Whether any integer of `[first, end)` is in the set; false for an empty range."""
        if end <= first:
            return False
        i = bisect_right(self._ends, first)
        return i < len(self._firsts) and self._firsts[i] < end

    def size_below(self, end: int) -> int:
        """How many integers of the set are smaller than `end`. Fast when `end` is near the last range."""
        above = 0
        for i in range(len(self._ends) - 1, -1, -1):
            if self._ends[i] <= end:
                break
            above += self._ends[i] - max(self._firsts[i], end)
        return self._size - above

    @property
    def size(self) -> int:
        """How many integers are in the set."""
        return self._size

    @property
    def prefix(self) -> int:
        """The end of the range that starts at 0, else 0: every number below it has been processed."""
        return self._ends[0] if self._firsts and self._firsts[0] == 0 else 0

    @property
    def top(self) -> int:
        """One more than the largest integer in the set, or 0 when it is empty."""
        return self._ends[-1] if self._ends else 0

    def __len__(self) -> int:
        """How many ranges there are: one more than the holes between them."""
        return len(self._firsts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._ends, strict=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ranges):
            return NotImplemented
        return self._firsts == other._firsts and self._ends == other._ends

    # Mutable, hence unhashable.
    __hash__ = None  # type: ignore[assignment]  # the documented way to say so; mypy expects a method

    def __repr__(self) -> str:
        return f"Ranges({list(self)!r})"
