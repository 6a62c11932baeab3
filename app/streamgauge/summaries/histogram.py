"""A histogram of whole numbers that merges exactly, in any order.

Log-linear buckets in the manner of HdrHistogram (Tene) and of OpenTelemetry's exponential histograms, in integer arithmetic only, so
that every machine puts a value into the same bucket: `s = max(bit_length(v) - 7, 0)`, bucket `(s << 6) + (v >> s)`. A bucket is at
most 1/64 of its value wide, so its midpoint is at most 0.781 % off; values below 128 are exact. 2,240 buckets reach 2**40 - 1
(12 days in microseconds); larger values go on into further buckets up to 2**48.
"""

from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from streamgauge.table import Ints

LARGEST = 2**48 - 1  # a batch of 2**15 such values still sums in 64 bits
RELATIVE_ERROR = 1 / 128
WIDTHS = (1, 2, 4, 8)
MARGIN = 64  # buckets of room on both sides of a window, so that it seldom grows

Buckets: TypeAlias = npt.NDArray[np.uint16]


def bucket_of(value: int) -> int:
    """The bucket of one value of 0 or more."""
    shift = max(value.bit_length() - 7, 0)
    return (shift << 6) + (value >> shift)


def buckets_of(values: Ints) -> Ints:
    """The bucket of each value."""
    # frexp is exact for whole numbers below 2**53: its exponent is the bit length.
    shifts = np.maximum(np.frexp(values.astype(np.float64))[1].astype(np.int64) - 7, 0)
    return (shifts << 6) + (values >> shifts)


def bounds(bucket: int) -> tuple[int, int]:
    """The smallest and largest value of a bucket."""
    shift = max((bucket >> 6) - 1, 0)
    low = (bucket - (shift << 6)) << shift
    return low, low + (1 << shift) - 1


class Histogram:
    """How many values fell into each bucket.

    Made from sorted distinct buckets; merging turns it into a window over the buckets in use, which later merges only add to.
    """

    __slots__ = ("_buckets", "_counts", "_start", "_window")

    def __init__(self, buckets: Buckets, counts: Ints) -> None:
        """`buckets` ascending and distinct, `counts` above zero. Neither array is ever written to."""
        self._buckets = buckets
        self._counts = counts
        self._start = 0
        self._window: Ints | None = None

    @classmethod
    def of(cls, values: Ints) -> "Histogram":
        """The histogram of some values."""
        buckets, counts = np.unique(buckets_of(values), return_counts=True)
        return cls(buckets.astype(np.uint16), counts.astype(np.int64))

    @property
    def total(self) -> int:
        """How many values it holds."""
        return int((self._counts if self._window is None else self._window).sum())

    def sparse(self) -> tuple[Buckets, Ints]:
        """Ascending distinct buckets and their counts."""
        if self._window is None:
            return self._buckets, self._counts
        used = np.flatnonzero(self._window)
        return (used + self._start).astype(np.uint16), self._window[used]

    @property
    def buckets(self) -> Buckets:
        """Ascending distinct buckets."""
        return self.sparse()[0]

    @property
    def counts(self) -> Ints:
        """How many values fell into each of `buckets`."""
        return self.sparse()[1]

    def copy(self) -> "Histogram":
        """An independent copy."""
        return Histogram(*self.sparse())

    def merge(self, other: "Histogram") -> None:
        """Add another histogram's values to this one."""
        buckets, counts = other.sparse()
        if len(buckets):
            # Indexed by a signed type: a difference of unsigned ones would wrap around.
            window = self._covering(int(buckets[0]), int(buckets[-1]) + 1)
            window[buckets.astype(np.intp) - self._start] += counts

    def _covering(self, first: int, end: int) -> Ints:
        """The window, made or grown to hold buckets from `first` to before `end`."""
        window = self._window
        if window is not None and self._start <= first and end <= self._start + len(window):
            return window
        buckets, counts = self.sparse()
        if len(buckets):
            first, end = min(first, int(buckets[0])), max(end, int(buckets[-1]) + 1)
        self._start = max(first - MARGIN, 0)
        self._window = window = np.zeros(end + MARGIN - self._start, np.int64)
        window[buckets.astype(np.intp) - self._start] = counts
        return window

    def quantile(self, q: float | Fraction, least: int, greatest: int) -> int:
        """The q-quantile (0 < q <= 1): the midpoint of the bucket holding rank ceil(q * n), within the exact extremes.

        Give q as a fraction where it matters: 0.9 is a little more than 9/10, and the rank of ten values would be 10.

        Raises ValueError when there are no values.
        """
        buckets, counts = self.sparse()
        total = int(counts.sum())
        if not total:
            raise ValueError("an empty histogram has no quantiles")
        numerator, denominator = q.as_integer_ratio()
        rank = max(-(-numerator * total // denominator), 1)
        place = int(np.searchsorted(np.cumsum(counts), rank))
        low, high = bounds(int(buckets[place]))
        return min(max((low + high) // 2, least), greatest)

    def encode(self) -> bytes:
        """Canonical bytes: width of a count, number of buckets, buckets, counts, all little-endian."""
        buckets, counts = self.sparse()
        top = int(counts.max(initial=0))
        width = 1 if top < 256 else 2 if top < 65_536 else 4 if top < 1 << 32 else 8
        head = bytes([width]) + len(buckets).to_bytes(2, "little")
        return head + buckets.astype("<u2", copy=False).tobytes() + counts.astype(f"<u{width}").tobytes()

    @classmethod
    def decode(cls, data: bytes) -> "Histogram":
        """The histogram `encode` wrote. Raises ValueError for other bytes."""
        width, size = (data[0], int.from_bytes(data[1:3], "little")) if len(data) >= 3 else (0, 0)
        if width not in WIDTHS or len(data) != 3 + size * (2 + width):
            raise ValueError("not a histogram")
        buckets = np.frombuffer(data, "<u2", size, 3).astype(np.uint16)
        counts = np.frombuffer(data, f"<u{width}", size, 3 + 2 * size).astype(np.int64)
        if (buckets[1:] <= buckets[:-1]).any() or (counts <= 0).any():
            raise ValueError("not a histogram")
        return cls(buckets, counts)

    @classmethod
    def union(cls, encoded: bytes) -> "Histogram":
        """One histogram of many that were encoded, one behind the other.

        All in one pass: a year by route is a hundred thousand histograms, and an object for each would take a second.
        """
        buckets: dict[int, list[bytes]] = {width: [] for width in WIDTHS}
        counts: dict[int, list[bytes]] = {width: [] for width in WIDTHS}
        start = 0
        while start < len(encoded):
            width, size = encoded[start], int.from_bytes(encoded[start + 1 : start + 3], "little")
            middle = start + 3 + 2 * size
            buckets[width].append(encoded[start + 3 : middle])
            start = middle + width * size
            counts[width].append(encoded[middle:start])
        totals = np.zeros(1 << 16, np.int64)
        for width in WIDTHS:
            places = np.frombuffer(b"".join(buckets[width]), "<u2")
            np.add.at(totals, places, np.frombuffer(b"".join(counts[width]), f"<u{width}").astype(np.int64))
        found = np.flatnonzero(totals)
        return cls(found.astype(np.uint16), totals[found])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.encode() == other.encode()

    # Mutable, hence unhashable.
    __hash__ = None  # type: ignore[assignment]  # the documented way to say so; mypy expects a method

    def __repr__(self) -> str:
        buckets, counts = self.sparse()
        return f"Histogram({dict(zip(buckets.tolist(), counts.tolist(), strict=True))})"
