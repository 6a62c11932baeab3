"""Points of the last seven days. Pure: rows in, a frozen report out."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from streamgauge.domains.gamification.declarations import DAILY_XP
from streamgauge.domains.gamification.progress import DayXp
from streamgauge.domains.learning.streak import current_streak
from streamgauge.entities.tallies import Span, Tallies
from streamgauge.read.tally import rounded
from streamgauge.summaries.calendar import Calendar

DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class WeeklyXp:
    """Points (XP) of `learning_session.ended` and `xp.earned` on the last seven local days, in the tenant's time zone.

    `days`: the oldest first, today last; a date that the clock skipped is left out. `daily_mean`: the total over these days, to 3 decimals,
    half to even. `streak`: local days with any learning event in a row up to today, or to yesterday as long as there is nothing today; of
    all time, without freezes, and null unless the report is about one actor.
    """

    days: tuple[DayXp, ...]
    total: int
    daily_mean: float
    streak: int | None


async def weekly_xp(tallies: Tallies, span: Span, calendar: Calendar, *, one: bool = False) -> WeeklyXp:
    """The points of whole local days, of which the last is today. `one`: whether it is about a single actor.

    Raises InputError for more rows than are read.
    """
    today = calendar.date_of(span.until - 1)
    found = {
        group.bucket: total.sums[0]
        for group, total in (await tallies.totals(DAILY_XP.name, ["bucket"], span)).items()
    }
    days = tuple(
        DayXp(day.date, found.get(day.start, 0)) for day in calendar.days(calendar.date_of(span.since), today)
    )
    total = sum(day.xp for day in days)
    streak = await current_streak(tallies, today, calendar, span.until) if one else None
    return WeeklyXp(days, total, rounded(Fraction(total, len(days))), streak)
