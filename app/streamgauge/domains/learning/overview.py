"""What learners did in some days, and how far they are. Pure: rows in, a frozen report out."""

from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import TypeVar

from streamgauge.domains.gamification.declarations import DAILY_XP
from streamgauge.domains.learning.attendance import (
    ActiveCourses,
    ActiveEnrolments,
    active_pairs,
    attendance,
    enrolled_pairs,
)
from streamgauge.domains.learning.content import DONE, views_of
from streamgauge.domains.learning.courses import Course
from streamgauge.domains.learning.declarations import (
    ACTIVITY,
    ATTEMPTS,
    DURATION,
    ENROLMENTS,
    LESSONS,
    MATERIAL_COMPLETED,
    MATERIAL_VIEWED,
    PERCENT,
    SESSION_ENDED,
    SUBMISSIONS,
    VIEWS,
)
from streamgauge.domains.learning.marks import mean_percent
from streamgauge.domains.learning.streak import current_streak
from streamgauge.domains.learning.submissions import Assignments, assignments_in, marks_of
from streamgauge.entities.tallies import Group, Span, Tallies, Total
from streamgauge.errors import InputError
from streamgauge.read.tally import RATE_DECIMALS, rounded
from streamgauge.summaries.calendar import Calendar

_DURATION, _VIEWS = ACTIVITY.sums.index(DURATION), ACTIVITY.sums.index(VIEWS)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LearningActivity:
    """What was done in these days.

    `sessions`: `learning_session.ended` events, and `seconds` their durations together. `materials_viewed`: the views that `material.viewed`
    events stand for; `materials_completed`: `material.completed` events. `xp`: points of `learning_session.ended` and `xp.earned`.
    `active_days`: local days with any learning event of anybody looked at. `streak`: active local days in a row up to today, or to
    yesterday as long as there is nothing today; of all time, without freezes, and null unless the report is about one actor.
    """

    sessions: int
    seconds: float
    materials_viewed: int
    materials_completed: int
    xp: int
    active_days: int
    streak: int | None


@dataclass(frozen=True, slots=True)
class ActiveLearners:
    """Different actors. `active`: with any learning event in these days.

    `total`: with `group`, its members whom the caller may see; else who ever enrolled in any course. `engagement`: the share of these
    that was active, 0 to 1; null where there are none.
    """

    active: int
    total: int
    engagement: float | None


@dataclass(frozen=True, slots=True)
class LearningOverview:
    """Learners in some local days, today included, in the tenant's time zone.

    `completion_average`: mean of what was said last of each lesson of each learner, in per cent, of all time; null where none was begun.
    `quiz_average`: mean of score/max over these days' attempts that told both, in per cent; null without one. `left_out`: what is null
    because there are more rows of it than one answer reads; a group or fewer days have fewer.
    """

    first: date
    last: date
    activity: LearningActivity
    completion_average: float | None
    quiz_average: float | None
    learners: ActiveLearners
    courses: ActiveCourses | None
    enrolments: ActiveEnrolments | None
    assignments: Assignments | None
    left_out: tuple[str, ...]


async def overview(
    tallies: Tallies,
    courses: Mapping[str, Course],
    span: Span,
    calendar: Calendar,
    *,
    one: bool = False,
    members: Collection[bytes] | None = None,
) -> LearningOverview:
    """What actors did in whole local days, of which the last is today.

    Args:
        tallies: of these actors alone.
        courses: the catalogue.
        one: whether it is about a single actor.
        members: who is in the group, if it is about one.

    Raises InputError where even sums have more rows than are read.
    """
    attempts = await _unless_too_many(tallies.states(ATTEMPTS.name, span))
    handed_in = await _unless_too_many(tallies.states(SUBMISSIONS.name))
    enrolled = await _unless_too_many(enrolled_pairs(tallies))
    told = None
    if attempts is not None and handed_in is not None and enrolled is not None:
        active = await _unless_too_many(active_pairs(tallies, span, attempts, handed_in))
        told = None if active is None else attendance(active, enrolled)
    learners, counted = await _learners(tallies, span, members)
    read = {
        "engagement": counted, "quiz_average": attempts, "courses": told, "enrolments": told, "assignments": handed_in,
    }  # fmt: skip
    return LearningOverview(
        calendar.date_of(span.since),
        calendar.date_of(span.until - 1),
        await _activity(tallies, span, calendar, one),
        await _completion(tallies),
        None if attempts is None else mean_percent(marks_of(attempts.values())),
        learners,
        None if told is None else told[0],
        None if told is None else told[1],
        None if handed_in is None else assignments_in(handed_in, courses, span),
        tuple(name for name, rows in read.items() if rows is None),
    )


async def _activity(tallies: Tallies, span: Span, calendar: Calendar, one: bool) -> LearningActivity:
    found = await tallies.totals(ACTIVITY.name, ["bucket", 1], span)
    xp = (await tallies.totals(DAILY_XP.name, (), span)).get(Group())

    def of(name: str) -> list[Total]:
        return [total for group, total in found.items() if group.parts == (name,)]

    streak = None
    if one:
        streak = await current_streak(tallies, calendar.date_of(span.until - 1), calendar, span.until)
    ended = of(SESSION_ENDED.name)
    return LearningActivity(
        sum(total.count for total in ended),
        rounded(Fraction(sum(total.sums[_DURATION] for total in ended), 1_000_000)),
        sum(views_of(total.count, total.sums[_VIEWS]) for total in of(MATERIAL_VIEWED.name)),
        sum(total.count for total in of(MATERIAL_COMPLETED.name)),
        0 if xp is None else xp.sums[0],
        len({group.bucket for group in found}),
        streak,
    )


async def _learners(
    tallies: Tallies, span: Span, members: Collection[bytes] | None
) -> tuple[ActiveLearners, set[bytes | None] | None]:
    """The learners; and which of all were active, None where there are too many to tell."""
    if members is None:
        total = (await tallies.totals(ENROLMENTS.name)).get(Group())
        number = 0 if total is None else total.actors
        known = await _unless_too_many(tallies.totals(ENROLMENTS.name, ["actor"]))
        among = None if known is None else {group.actor for group in known}
    else:
        number, among = len(members), set(members)
    everybody = (await tallies.totals(ACTIVITY.name, (), span)).get(Group())
    found = await _unless_too_many(tallies.totals(ACTIVITY.name, ["actor"], span))
    active = None if found is None or among is None else {group.actor for group in found} & among
    share = rounded(Fraction(len(active), number), RATE_DECIMALS) if active is not None and number else None
    return ActiveLearners(0 if everybody is None else everybody.actors, number, share), active


async def _completion(tallies: Tallies) -> float | None:
    said = (await tallies.sayings(LESSONS.name, PERCENT, DONE)).get(Group())
    return None if said is None else rounded(Fraction(said.sum, said.entities))


async def _unless_too_many(rows: Awaitable[T]) -> T | None:
    """The rows, or None where there are more than are read."""
    try:
        return await rows
    except InputError:
        return None
