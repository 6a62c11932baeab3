"""Promises about reading tallies and boards: PostgreSQL and memory say the same, of whomever one looks at."""

import random
from collections.abc import AsyncIterator, Collection
from itertools import combinations

import pytest

from streamgauge.database import Connection, open_connection
from streamgauge.entities import stored
from streamgauge.entities.standings import Frame, Score
from streamgauge.entities.stored import StoredTallies
from streamgauge.entities.stored_standings import StoredStandings, standings_of
from streamgauge.entities.tallies import EVER, By, Span
from streamgauge.errors import InputError
from streamgauge.event import Event
from streamgauge.summaries.boards import Board, Place, Points
from streamgauge.summaries.rollups import EVENT_NAME, Catalogue
from streamgauge.summaries.tallies import ACTOR, Tally
from streamgauge_workers import board_scores, tally_rows
from tests.unit.entities.folded import TENANT, Folded, folded

OWN = Catalogue(
    (),
    (),
    (
        Tally("lessons", ("told",), (ACTOR, "course", "lesson"), last=("percent",)),
        Tally("days", ("told", "asked"), (ACTOR, EVENT_NAME), "day", sums=("xp", "percent")),
        Tally("courses", ("told",), ("course",), "day", sums=("xp",)),
    ),
    (Board("xp", (Points("told", "xp"),)),),
)
ACTORS = [bytes([1, *[number] * 16]) for number in range(12)]
DAY = 86_400
START = 20_000 * DAY


def some_events(seed: int, count: int) -> list[Event]:
    chosen = random.Random(seed)
    return [
        Event(
            chosen.choice(["told", "told", "asked"]),
            (START + chosen.randrange(9 * DAY)) * 1_000_000,
            "school",
            chosen.choice([*ACTORS, None]),
            properties={
                "course": chosen.choice("abc"),
                "lesson": chosen.choice("xyz"),
                "xp": chosen.choice([0, 1, 5, 200, 205, 5_000]),
                **({"percent": chosen.randrange(101)} if chosen.random() < 0.8 else {}),
            },
        )
        for _ in range(count)
    ]


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    opened = await open_connection(database_url)
    await opened.execute("INSERT INTO tenants (tenant_id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'school')")
    yield opened
    await opened.close()


async def written(connection: Connection, events: list[Event]) -> Folded:
    """The same events in PostgreSQL, in three stripes, and in memory."""
    located = list(enumerate(events))
    for shard in range(3):
        part = folded([event for number, event in located if number % 3 == shard], catalogue=OWN)
        await tally_rows.add(connection, shard, part.tallies.rows.items())
        places = {
            Place(TENANT, *frame, actor): points
            for frame, scores in part.standings.scores.items()
            for actor, points in scores.items()
        }
        await board_scores.add(connection, shard, places)
    return folded(events, catalogue=OWN)


@pytest.mark.parametrize("actors", [None, ACTORS[:3], []], ids=["everybody", "three", "nobody"])
@pytest.mark.parametrize("span", [EVER, Span(START + 2 * DAY, START + 5 * DAY)], ids=["ever", "days"])
async def test_totals_are_the_same_in_both(
    connection: Connection, actors: list[bytes] | None, span: Span
) -> None:
    memory = (await written(connection, some_events(1, 500))).of(actors)
    database = StoredTallies(connection, TENANT, None if actors is None else frozenset(actors))
    keys: list[By] = ["bucket", "actor", 1]
    groupings: list[Collection[By]] = [chosen for size in range(4) for chosen in combinations(keys, size)]
    for tally in ("days", "courses"):
        for by in groupings:
            expected = await memory.totals(tally, by, span)
            assert await database.totals(tally, by, span) == expected
            assert bool(expected) == (actors is None or (bool(actors) and tally == "days"))
    assert await database.totals("days", ["bucket"], span, part="told") == await memory.totals(
        "days", ["bucket"], span, part="told"
    )


async def test_what_last_events_said_is_the_same_in_both_though_an_entity_has_several_stripes(
    connection: Connection,
) -> None:
    # Each event once per stripe could differ in who was last: numbers within a stripe are not those of the whole, so no two are at one time.
    events = [
        Event(each.name, (START + number) * 1_000_000, "school", each.actor, properties=each.properties)
        for number, each in enumerate(some_events(2, 400))
    ]
    found = await written(connection, events)
    memory, database = found.of(None), StoredTallies(connection, TENANT, None)
    for by in ([], ["actor"], [1], ["actor", 1], [2, 1]):
        expected = await memory.sayings("lessons", "percent", 50, by)  # type: ignore[arg-type]  # lists of By
        assert await database.sayings("lessons", "percent", 50, by) == expected  # type: ignore[arg-type]  # as above
        assert sum(each.reached for each in expected.values()) > 10
    assert await database.sayings("lessons", "percent", 50, part="b") == await memory.sayings(
        "lessons", "percent", 50, part="b"
    )
    states = await memory.states("lessons", part="a")
    assert {
        key: (state.count, state.said) for key, state in (await database.states("lessons", part="a")).items()
    } == {key: (state.count, state.said) for key, state in states.items()}


async def test_too_many_rows_are_refused_with_what_to_ask_for_instead(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(connection, some_events(3, 50))
    monkeypatch.setattr(stored, "MOST_ROWS", 5)
    with pytest.raises(InputError, match="more than 5 rows of lessons: ask for fewer days, or for a group"):
        await StoredTallies(connection, TENANT, None).states("lessons")


@pytest.mark.parametrize("timeframe", ["day", "week", "month", "all"])
async def test_ranks_and_neighbours_are_those_of_the_whole_order(
    connection: Connection, timeframe: str
) -> None:
    found = await written(connection, some_events(4, 300))
    database = StoredStandings(connection, TENANT)
    frames = [frame for frame in found.standings.scores if frame.timeframe == timeframe]
    assert frames
    for frame in frames[:3]:
        order = found.standings.ordered(frame)
        assert await database.best(frame, 100) == order
        assert await database.participants(frame) == len(order)
        for place, each in enumerate(order, 1):
            assert await database.rank(frame, each.actor) == (place, len(order), each.score)
            for side in ("above", "below"):
                expected = await getattr(found.standings, side)(frame, each, 2)
                assert await getattr(database, side)(frame, each, 2) == expected
        assert [*reversed(await database.above(frame, order[-1], 100)), order[-1]] == order


async def test_who_has_no_score_has_no_rank_and_a_group_is_ranked_by_itself(connection: Connection) -> None:
    found = await written(connection, some_events(5, 300))
    frame = Frame("xp", "all", 0)
    stranger = b"\2" * 17
    assert await StoredStandings(connection, TENANT).rank(frame, stranger) is None
    group = frozenset([*ACTORS[3:7], stranger])
    among = await standings_of(connection, TENANT, frame, group)
    order = [each for each in found.standings.ordered(frame) if each.actor in group]
    assert await among.best(frame, 100) == order
    assert await among.rank(frame, order[2].actor) == (3, 4, order[2].score)
    assert await among.above(frame, Score(order[2].actor, order[2].score), 1) == [order[1]]
