"""What learners did from one local date to another: every figure of the same days and people. Pure: rows in, a frozen report out."""

import re
from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Final, TypeVar

from streamgauge.domains.gamification.declarations import DAILY_XP
from streamgauge.domains.learning.content import views_of
from streamgauge.domains.learning.courses import Course
from streamgauge.domains.learning.declarations import (
    ACTIVITY,
    ASSIGNMENT_SUBMITTED,
    ATTEMPTS,
    COURSE_ENROLLED,
    DURATION,
    LESSON_PROGRESSED,
    LESSONS,
    MATERIAL_COMPLETED,
    MATERIAL_VIEWED,
    PERCENT,
    QUIZ_ATTEMPTED,
    SESSION_ENDED,
    SUBMISSIONS,
    VIEWS,
)
from streamgauge.domains.learning.marks import mean_percent
from streamgauge.domains.learning.progress import DONE
from streamgauge.domains.learning.submissions import Assignments, Rows, assignments_in, marks_of, within
from streamgauge.entities.tallies import Group, Span, Tallies, Total
from streamgauge.errors import InputError
from streamgauge.read.tally import rounded
from streamgauge.summaries.calendar import FIRST_DATE, LAST_DATE, Calendar
from streamgauge.summaries.tallies import State

MOST_DAYS: Final = 366
DAYS: Final = 30  # when nothing is said
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DURATION, _VIEWS = ACTIVITY.sums.index(DURATION), ACTIVITY.sums.index(VIEWS)
_NOTHING: Final = Total(0, 0, 0, (0,) * len(ACTIVITY.sums), 0, 0)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LessonsIn:
    """Lessons whose last event is of these days, once for each learner; a lesson with an event after these days is none of them.

    `completed`: those that it said to be at 100 %; `average`: mean of what was said, in per cent, null where nothing was.
    """

    count: int
    completed: int
    average: float | None


@dataclass(frozen=True, slots=True)
class LearningSummary:
    """Whole local days of the tenant's time zone, `first` and `last` included; every figure is of events at a time within them.

    `active_users`: different actors of any learning event; `activities`: these events. `enrolments`, `materials_completed`,
    `lesson_updates`, `quiz_attempts`, `submissions`: events of these kinds. `sessions`: `learning_session.ended`, `seconds`: their durations
    together. `materials_viewed`: the views that `material.viewed` stands for. `xp`: points of `learning_session.ended` and `xp.earned`.
    `quiz_average`: mean of score/max over attempts that told both, in per cent. `assignments`: those first handed in on these days.
    Null without any; or, where `left_out` names it, because there are more rows than one answer reads: ask for a group.
    """

    first: date
    last: date
    group: str | None
    active_users: int
    activities: int
    enrolments: int
    sessions: int
    seconds: float
    xp: int
    materials_viewed: int
    materials_completed: int
    lesson_updates: int
    lessons: LessonsIn | None
    quiz_attempts: int
    quiz_average: float | None
    submissions: int
    assignments: Assignments | None
    left_out: tuple[str, ...]


EXAMPLE: Final = LearningSummary(
    date(2026, 11, 1), date(2026, 11, 30), "5b", 28, 512, 3, 96, 151_200.0, 4_310, 240, 61, 88, LessonsIn(54, 31, 78.426), 22, 71.25, 9,
    Assignments(8, 8, 7, 82.5), (),
)  # fmt: skip


async def summary(
    tallies: Tallies,
    courses: Mapping[str, Course],
    first: date,
    last: date,
    calendar: Calendar,
    group: str | None = None,
) -> LearningSummary:
    """What those of the tallies did from one date to another.

    Args:
        courses: the catalogue.
        group: what the tallies are narrowed to.
    """
    span = span_of(first, last, calendar)
    done = await tallies.totals(ACTIVITY.name, [1], span)
    everything = (await tallies.totals(ACTIVITY.name, (), span)).get(Group(), _NOTHING)
    xp = (await tallies.totals(DAILY_XP.name, (), span)).get(Group())
    lessons = await unless_too_many(tallies.states(LESSONS.name))
    attempts = await unless_too_many(tallies.states(ATTEMPTS.name, span))
    handed_in = await unless_too_many(tallies.states(SUBMISSIONS.name))
    read = {"lessons": lessons, "quiz_average": attempts, "assignments": handed_in}

    def of(name: str) -> Total:
        return done.get(Group(None, None, (name,)), _NOTHING)

    ended, viewed = of(SESSION_ENDED.name), of(MATERIAL_VIEWED.name)
    return LearningSummary(
        first=first,
        last=last,
        group=group,
        active_users=everything.actors,
        activities=everything.count,
        enrolments=of(COURSE_ENROLLED.name).count,
        sessions=ended.count,
        seconds=rounded(Fraction(ended.sums[_DURATION], 1_000_000)),
        xp=0 if xp is None else xp.sums[0],
        materials_viewed=views_of(viewed.count, viewed.sums[_VIEWS]),
        materials_completed=of(MATERIAL_COMPLETED.name).count,
        lesson_updates=of(LESSON_PROGRESSED.name).count,
        lessons=None if lessons is None else lessons_in(lessons, span),
        quiz_attempts=of(QUIZ_ATTEMPTED.name).count,
        quiz_average=None if attempts is None else mean_percent(marks_of(attempts.values())),
        submissions=of(ASSIGNMENT_SUBMITTED.name).count,
        assignments=None if handed_in is None else assignments_in(handed_in, courses, span),
        left_out=left_out(read),
    )


def lessons_in(rows: Rows, span: Span) -> LessonsIn:
    """What rows of `declarations.LESSONS` say of those whose last event is in the span."""
    chosen = [state for state in rows.values() if within(span, state.last.at)]
    said = [percent for percent in map(percent_of, chosen) if percent is not None]
    return LessonsIn(
        len(chosen),
        sum(percent == DONE for percent in said),
        rounded(Fraction(sum(said), len(said))) if said else None,
    )


def percent_of(state: State) -> int | None:
    """What a lesson's last event said; None where it said nothing."""
    percent = state.said.get(PERCENT)
    return percent if type(percent) is int else None


def span_of(first: date, last: date, calendar: Calendar) -> Span:
    """Local dates, both included; empty where the clock skipped all of them."""
    days = calendar.days(first, last)
    return Span(days[0].start, days[-1].end) if days else Span(0, 0)


def dates_of(since: str | None, to: str | None, today: date) -> tuple[date, date]:
    """Two local dates as a caller gives them: up to today and of 30 days where it does not. Raises InputError for `from` or `to`."""
    last = today if to is None else _date(to, "to")
    first = max(last - timedelta(DAYS - 1), FIRST_DATE) if since is None else _date(since, "from")
    if first > last:
        raise InputError(f"from is {first}, after to, which is {last}: give the earlier date as from", "from")
    days = (last - first).days + 1
    if days > MOST_DAYS:
        raise InputError(
            f"from is {first} and to is {last}, {days} days: up to {MOST_DAYS} are allowed", "from"
        )
    return first, last


def _date(text: str, field: str) -> date:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        day = date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{field} is {text[:40]!r}: give a date, such as 2026-11-01", field) from None
    if not FIRST_DATE <= day <= LAST_DATE:
        raise InputError(f"{field} is {day}: dates from {FIRST_DATE} to {LAST_DATE} are supported", field)
    return day


async def unless_too_many(rows: Awaitable[T]) -> T | None:
    """The rows, or None where there are more than a report reads."""
    try:
        return await rows
    except InputError:
        return None


def left_out(read: Mapping[str, Collection[object] | None]) -> tuple[str, ...]:
    """The names of what there were too many rows of."""
    return tuple(name for name, rows in read.items() if rows is None)
