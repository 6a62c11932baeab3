"""Promises about mastery: what was taken, completed and tried, under the subjects that the catalogue declares."""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence

import orjson
import pytest
from hypothesis import given, settings

from streamgauge.domains.learning.courses import Course
from streamgauge.domains.learning.declarations import ATTEMPTS
from streamgauge.domains.learning.mastery import Evidence, Mastery, mastery
from streamgauge.domains.learning.progress import Progress
from streamgauge.entities.tallies import EVER, MemoryTallies, Span
from streamgauge.errors import InputError
from streamgauge.event import Event
from streamgauge.summaries.tallies import State, TallyKey
from tests.unit.domains.learning.learning_events import ADA, BOB, PEOPLE, event, of, seeds, some_events
from tests.unit.domains.learning.test_progress import (
    AT,
    catalogue,
    declaring,
    expected,
    lesson,
    percents,
    taken,
)
from tests.unit.entities.folded import folded


def told(
    events: Sequence[Event],
    courses: Mapping[str, Course],
    people: Collection[bytes] | None = None,
    seed: int | None = None,
) -> Mastery:
    return asyncio.run(mastery(folded(events, seed=seed).of(people), courses))


def subject_of(each: Event, courses: Mapping[str, Course]) -> str | None:
    course = each.properties.get("course.id")
    return courses[str(course)].subject if course in courses else None


@settings(max_examples=12)
@given(seeds)
def test_every_subject_has_what_its_events_come_to(seed: int) -> None:
    chosen = random.Random(seed)
    events, courses = some_events(seed), catalogue(seed)
    people = chosen.sample(PEOPLE, chosen.randrange(1, 5))
    found = told(events, courses, people)
    pairs = taken(events, people)
    latest: dict[tuple[object, object], Event] = {}
    for each in sorted(
        of(events, "assignment.submitted", who=people), key=lambda each: (each.occurred_at, each.key)
    ):
        latest[each.actor, each.properties["assignment.id"]] = each
    lessons = {
        (each.actor, each.properties["course.id"], each.properties["lesson.id"]): each
        for each in of(events, "lesson.progressed", who=people)
        if "course.id" in each.properties
    }
    evidence = [*lessons.values(), *of(events, "quiz.attempted", who=people), *latest.values()]
    subjects = {each.subject for each in courses.values()} | {subject_of(each, courses) for each in evidence}
    subjects |= {courses[course].subject if course in courses else None for _, course in pairs}
    names = sorted(each for each in subjects if each is not None)
    assert [each.subject for each in found.subjects] == [*names, *([None] if None in subjects else [])]
    assert found.learners == len({actor for actor, _ in pairs})
    for subject in found.subjects:
        own = {
            course
            for course in ("art", "biology", "chess")
            if (courses[course].subject if course in courses else None) == subject.subject
        }
        topics = [(actor, course) for actor, course in pairs if course in own]
        assert subject.topics == len(topics)
        assert subject.progress == expected(events, courses, people, own)
        count = sum(subject_of(each, courses) == subject.subject for each in evidence)
        assert subject.evidence.count == count
        attempts = of(events, "quiz.attempted", who=people)
        assert subject.evidence.quiz_attempts == sum(
            subject_of(each, courses) == subject.subject for each in attempts
        )
        declared = [each for each in own if each in courses and courses[each].lessons]
        done = [
            pair
            for pair in topics
            if pair[1] in declared and set(percents(events, courses, *pair)[0]) == {100}
        ]
        assert subject.topics_completed == (len(done) if declared else None)
    again = told([*events, *events[::3]], courses, people, seed)
    assert orjson.dumps(again) == orjson.dumps(found)


def test_a_topic_is_completed_with_all_of_its_declared_lessons_and_not_before() -> None:
    courses, events = declaring("a", "b"), [lesson(1, AT, 100), lesson(2, AT, 99, lesson="b")]
    assert told(events, courses).subjects[0].topics_completed == 0
    events = [*events, lesson(3, AT + 1, 100, lesson="b"), lesson(4, AT, 5, lesson="old")]
    (found,) = told(events, courses).subjects
    assert (found.subject, found.topics, found.topics_completed) == ("arts", 1, 1)
    assert found.progress == Progress(100.0, "declared", 2, 2)
    assert found.evidence == Evidence(3, 3, 0, 0)


def test_what_cannot_be_completed_for_lack_of_declared_lessons_is_null() -> None:
    courses = {"art": Course("art", None, "arts", None, None)}
    assert told([lesson(1, AT, 100)], courses).subjects[0].topics_completed is None
    assert told([], declaring()).subjects[0].topics_completed is None


def test_a_course_declared_without_any_lessons_is_never_completed() -> None:
    courses = {**declaring("a"), "poems": Course("poems", None, "arts", (), None)}
    found = told([event(1, "course.enrolled", AT, ADA, course__id="poems")], courses)
    assert [(each.topics, each.topics_completed) for each in found.subjects] == [(1, 0)]


@pytest.mark.parametrize(
    ("name", "about"),
    [("quiz.attempted", {"quiz__id": "q"}), ("assignment.submitted", {"assignment__id": "essay"})],
)
def test_evidence_alone_makes_a_subject_of_courses_without_one(name: str, about: dict[str, str]) -> None:
    found = told([event(1, name, AT, ADA, **about)], declaring("a"))
    assert [(each.subject, each.evidence.count) for each in found.subjects] == [("arts", 0), (None, 1)]


def test_subjects_without_learners_are_there_and_courses_without_subject_are_under_null() -> None:
    courses = {
        "art": Course("art", None, "arts", ("a",), None),
        "chess": Course("chess", None, None, ("a",), None),
    }
    found = told([lesson(1, AT, 100, course="unknown"), lesson(2, AT, 50, BOB, course="chess")], courses)
    assert [(each.subject, each.topics, each.topics_completed) for each in found.subjects] == [
        ("arts", 0, 0),
        (None, 2, 0),
    ]
    assert found.subjects[0].progress == Progress(None, None, 0, None)
    assert found.subjects[1].progress == Progress(75.0, "both", 1, None)
    assert told([], {}).subjects == ()


def test_an_assignment_handed_in_twice_is_one_piece_of_evidence_and_every_attempt_is_one() -> None:
    events = [
        *(event(each, "assignment.submitted", AT + each, ADA, assignment__id="essay") for each in (1, 2)),
        *(event(each, "quiz.attempted", AT, ADA, quiz__id="q", course__id="art") for each in (3, 4)),
    ]
    found = told(events, declaring("a"))
    assert [(each.subject, each.evidence) for each in found.subjects] == [
        ("arts", Evidence(2, 0, 2, 0)),
        (None, Evidence(1, 0, 0, 1)),
    ]


class Crowded(MemoryTallies):
    """Has more attempts than a report reads."""

    async def states(
        self, tally: str, span: Span = EVER, *, part: str | None = None
    ) -> dict[TallyKey, State]:
        if tally == ATTEMPTS.name:
            raise InputError("there are more than 100000 rows", "days")
        return await MemoryTallies.states(self, tally, span, part=part)


@pytest.mark.parametrize("events", [[], [lesson(1, AT, 100)]])
def test_what_has_too_many_rows_is_left_out_and_named(events: Sequence[Event]) -> None:
    rows = folded(events).tallies
    found = asyncio.run(mastery(Crowded(rows.rows, rows.tenant_id), declaring("a")))
    assert found.left_out == ("quiz_attempts",)
    assert found.subjects[0].evidence == Evidence(None, len(events), None, 0)
