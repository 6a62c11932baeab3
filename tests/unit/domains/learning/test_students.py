"""Promises about learners one by one: who is there, when they were last seen, and who is at risk by the stated rule."""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings

from streamgauge.domains.learning.courses import Course
from streamgauge.domains.learning.students import (
    QUIET_DAYS,
    Reading,
    Students,
    read_students,
    students_report,
)
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
    of,
    seeds,
    some_events,
)
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

DAY = 24 * HOUR


def read(
    events: Sequence[Event],
    courses: Mapping[str, Course],
    people: Collection[bytes] | None = None,
    zone: str = "UTC",
    seed: int | None = None,
) -> Reading:
    rows = folded(events, zone, seed=seed)
    return asyncio.run(read_students(rows.of(people), courses, people, rows.calendar, NOW))


def told(
    events: Sequence[Event],
    courses: Mapping[str, Course],
    people: Collection[bytes] | None = None,
    zone: str = "UTC",
    seed: int | None = None,
) -> Students:
    reading = read(events, courses, people, zone, seed)
    names = dict.fromkeys(reading.after(None, False, 100), "somebody")
    return students_report(reading, names, folded([], zone).calendar)


def iso(at: int) -> str:
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@settings(max_examples=12)
@given(seeds)
def test_everybody_is_there_with_progress_and_the_last_event_and_the_rule_is_kept(seed: int) -> None:
    chosen = random.Random(seed)
    zone = chosen.choice(ZONES)
    events, courses = some_events(seed, 25, days=20), catalogue(seed)
    people = chosen.choice([None, PEOPLE[1:]])
    found = told(events, courses, people, zone)
    window = dates(zone, QUIET_DAYS)
    seen = [each for each in of(events, who=people) if date_of(each, zone) <= window[-1]]
    everybody = {each.actor for each in seen if each.actor is not None} if people is None else set(people)
    assert [each.id for each in found.students] == sorted(actor.hex() for actor in everybody)
    for each in found.students:
        actor = bytes.fromhex(each.id)
        last = max((one.occurred_at for one in seen if one.actor == actor), default=None)
        assert each.last_seen == (None if last is None else iso(last))
        assert each.progress == expected(events, courses, [actor])
        own = [percents(events, courses, *pair) for pair in taken(events, [actor])]
        assert each.courses == len(own)
        quiet = not any(date_of(one, zone) >= window[0] for one in seen if one.actor == actor)
        unfinished = any(not declared or set(told_of) - {100} for told_of, declared in own)
        assert each.at_risk == (quiet and unfinished)
    assert (found.total, found.at_risk) == (len(everybody), sum(each.at_risk for each in found.students))
    assert (found.rule.days, found.rule.since) == (7, window[0])
    assert "7 local days" in found.rule.text
    again = told([*events, *events[::3]], courses, people, zone, seed)
    assert orjson.dumps(again) == orjson.dumps(found)


@pytest.mark.parametrize(
    ("days", "at_risk"), [(0, False), (6, False), (7, True), (300, True)], ids=lambda each: str(each)
)
def test_seven_quiet_local_days_put_at_risk_who_has_a_course_left(days: int, at_risk: bool) -> None:
    # Delhi's day begins at 18:30 UTC: the last microsecond before it is of the day before.
    midnight = int(datetime(2026, 11, 2, 18, 30, tzinfo=UTC).timestamp()) * 1_000_000
    for at, expected_flag in ((midnight - days * DAY, at_risk), (midnight - days * DAY - 1, days >= 6)):
        events = [event(1, "course.enrolled", at, ADA, course__id="art")]
        assert told(events, {}, zone="Asia/Kolkata").students[0].at_risk is expected_flag


def test_nobody_is_at_risk_who_takes_nothing_or_has_completed_everything() -> None:
    old = AT - 30 * DAY
    assert not told([event(1, "material.viewed", old, ADA)], {}).students[0].at_risk
    assert not told([], {}, [ADA]).students[0].at_risk
    done = [lesson(1, old, 100)]
    assert not told(done, declaring("a")).students[0].at_risk
    # Without declared lessons nobody knows that there are no more.
    assert told(done, {}).students[0].at_risk
    assert told(done, declaring("a", "b")).students[0].at_risk


@settings(max_examples=12)
@given(seeds)
def test_an_event_of_these_days_puts_nobody_at_risk(seed: int) -> None:
    chosen = random.Random(seed)
    events, courses = some_events(seed, 20, days=30), catalogue(seed)
    before = {each.id: each.at_risk for each in told(events, courses).students}
    name = chosen.choice(["lesson.progressed", "course.enrolled", "quiz.attempted"])
    more = event(3_000_000, name, AT - chosen.randrange(6 * 24) * HOUR, ADA, course__id="new", lesson__id="x")
    after = {each.id: each.at_risk for each in told([*events, more], courses).students}
    assert after[ADA.hex()] is False
    assert {id: flag for id, flag in after.items() if id != ADA.hex()} == {
        id: flag for id, flag in before.items() if id != ADA.hex()
    }


def test_a_groups_members_are_there_though_they_never_were_and_visitors_of_a_day_are_not() -> None:
    visitor = bytes(17)
    events = [lesson(1, AT, 10, visitor), lesson(2, AT, 10)]
    assert [each.id for each in told(events, {}).students] == [ADA.hex()]
    found = told(events, {}, [BOB])
    assert [(each.id, each.last_seen) for each in found.students] == [(BOB.hex(), None)]


def test_pages_follow_each_other_without_gap_or_repetition() -> None:
    quiet = [
        event(each, "course.enrolled", AT - 9 * DAY, PEOPLE[each], course__id="art") for each in (0, 2, 3)
    ]
    reading = read([*quiet, lesson(9, AT, 5, BOB)], {})
    for at_risk, everybody in ((False, PEOPLE[:4]), (True, [PEOPLE[0], PEOPLE[2], PEOPLE[3]])):
        pages: list[bytes] = []
        while page := reading.after(pages[-1] if pages else None, at_risk, 2):
            pages += page
        assert pages == everybody


def test_what_comes_after_today_was_not_seen_yet() -> None:
    events = [lesson(1, AT, 10), lesson(2, AT + 2 * DAY, 20)]
    assert told(events, {}).students[0].last_seen == iso(AT)
