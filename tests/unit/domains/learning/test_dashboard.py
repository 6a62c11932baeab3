"""Promises about the dashboard: figures of the same days, and who stands out in a stated order."""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings

from streamgauge.domains.gamification.declarations import DAILY_XP
from streamgauge.domains.learning.dashboard import (
    MOST_COMPLETIONS,
    MOST_PERFORMERS,
    RANGES,
    Completion,
    LearningDashboard,
    Range,
    dashboard,
    read_dashboard,
)
from streamgauge.entities.tallies import EVER, By, Group, MemoryTallies, Span, Total
from streamgauge.errors import InputError
from streamgauge.event import Event
from streamgauge.summaries.tallies import State, TallyKey
from tests.unit.domains.learning.learning_events import (
    ADA,
    BOB,
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
from tests.unit.domains.learning.test_progress import AT, lesson
from tests.unit.domains.learning.test_summary import last_words, told
from tests.unit.entities.folded import folded


def shown(
    events: Sequence[Event],
    range: Range = "week",
    people: Collection[bytes] | None = None,
    zone: str = "UTC",
    seed: int | None = None,
) -> LearningDashboard:
    rows = folded(events, zone, seed=seed)
    reading = asyncio.run(read_dashboard(rows.of(people), span_of(rows.calendar, RANGES[range])))
    names = {actor: f"user {actor[1]}" for actor in reading.actors}
    return dashboard(reading, range, rows.calendar, names)


@settings(max_examples=10)
@given(seeds)
def test_figures_are_the_summarys_of_the_same_days(seed: int) -> None:
    chosen = random.Random(seed)
    zone, range = chosen.choice(ZONES), chosen.choice(list(RANGES))
    people = chosen.choice([None, PEOPLE[:2]])
    events = some_events(seed, 50, days=chosen.choice([2, 12, 45]))
    days = dates(zone, RANGES[range])
    found, whole = shown(events, range, people, zone), told(events, days[0], days[-1], people, zone)
    assert (found.first, found.last, found.range) == (days[0], days[-1], range)
    assert (found.active_users, found.activities) == (whole.active_users, whole.activities)
    assert (found.completion, found.quiz_average) == (whole.lessons, whole.quiz_average)
    again = shown([*events, *events[::4]], range, people, zone, seed)
    assert orjson.dumps(again) == orjson.dumps(found)


@settings(max_examples=12)
@given(seeds)
def test_who_stands_out_is_who_does_by_sorting_the_events(seed: int) -> None:
    chosen = random.Random(seed)
    zone, range = chosen.choice(ZONES), chosen.choice(list(RANGES))
    events = some_events(seed, 60, days=chosen.choice([2, 12]))
    days, found = set(dates(zone, RANGES[range])), shown(events, range, None, zone)
    points: Counter[bytes] = Counter()
    for each in of(events, "xp.earned", "learning_session.ended"):
        if date_of(each, zone) in days and each.actor is not None:
            points[each.actor] += int(each.properties.get("xp", 0))
    order = sorted((+points).items(), key=lambda each: (-each[1], each[0]))
    assert found.top_performers is not None
    assert [(each.id, each.xp) for each in found.top_performers] == [
        (actor.hex(), xp) for actor, xp in order[:MOST_PERFORMERS]
    ]
    done = [
        each
        for each in sorted(last_words(events, None), key=moment, reverse=True)
        if each.properties["percent"] == 100 and date_of(each, zone) in days
    ]
    assert found.recent_completions == tuple(map(completion, done[:MOST_COMPLETIONS]))


def completion(each: Event) -> Completion:
    assert each.actor is not None
    at = datetime.fromtimestamp(each.occurred_at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told_of = each.properties
    return Completion(
        each.actor.hex(), f"user {each.actor[1]}", str(told_of["course.id"]), str(told_of["lesson.id"]), at
    )


def test_lists_are_bounded_and_ties_are_broken_as_stated() -> None:
    people = [bytes([1, *[number] * 16]) for number in range(1, 10)]
    events = [event(each, "xp.earned", AT, actor, xp=7) for each, actor in enumerate(people, 1)]
    events += [lesson(100 + each, AT, 100, people[each % 9], lesson=f"l{each:02}") for each in range(30)]
    events.append(event(999, "xp.earned", AT, people[6], xp=1))
    found = shown(events)
    assert found.top_performers is not None
    assert found.recent_completions is not None
    assert [each.id for each in found.top_performers] == [people[place].hex() for place in (6, 0, 1, 2, 3)]
    # Of equal times the greater event id is first.
    assert [each.lesson for each in found.recent_completions] == [f"l{29 - each:02}" for each in range(10)]


def test_a_lesson_that_is_no_longer_done_is_no_completion_and_who_has_no_points_no_performer() -> None:
    events = [
        lesson(1, AT, 100),
        lesson(2, AT + 1, 60),
        lesson(3, AT, 100, BOB),
        event(4, "xp.earned", AT, BOB, xp=0),
    ]
    found = shown(events)
    assert found.recent_completions is not None
    assert [each.id for each in found.recent_completions] == [BOB.hex()]
    assert found.top_performers == ()
    # A late older event takes nothing away.
    assert shown([*events, lesson(5, AT - 1, 3, BOB)]).recent_completions == found.recent_completions


def test_only_those_are_named_who_are_looked_at() -> None:
    events = [event(1, "xp.earned", AT, ADA, xp=9), event(2, "xp.earned", AT, BOB, xp=8), lesson(3, AT, 100)]
    found = shown(events, people=[BOB])
    assert found.top_performers is not None
    assert [each.id for each in found.top_performers] == [BOB.hex()]
    assert (found.recent_completions, found.active_users) == ((), 0)


class Crowded(MemoryTallies):
    """Has more rows than a report reads."""

    async def states(
        self, tally: str, span: Span = EVER, *, part: str | None = None
    ) -> dict[TallyKey, State]:
        raise InputError("there are more than 100000 rows", "days")

    async def totals(
        self, tally: str, by: Collection[By] = (), span: Span = EVER, *, part: str | None = None
    ) -> dict[Group, Total]:
        if tally == DAILY_XP.name:
            raise InputError("there are more than 100000 rows", "days")
        return await MemoryTallies.totals(self, tally, by, span, part=part)


@pytest.mark.parametrize("range", list(RANGES))
def test_what_has_too_many_rows_is_left_out_and_named(range: Range) -> None:
    rows = folded([lesson(1, AT, 100)])
    crowded = Crowded(rows.tallies.rows, rows.tallies.tenant_id)
    reading = asyncio.run(read_dashboard(crowded, span_of(rows.calendar, RANGES[range])))
    found = dashboard(reading, range, rows.calendar, {})
    assert found.left_out == ("completion", "quiz_average", "top_performers", "recent_completions")
    assert (found.activities, found.active_users) == (1, 1)
    assert (found.completion, found.top_performers, found.recent_completions) == (None, None, None)
