"""What is looked at, and how far courses are worked through. Pure: rows in, a frozen report out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Final

from streamgauge.domains.learning.courses import Course
from streamgauge.domains.learning.declarations import (
    ENROLMENTS,
    LESSONS,
    MATERIAL_COMPLETED,
    MATERIAL_TYPE,
    MATERIAL_VIEWED,
    MATERIALS,
    PERCENT,
)
from streamgauge.entities.tallies import Saying, Span, Tallies, Total
from streamgauge.read.tally import RATE_DECIMALS, rounded
from streamgauge.summaries.calendar import Calendar

DONE: Final = 100  # per cent of a lesson


@dataclass(frozen=True, slots=True)
class MaterialUse:
    """A material in these days.

    `views`: those that its `material.viewed` events stand for; `viewers`: different actors of these. `completions`: `material.completed`
    events. `type`: as the last of its events on its last day told it; null where it told none.
    """

    id: str
    type: str | None
    views: int
    viewers: int
    completions: int


@dataclass(frozen=True, slots=True)
class CourseCompletion:
    """A course, of all time: what was said last of each lesson of each learner looked at.

    `name`, `subject`: as declared. `lessons_started`: pairs of a learner and a lesson with progress, and `lessons_completed` those at 100 %;
    `completion_rate`: the share of these, 0 to 1, null where none was started. `learners`: different actors who are enrolled or have started a
    lesson. `declared_lessons`: of the catalogue, null where none are declared; `declared_completion_rate`: pairs of a learner and a
    declared lesson at 100 %, of all such pairs there could be (declared lessons times learners); null where there are none.
    """

    id: str
    name: str | None
    subject: str | None
    lessons_started: int
    lessons_completed: int
    completion_rate: float | None
    learners: int
    declared_lessons: int | None
    declared_completion_rate: float | None


@dataclass(frozen=True, slots=True)
class DayUse:
    """Use of materials on one local day: views, different viewers, and completions."""

    date: date
    views: int
    viewers: int
    completions: int


@dataclass(frozen=True, slots=True)
class LearningContent:
    """Use of materials in some local days, today included, in the tenant's time zone, and completion of courses.

    `materials`: the most viewed first, of equally viewed ones the smaller id (code points), up to `limit`. `courses`: those with the most
    started lessons first, of equal ones the smaller id, up to `limit`; a course is there once anybody looked at is enrolled or has started a
    lesson. `daily`: the oldest day first; a date that the clock skipped is no day. Materials without an id count nowhere here.
    """

    materials: tuple[MaterialUse, ...]
    courses: tuple[CourseCompletion, ...]
    daily: tuple[DayUse, ...]


async def content(
    tallies: Tallies, courses: Mapping[str, Course], span: Span, calendar: Calendar, limit: int
) -> LearningContent:
    """What the actors of `tallies` used in whole local days, and how far they are. Raises InputError for more rows than are read."""
    return LearningContent(
        await _materials(tallies, span, calendar, limit),
        await _courses(tallies, courses, limit),
        await _daily(tallies, span, calendar),
    )


def views_of(events: int, views: int) -> int:
    """How many views events stand for: an event that does not tell is one view.

    Exact where all of the events that were added up tell their views, or none does, as one source's do. Of a mixture it is too few.
    """
    return max(events, views)


async def _materials(tallies: Tallies, span: Span, calendar: Calendar, limit: int) -> tuple[MaterialUse, ...]:
    found: dict[str, dict[str, Total]] = {}
    for group, total in (await tallies.totals(MATERIALS.name, [1, 2], span)).items():
        material, event = group.parts
        found.setdefault(material, {})[event] = total
    used = [MaterialUse(material, None, *_use(by_event)) for material, by_event in found.items()]
    used.sort(key=lambda each: (-each.views, each.id))
    return tuple(
        [
            MaterialUse(
                each.id,
                await _type(
                    tallies, each.id, calendar, max(total.last_at for total in found[each.id].values())
                ),
                each.views,
                each.viewers,
                each.completions,
            )
            for each in used[:limit]
        ]
    )


async def _type(tallies: Tallies, material: str, calendar: Calendar, last_at: int) -> str | None:
    """Of the last event alone: rows of the day it was on are few, those of all days may be very many."""
    day = calendar.day_of(last_at // 1_000_000)
    states = (await tallies.states(MATERIALS.name, Span(day, day + 1), part=material)).values()
    if not states:
        return None
    told = max(states, key=lambda state: state.last).said.get(MATERIAL_TYPE)
    return told if isinstance(told, str) else None


async def _daily(tallies: Tallies, span: Span, calendar: Calendar) -> tuple[DayUse, ...]:
    found: dict[int | None, dict[str, Total]] = {}
    for group, total in (await tallies.totals(MATERIALS.name, ["bucket", 2], span)).items():
        found.setdefault(group.bucket, {})[group.parts[0]] = total
    days = calendar.days(calendar.date_of(span.since), calendar.date_of(span.until - 1))
    return tuple(DayUse(day.date, *_use(found.get(day.start, {}))) for day in days)


def _use(by_event: Mapping[str, Total]) -> tuple[int, int, int]:
    """Views, viewers and completions."""
    viewed, completed = by_event.get(MATERIAL_VIEWED.name), by_event.get(MATERIAL_COMPLETED.name)
    return (
        0 if viewed is None else views_of(viewed.count, viewed.sums[0]),
        0 if viewed is None else viewed.actors,
        0 if completed is None else completed.count,
    )


async def _courses(
    tallies: Tallies, declared: Mapping[str, Course], limit: int
) -> tuple[CourseCompletion, ...]:
    started = await tallies.sayings(LESSONS.name, PERCENT, DONE, [1, 2])
    lessons: dict[str, dict[str, Saying]] = {}
    for group, said in started.items():
        course, lesson = group.parts
        lessons.setdefault(course, {})[lesson] = said
    learners: dict[str, set[bytes | None]] = {}
    for tally in (LESSONS.name, ENROLMENTS.name):
        for group in await tallies.totals(tally, ["actor", 1]):
            learners.setdefault(group.parts[0], set()).add(group.actor)
    found = [
        _completion(course, declared.get(course), lessons.get(course, {}), len(actors))
        for course, actors in learners.items()
    ]
    return tuple(sorted(found, key=lambda each: (-each.lessons_started, each.id))[:limit])


def _completion(
    id: str, course: Course | None, lessons: Mapping[str, Saying], learners: int
) -> CourseCompletion:
    started = sum(said.entities for said in lessons.values())
    completed = sum(said.reached for said in lessons.values())
    declared = None if course is None else course.lessons
    done = sum(lessons[lesson].reached for lesson in declared or () if lesson in lessons)
    return CourseCompletion(
        id,
        None if course is None else course.name,
        None if course is None else course.subject,
        started,
        completed,
        _share(completed, started),
        learners,
        None if declared is None else len(declared),
        _share(done, learners * len(declared or ())),
    )


def _share(part: int, whole: int) -> float | None:
    return rounded(Fraction(part, whole), RATE_DECIMALS) if whole else None
