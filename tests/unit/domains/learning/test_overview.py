"""Promises about the overview: every figure is that of the events themselves, in any order, repeated or late."""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from streamgauge.domains.learning.courses import Assignment, Course
from streamgauge.domains.learning.marks import mean_percent
from streamgauge.domains.learning.overview import LearningOverview, overview
from streamgauge.entities.tallies import EVER, MemoryTallies, Span
from streamgauge.errors import InputError
from streamgauge.event import Event
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.tallies import State, TallyKey
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
    streak_of,
)
from tests.unit.entities.folded import folded

DAYS = 7
DUE = NOW * 1_000_000 - 40 * HOUR
COURSES = {
    "art": Course("art", "Art", "arts", ("a", "b"), (Assignment("essay", DUE), Assignment("model", None))),
    "biology": Course("biology", None, None, None, (Assignment("essay", DUE - 50 * HOUR), Assignment("poster", DUE))),
}  # fmt: skip
NOT_LEARNING = ("course.enrolled", "learning_session.started", "learning_session.ended")


def report(
    events: Sequence[Event],
    zone: str = "UTC",
    who: Collection[bytes] | None = None,
    courses: Mapping[str, Course] = COURSES,
    seed: int | None = None,
    **more: Any,
) -> LearningOverview:
    rows = folded(events, zone, seed=seed)
    return asyncio.run(overview(rows.of(who), courses, span_of(rows.calendar, DAYS), rows.calendar, **more))


def mean(shares: Sequence[Fraction]) -> float | None:
    return float(round(100 * sum(shares, Fraction()) / len(shares), 3)) if shares else None


def share(part: int, whole: int) -> float | None:
    return float(round(Fraction(part, whole), 6)) if whole else None


def marks(events: Sequence[Event]) -> list[Fraction]:
    told = [each.properties for each in events if {"score", "max_score"} <= each.properties.keys()]
    return [Fraction(int(each["score"]), int(each["max_score"])) for each in told]


def due_of(each: Event) -> int | None:
    """By reading COURSES: essays are due twice, posters in biology alone, models never."""
    assignment, course = each.properties["assignment.id"], each.properties.get("course.id")
    return {
        ("essay", "art"): DUE,
        ("essay", "biology"): DUE - 50 * HOUR,
        ("poster", "biology"): DUE,
        ("poster", None): DUE,
    }.get((str(assignment), None if course is None else str(course)))


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_every_figure_is_that_of_the_events_whoever_is_looked_at(seed: int) -> None:
    chosen = random.Random(seed)
    zone, events = chosen.choice(ZONES), some_events(seed)
    who = chosen.choice([None, [ADA], [ADA, BOB], [PEOPLE[4]], []])
    members = chosen.choice([None, PEOPLE if who is None else who])
    found = report(events, zone, who, one=who is not None and len(who) == 1, members=members)
    window = set(dates(zone, DAYS))
    mine = of(events, who=who)
    recent = [each for each in mine if date_of(each, zone) in window]
    ended = of(recent, "learning_session.ended")
    earned = of(events, "learning_session.ended", "xp.earned", who=who)
    assert (found.first, found.last) == (min(window), max(window))
    activity = found.activity
    assert activity.sessions == len(ended)
    assert activity.seconds == float(
        round(Fraction(sum(int(each.properties["duration"]) for each in ended), 10**6), 3)
    )
    assert activity.materials_viewed == sum(
        int(each.properties.get("views", 1)) for each in of(recent, "material.viewed")
    )
    assert activity.materials_completed == len(of(recent, "material.completed"))
    assert activity.xp == sum(
        int(each.properties.get("xp", 0)) for each in earned if date_of(each, zone) in window
    )
    active_days = {date_of(each, zone) for each in mine}
    assert activity.active_days == len(active_days & window)
    if who is None or len(who) != 1:
        assert activity.streak is None
    else:
        assert activity.streak == streak_of(active_days, max(window))
    # Lessons, of all time: what was said last, by time and then by id.
    lessons: dict[Any, Event] = {}
    for each in sorted(of(mine, "lesson.progressed"), key=moment):
        if "course.id" in each.properties:
            lessons[each.actor, each.properties["course.id"], each.properties["lesson.id"]] = each
    percents = [Fraction(int(each.properties["percent"]), 100) for each in lessons.values()]
    assert found.completion_average == mean(percents)
    assert found.quiz_average == mean(marks(of(recent, "quiz.attempted")))
    # Learners.
    enrolled = {
        (each.actor, each.properties["course.id"])
        for each in of(mine, "course.enrolled")
        if "course.id" in each.properties
    }
    total = {actor for actor, _ in enrolled} if members is None else set(members)
    active = {each.actor for each in recent}
    assert (found.learners.active, found.learners.total) == (len(active), len(total))
    assert found.learners.engagement == share(len(active & total), len(total))
    # Assignments: in when first handed in, as good as last told.
    handed_in: dict[Any, list[Event]] = {}
    for each in sorted(of(mine, "assignment.submitted"), key=moment):
        handed_in.setdefault((each.actor, each.properties["assignment.id"]), []).append(each)
    chosen_ones = [each for each in handed_in.values() if date_of(each[0], zone) in window]
    due = [(each[0].occurred_at, due_of(each[-1])) for each in chosen_ones]
    assert found.assignments is not None
    assert found.assignments.submitted == len(chosen_ones)
    assert found.assignments.with_due_date == sum(at is not None for _, at in due)
    assert found.assignments.on_time == sum(at is not None and first <= at for first, at in due)
    assert found.assignments.score == mean(marks([each[-1] for each in chosen_ones]))
    assert found.left_out == ()


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_attendance_is_that_of_events_that_name_a_course(seed: int) -> None:
    chosen = random.Random(seed)
    zone, events = chosen.choice(ZONES), some_events(seed)
    window = set(dates(zone, DAYS))
    # So that first, last and daily last events are all there are: one event of a day, lesson, material and assignment each.
    single: dict[Any, Event] = {}
    for each in events:
        lasting = each.name in ("lesson.progressed", "assignment.submitted")
        key = (
            each.name,
            each.actor,
            each.properties.get("lesson.id"),
            each.properties.get("material.id"),
            each.properties.get("assignment.id"),
            None if lasting else date_of(each, zone),
            each.properties.get("course.id") if each.name == "lesson.progressed" else None,
            each.key if each.name in ("quiz.attempted", "course.enrolled") else None,
        )
        single.setdefault(key, each)
    kept = list(single.values())
    found = report(kept, zone)
    pairs = {
        (each.actor, each.properties["course.id"])
        for each in of(kept)
        if "course.id" in each.properties and each.name not in NOT_LEARNING and date_of(each, zone) in window
    }
    enrolled = {
        (each.actor, each.properties["course.id"])
        for each in of(kept, "course.enrolled")
        if "course.id" in each.properties
    }
    assert found.courses is not None
    assert found.enrolments is not None
    assert found.courses.active == len({course for _, course in pairs})
    assert found.courses.total == len({course for _, course in pairs | enrolled})
    assert (found.enrolments.active, found.enrolments.total) == (len(pairs & enrolled), len(enrolled))
    assert found.enrolments.attendance == share(len(pairs & enrolled), len(enrolled))


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_order_batches_and_repetitions_change_no_byte(seed: int) -> None:
    events = some_events(seed)
    one = orjson.dumps(report(events))
    assert orjson.dumps(report([*events, *events[::3]], seed=seed)) == one
    assert orjson.dumps(report(sorted(events, key=moment, reverse=True))) == one


def test_a_late_older_progress_changes_nothing_and_of_one_moment_the_greater_id_holds() -> None:
    at = NOW * 1_000_000 - HOUR

    def progress(number: int, percent: int, ago: int = 0) -> Event:
        return event(
            number, "lesson.progressed", at - ago, ADA, course__id="art", lesson__id="a", percent=percent
        )

    assert report([progress(1, 80)]).completion_average == 80.0
    assert report([progress(1, 80), progress(9, 20, HOUR)]).completion_average == 80.0
    assert report([progress(1, 80), progress(2, 30)]).completion_average == 30.0
    assert report([progress(2, 30), progress(1, 80)]).completion_average == 30.0


def test_a_course_in_which_nothing_happened_for_long_is_not_attended() -> None:
    now = NOW * 1_000_000
    enrolling = [
        event(number, "course.enrolled", now - HOUR, ADA, course__id=course)
        for number, course in enumerate(["art", "biology", "chess"], 1)
    ]
    old, new = [
        event(number, "lesson.progressed", at, ADA, course__id=course, lesson__id="a", percent=10)
        for number, at, course in ((11, now - 30 * 24 * HOUR, "art"), (12, now - HOUR, "biology"))
    ]
    sitting = event(13, "learning_session.started", now - HOUR, ADA, course__id="chess")
    found = report([*enrolling, old, new, sitting])
    assert found.enrolments is not None
    assert (found.enrolments.active, found.enrolments.total, found.enrolments.attendance) == (1, 3, 0.333333)
    resumed = event(14, "lesson.progressed", now, ADA, course__id="art", lesson__id="a", percent=10)
    again = report([*enrolling, old, new, sitting, resumed])
    assert again.enrolments is not None
    assert again.enrolments.active == 2


def test_what_is_handed_in_at_the_very_moment_it_is_due_is_on_time_and_handing_in_again_later_changes_that_not() -> (
    None
):
    def essay(number: int, at: int, **more: Any) -> Event:
        return event(
            number,
            "assignment.submitted",
            at,
            PEOPLE[number % 4],
            assignment__id="essay",
            course__id="art",
            **more,
        )

    late, on_time = essay(1, DUE + 1), essay(2, DUE)
    again = essay(6, DUE + 9 * HOUR, score=1, max_score=4)  # of the same learner as the one on time
    found = report([late, on_time, again]).assignments
    assert found is not None
    assert (found.submitted, found.with_due_date, found.on_time, found.score) == (2, 2, 1, 25.0)


def test_what_was_handed_in_long_ago_and_again_today_was_not_submitted_in_these_days() -> None:
    now = NOW * 1_000_000
    before, again, other = (
        event(number, "assignment.submitted", at, ADA, assignment__id=assignment)
        for number, at, assignment in ((1, now - 480 * HOUR, "essay"), (2, now, "essay"), (3, now, "model"))
    )
    found = report([before, again, other]).assignments
    assert found is not None
    assert found.submitted == 1


def test_without_any_due_date_nothing_is_on_time_or_late() -> None:
    essay = event(1, "assignment.submitted", NOW * 1_000_000, ADA, assignment__id="essay")
    for courses in ({}, {"art": Course("art", None, None, None, (Assignment("essay", None),))}):
        found = report([essay], courses=courses).assignments
        assert found is not None
        assert (found.submitted, found.with_due_date, found.on_time, found.score) == (1, None, None, None)


def test_of_nobody_there_is_nothing_and_no_mean_is_made_up() -> None:
    assert orjson.loads(orjson.dumps(report([]))) == {
        "first": "2026-10-28",
        "last": "2026-11-03",
        "activity": {
            "sessions": 0, "seconds": 0.0, "materials_viewed": 0, "materials_completed": 0, "xp": 0, "active_days": 0, "streak": None,
        },
        "completion_average": None,
        "quiz_average": None,
        "learners": {"active": 0, "total": 0, "engagement": None},
        "courses": {"active": 0, "total": 0},
        "enrolments": {"active": 0, "total": 0, "attendance": None},
        "assignments": {"submitted": 0, "with_due_date": 0, "on_time": 0, "score": None},
        "left_out": [],
    }  # fmt: skip
    assert report([], members=[ADA]).learners.engagement == 0.0


class Crowded(MemoryTallies):
    """Rows of which there are too many as soon as anybody asks for more than sums."""

    async def states(
        self, tally: str, span: Span = EVER, *, part: str | None = None
    ) -> dict[TallyKey, State]:
        raise InputError("too many", "days")


def test_figures_of_too_many_rows_are_left_out_by_name_and_the_others_stay() -> None:
    events = some_events(3)
    rows = folded(events)
    whole = report(events)
    crowded = Crowded(rows.tallies.rows, rows.tallies.tenant_id)
    found = asyncio.run(overview(crowded, COURSES, span_of(rows.calendar, DAYS), rows.calendar))
    assert found.left_out == ("quiz_average", "courses", "enrolments", "assignments")
    assert (found.quiz_average, found.courses, found.enrolments, found.assignments) == (None,) * 4
    assert (found.activity, found.completion_average, found.learners) == (
        whole.activity, whole.completion_average, whole.learners,
    )  # fmt: skip


def test_a_date_that_the_clock_skipped_does_not_end_a_streak() -> None:
    # Samoa went from 29 to 31 December 2011.
    def viewed(number: int, at: str) -> Event:
        second = calendar.day_start(date.fromisoformat(at)) + 3_600
        return event(number, "material.viewed", second * 1_000_000, ADA, material__id="film")

    calendar = Calendar([(None, "Pacific/Apia")])
    events = [
        viewed(1, "2011-12-28"),
        viewed(2, "2011-12-29"),
        viewed(3, "2011-12-31"),
        viewed(4, "2011-12-26"),
    ]
    rows = folded(events, "Pacific/Apia")
    for today, expected in (("2011-12-31", 3), ("2012-01-01", 3), ("2012-01-02", 0), ("2011-12-27", 1)):
        day = date.fromisoformat(today)
        span = Span(calendar.day_start(day), calendar.day_start(date.fromordinal(day.toordinal() + 1)))
        found = asyncio.run(overview(rows.tallies, {}, span, calendar, one=True))
        assert (today, found.activity.streak) == (today, expected)


@pytest.mark.parametrize(
    ("given_marks", "expected"),
    [
        ([], None),
        ([(0, 7)], 0.0),
        ([(1, 3), (2, 3)], 50.0),
        ([(1, 200_000)], 0.0),  # 0.0005: half to even
        ([(3, 200_000)], 0.002),  # 0.0015
        ([(1, 3), (1, 3), (1, 3), (3, 50_000)], 25.002),  # 25.0015, though a third has no last decimal
    ],
)
def test_means_of_marks_are_exact_and_ties_go_to_even(
    given_marks: list[tuple[int, int]], expected: float | None
) -> None:
    assert mean_percent(given_marks) == expected
    assert mean_percent(reversed(given_marks)) == expected


def test_a_hundred_thousand_marks_out_of_as_many_different_points_have_a_mean_at_once() -> None:
    found = mean_percent((number // 2, number) for number in range(2, 100_002))
    assert found is not None
    assert 49.9 < found < 50.0
