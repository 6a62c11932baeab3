"""Promises about achievements: awarded once, at the event that satisfied the rule, whatever the order in which events come."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings

from streamgauge.domains.gamification.achievements import (
    ACHIEVEMENTS,
    Achievement,
    Award,
    EventsCounted,
    StreakReached,
    XpReached,
)
from streamgauge.domains.gamification.progress import progress
from streamgauge.domains.gamification.streaks import Freezes
from streamgauge.errors import SettingsError
from streamgauge.event import Event
from tests.unit.domains.gamification.deeds import HOUR, PEOPLE, START, date_in, event, seeds, some_events
from tests.unit.entities.folded import folded

ADA = PEOPLE[0]
RULES = (
    Achievement("points", "300 points", XpReached(300)),
    Achievement("any", "a point", XpReached(1)),
    Achievement("quizzes", "three quizzes", EventsCounted("quiz.attempted", 3)),
    Achievement("draft", "a draft", EventsCounted("draft.published", 1)),
    Achievement("row", "three days", StreakReached(3)),
)
NO_FREEZES = Freezes(7, 0)
NOW = START // 1_000_000 + 40 * 86_400


def awarded(events: Sequence[Event], zone: str = "UTC", seed: int | None = None) -> dict[str, Award]:
    """What the project says, of events in an order of its own choosing."""
    rows = folded(events, zone, seed=seed)
    report = asyncio.run(
        progress(rows.of([ADA]), ADA, 1, rows.calendar, NOW, achievements=RULES, freezes=NO_FREEZES)
    )
    assert [each.name for each in report.achievements] == [each.name for each in RULES]
    return {each.name: each for each in report.achievements}


def shown(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def expected(events: Sequence[Event], zone: str) -> dict[str, str | None]:
    """Computed from the events themselves: gone through one after another."""
    own = sorted(
        {each.key: each for each in events if each.actor == ADA}.values(),
        key=lambda e: (e.occurred_at, e.key),
    )
    found: dict[str, int | None] = dict.fromkeys(each.name for each in RULES)
    points = quizzes = 0
    days: dict[str, int] = {}
    for each in own:
        points += int(each.properties.get("xp", 0))
        quizzes += each.name == "quiz.attempted"
        if each.name != "xp.earned":
            days.setdefault(date_in(zone, each.occurred_at), each.occurred_at)
        for name, holds in (
            ("points", points >= 300), ("any", points >= 1), ("quizzes", quizzes >= 3), ("draft", each.name == "draft.published"),
        ):  # fmt: skip
            if holds and found[name] is None:
                found[name] = each.occurred_at
    length, dates = 1, sorted(days)
    for yesterday, today in pairwise(dates):
        follows = datetime.fromisoformat(yesterday) + timedelta(1) == datetime.fromisoformat(today)
        length = length + 1 if follows else 1
        if length == 3 and found["row"] is None:
            found["row"] = days[today]
    return {name: shown(at) for name, at in found.items()}


@settings(max_examples=25)
@given(seeds)
def test_awards_are_those_of_the_events_gone_through_one_by_one(seed: int) -> None:
    zone = random.Random(seed).choice(["UTC", "America/New_York", "Australia/Lord_Howe"])
    events = some_events(seed, 30, days=8)
    found = awarded(events, zone)
    assert {name: each.awarded_at for name, each in found.items()} == expected(events, zone)
    # In any order, in any batches, and though every third comes twice.
    assert awarded([*events, *events[::3]], zone, seed=seed) == found


@settings(max_examples=20)
@given(seeds)
def test_what_comes_late_moves_dates_back_and_takes_no_award_away(seed: int) -> None:
    events = some_events(seed, 30, days=8)
    before, after = awarded(events[:18]), awarded(events)
    for name, award in before.items():
        assert after[name].reached >= award.reached
        if award.awarded_at is not None:
            late = after[name].awarded_at
            assert late is not None
            assert late <= award.awarded_at


def test_an_earlier_event_that_comes_late_moves_the_date_back() -> None:
    quizzes = [event(number, "quiz.attempted", START + number * 24 * HOUR, ADA) for number in range(4, 7)]
    assert awarded(quizzes)["quizzes"].awarded_at == shown(START + 6 * 24 * HOUR)
    late = event(99, "quiz.attempted", START + HOUR, ADA)
    assert awarded([*quizzes, late])["quizzes"].awarded_at == shown(START + 5 * 24 * HOUR)


def test_of_events_at_one_time_the_greater_id_comes_later() -> None:
    at = START + HOUR
    events = [
        event(2, "xp.earned", at, ADA, xp=200),
        event(1, "xp.earned", at, ADA, xp=200),
        event(3, "xp.earned", at + HOUR, ADA, xp=200),
    ]
    assert awarded(events)["points"].awarded_at == shown(at)
    assert awarded(events[1:])["points"].awarded_at == shown(at + HOUR)


def test_a_target_is_reached_exactly_and_no_point_before() -> None:
    almost = [event(1, "xp.earned", START, ADA, xp=299)]
    assert awarded(almost)["points"] == Award("points", "300 points", 299, 300, None)
    # Without points of its own an event satisfies nothing.
    nothing = [
        *almost,
        event(2, "xp.earned", START + HOUR, ADA),
        event(3, "learning_session.ended", START + HOUR, ADA),
    ]
    assert awarded(nothing)["points"].awarded_at is None
    enough = [*nothing, event(4, "learning_session.ended", START + 2 * HOUR, ADA, xp=1)]
    assert awarded(enough)["points"] == Award("points", "300 points", 300, 300, shown(START + 2 * HOUR))


def test_declared_achievements_can_all_be_reached() -> None:
    assert len({each.name for each in ACHIEVEMENTS}) == len(ACHIEVEMENTS) >= 8
    assert all(each.target >= 1 for each in ACHIEVEMENTS)
    with pytest.raises(SettingsError, match="'nothing' has to ask for 1 or more"):
        Achievement("nothing", "Nothing", XpReached(0))
    with pytest.raises(
        SettingsError, match=r"'views' can count learning_session\.ended, material\.completed"
    ):
        Achievement("views", "Views", EventsCounted("material.viewed", 3))
