"""The plan of an answer, worked out before any row is read: which rollups' groupings, which buckets of which table."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Literal

from streamgauge.errors import InputError
from streamgauge.read.date_range import resolve
from streamgauge.read.dimensions import DERIVED, TIME, TIME_GRAINS, base_of, is_time
from streamgauge.read.filters import Combination, Comparison, Filter
from streamgauge.read.metrics import METRICS, Metric
from streamgauge.read.query import Query
from streamgauge.summaries.calendar import Calendar, Day, Interval
from streamgauge.summaries.rollups import OTHER, Catalogue, Rollup
from streamgauge.summaries.zones import DAY

Grain = Literal["hourly", "daily"]
TOTALS = frozenset({"total", "total_average"})
MOST_HOURLY_DAYS = 400  # of a range by time:hour
AUTO_HOURS, AUTO_DAYS = 2, 100  # `time` means hours up to so many local days, days up to so many, else months


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket to read: the Unix second it begins at, the place of the period it counts towards, and its local day's start."""

    start: int
    period: int
    day: int


@dataclass(frozen=True, slots=True)
class Span:
    """Buckets of one table that follow each other without a gap."""

    grain: Grain
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """One grouping of one rollup, and what is needed of its rows.

    `dimensions` are those kept apart, `places` where the grouping's tuples hold them, counted from 1. `allowed` narrows what is
    read: (place of a dimension, the values of it that could pass the filters).
    """

    metric: str
    grouping: int
    dimensions: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    histograms: bool = False
    totals: int = 0  #: how many of the rollup's totals to read
    members: bool = False
    by_day: bool = False  #: whether distinct actors of several days must be kept apart whoever they are
    allowed: tuple[tuple[int, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read, and everything the report needs to know about the question."""

    query: Query
    calendar: Calendar
    now: int  #: Unix second that relative ranges count from
    range: Interval
    days: tuple[Day, ...]
    dimensions: tuple[str, ...]  #: as asked, with `time` made definite
    time: str | None  #: the time dimension among them
    periods: tuple[Interval, ...]  #: of the time dimension; without one the range itself
    spans: tuple[Span, ...]
    sources: tuple[Source, ...]
    #: (all rows, those with every dimension), where events without a required dimension are left out.
    left_out: tuple[Source, Source] | None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics asked for."""
        return tuple(METRICS[name] for name in self.query.metrics)

    @property
    def stored(self) -> tuple[str, ...]:
        """The stored dimensions that are asked for or filtered by."""
        return _stored(self.query)


def make_plan(
    query: Query, catalogue: Catalogue, calendar: Calendar, now: int, extent: tuple[date, date] | None
) -> Plan:
    """Plan a checked question. Raises InputError for a range that cannot be answered.

    `extent` holds the first and last local date the tenant has rows of; `now` is a Unix second.
    """
    asked = resolve(query.date_range, calendar, now, extent)
    days = tuple(calendar.days(calendar.date_of(asked.start), calendar.date_of(asked.end - 1)))
    dimensions = tuple(_auto(len(days)) if name == TIME else name for name in query.dimensions)
    time = next((name for name in dimensions if is_time(name)), None)
    if time == "time:hour" and asked.end - asked.start > MOST_HOURLY_DAYS * DAY:
        raise InputError(
            f"dimensions holds 'time:hour' for {len(days)} days: up to {MOST_HOURLY_DAYS} are allowed; narrow date_range "
            "or ask for 'time:day'",
            "dimensions",
        )
    periods = _periods(time, asked, days, calendar)
    return Plan(
        query, calendar, now, asked, days, dimensions, time, periods,
        tuple(_spans(asked, days, periods, calendar, by_hour=time == "time:hour")),
        tuple(_sources(query, catalogue)), _left_out(query, catalogue),
    )  # fmt: skip


def _auto(days: int) -> str:
    if days <= AUTO_HOURS:
        return "time:hour"
    return "time:day" if days <= AUTO_DAYS else "time:month"


def _periods(
    time: str | None, asked: Interval, days: tuple[Day, ...], calendar: Calendar
) -> tuple[Interval, ...]:
    if time is None:
        return (asked,)
    grain = TIME_GRAINS[time]
    if grain == "hour":
        return tuple(calendar.hours(*asked))
    if grain == "day":
        return tuple(Interval(day.start, day.end) for day in days)
    named = calendar.weeks if grain == "week" else calendar.months
    return tuple(Interval(period.start, period.end) for period in named(days[0].date, days[-1].date))


def _spans(
    asked: Interval, days: tuple[Day, ...], periods: tuple[Interval, ...], calendar: Calendar, by_hour: bool
) -> Iterator[Span]:
    """Whole local days from the daily table, the rest (and everything by hour) from the hourly one."""
    starts = [period.start for period in periods]

    def buckets() -> Iterator[tuple[Grain, Bucket]]:
        for day in days:
            if not by_hour and asked.start <= day.start and day.end <= asked.end:
                yield "daily", Bucket(day.start, bisect_right(starts, day.start) - 1, day.start)
                continue
            for hour in calendar.hours(max(day.start, asked.start), min(day.end, asked.end)):
                yield "hourly", Bucket(hour.start, bisect_right(starts, hour.start) - 1, day.start)

    for grain, group in groupby(buckets(), key=lambda pair: pair[0]):
        yield Span(grain, tuple(bucket for _, bucket in group))


def _stored(query: Query) -> tuple[str, ...]:
    filtered = {name for part in query.filters for name in part.dimensions()}
    return tuple(sorted({base_of(name) for name in {*query.dimensions, *filtered} if not is_time(name)}))


def _sources(query: Query, catalogue: Catalogue) -> Iterator[Source]:
    stored = _stored(query)
    metrics = [METRICS[name] for name in query.metrics]
    for name in dict.fromkeys(metric.rollup for metric in metrics):
        measures = {metric.measure for metric in metrics if metric.rollup == name}
        grouping, names = _grouping(_rollup(catalogue, name), stored)
        yield Source(
            name, grouping, stored, tuple(names.index(dimension) + 1 for dimension in stored),
            histograms="quantile" in measures, totals=0 if measures.isdisjoint(TOTALS) else len(_rollup(catalogue, name).totals), members=not measures.isdisjoint({"distinct", "daily_distinct"}),
            by_day="daily_distinct" in measures, allowed=tuple(_allowed(query.filters, names)),
        )  # fmt: skip


def _rollup(catalogue: Catalogue, metric: str) -> Rollup:
    return next(rollup for rollup in catalogue.rollups if rollup.metric == metric)


def _grouping(rollup: Rollup, stored: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """The grouping with the fewest dimensions among those that have all the stored ones asked for."""
    fitting = [
        (len(grouping), place, grouping)
        for place, grouping in enumerate(rollup.groupings)
        if set(stored) <= set(grouping)
    ]
    if not fitting:
        kept = "; ".join(" by ".join(grouping) for grouping in rollup.groupings if grouping)
        raise InputError(
            f"{rollup.metric!r} is not kept by {' by '.join(stored)} at once: it is kept by {kept}",
            "dimensions",
        )
    _, place, grouping = min(fitting)
    return place, grouping


def _allowed(
    filters: tuple[Filter, ...], dimensions: tuple[str, ...]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """What plain `is` filters, all of which must hold, let through; the report applies every filter again.

    A value may be read as "(other)", so a filter for that narrows nothing.
    """
    for part in filters:
        if isinstance(part, Combination):
            if part.operator == "and":
                yield from _allowed(part.filters, dimensions)
        elif _narrows(part):
            yield dimensions.index(part.dimension) + 1, part.values


def _narrows(part: Comparison) -> bool:
    return part.operator == "is" and part.dimension not in DERIVED and OTHER not in part.values


def _left_out(query: Query, catalogue: Catalogue) -> tuple[Source, Source] | None:
    stored = _stored(query)
    for metric in query.metrics:
        rollup = _rollup(catalogue, METRICS[metric].rollup)
        required = {dimension.property for dimension in rollup.dimensions if dimension.required}
        others = tuple(name for name in stored if name not in required)
        if others != stored:
            everything, complete = (_grouping(rollup, names)[0] for names in (others, stored))
            return Source(rollup.metric, everything, others), Source(rollup.metric, complete, stored)
    return None
