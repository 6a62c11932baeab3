"""One person's points, level, achievements and streak. Pure: rows in, a frozen report out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from streamgauge.domains.gamification.achievements import ACHIEVEMENTS, Achievement, Award, awards
from streamgauge.domains.gamification.declarations import DAILY_XP, DAYS
from streamgauge.domains.gamification.levels import CURVE, Curve, Level
from streamgauge.domains.gamification.streaks import FREEZES, Freezes, Streak, steps, streak
from streamgauge.entities.tallies import Span, Tallies
from streamgauge.summaries.calendar import Calendar


@dataclass(frozen=True, slots=True)
class DayXp:
    """Points of one local day, 0 where there were none."""

    date: date
    xp: int


@dataclass(frozen=True, slots=True)
class GamificationProgress:
    """One person's points (XP), from `xp.earned` and `learning_session.ended`.

    `xp`: of all time, up to the end of today where the tenant is; `level` is of these. `trend`: by local day, the oldest first, today
    included. `achievements` are in the order in which they are declared.
    """

    id: str
    xp: int
    level: Level
    trend: tuple[DayXp, ...]
    achievements: tuple[Award, ...]
    streak: Streak


async def progress(
    tallies: Tallies,
    actor: bytes,
    days: int,
    calendar: Calendar,
    now: int,
    *,
    curve: Curve = CURVE,
    achievements: Sequence[Achievement] = ACHIEVEMENTS,
    freezes: Freezes = FREEZES,
) -> GamificationProgress:
    """What one actor has come to.

    Args:
        tallies: of this actor alone.
        days: local days of the trend, today included.
        now: the Unix second it is of.

    Raises InputError as `Tallies` does.
    """
    today = calendar.date_of(now)
    until = calendar.day_start(today + timedelta(1))
    earned = {
        group.bucket: total.sums[0]
        for group, total in (await tallies.totals(DAILY_XP.name, ["bucket"], Span(until=until))).items()
    }
    firsts = {
        calendar.date_of(group.bucket or 0): total.first_at
        for group, total in (await tallies.totals(DAYS.name, ["bucket"], Span(until=until))).items()
    }
    active = {step: firsts[step.day] for step in steps(firsts, calendar, freezes)}
    xp = sum(earned.values())
    return GamificationProgress(
        actor.hex(),
        xp,
        curve.level_of(xp),
        tuple(
            DayXp(day.date, earned.get(day.start, 0))
            for day in calendar.days(today - timedelta(days - 1), today)
        ),
        await awards(tallies, until, active, achievements),
        streak(firsts, today, calendar, freezes),
    )
