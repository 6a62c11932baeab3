"""Promises about leaderboards: ranks are places in the sorted order, and ids are for those who may know them."""

import asyncio
from collections.abc import Mapping
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.domains.gamification.leaderboard import (
    Audience,
    Entry,
    Leaderboard,
    board_named,
    leaderboard,
    read,
    season_frame,
)
from streamgauge.entities.standings import Frame, MemoryStandings
from streamgauge.errors import InputError
from streamgauge.summaries.boards import Board, Points, Season
from streamgauge.summaries.calendar import Calendar
from tests.unit.domains.gamification.deeds import PEOPLE, date_in, seeds, some_events
from tests.unit.entities.folded import folded

ACTORS = [bytes([1, *[number] * 16]) for number in range(40)]
NAMES = {actor: f"learner {actor[1]}" for actor in ACTORS}
CALENDAR = Calendar([(None, "America/New_York")])
WEEK = Frame("xp", "week", CALENDAR.day_start(date(2026, 11, 16)))
#: Few different scores, so that many are equal.
scores = st.dictionaries(st.sampled_from(ACTORS), st.one_of(st.integers(0, 5), st.integers(0, 10**12)))
limits = st.integers(1, 45)


def shown(
    points: Mapping[bytes, int],
    actor: bytes | None,
    limit: int = 10,
    sees: frozenset[bytes] | None = None,
) -> Leaderboard:
    reading = asyncio.run(read(MemoryStandings({WEEK: points}), WEEK, actor, limit))
    named = {each: NAMES[each] for each in reading.actors}
    return leaderboard(reading, WEEK, CALENDAR, Audience(actor, sees, named))


def ordered(points: Mapping[bytes, int]) -> list[tuple[bytes, int]]:
    """The sort oracle."""
    return sorted(points.items(), key=lambda each: (-each[1], each[0]))


def entries(points: Mapping[bytes, int], actor: bytes | None, sees: frozenset[bytes] | None) -> list[Entry]:
    """Every entry there could be."""
    return [
        Entry(
            rank, "You" if each == actor else NAMES[each], score, each == actor,
            each.hex() if sees is None or each == actor or each in sees else None,
        )
        for rank, (each, score) in enumerate(ordered(points), 1)
    ]  # fmt: skip


@given(scores, st.one_of(st.none(), st.sampled_from(ACTORS)), limits, st.sets(st.sampled_from(ACTORS)))
def test_everything_on_a_board_is_what_sorting_gives(
    points: dict[bytes, int], actor: bytes | None, limit: int, seen: set[bytes]
) -> None:
    sees = None if len(seen) > 20 else frozenset(seen)
    found, order = shown(points, actor, limit, sees), entries(points, actor, sees)
    assert list(found.entries) == order[:limit]
    assert found.participants == len(points)
    assert (found.metric, found.timeframe, found.season) == ("xp", "week", None)
    assert (found.starts, found.supportive) == (date(2026, 11, 16), False)
    if actor is None or actor not in points:
        assert found.you is None
        return
    assert found.you is not None
    place = next(at for at, each in enumerate(order) if each.is_you)
    assert (found.you.rank, found.you.score) == (place + 1, points[actor])
    assert list(found.you.above) == order[max(place - 2, 0) : place]
    assert list(found.you.below) == order[place + 1 : place + 3]
    behind, others = len(order) - place - 1, len(order) - 1
    assert found.you.percentile == (pytest.approx(100 * behind / others, abs=0.001) if others else 100.0)


@given(scores, st.sampled_from(ACTORS))
def test_the_distance_to_the_next_rank_is_the_fewest_points_that_get_there(
    points: dict[bytes, int], actor: bytes
) -> None:
    points.setdefault(actor, 3)
    own = shown(points, actor).you
    assert own is not None
    if own.to_next_rank is None:
        assert own.rank == 1
        return
    enough = shown({**points, actor: points[actor] + own.to_next_rank}, actor).you
    short = shown({**points, actor: points[actor] + own.to_next_rank - 1}, actor).you
    assert enough is not None
    assert short is not None
    assert enough.rank < own.rank == short.rank


@settings(max_examples=15)
@given(seeds)
def test_boards_of_events_in_any_order_are_what_adding_up_and_sorting_gives(seed: int) -> None:
    events = some_events(seed, 25, days=9, people=PEOPLE)
    zone = "America/New_York"
    rows = folded([*events, *events[::3]], zone, seed=seed)
    middle = date(2026, 11, 3)
    monday = middle - timedelta(middle.weekday())
    weeks: dict[bytes, int] = {}
    for each in events:
        if (
            "xp" in each.properties
            and each.actor is not None
            and monday <= date.fromisoformat(date_in(zone, each.occurred_at)) < monday + timedelta(7)
        ):
            weeks[each.actor] = weeks.get(each.actor, 0) + int(each.properties["xp"])
    frame = Frame("xp", "week", rows.calendar.day_start(monday))
    found = asyncio.run(read(rows.standings, frame, None, 100))
    assert [(each.actor, each.score) for each in found.best] == ordered(weeks)


SEASONAL = Board(
    "xp",
    (Points("xp.earned", "xp"),),
    (
        Season("autumn", date(2026, 9, 1), date(2026, 11, 30)),
        Season("advent", date(2026, 11, 29), date(2026, 12, 24)),
    ),
)


def test_a_season_is_a_frame_from_its_first_local_day_on() -> None:
    frame = season_frame(SEASONAL, "autumn", CALENDAR)
    assert frame == ("xp", "season:autumn", CALENDAR.day_start(date(2026, 9, 1)))
    found = leaderboard(
        asyncio.run(read(MemoryStandings({frame: {ACTORS[0]: 3}}), frame, None, 10)),
        frame,
        CALENDAR,
        Audience(None, None, NAMES),
    )
    assert (found.timeframe, found.season, found.starts) == ("season", "autumn", date(2026, 9, 1))


def test_what_is_not_declared_is_refused_with_what_is() -> None:
    boards = [SEASONAL, Board("kudos", (Points("kudos.given"),))]
    assert board_named(boards, "kudos") is boards[1]
    with pytest.raises(InputError, match=r"metric 'fame' is no board: there are kudos, xp$") as refused:
        board_named(boards, "fame")
    assert refused.value.field == "metric"
    with pytest.raises(
        InputError, match=r"season 'spring' is none of xp's: there are advent, autumn$"
    ) as refused:
        season_frame(SEASONAL, "spring", CALENDAR)
    assert refused.value.field == "season"
    with pytest.raises(InputError, match="there are none"):
        season_frame(boards[1], "x" * 10_000, CALENDAR)


def test_all_time_begins_nowhere_and_an_empty_board_is_empty() -> None:
    frame = Frame("xp", "all", 0)
    reading = asyncio.run(read(MemoryStandings({}), frame, ACTORS[0], 10))
    found = leaderboard(reading, frame, CALENDAR, Audience(ACTORS[0], None, {}))
    assert found == Leaderboard("xp", "all", None, None, False, 0, (), None)
