"""Promises about boards: the vectorised fold against a loop over events, in any order and any batches."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import SettingsError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.summaries.boards import Board, Place, Points, Season
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import Scope
from streamgauge.summaries.scoring import add_scores, score
from streamgauge.summaries.zones import load_zone
from streamgauge.table import Table, join, thaw

ZONES = {"a": "Asia/Kolkata", "b": "Australia/Lord_Howe"}
SCOPES = {
    name: Scope(place + 1, Calendar([(None, zone)])) for place, (name, zone) in enumerate(ZONES.items())
}
SPRING = Season("spring", date(2026, 3, 1), date(2026, 4, 5))
BOARDS = (
    Board("xp", (Points("xp.earned", "amount"), Points("lesson.completed", None, 5)), (SPRING,)),
    Board("momentum", (Points("segment.added"), Points("draft.created", None, 5))),
)
#: Around the end of a month, of a week, of Lord Howe's summer time and of the season.
START = datetime(2026, 3, 29, tzinfo=UTC)

events = st.lists(
    st.builds(
        Event,
        name=st.sampled_from(["xp.earned", "lesson.completed", "segment.added", "draft.created", "other"]),
        occurred_at=st.integers(0, 12 * 24).map(
            lambda hours: int((START + timedelta(hours=hours)).timestamp()) * 1_000_000
        ),
        tenant=st.sampled_from(sorted(ZONES)),
        actor=st.sampled_from([None, b"\1" * 17, b"\2" * 17]),
        properties=st.fixed_dictionaries({}, optional={"amount": st.integers(0, 10**9)}),
    ),
    min_size=1,
    max_size=40,
)


def plainly(events: Sequence[Event]) -> dict[Place, int]:
    """What the fold is to give, with dates of the standard library."""
    found: Counter[Place] = Counter()
    for event in events:
        zone = load_zone(ZONES[event.tenant])
        local = datetime.fromtimestamp(event.occurred_at / 1_000_000, zone).date()
        for board in BOARDS:
            points = [
                each.weight * (1 if each.property is None else int(event.properties[each.property]))
                for each in board.points
                if each.event == event.name and (each.property is None or each.property in event.properties)
            ]
            if not points or event.actor is None:
                continue
            begins = {
                "day": local, "week": local - timedelta(local.weekday()), "month": local.replace(day=1), "all": None,
            }  # fmt: skip
            if board.seasons and SPRING.first <= local <= SPRING.last:
                begins["season:spring"] = SPRING.first
            for timeframe, day in begins.items():
                midnight = (
                    0 if day is None else int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())
                )
                place = Place(SCOPES[event.tenant].tenant_id, board.name, timeframe, midnight, event.actor)
                found[place] += sum(points)
    return dict(found)


def scored(table: Table) -> dict[Place, int]:
    return score(table, [SCOPES[name] for name in table.tenant.values], BOARDS)


@given(events, st.integers(1, 40), st.randoms(use_true_random=False))
def test_whatever_the_batches_and_their_order_scores_are_those_of_one_event_after_the_other(
    events: list[Event], size: int, chosen: random.Random
) -> None:
    expected = plainly(events)
    chosen.shuffle(events)
    tables = [thaw(freeze(events[first : first + size])) for first in range(0, len(events), size)]
    found: dict[Place, int] = {}
    for table in tables:
        add_scores(found, scored(table))
    assert found == expected
    assert scored(join(tables)) == expected


@pytest.mark.parametrize(
    ("points", "seasons"),
    [
        ((), ()),
        ((Points("a", None, 0),), ()),
        ((Points("a", None, 1_001),), ()),
        ((Points("a"),), (SPRING, SPRING)),
        ((Points("a"),), (Season("s", date(2026, 2, 1), date(2026, 1, 1)),)),
    ],
)
def test_a_board_that_cannot_be_kept_is_refused(
    points: tuple[Points, ...], seasons: tuple[Season, ...]
) -> None:
    with pytest.raises(SettingsError, match="board 'b'"):
        Board("b", points, seasons)
