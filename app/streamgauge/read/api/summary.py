"""`GET /summary`: every event name, over the last hours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from streamgauge.read.api.asking import Asking, Sight, dumped
from streamgauge.read.report import Answer
from streamgauge.read.tally import Number
from streamgauge.summaries.calendar import Calendar, Interval
from streamgauge.summaries.grid import HOUR

MOST_HOURS = 8_760  # a year
METRICS = (
    "events", "failed_events", "success_rate", "avg_event_duration", "min_event_duration", "max_event_duration", "p50_event_duration",
    "p95_event_duration", "p99_event_duration", "actors",
)  # fmt: skip

router = APIRouter(tags=["reports"])


@dataclass(frozen=True, slots=True)
class Figures:
    """What there is to say of some events. Durations are milliseconds, of those that have one; rates are fractions."""

    count: Number
    errors: Number
    success_rate: Number
    avg_duration: Number
    min_duration: Number
    max_duration: Number
    p50_duration: Number
    p95_duration: Number
    p99_duration: Number
    actors: Number


@dataclass(frozen=True, slots=True)
class Named:
    """The figures of one event name."""

    name: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Summary:
    """Every event name of a period, the most frequent first."""

    period_start: str
    period_end: str
    hours: int
    time_zone: str
    as_of: str | None
    #: Set when actors of several days cannot be told from each other: what their number means then.
    actors_are: str
    total: Figures
    events: tuple[Named, ...]


@router.get("/summary")
async def summary(
    asking: Annotated[Asking, Depends()],
    hours: Annotated[
        int, Query(ge=1, le=MOST_HOURS, description="Whole local hours, the current one included.")
    ] = 24,
) -> Response:
    """Per event name: count, errors, success rate, durations, distinct actors."""

    async def report(sight: Sight) -> bytes:
        period = last_hours(sight.tenant.calendar, sight.now, hours)
        question = {"metrics": METRICS, "date_range": instants(sight.tenant.calendar, period)}
        total = await sight.ask(question)
        by_name = await sight.ask({**question, "dimensions": ["event.name"]})
        return dumped(summarised(total, by_name, hours))

    return await asking.respond(report)


def summarised(total: Answer, by_name: Answer, hours: int) -> Summary:
    """The report: two answers about the same period in, the summary out."""
    start, end = total.query["date_range"]
    names = tuple(Named(row.dimensions[0], _figures(row.metrics)) for row in by_name.results)
    figures = _figures(total.results[0].metrics if total.results else (0, 0, *([None] * 7), 0))
    meaning = "sum_daily_actors" if "actors" in total.meta["metric_warnings"] else "distinct"
    return Summary(start, end, hours, total.meta["time_zone"], total.meta["as_of"], meaning, figures, names)


def last_hours(calendar: Calendar, now: int, hours: int) -> Interval:
    """So many whole local hours, the current one last, as Unix seconds. Also where the clock was changed."""
    end = calendar.hours(now, now + 1)[0].end
    # Zones have hours of an hour, but for two a year: those are why a few more are looked at.
    starts = [hour.start for hour in calendar.hours(max(end - (hours + 3) * HOUR, 0), end)]
    return Interval(starts[-hours:][0], end)


def instants(calendar: Calendar, period: Interval) -> Sequence[str]:
    """A period as the range of a question."""
    return [calendar.local_iso(period.start), calendar.local_iso(period.end)]


def _figures(metrics: Sequence[Number]) -> Figures:
    return Figures(*metrics)
