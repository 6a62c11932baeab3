"""When people learn: by local day, and by hour of the week. Pure: rows in, a frozen report out."""

from dataclasses import dataclass
from datetime import date, datetime

from streamgauge.domains.learning.declarations import HOURS
from streamgauge.entities.tallies import Span, Tallies
from streamgauge.summaries.calendar import Calendar


@dataclass(frozen=True, slots=True)
class DayEvents:
    """Learning events of one local day, 0 where there were none."""

    date: date
    events: int


@dataclass(frozen=True, slots=True)
class LearningHeatmap:
    """All learning events of those looked at, in the tenant's time zone.

    `events`: how many there are; both of the others add up to it. `calendar`: by local day, the oldest first, today included; a date that the
    clock skipped is no day. `hour_of_week`: seven days from Monday on with 24 hours each, by the wall clock at which the hour of the event began:
    an hour that comes twice on a day the clock goes back counts as one hour, and one that is skipped has nothing.
    """

    events: int
    calendar: tuple[DayEvents, ...]
    hour_of_week: tuple[tuple[int, ...], ...]


async def heatmap(tallies: Tallies, span: Span, calendar: Calendar) -> LearningHeatmap:
    """The events of whole local days. Raises InputError for more rows than are read."""
    days = calendar.days(calendar.date_of(span.since), calendar.date_of(span.until - 1))
    by_day = dict.fromkeys((day.start for day in days), 0)
    week = [[0] * 24 for _ in range(7)]
    for group, total in (await tallies.totals(HOURS.name, ["bucket"], span)).items():
        hour = group.bucket or 0
        by_day[calendar.day_of(hour)] += total.count
        at = datetime.fromisoformat(calendar.local_iso(hour))
        week[at.weekday()][at.hour] += total.count
    return LearningHeatmap(
        sum(by_day.values()),
        tuple(DayEvents(day.date, by_day[day.start]) for day in days),
        tuple(map(tuple, week)),
    )
