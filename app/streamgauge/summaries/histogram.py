"""A histogram of whole numbers that merges exactly, in any order.

Log-linear buckets in the manner of HdrHistogram (Tene) and of OpenTelemetry's exponential histograms, in integer arithmetic only, so
that every machine puts a value into the same bucket: `s = max(bit_length(v) - 7, 0)`, bucket `(s << 6) + (v >> s)`. A bucket is at
most 1/64 of its value wide, so its midpoint is at most 0.781 % off; values below 128 are exact. 2,240 buckets reach 2**40 - 1
(12 days in microseconds); larger values go on into further buckets up to 2**48.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamgauge.table import Ints

LARGEST = 2**48 - 1  # a batch of 2**15 such values still sums in 64 bits
RELATIVE_ERROR = 1 / 128
WIDTHS = (1, 2, 4, 8)


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


@dataclass(slots=True)
class Histogram:
    """Sorted distinct buckets and how many values fell into each."""

    buckets: npt.NDArray[np.uint16]
    counts: Ints

    @classmethod
    def of(cls, values: Ints) -> "Histogram":
        """The histogram of some values."""
        buckets, counts = np.unique(buckets_of(values), return_counts=True)
        return cls(buckets.astype(np.uint16), counts.astype(np.int64))

    @property
    def total(self) -> int:
        """How many values it holds."""
        return int(self.counts.sum())

    def merge(self, other: "Histogram") -> None:
        """Add another histogram's values to this one."""
        if not len(other.buckets):
            return
        places = np.searchsorted(self.buckets, other.buckets)
        known = places < len(self.buckets)
        known[known] = self.buckets[places[known]] == other.buckets[known]
        if known.all():
            counts = (
                self.counts.copy()
            )  # arrays may be shared with the other rows the same values were merged into
            counts[places] += other.counts
            self.counts = counts
            return
        buckets = np.concatenate([self.buckets, other.buckets])
        self.buckets, inverse = np.unique(buckets, return_inverse=True)
        totals = np.zeros(len(self.buckets), np.int64)
        np.add.at(totals, inverse, np.concatenate([self.counts, other.counts]))
        self.counts = totals

    def quantile(self, q: float, least: int, greatest: int) -> int:
        """The q-quantile (0 < q <= 1): the midpoint of the bucket holding rank ceil(q * n), within the exact extremes."""
        total = self.total
        if not total:
            raise ValueError("an empty histogram has no quantiles")
        numerator, denominator = q.as_integer_ratio()
        rank = max(-(-numerator * total // denominator), 1)
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        low, high = bounds(int(self.buckets[place]))
        return min(max((low + high) // 2, least), greatest)

    def encode(self) -> bytes:
        """Canonical bytes: width of a count, buckets as deltas would save little, so plain little-endian arrays."""
        top = int(self.counts.max(initial=0))
        width = next(width for width in WIDTHS if top < 1 << (8 * width - (width == 8)))
        size = len(self.buckets).to_bytes(2, "little")
        return b"".join(
            [
                bytes([width]),
                size,
                self.buckets.astype("<u2").tobytes(),
                self.counts.astype(f"<u{width}").tobytes(),
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> "Histogram":
        """The histogram `encode` wrote. Raises ValueError for other bytes."""
        width, size = int.from_bytes(data[:1], "little"), int.from_bytes(data[1:3], "little")
        if width not in WIDTHS or len(data) != 3 + size * (2 + width):
            raise ValueError("not a histogram")
        buckets = np.frombuffer(data, "<u2", size, 3).astype(np.uint16)
        return cls(buckets, np.frombuffer(data, f"<u{width}", size, 3 + 2 * size).astype(np.int64))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.encode() == other.encode()
