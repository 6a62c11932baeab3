"""Adding cells up into an answer's rows, and computing metrics from what was added up.

All arithmetic is in whole numbers and fractions; a number becomes a float in the last step, rounded half to even: milliseconds to
3 decimals, rates to 6. So equal rows give equal bytes on every machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from pyroaring import BitMap

from streamgauge.read.dimensions import DERIVED, is_time
from streamgauge.read.metrics import Metric
from streamgauge.read.plan import Plan, Source
from streamgauge.read.rows import Cell, Rows
from streamgauge.summaries.histogram import Histogram
from streamgauge.summaries.measures import Measures
from streamgauge.summaries.rollups import OTHER

FIRST_VISITOR = 1 << 31  #: actor ids from here on are daily-salted visitors
MICROSECONDS = 1_000  # per millisecond
DECIMALS, RATE_DECIMALS = 3, 6

Number = int | float | None


@dataclass(slots=True)
class Tally:
    """What one rollup has for one row of the answer: merged measures, and the distinct actors of each local day."""

    measures: Measures = field(default_factory=Measures)
    daily: dict[int, BitMap] = field(default_factory=dict)

    def merge(self, cell: Cell) -> None:
        """Add a cell."""
        self.measures.merge(cell.measures)
        if cell.day is not None and cell.measures.members:
            self.daily[cell.day] = self.daily.get(cell.day, BitMap()) | cell.measures.members

    def value(self, metric: Metric) -> Number:
        """The metric's value; None where nothing was observed that it could be computed from."""
        found = self.measures
        scale = MICROSECONDS if metric.unit == "ms" else 1
        match metric.measure:
            case "count":
                return found.count
            case "error_count":
                return found.errors
            case "error_rate":
                return rounded(Fraction(found.errors, found.count), RATE_DECIMALS) if found.count else None
            case "success_rate":
                good = found.count - found.errors
                return rounded(Fraction(good, found.count), RATE_DECIMALS) if found.count else None
            case "distinct":
                return len(found.members)
            case "daily_distinct":
                return sum(len(members) for members in self.daily.values())
            case "total":
                return found.totals[metric.place] if found.totals else None if found.count else 0
            case "total_average":
                total = found.totals[metric.place] if found.totals else None
                return None if total is None else rounded(Fraction(total, found.count))
            case "average":
                return rounded(Fraction(found.sum, found.observed * scale)) if found.observed else None
            case "minimum":
                return _scaled(found.min, scale)
            case "maximum":
                return _scaled(found.max, scale)
            case "quantile":
                return _scaled(_quantile(found, metric.quantile), scale)


def rounded(value: Fraction, decimals: int = DECIMALS) -> float:
    """The nearest float of a fraction rounded half to even to some decimals."""
    return float(round(value, decimals))


def _scaled(value: int | None, scale: int) -> Number:
    return value if value is None or scale == 1 else rounded(Fraction(value, scale))


def _quantile(found: Measures, quantile: Fraction | None) -> int | None:
    histogram: Histogram | None = found.histogram
    if histogram is None or quantile is None or found.min is None or found.max is None:
        return None
    return histogram.quantile(quantile, found.min, found.max)


#: A row of the answer: the place of its period, and the values of the other dimensions asked for.
Key = tuple[int, tuple[str, ...]]


def tally(rows: Rows, plan: Plan) -> dict[Key, dict[str, Tally]]:
    """Add up all cells that pass the filters, by row of the answer and by rollup."""
    found: dict[Key, dict[str, Tally]] = {}
    for source in plan.sources:
        reading = _Reading(source, plan, rows)
        for cells in (rows.cells[source.metric], rows.members[source.metric]):
            for cell in cells:
                values = reading.values(cell)
                if values is not None:
                    row = found.setdefault((cell.period, values), {})
                    row.setdefault(source.metric, Tally()).merge(cell)
    return found


class _Reading:
    """What a source's tuples of stored values are read as; every distinct tuple is worked out once."""

    def __init__(self, source: Source, plan: Plan, rows: Rows) -> None:
        self.source = source
        self.filters = plan.query.filters
        self.dimensions = [name for name in plan.dimensions if not is_time(name)]
        self.excess = rows.excess
        self.crowded = {day for _, day in rows.excess}
        self.known: dict[tuple[int | None, tuple[str, ...]], tuple[str, ...] | None] = {}

    def values(self, cell: Cell) -> tuple[str, ...] | None:
        """The values of the dimensions asked for, or None for a cell that the filters leave out."""
        day = cell.day if cell.day in self.crowded else None
        key = day, cell.values
        if key not in self.known:
            row = self._row(day, cell.values)
            passed = all(part.matches(row) for part in self.filters)
            self.known[key] = tuple(row[name] for name in self.dimensions) if passed else None
        return self.known[key]

    def _row(self, day: int | None, values: tuple[str, ...]) -> Mapping[str, str]:
        row = dict(zip(self.source.dimensions, values, strict=True))
        if day is not None:
            for name, value in row.items():
                if value in self.excess.get((name, day), ()):
                    row[name] = OTHER
        for name, derived in DERIVED.items():
            if derived.base in row:
                row[name] = derived.value(row[derived.base])
        return row
