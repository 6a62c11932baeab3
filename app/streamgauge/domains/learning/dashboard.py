"""Learning at a glance: some days up to today, and who stands out. Pure: rows in, a frozen report out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from streamgauge.domains.gamification.declarations import DAILY_XP
from streamgauge.domains.learning.declarations import ACTIVITY, ATTEMPTS, LESSONS
from streamgauge.domains.learning.marks import mean_percent
from streamgauge.domains.learning.progress import DONE
from streamgauge.domains.learning.submissions import Rows, marks_of, within
from streamgauge.domains.learning.summary import (
    LessonsIn,
    left_out,
    lessons_in,
    percent_of,
    unless_too_many,
)
from streamgauge.entities.standings import Score
from streamgauge.entities.tallies import Group, Span, Tallies
from streamgauge.entities.view import instant
from streamgauge.people.documented import ACTOR
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.tallies import State, TallyKey

Range = Literal["day", "week", "month", "year"]
#: Local days back from now, today included.
RANGES: Final[dict[Range, int]] = {"day": 1, "week": 7, "month": 30, "year": 365}
MOST_PERFORMERS: Final = 5
MOST_COMPLETIONS: Final = 10


@dataclass(frozen=True, slots=True)
class Performer:
    """Who earned points (XP) in these days, and how many."""

    id: str
    name: str
    xp: int


@dataclass(frozen=True, slots=True)
class Completion:
    """A lesson that somebody has completed. `at`: when its last event was, which says 100 %."""

    id: str
    name: str
    course: str
    lesson: str
    at: str


@dataclass(frozen=True, slots=True)
class LearningDashboard:
    """Whole local days of the tenant's time zone from `first` to today, `last`, both included; every figure is of events within them.

    `active_users`: different actors of any learning event; `activities`: these events. `completion`: of lessons whose last event is
    within. `quiz_average`: mean of score/max over attempts that told both, in per cent, null without one. `top_performers`: up to 5 by
    points of `learning_session.ended` and `xp.earned`, of equal points the smaller id first, none without points. `recent_completions`: up
    to 10 of the lessons that `completion` counts as completed, the last event first, at the same time the greater event id first.
    `left_out`: what is null because there are more rows of it than one answer reads; a group has fewer.
    """

    range: Range
    first: date
    last: date
    group: str | None
    active_users: int
    activities: int
    completion: LessonsIn | None
    quiz_average: float | None
    top_performers: tuple[Performer, ...] | None
    recent_completions: tuple[Completion, ...] | None
    left_out: tuple[str, ...]


EXAMPLE: Final = LearningDashboard(
    "week", date(2026, 11, 15), date(2026, 11, 21), "5b", 24, 131, LessonsIn(19, 12, 81.579), 73.5, (Performer(ACTOR, "Ada L.", 90),),
    (Completion(ACTOR, "Ada L.", "biology-7", "cells", "2026-11-21T09:41:00Z"),), (),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read; None: there are too many rows of it."""

    span: Span
    active_users: int
    activities: int
    lessons: Rows | None
    attempts: Rows | None
    best: tuple[Score, ...] | None
    completed: tuple[tuple[TallyKey, State], ...] | None

    @property
    def actors(self) -> list[bytes]:
        """Everybody who is named."""
        completed = [key.actor for key, _ in self.completed or () if key.actor is not None]
        return list(dict.fromkeys([*(each.actor for each in self.best or ()), *completed]))


async def read_dashboard(tallies: Tallies, span: Span) -> Reading:
    """Rows of whole local days."""
    everything = (await tallies.totals(ACTIVITY.name, (), span)).get(Group())
    lessons = await unless_too_many(tallies.states(LESSONS.name))
    return Reading(
        span,
        0 if everything is None else everything.actors,
        0 if everything is None else everything.count,
        lessons,
        await unless_too_many(tallies.states(ATTEMPTS.name, span)),
        await unless_too_many(_best(tallies, span)),
        None if lessons is None else _completed(lessons, span),
    )


async def _best(tallies: Tallies, span: Span) -> tuple[Score, ...]:
    found = await tallies.totals(DAILY_XP.name, ["actor"], span)
    scores = [
        Score(group.actor, total.sums[0]) for group, total in found.items() if group.actor and total.sums[0]
    ]
    return tuple(sorted(scores, key=lambda each: (-each.score, each.actor))[:MOST_PERFORMERS])


def _completed(lessons: Rows, span: Span) -> tuple[tuple[TallyKey, State], ...]:
    chosen = [
        (key, state)
        for key, state in lessons.items()
        if within(span, state.last.at) and percent_of(state) == DONE
    ]
    return tuple(sorted(chosen, key=lambda each: each[1].last, reverse=True)[:MOST_COMPLETIONS])


def dashboard(
    reading: Reading, range: Range, calendar: Calendar, names: Mapping[bytes, str], group: str | None = None
) -> LearningDashboard:
    """The report. `names`: of `reading.actors`."""
    lessons, attempts, best, completed = reading.lessons, reading.attempts, reading.best, reading.completed
    return LearningDashboard(
        range,
        calendar.date_of(reading.span.since),
        calendar.date_of(reading.span.until - 1),
        group,
        reading.active_users,
        reading.activities,
        None if lessons is None else lessons_in(lessons, reading.span),
        None if attempts is None else mean_percent(marks_of(attempts.values())),
        None
        if best is None
        else tuple(Performer(each.actor.hex(), names[each.actor], each.score) for each in best),
        None if completed is None else tuple(_completion(key, state, names) for key, state in completed),
        left_out(
            {
                "completion": lessons,
                "quiz_average": attempts,
                "top_performers": best,
                "recent_completions": lessons,
            }
        ),
    )


def _completion(key: TallyKey, state: State, names: Mapping[bytes, str]) -> Completion:
    actor = key.actor or b""
    course, lesson = key.parts
    return Completion(actor.hex(), names[actor], course, lesson, instant(state.last.at))
