"""Promises about use of content: views, viewers, completions and courses are those of the events, in a stated order."""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Any

import orjson
from hypothesis import given, settings

from streamgauge.domains.learning.content import LearningContent, content
from streamgauge.domains.learning.courses import Course
from streamgauge.event import Event
from tests.unit.domains.learning.learning_events import (
    ADA,
    BOB,
    HOUR,
    NOW,
    PEOPLE,
    ZONES,
    date_of,
    dates,
    event,
    moment,
    of,
    seeds,
    some_events,
    span_of,
)
from tests.unit.entities.folded import folded

DAYS = 6
COURSES = {
    "art": Course("art", "Art", "arts", ("a", "b", "z"), None),
    "biology": Course("biology", None, None, None, None),
    "chess": Course("chess", None, "games", (), None),
    "dance": Course("dance", "Dance", None, ("a",), None),
}


def report(
    events: Sequence[Event],
    zone: str = "UTC",
    who: Collection[bytes] | None = None,
    limit: int = 20,
    courses: Mapping[str, Course] = COURSES,
    seed: int | None = None,
) -> LearningContent:
    rows = folded(events, zone, seed=seed)
    return asyncio.run(content(rows.of(who), courses, span_of(rows.calendar, DAYS), rows.calendar, limit))


def use(events: Sequence[Event]) -> tuple[int, int, int]:
    viewed = of(events, "material.viewed")
    views = sum(int(each.properties.get("views", 1)) for each in viewed)
    return views, len({each.actor for each in viewed}), len(of(events, "material.completed"))


def share(part: int, whole: int) -> float | None:
    return float(round(Fraction(part, whole), 6)) if whole else None


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_materials_and_days_are_those_of_the_events(seed: int) -> None:
    chosen = random.Random(seed)
    zone, events = chosen.choice(ZONES), some_events(seed)
    who, limit = chosen.choice([None, [ADA], [ADA, BOB], []]), chosen.choice([1, 2, 20])
    found = report(events, zone, who, limit)
    window = dates(zone, DAYS)
    used = [
        each
        for each in of(events, "material.viewed", "material.completed", who=who)
        if date_of(each, zone) in window
    ]
    expected: list[tuple[Any, ...]] = []
    for material in {str(each.properties["material.id"]) for each in used}:
        own = [each for each in used if each.properties["material.id"] == material]
        expected.append((material, max(own, key=moment).properties.get("material.type"), *use(own)))
    expected.sort(key=lambda row: (-row[2], row[0]))
    assert [
        (each.id, each.type, each.views, each.viewers, each.completions) for each in found.materials
    ] == expected[:limit]
    daily: dict[date, list[Event]] = {day: [] for day in window}
    for each in used:
        daily[date_of(each, zone)].append(each)
    assert [(day.date, day.views, day.viewers, day.completions) for day in found.daily] == [
        (day, *use(own)) for day, own in daily.items()
    ]


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_courses_are_as_far_as_the_last_events_tell(seed: int) -> None:
    chosen = random.Random(seed)
    events = some_events(seed)
    who, limit = chosen.choice([None, [ADA], [ADA, BOB], []]), chosen.choice([1, 2, 20])
    lessons: dict[Any, int] = {}
    learners: dict[str, set[Any]] = {}
    for each in sorted(of(events, "lesson.progressed", "course.enrolled", who=who), key=moment):
        course = each.properties.get("course.id")
        if course is None:
            continue
        learners.setdefault(str(course), set()).add(each.actor)
        if each.name == "lesson.progressed":
            lessons[course, each.properties["lesson.id"], each.actor] = int(each.properties["percent"])
    expected = []
    for course, people in learners.items():
        own = {key: percent for key, percent in lessons.items() if key[0] == course}
        full = [lesson for (_, lesson, _), percent in own.items() if percent == 100]
        declared = COURSES[course].lessons
        possible = len(people) * len(declared or ())
        expected.append(
            (
                course, COURSES[course].name, COURSES[course].subject, len(own), len(full), share(len(full), len(own)), len(people),
                None if declared is None else len(declared),
                share(sum(lesson in (declared or ()) for lesson in full), possible),
            )
        )  # fmt: skip
    expected.sort(key=lambda row: (-row[3], row[0]))
    found = report(events, who=who, limit=limit).courses
    assert [
        (
            each.id, each.name, each.subject, each.lessons_started, each.lessons_completed, each.completion_rate, each.learners,
            each.declared_lessons, each.declared_completion_rate,
        )
        for each in found
    ] == expected[:limit]  # fmt: skip


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_order_batches_and_repetitions_change_no_byte(seed: int) -> None:
    events = some_events(seed)
    one = orjson.dumps(report(events))
    assert orjson.dumps(report([*events, *events[::3]], seed=seed)) == one


def test_declared_lessons_count_for_everybody_who_is_enrolled_begun_or_not() -> None:
    at = NOW * 1_000_000
    enrolled = [
        event(number, "course.enrolled", at, PEOPLE[number], course__id="art") for number in range(1, 4)
    ]
    done = [
        event(number, "lesson.progressed", at, PEOPLE[1], course__id="art", lesson__id=lesson, percent=100)
        for number, lesson in enumerate(["a", "b", "undeclared"], 10)
    ]
    [art] = report([*enrolled, *done]).courses
    assert (art.lessons_started, art.lessons_completed, art.completion_rate) == (3, 3, 1.0)
    assert (art.learners, art.declared_lessons, art.declared_completion_rate) == (3, 3, share(2, 9))
    [undeclared] = report([*enrolled, *done], courses={}).courses
    assert (undeclared.name, undeclared.declared_lessons, undeclared.declared_completion_rate) == (None,) * 3


def test_a_material_without_views_told_counts_each_event_and_its_type_is_what_was_said_last() -> None:
    def viewed(number: int, ago: int, **more: Any) -> Event:
        at = NOW * 1_000_000 - ago
        return event(number, "material.viewed", at, ADA, material__id="film", **more)

    events = [
        viewed(1, 30 * HOUR, material__type="page"),
        viewed(2, HOUR),
        viewed(3, HOUR * 2, material__type="video"),
    ]
    [film] = report(events).materials
    assert (film.views, film.viewers, film.type) == (3, 1, None)
    [film] = report([events[0], events[2]]).materials
    assert film.type == "video"
    [film] = report([viewed(4, 0, views=7), viewed(5, HOUR, views=2)]).materials
    assert film.views == 9
