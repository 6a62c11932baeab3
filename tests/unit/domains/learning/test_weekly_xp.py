"""Promises about a week's points: sums by local day, their mean, and the streak of learning days."""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Sequence
from fractions import Fraction

import orjson
from hypothesis import given, settings

from streamgauge.domains.learning.weekly_xp import DAYS, WeeklyXp, weekly_xp
from streamgauge.event import Event
from tests.unit.domains.learning.learning_events import (
    ADA,
    BOB,
    HOUR,
    NOW,
    ZONES,
    date_of,
    dates,
    event,
    of,
    seeds,
    some_events,
    span_of,
    streak_of,
)
from tests.unit.entities.folded import folded


def report(
    events: Sequence[Event],
    zone: str = "UTC",
    who: Collection[bytes] | None = None,
    seed: int | None = None,
) -> WeeklyXp:
    rows = folded(events, zone, seed=seed)
    one = who is not None and len(who) == 1
    return asyncio.run(weekly_xp(rows.of(who), span_of(rows.calendar, DAYS), rows.calendar, one=one))


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_points_are_those_of_the_events_by_local_day(seed: int) -> None:
    chosen = random.Random(seed)
    zone, events = chosen.choice(ZONES), some_events(seed)
    who = chosen.choice([None, [ADA], [ADA, BOB], []])
    found = report(events, zone, who)
    points: Counter[object] = Counter()
    for each in of(events, "learning_session.ended", "xp.earned", who=who):
        points[date_of(each, zone)] += int(each.properties.get("xp", 0))
    week = dates(zone, 7)
    assert [(day.date, day.xp) for day in found.days] == [(day, points[day]) for day in week]
    assert found.total == sum(points[day] for day in week)
    assert found.daily_mean == float(round(Fraction(found.total, 7), 3))
    active = {date_of(each, zone) for each in of(events, who=who)}
    assert found.streak == (streak_of(active, week[-1]) if who in ([ADA],) else None)
    assert orjson.dumps(report([*events, *events[::3]], zone, who, seed)) == orjson.dumps(found)


def test_today_is_not_missed_before_it_is_over_and_points_alone_are_no_learning_day() -> None:
    now = NOW * 1_000_000
    yesterday, before = (
        event(number, "material.viewed", now - number * 24 * HOUR, ADA, material__id="film")
        for number in (1, 2)
    )
    given_today = event(9, "xp.earned", now, ADA, xp=5)
    found = report([yesterday, before, given_today], who=[ADA])
    assert (found.streak, found.total, found.days[-1].xp) == (2, 5, 5)
    assert report([before, given_today], who=[ADA]).streak == 0
    today = event(3, "material.viewed", now, ADA, material__id="film")
    assert report([yesterday, before, today], who=[ADA]).streak == 3
