"""Promises about progress: what was said last of every lesson, of the lessons that count, in whatever order events come."""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

import orjson
from hypothesis import given, settings
from pydantic import TypeAdapter

from streamgauge.domains.learning import dashboard, mastery, progress, students, summary
from streamgauge.domains.learning.courses import Course
from streamgauge.domains.learning.progress import (
    About,
    CourseProgress,
    Progress,
    ProgressReport,
    progress_report,
    read_progress,
)
from streamgauge.entities.standings import Frame, Rank
from streamgauge.event import Event
from streamgauge.read.tally import rounded
from tests.unit.domains.learning.learning_events import (
    ADA,
    BOB,
    HOUR,
    NOW,
    PEOPLE,
    event,
    moment,
    of,
    seeds,
    some_events,
)
from tests.unit.entities.folded import folded

AT = NOW * 1_000_000
SUBJECTS = {"art": "arts", "biology": "nature", "chess": None}


def catalogue(seed: int) -> dict[str, Course]:
    """Courses of which some declare lessons; of those that learners met, some are not among them."""
    chosen = random.Random(seed)
    return {
        id: Course(id, id.title(), subject, chosen.choice([None, (), ("a", "b"), ("a", "b", "c", "d")]), None)
        for id, subject in SUBJECTS.items()
        if chosen.random() < 0.8
    }


def declaring(*lessons: str) -> dict[str, Course]:
    return {"art": Course("art", "Art", "arts", lessons, None)}


def lesson(
    number: int, at: int, percent: int | None, actor: bytes = ADA, course: str = "art", lesson: str = "a"
) -> Event:
    return event(
        number, "lesson.progressed", at, actor, course__id=course, lesson__id=lesson, percent=percent
    )


def taken(events: Sequence[Event], people: Collection[bytes]) -> set[tuple[bytes, str]]:
    """Who takes what, from the events alone."""
    return {
        (each.actor, str(each.properties["course.id"]))
        for each in of(events, "course.enrolled", "lesson.progressed", who=people)
        if each.actor is not None and "course.id" in each.properties
    }


def percents(
    events: Sequence[Event], courses: Mapping[str, Course], actor: bytes, course: str
) -> tuple[list[int], bool]:
    """The percents that count of one learner in one course, and whether they are of declared lessons."""
    last: dict[str, Event] = {}
    for each in sorted(of(events, "lesson.progressed", who=[actor]), key=moment):
        if each.properties.get("course.id") == course:
            last[str(each.properties["lesson.id"])] = each
    lessons = courses[course].lessons if course in courses else None
    if lessons is None:
        told = [each.properties.get("percent") for each in last.values()]
        return [int(percent) for percent in told if percent is not None], False
    return [int(last[id].properties.get("percent", 0)) if id in last else 0 for id in lessons], True


def expected(
    events: Sequence[Event],
    courses: Mapping[str, Course],
    people: Collection[bytes],
    only: Collection[str] | None = None,
) -> Progress:
    """The progress of these people in all of their courses together, or in some of them."""
    found = [
        percents(events, courses, actor, course)
        for actor, course in taken(events, people)
        if only is None or course in only
    ]
    pool = [percent for each, _ in found for percent in each]
    kinds = {declared for _, declared in found}
    return Progress(
        rounded(Fraction(sum(pool), len(pool))) if pool else None,
        None if not kinds else "both" if len(kinds) == 2 else "declared" if kinds == {True} else "met",
        pool.count(100),
        len(pool) if kinds == {True} else None,
    )


def told(
    events: Sequence[Event],
    courses: Mapping[str, Course],
    people: Collection[bytes] | None = None,
    course: str | None = None,
    seed: int | None = None,
    limit: int = 20,
) -> ProgressReport:
    rows = folded(events, seed=seed)
    reading = asyncio.run(read_progress(rows.of(people), courses, course))
    names = {actor: f"user {actor.hex()[:4]}" for actor in reading.learners(limit)}
    return progress_report(reading, courses, About(None, "5b", course), None, names)


@settings(max_examples=12)
@given(seeds)
def test_progress_is_what_the_events_said_last_of_the_lessons_that_count(seed: int) -> None:
    chosen = random.Random(seed)
    events, courses = some_events(seed), catalogue(seed)
    people = chosen.sample(PEOPLE, chosen.randrange(1, 5))
    course = chosen.choice([None, None, "art", "biology"])
    only = None if course is None else {course}
    found = told(events, courses, people, course)
    pairs = {pair for pair in taken(events, people) if only is None or pair[1] in only}
    assert found.progress == expected(events, courses, people, only)
    assert found.learners == len({actor for actor, _ in pairs})
    assert [each.id for each in found.courses] == sorted({each for _, each in pairs})
    for each in found.courses:
        declared = courses.get(each.id)
        assert each == CourseProgress(
            each.id,
            None if declared is None else declared.name,
            None if declared is None else declared.subject,
            len({actor for actor, id in pairs if id == each.id}),
            expected(events, courses, people, {each.id}),
        )
    assert [each.id for each in found.people] == sorted({actor.hex() for actor, _ in pairs})
    for person in found.people:
        actor = bytes.fromhex(person.id)
        assert person.progress == expected(events, courses, [actor], only)
        assert person.courses == len([pair for pair in pairs if pair[0] == actor])
        assert person.xp == points(events, [actor])
    assert found.xp == points(events, people)
    again = told([*events, *events[::4]], courses, people, course, seed)
    assert orjson.dumps(again) == orjson.dumps(found)


def points(events: Sequence[Event], people: Collection[bytes]) -> int:
    earning = of(events, "xp.earned", "learning_session.ended", who=people)
    return sum(int(each.properties.get("xp", 0)) for each in earning)


@settings(max_examples=12)
@given(seeds)
def test_an_older_event_that_comes_late_changes_no_progress(seed: int) -> None:
    chosen = random.Random(seed)
    events, courses = some_events(seed, 30), catalogue(seed)
    before = told(events, courses)
    latest = max(of(events, "lesson.progressed"), key=moment)
    about = {
        key.replace(".", "__"): latest.properties[key]
        for key in ("course.id", "lesson.id")
        if key in latest.properties
    }
    at = latest.occurred_at - chosen.choice([1, HOUR, 5 * 24 * HOUR])
    late = event(2_000_000, "lesson.progressed", at, latest.actor, percent=chosen.randrange(101), **about)
    assert told([*events, late], courses).progress == before.progress
    assert told([late, *events], courses, seed=seed).progress == before.progress


def test_at_the_same_time_the_greater_event_id_is_last() -> None:
    same = [lesson(7, AT, 100), lesson(9, AT, 40), lesson(8, AT, 60)]
    for events in (same, same[::-1]):
        assert told(events, {}).progress == Progress(40.0, "met", 0, None)


def test_progress_can_be_taken_back_by_what_is_said_later() -> None:
    events = [lesson(1, AT, 100), lesson(2, AT + 1, 20)]
    assert told(events, declaring("a")).progress == Progress(20.0, "declared", 0, 1)


def test_a_declared_lesson_that_was_not_met_counts_as_nothing_done() -> None:
    events = [lesson(1, AT, 100), lesson(2, AT, 50, lesson="b")]
    assert told(events, declaring("a", "b", "c", "d")).progress == Progress(37.5, "declared", 1, 4)
    enrolled = [event(1, "course.enrolled", AT, ADA, course__id="art")]
    assert told(enrolled, declaring("a", "b")).progress == Progress(0.0, "declared", 0, 2)


def test_a_lesson_that_is_not_declared_counts_only_where_no_lessons_are() -> None:
    events = [lesson(1, AT, 100), lesson(2, AT, 100, lesson="old"), lesson(3, AT, 10, BOB, lesson="old")]
    assert told(events, declaring("a", "b")).progress == Progress(25.0, "declared", 1, 4)
    assert told(events, {}).progress == Progress(70.0, "met", 2, None)


def test_totals_that_are_not_declared_are_null() -> None:
    nothing = told([], declaring("a"))
    assert nothing.progress == Progress(None, None, 0, None)
    assert (nothing.learners, nothing.xp, nothing.rank, nothing.courses) == (0, 0, None, ())
    enrolled = [event(1, "course.enrolled", AT, ADA, course__id="art")]
    assert told(enrolled, {}).progress == Progress(None, "met", 0, None)
    assert told(enrolled, declaring()).progress == Progress(None, "declared", 0, 0)
    mixed = [*enrolled, lesson(2, AT, 80, course="chess")]
    assert told(mixed, declaring("a")).progress == Progress(40.0, "both", 0, None)


def test_an_event_that_says_no_percentage_is_no_progress() -> None:
    events = [lesson(1, AT, 90), lesson(2, AT + 1, None), lesson(3, AT, 50, lesson="b")]
    assert told(events, {}).progress == Progress(50.0, "met", 0, None)
    assert told(events, declaring("a", "b")).progress == Progress(25.0, "declared", 0, 2)


def test_as_many_are_listed_as_asked_for_and_no_visitors_of_a_day() -> None:
    visitor = bytes(17)
    events = [lesson(each, AT, 10 * each, actor) for each, actor in enumerate([visitor, *PEOPLE])]
    found = told(events, {}, limit=2)
    assert [each.id for each in found.people] == [ADA.hex(), BOB.hex()]
    assert found.learners == 6


def test_one_actor_is_told_its_rank_and_nobody_else() -> None:
    events = [
        event(1, "xp.earned", AT, ADA, xp=5),
        event(2, "xp.earned", AT, BOB, xp=30),
        lesson(3, AT, 60),
    ]
    rows = folded(events)
    reading = asyncio.run(read_progress(rows.of([ADA]), {}, None))
    rank = asyncio.run(rows.standings.rank(Frame("xp", "all", 0), ADA))
    assert rank == Rank(2, 2, 5)
    found = progress_report(reading, {}, About(ADA), rank)
    assert (found.actor, found.xp, found.rank, found.participants) == (ADA.hex(), 5, 2, 2)
    assert found.people == ()


def test_examples_have_the_shape_of_answers() -> None:
    for module in (progress, mastery, students, dashboard, summary):
        example = module.EXAMPLE
        read = TypeAdapter(type(example)).validate_json(orjson.dumps(example))
        assert read == example
