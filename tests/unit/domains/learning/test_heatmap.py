"""Promises about when people learn: by the tenant's days and its wall clock, also where that goes back."""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings

from streamgauge.domains.learning.heatmap import LearningHeatmap, heatmap
from streamgauge.event import Event
from tests.unit.domains.learning.learning_events import (
    ADA,
    BOB,
    ZONES,
    date_of,
    dates,
    event,
    of,
    seeds,
    some_events,
    span_of,
)
from tests.unit.entities.folded import folded


def report(
    events: Sequence[Event],
    zone: str = "UTC",
    days: int = 8,
    who: Collection[bytes] | None = None,
    seed: int | None = None,
) -> LearningHeatmap:
    rows = folded(events, zone, seed=seed)
    return asyncio.run(heatmap(rows.of(who), span_of(rows.calendar, days), rows.calendar))


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_every_learning_event_is_in_its_local_day_and_hour_of_the_week(seed: int) -> None:
    chosen = random.Random(seed)
    zone, events = chosen.choice(ZONES), some_events(seed)
    who, days = chosen.choice([None, [ADA], [ADA, BOB], []]), chosen.choice([1, 8])
    found = report(events, zone, days, who)
    window = dates(zone, days)
    recent = [each for each in of(events, who=who) if date_of(each, zone) in window]
    by_day = Counter(date_of(each, zone) for each in recent)
    assert [(day.date, day.events) for day in found.calendar] == [(day, by_day[day]) for day in window]
    by_hour: Counter[tuple[int, int]] = Counter()
    for each in recent:
        at = datetime.fromtimestamp(each.occurred_at // 1_000_000, ZoneInfo(zone))
        by_hour[at.weekday(), at.hour] += 1
    assert found.hour_of_week == tuple(tuple(by_hour[day, hour] for hour in range(24)) for day in range(7))
    assert found.events == len(recent)
    repeated = report([*events, *events[::3]], zone, days, who, seed)
    assert orjson.dumps(repeated) == orjson.dumps(found)


@pytest.mark.parametrize("minute", [0, 40])
def test_an_hour_that_comes_twice_counts_in_one_cell(minute: int) -> None:
    # In New York, 05:40 and 06:40 UTC on 1 November 2026 are both 01:40, a Sunday.
    events = [
        event(hour, "material.viewed", int(datetime(2026, 11, 1, hour, minute, tzinfo=UTC).timestamp()) * 1_000_000, ADA)
        for hour in (5, 6)
    ]  # fmt: skip
    found = report(events, "America/New_York")
    assert found.hour_of_week[6][1] == found.events == sum(map(sum, found.hour_of_week)) == 2


def test_points_given_by_others_are_no_learning() -> None:
    found = report([event(1, "xp.earned", 1_793_600_000_000_000, ADA, xp=5)])
    assert (found.events, len(found.calendar)) == (0, 8)
