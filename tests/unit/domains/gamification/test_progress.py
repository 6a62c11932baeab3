"""Promises about a person's progress: sums over local days, against the events themselves, in any order."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta

import orjson
import pytest
from hypothesis import given, settings

from streamgauge.catalogue import CATALOGUE
from streamgauge.domains.gamification import declarations
from streamgauge.domains.gamification.levels import Level
from streamgauge.domains.gamification.progress import DayXp, GamificationProgress, progress
from streamgauge.event import Event
from streamgauge.testing import recording_gauge
from tests.unit.domains.gamification.deeds import (
    HOUR,
    PEOPLE,
    START,
    ZONES,
    date_in,
    event,
    seeds,
    some_events,
)
from tests.unit.entities.folded import folded

ADA, BOB = PEOPLE[:2]
NOW = START // 1_000_000 + 9 * 86_400


def of(
    events: Sequence[Event], actor: bytes, zone: str = "UTC", days: int = 5, seed: int | None = None
) -> GamificationProgress:
    rows = folded(events, zone, seed=seed)
    return asyncio.run(progress(rows.of([actor]), actor, days, rows.calendar, NOW))


@settings(max_examples=25)
@given(seeds)
def test_points_are_those_of_the_events_by_local_day(seed: int) -> None:
    zone = random.Random(seed).choice(ZONES)
    events = some_events(seed, 30, days=14)
    today = date_in(zone, NOW * 1_000_000)
    points: Counter[str] = Counter()
    for each in events:
        day = date_in(zone, each.occurred_at)
        if each.actor == BOB and day <= today:
            points[day] += int(each.properties.get("xp", 0))
    found = of(events, BOB, zone)
    assert found.xp == sum(points.values())
    dates = [date.fromisoformat(today) - timedelta(4 - each) for each in range(5)]
    assert list(found.trend) == [DayXp(day, points[day.isoformat()]) for day in dates]
    assert orjson.dumps(of([*events, *events[::4]], BOB, zone, seed=seed)) == orjson.dumps(found)


def test_events_of_days_to_come_do_not_count_yet() -> None:
    later = [event(1, "learning_session.ended", NOW * 1_000_000 + 30 * HOUR, ADA, xp=500)]
    found = of(later, ADA)
    assert (found.xp, found.level, found.streak.longest) == (0, Level(1, 0, 100), 0)


def test_given_points_are_no_activity_and_nobody_elses_count() -> None:
    events = [
        event(1, "xp.earned", START, ADA, xp=120, reason="quest"),
        event(2, "learning_session.ended", START, BOB, xp=70),
    ]
    ada, bob = of(events, ADA), of(events, BOB)
    assert (ada.xp, ada.level, ada.streak.longest) == (120, Level(2, 20, 180), 0)
    assert (bob.xp, bob.level, bob.streak.longest) == (70, Level(1, 70, 30), 1)


@settings(max_examples=15)
@given(seeds)
def test_board_scores_are_the_sums_of_the_ledger(seed: int) -> None:
    rows = folded(some_events(seed, 25, people=PEOPLE), seed=seed)
    ledger: Counter[bytes | None] = Counter()
    said: Counter[bytes | None] = Counter()
    for key, state in rows.tallies.rows.items():
        if key.tally == declarations.LEDGER.name:
            assert state.count == 1
            said[key.actor] += int(state.said.get("xp", 0))
            ledger[key.actor] += state.sums[0]
    board = {
        place.actor: place.score
        for frame in rows.standings.scores
        if (frame.board, frame.timeframe) == ("xp", "all")
        for place in rows.standings.ordered(frame)
    }
    assert +Counter(board) == +ledger == +said


def test_what_counts_is_declared_somewhere() -> None:
    names = {each.name for each in CATALOGUE.event_types}
    assert names.issuperset({*declarations.EARNING, *declarations.ACTIVE, *declarations.COUNTED})
    domains = ("learning", "collaboration")
    modules = [__import__(f"streamgauge.domains.{each}.declarations", fromlist=["x"]) for each in domains]
    assert set(declarations.ACTIVE) == {each.name for module in modules for each in module.EVENT_TYPES}


def test_the_tracker_records_points() -> None:
    with recording_gauge() as gauge:
        gauge.gamification.xp_earned(40, reason="quest", actor="ada", group="5b", idempotency_key="quest-7")
        gauge.gamification.xp_earned(0, actor="ada")
        first, second = gauge.of("xp.earned")
        assert first.properties == {"xp": 40, "reason": "quest"}
        assert first.group == "5b"
        assert first.key is not None
        assert second.properties == {"xp": 0}
        assert gauge.is_about(first, "ada")


@pytest.mark.parametrize("xp", [-1, 1_000_001, 2**63, 10**30, "many", 1.5, True])
def test_points_out_of_bounds_are_refused_without_raising(xp: int) -> None:
    with recording_gauge() as gauge:
        assert gauge.gamification.xp_earned(xp, actor="ada").reason == "invalid_property"
