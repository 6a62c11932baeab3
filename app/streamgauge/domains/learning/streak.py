"""How many local days in a row somebody has been learning."""

from datetime import date
from typing import Final

from streamgauge.domains.gamification.streaks import Freezes, streak
from streamgauge.domains.learning.declarations import ACTIVITY
from streamgauge.entities.tallies import Span, Tallies
from streamgauge.summaries.calendar import Calendar

_NO_FREEZES: Final = Freezes(most=0)


async def current_streak(tallies: Tallies, today: date, calendar: Calendar, until: int) -> int:
    """Local days with any learning event in a row, up to today, or to yesterday as long as there is nothing today. 0: neither is active.

    Args:
        tallies: of one actor alone.
        until: the UTC second at which today ends.

    A date that the clock skipped is no day, and interrupts nothing. Unlike gamification's streak, a missed day always ends it, and what
    is done outside of learning does not count.
    """
    found = await tallies.totals(ACTIVITY.name, ["bucket"], Span(until=until))
    days = [calendar.date_of(group.bucket) for group in found if group.bucket is not None]
    return streak(days, today, calendar, _NO_FREEZES).current
