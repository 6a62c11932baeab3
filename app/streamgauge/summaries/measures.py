"""What every summary row holds, and how two rows of the same key become one.

All of it is integers and sets, and merging is commutative and associative: any order, batching and number of workers gives
the same row.
"""

from dataclasses import dataclass, field

from pyroaring import BitMap

from streamgauge.summaries.histogram import Histogram


@dataclass(slots=True)
class Measures:
    """The measures of one summary row."""

    count: int = 0
    errors: int = 0
    observed: int = 0  #: events that carried a value
    sum: int = 0
    min: int | None = None
    max: int | None = None
    histogram: Histogram | None = None
    members: BitMap = field(default_factory=BitMap)  #: dense ids of distinct actors
    #: sums of the rollup's further properties, in its order; None where no event carried one
    totals: tuple[int | None, ...] = ()

    def merge(self, other: "Measures") -> None:
        """Add another row's events to this one; `other` is left as it is."""
        self.count += other.count
        self.errors += other.errors
        if other.observed:
            self.observed += other.observed
            self.sum += other.sum
            self.min = other.min if self.min is None or other.min is None else min(self.min, other.min)
            self.max = other.max if self.max is None or other.max is None else max(self.max, other.max)
        if other.totals:
            self.totals = tuple(map(_plus, self.totals, other.totals)) if self.totals else other.totals
        if other.histogram is not None:
            if self.histogram is None:
                self.histogram = other.histogram.copy()
            else:
                self.histogram.merge(other.histogram)
        if other.members:
            self.members |= other.members


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other
