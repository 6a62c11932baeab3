"""Promises about the summary: every figure is of the events of the same local dates and people, however events come."""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction

import orjson
import pytest
from hypothesis import given, settings

from streamgauge.domains.learning.courses import Assignment, Course
from streamgauge.domains.learning.declarations import ATTEMPTS, LESSONS, SUBMISSIONS
from streamgauge.domains.learning.summary import LearningSummary, LessonsIn, dates_of, summary
from streamgauge.entities.tallies import EVER, MemoryTallies, Span
from streamgauge.errors import InputError
from streamgauge.event import Event
from streamgauge.read.tally import rounded
from streamgauge.summaries.tallies import State, TallyKey
from tests.unit.domains.learning.learning_events import (
    ADA,
    HOUR,
    PEOPLE,
    ZONES,
    date_of,
    dates,
    event,
    moment,
    of,
    seeds,
    some_events,
)
from tests.unit.domains.learning.test_progress import AT, lesson
from tests.unit.entities.folded import folded

TODAY = date(2026, 11, 3)


def told(
    events: Sequence[Event],
    first: date,
    last: date,
    people: Collection[bytes] | None = None,
    zone: str = "UTC",
    seed: int | None = None,
    courses: Mapping[str, Course] | None = None,
) -> LearningSummary:
    rows = folded(events, zone, seed=seed)
    return asyncio.run(summary(rows.of(people), courses or {}, first, last, rows.calendar))


def last_words(events: Sequence[Event], who: Collection[bytes] | None) -> list[Event]:
    """The last event of every learner's every lesson."""
    last: dict[tuple[object, ...], Event] = {}
    for each in sorted(of(events, "lesson.progressed", who=who), key=moment):
        if "course.id" in each.properties:
            last[each.actor, each.properties["course.id"], each.properties["lesson.id"]] = each
    return list(last.values())


def mean(marks: Sequence[Fraction]) -> float | None:
    return rounded(100 * sum(marks, Fraction()) / len(marks)) if marks else None


def marks(events: Sequence[Event]) -> list[Fraction]:
    return [
        Fraction(int(each.properties["score"]), int(each.properties["max_score"]))
        for each in events
        if "score" in each.properties and "max_score" in each.properties
    ]


@settings(max_examples=12)
@given(seeds)
def test_every_figure_is_that_of_the_events_between_the_dates(seed: int) -> None:
    chosen = random.Random(seed)
    zone = chosen.choice(ZONES)
    days = dates(zone, 12)
    first = chosen.choice(days)
    last = first + timedelta(chosen.randrange(6))
    people = chosen.choice([None, PEOPLE[:2]])
    events = some_events(seed, 60)
    found = told(events, first, last, people, zone)

    def within(each: Event) -> bool:
        return first <= date_of(each, zone) <= last

    def named(*names: str) -> list[Event]:
        return [each for each in of(events, *names, who=people) if within(each)]

    lessons = [each for each in last_words(events, people) if within(each)]
    said = [int(each.properties["percent"]) for each in lessons]
    handed_in: dict[tuple[object, object], list[Event]] = {}
    for each in sorted(of(events, "assignment.submitted", who=people), key=moment):
        handed_in.setdefault((each.actor, each.properties["assignment.id"]), []).append(each)
    new = [each for each in handed_in.values() if within(each[0])]
    assert (found.first, found.last) == (first, last)
    assert found.activities == len(named())
    assert found.active_users == len({each.actor for each in named()})
    assert found.enrolments == len(named("course.enrolled"))
    ended = named("learning_session.ended")
    assert found.sessions == len(ended)
    assert found.seconds == rounded(Fraction(sum(int(each.properties["duration"]) for each in ended), 10**6))
    earned = named("xp.earned", "learning_session.ended")
    assert found.xp == sum(int(each.properties.get("xp", 0)) for each in earned)
    viewed = named("material.viewed")
    assert found.materials_viewed == sum(int(each.properties.get("views", 1)) for each in viewed)
    assert found.materials_completed == len(named("material.completed"))
    assert found.lesson_updates == len(named("lesson.progressed"))
    average = rounded(Fraction(sum(said), len(said))) if said else None
    assert found.lessons == LessonsIn(len(said), said.count(100), average)
    assert found.quiz_attempts == len(named("quiz.attempted"))
    assert found.quiz_average == mean(marks(named("quiz.attempted")))
    assert found.submissions == len(named("assignment.submitted"))
    assert found.assignments is not None
    assert found.assignments.submitted == len(new)
    assert found.assignments.score == mean(marks([each[-1] for each in new]))
    assert found.left_out == ()
    again = told([*events, *events[::4]], first, last, people, zone, seed)
    assert orjson.dumps(again) == orjson.dumps(found)


@settings(max_examples=5)
@given(seeds)
def test_days_add_up_to_the_whole(seed: int) -> None:
    events = some_events(seed, 40, days=4)
    rows = folded(events, "America/New_York")

    def of_days(first: date, last: date) -> LearningSummary:
        return asyncio.run(summary(rows.tallies, {}, first, last, rows.calendar))

    days = [TODAY + timedelta(each) for each in range(-6, 4)]
    whole, parts = of_days(days[0], days[-1]), [of_days(day, day) for day in days]
    assert whole.activities == sum(each.activities for each in parts) == len(of(events))
    assert whole.xp == sum(each.xp for each in parts)
    assert whole.lessons is not None
    assert whole.lessons.count == sum(each.lessons.count for each in parts if each.lessons is not None)


def test_a_lesson_is_of_the_day_of_its_last_event_and_a_late_older_one_changes_that_not() -> None:
    day = 24 * HOUR
    events = [lesson(1, AT - 3 * day, 100), lesson(2, AT, 100), lesson(3, AT - 2 * day, 5)]
    yesterday = TODAY - timedelta(1)
    for some in (events, events[::-1]):
        assert told(some, TODAY, TODAY).lessons == LessonsIn(1, 1, 100.0)
        assert told(some, yesterday - timedelta(9), yesterday).lessons == LessonsIn(0, 0, None)


def test_assignments_are_on_time_by_the_catalogues_due_dates() -> None:
    courses = {"art": Course("art", None, None, None, (Assignment("essay", AT), Assignment("model", None)))}
    events = [
        event(each, "assignment.submitted", at, actor, assignment__id=id, course__id="art")
        for each, (at, actor, id) in enumerate(
            [(AT, PEOPLE[0], "essay"), (AT + 1, PEOPLE[1], "essay"), (AT, PEOPLE[0], "model")]
        )
    ]
    found = told(events, TODAY, TODAY, courses=courses).assignments
    assert found is not None
    assert (found.submitted, found.with_due_date, found.on_time) == (3, 2, 1)
    nothing = told(events, TODAY, TODAY).assignments
    assert nothing is not None
    assert (nothing.with_due_date, nothing.on_time) == (None, None)


def test_a_date_that_the_clock_skipped_has_nothing() -> None:
    skipped = date(2011, 12, 30)
    at = 1_325_239_200_000_000  # 30 December 2011, 10:00 UTC: in Samoa, 31 December, the day after the 29th
    events = [event(1, "quiz.attempted", at, ADA), event(2, "quiz.attempted", at - HOUR, ADA)]
    assert told(events, skipped, skipped, zone="Pacific/Apia").activities == 0
    assert told(events, skipped - timedelta(1), skipped, zone="Pacific/Apia").activities == 1
    assert told(events, skipped, skipped + timedelta(1), zone="Pacific/Apia").activities == 1


class Crowded(MemoryTallies):
    """Has more rows of everything than a report reads one by one."""

    async def states(
        self, tally: str, span: Span = EVER, *, part: str | None = None
    ) -> dict[TallyKey, State]:
        assert tally in (LESSONS.name, ATTEMPTS.name, SUBMISSIONS.name)
        raise InputError("there are more than 100000 rows", "days")


def test_what_has_too_many_rows_is_left_out_and_named_and_the_rest_is_told() -> None:
    rows = folded([lesson(1, AT, 100)])
    crowded = Crowded(rows.tallies.rows, rows.tallies.tenant_id)
    found = asyncio.run(summary(crowded, {}, TODAY, TODAY, rows.calendar))
    assert found.left_out == ("lessons", "quiz_average", "assignments")
    assert (found.lessons, found.quiz_average, found.assignments) == (None, None, None)
    assert (found.activities, found.lesson_updates) == (1, 1)


def test_dates_are_thirty_days_up_to_today_unless_given() -> None:
    assert dates_of(None, None, TODAY) == (date(2026, 10, 5), TODAY)
    assert dates_of(None, "2026-03-01", TODAY) == (date(2026, 1, 31), date(2026, 3, 1))
    assert dates_of("2026-11-01", None, TODAY) == (date(2026, 11, 1), TODAY)
    assert dates_of("2025-11-03", "2026-11-03", TODAY) == (date(2025, 11, 3), TODAY)
    assert dates_of(None, "1970-01-02", TODAY) == (date(1970, 1, 1), date(1970, 1, 2))


@pytest.mark.parametrize(
    ("since", "to", "field", "message"),
    [
        ("2026-11-04", None, "from", "after to"),
        ("2026-11-02", "2026-11-01", "from", "after to"),
        ("2025-11-02", "2026-11-03", "from", "367 days: up to 366 are allowed"),
        ("2026-02-30", None, "from", "give a date"),
        ("yesterday", None, "from", "give a date"),
        (None, "20261103", "to", "give a date"),
        (None, "\uff12026-11-03", "to", "give a date"),
        ("1969-12-31", "1970-01-01", "from", "from 1970-01-01 to 2100-12-31"),
        (None, "2101-01-01", "to", "from 1970-01-01 to 2100-12-31"),
    ],
)
def test_dates_that_cannot_be_answered_are_refused_with_field_and_limit(
    since: str | None, to: str | None, field: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        dates_of(since, to, TODAY)
    assert error.value.field == field


def test_the_last_supported_day_can_be_asked_for() -> None:
    assert told([], date(2100, 12, 31), date(2100, 12, 31)).activities == 0
