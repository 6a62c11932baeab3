"""Streaks: active local days in a row, with declared freezes for missed ones. Pure.

Exactly, with `Freezes(earned_every=7, most=2)`:

- A day is active that has an event of `declarations.ACTIVE`, in the tenant's time zone. A date that the clock skipped is no day at all.
- A streak's length is the number of its active days; a missed day that a freeze stands in for is not counted, and ends nothing.
- Every active day adds a seventh of a freeze, as long as fewer than two are held. So seven active days in a row earn one, and with two
  held nothing is saved up.
- Every missed day uses one whole freeze. Where there is none, the streak ends, and what was saved up is gone with it.
- Today counts once it is active. Until then it is not missed: a streak is as long as it was yesterday, until tomorrow.

So an active day more never makes a streak shorter: what comes late can only lengthen it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, NamedTuple

from streamgauge.errors import SettingsError
from streamgauge.summaries.calendar import Calendar

MOST_FREEZES: Final = 100


@dataclass(frozen=True, slots=True)
class Freezes:
    """One is earned for every so many active days in a row, and `most` are held at once. Raises SettingsError."""

    earned_every: int = 7
    most: int = 2

    def __post_init__(self) -> None:
        if self.earned_every < 1 or not 0 <= self.most <= MOST_FREEZES:
            raise SettingsError(
                f"freezes are earned every 1 or more days, and 0 to {MOST_FREEZES} are held: not {self}"
            )

    @property
    def full(self) -> int:
        """All that can be saved up, in parts of a freeze."""
        return self.earned_every * self.most


FREEZES: Final = Freezes()


class Step(NamedTuple):
    """An active day: the streak's length with it, and what is saved up after it, in parts of a freeze."""

    day: date
    length: int
    saved: int


@dataclass(frozen=True, slots=True)
class Streak:
    """Active local days in a row, in the tenant's time zone; a missed day that a freeze stood in for ends nothing.

    `current`: 0 once a day was missed without a freeze; today counts once it is active, and is not missed before tomorrow. `longest`: of
    all time. `freezes`: how many are held now. `last_active`: the latest active day.
    """

    current: int
    longest: int
    freezes: int
    active_today: bool
    last_active: date | None


def steps(days: Iterable[date], calendar: Calendar, freezes: Freezes = FREEZES) -> Iterator[Step]:
    """Every active day in order. `days` may come in any order, and more than once."""
    last: Step | None = None
    for day in sorted(set(days)):
        left = None if last is None else _left(last, day, calendar, freezes)
        length, saved = (0, 0) if last is None or left is None else (last.length, left)
        last = Step(day, length + 1, min(saved + 1, freezes.full))
        yield last


def streak(days: Iterable[date], today: date, calendar: Calendar, freezes: Freezes = FREEZES) -> Streak:
    """What the active days up to today make; later ones are left out."""
    taken = list(steps((day for day in days if day <= today), calendar, freezes))
    if not taken:
        return Streak(0, 0, 0, False, None)
    last, longest = taken[-1], max(step.length for step in taken)
    left = _left(last, today, calendar, freezes)
    current, saved = (0, 0) if left is None else (last.length, left)
    return Streak(current, longest, saved // freezes.earned_every, last.day == today, last.day)


def _left(last: Step, day: date, calendar: Calendar, freezes: Freezes) -> int | None:
    """What is still saved up when `day` comes; None where the days missed since were too many."""
    affordable = last.saved // freezes.earned_every
    missed, each = 0, last.day + timedelta(1)
    while each < day:
        missed += calendar.date_of(calendar.day_start(each)) == each
        if missed > affordable:
            return None
        each += timedelta(1)
    return last.saved - missed * freezes.earned_every
