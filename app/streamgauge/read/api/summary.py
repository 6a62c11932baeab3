"""`GET /summary`: every event name, over the last hours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response

from streamgauge.read.api.asking import AskAsOf, Sight
from streamgauge.read.report import Answer
from streamgauge.read.tally import Number
from streamgauge.summaries.calendar import Calendar, Interval
from streamgauge.summaries.grid import HOUR

MOST_HOURS = 8_760  # a year
METRICS = (
    "events", "failed_events", "success_rate", "avg_event_duration", "min_event_duration", "max_event_duration",
    "p50_event_duration", "p95_event_duration", "p99_event_duration", "actors",
)  # fmt: skip

router = APIRouter(tags=["reports"])


@dataclass(frozen=True, slots=True)
class Figures:
    """What there is to say of some events. Durations are milliseconds, of those that have one; the rate is a fraction."""

    count: int
    errors: int
    success_rate: float | None
    avg_duration: float | None
    min_duration: float | None
    max_duration: float | None
    p50_duration: float | None
    p95_duration: float | None
    p99_duration: float | None
    actors: int


@dataclass(frozen=True, slots=True)
class Named:
    """The figures of one event name."""

    name: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Summary:
    """Every event name of a period, the most frequent first.

    `actors_are` says what the numbers of actors mean: `distinct`, or `sum_daily_actors` over several days where visitors are known
    by a salt that changes every day and cannot be told from each other.
    """

    period_start: str
    period_end: str
    hours: int
    time_zone: str
    as_of: str | None
    actors_are: str
    total: Figures
    events: tuple[Named, ...]


@router.get("/summary", summary="Every event name over the last hours", response_model=Summary)
async def summary(
    asking: AskAsOf,
    hours: Annotated[
        int,
        Query(
            ge=1,
            le=MOST_HOURS,
            description="Whole hours of the tenant's time zone, the current one included.",
            examples=[168],
        ),
    ] = 24,
) -> Response:
    """Per event name and in total: count, errors, success rate, durations, distinct actors."""

    async def report(sight: Sight) -> bytes:
        calendar = sight.tenant.calendar
        period = instants(calendar, last_hours(calendar, sight.now, hours))
        total = await sight.ask({"metrics": METRICS, "date_range": period})
        by_name = await sight.ask({"metrics": METRICS, "date_range": period, "dimensions": ["event.name"]})
        return orjson.dumps(summarised(total, by_name, hours))

    return await asking.respond(["summary", hours], report)


def summarised(total: Answer, by_name: Answer, hours: int) -> Summary:
    """The report: two answers about the same period in, the summary out."""
    start, end = total.query["date_range"]
    names = tuple(Named(row.dimensions[0], _figures(row.metrics)) for row in by_name.results)
    meaning = "sum_daily_actors" if "actors" in total.meta["metric_warnings"] else "distinct"
    time_zone, as_of = total.meta["time_zone"], total.meta["as_of"]
    return Summary(start, end, hours, time_zone, as_of, meaning, _figures(total.results[0].metrics), names)


def last_hours(calendar: Calendar, now: int, hours: int) -> Interval:
    """So many whole local hours, the current one last, as Unix seconds; fewer only where 1970 begins."""
    end = calendar.hours(now, now + 1)[0].end
    # An hour may be longer than one where a clock was set back or the tenant changed its zone.
    reach = hours * HOUR
    while True:
        first = max(end - reach, 0)
        found = calendar.hours(first, end)
        if len(found) >= hours or first == 0:
            return Interval(found[-hours:][0].start, end)
        reach += (hours - len(found)) * HOUR


def instants(calendar: Calendar, period: Interval) -> Sequence[str]:
    """A period as the range of a question."""
    return [calendar.local_iso(period.start), calendar.local_iso(period.end)]


def _figures(metrics: Sequence[Number]) -> Figures:
    count, errors, success, mean, least, greatest, p50, p95, p99, actors = metrics
    return Figures(
        int(count or 0), int(errors or 0), success, mean, least, greatest, p50, p95, p99, int(actors or 0)
    )
