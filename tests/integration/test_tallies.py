"""Promises about tallies in the tables: whatever crashes, comes twice or in another order, they are what the log gives."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from streamgauge.catalogue import CATALOGUE
from streamgauge.database import open_connection
from streamgauge.summaries.rollups import Catalogue, EventType, Property
from streamgauge.summaries.tallies import ACTOR, EVENT, State, Tally, TallyKey, merged
from streamgauge_workers import tally_rows
from streamgauge_workers.queries import SQL
from streamgauge_workers.rebuild import rebuild

from .engine import Engine, Plain, generate, open_engine

LESSONS = Tally("lessons", ("lesson.read",), (ACTOR, "http.route"), last=("duration",), sums=("duration",))
DAYS = Tally(
    "days",
    ("lesson.read", "http.request"),
    (ACTOR,),
    "day",
    sums=("duration",),
    greatest=("duration",),
    last=("http.route",),
)
JOURNAL = Tally("journal", ("draft.sent",), (ACTOR, EVENT), last=("duration", "http.route"))
OWN: Catalogue = CATALOGUE.extended(LESSONS, DAYS, JOURNAL)


async def stored(engine: Engine) -> dict[TallyKey, State]:
    ids = [row["tenant_id"] for row in await engine.connection.fetch("SELECT tenant_id FROM tenants")]
    return merged([tally_rows.read(row) for row in await engine.connection.fetch(SQL["tallies_stored"], ids)])


def counted(events: Sequence[Plain]) -> dict[tuple[str, bytes, str], tuple[int, int]]:
    """Lessons by tenant, actor and route: how often, and the sum of durations."""
    found: dict[tuple[str, bytes, str], tuple[int, int]] = {}
    for event in events:
        route = event["properties"].get("http.route")
        if event["name"] == "lesson.read" and "actor" in event and route is not None:
            key = event["tenant"], event["actor"], route
            count, total = found.get(key, (0, 0))
            found[key] = count + 1, total + event["properties"].get("duration", 0)
    return found


@pytest.mark.parametrize("size", [1, 70])
async def test_rows_are_those_of_the_events_in_whatever_batches_and_twice(
    redis_url: str, database_url: str, size: int
) -> None:
    events = generate(41, 400)
    async with open_engine(redis_url, database_url, catalogue=OWN) as engine:
        batches = await engine.publish(events, size)
        chosen = random.Random(3)
        for shard, batch in chosen.sample(batches, min(len(batches), 20)):
            await engine.send(shard, batch)
        await engine.drain(2)
        rows = await stored(engine)
        names = {
            row["tenant_id"]: row["name"]
            for row in await engine.connection.fetch("SELECT tenant_id, name FROM tenants")
        }
        lessons = {
            (names[key.tenant_id], key.actor, key.parts[0]): (state.count, state.sums[0])
            for key, state in rows.items()
            if key.tally == "lessons"
        }
        assert lessons == counted(events)
        journal = [key for key in rows if key.tally == "journal"]
        assert len(journal) == sum(event["name"] == "draft.sent" and "actor" in event for event in events)
        await engine.check(events)


async def test_a_worker_killed_in_between_leaves_no_state_half_added(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, failures = generate(42, 300), [0]
    added = tally_rows.add

    async def sometimes(*arguments: Any) -> int:
        found = await added(*arguments)
        failures[0] += 1
        if failures[0] % 3 == 1:
            raise OSError("asked to fail behind the states")
        return found

    monkeypatch.setattr("streamgauge_workers.summariser.tally_rows.add", sometimes)
    async with open_engine(redis_url, database_url, catalogue=OWN) as engine:
        await engine.publish(events, 10)
        await engine.drain()
        assert failures[0] > 4
        await engine.check(events)


async def test_a_changed_row_is_found_and_a_rebuild_mends_it_beside_traffic(
    redis_url: str, database_url: str
) -> None:
    first, more = generate(43, 300), generate(44, 200)
    async with open_engine(redis_url, database_url, catalogue=OWN) as engine:
        await engine.publish(first, 20)
        await engine.drain()
        await engine.connection.execute(
            "UPDATE tally_rows SET count = count + 1, said = '{}' WHERE tally = 'lessons'"
        )
        await engine.connection.execute("DELETE FROM tally_rows WHERE tally = 'days'")
        differing = {text.split()[3] for text in (await engine.verified()).differences}
        assert differing == {"lessons", "days"}
        async with engine.working():
            publishing = asyncio.create_task(engine.publish(more, 5))
            await rebuilt(engine, ["lessons", "days"])
            await publishing
            await engine.drained()
        await engine.check([*first, *more])


async def rebuilt(engine: Engine, names: list[str]) -> None:
    one, aside = await open_connection(engine.database_url), await open_connection(engine.database_url)
    try:
        await rebuild(one, aside, names, engine.settings.cardinality_limit, OWN)
    finally:
        await one.close()
        await aside.close()


async def test_a_tally_declared_later_is_filled_from_the_log(redis_url: str, database_url: str) -> None:
    events = generate(45, 200)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events, 20)
        await engine.drain()
        assert await stored(engine) == {}
        await rebuilt(engine, ["lessons", "days", "journal"])
        await replace(engine, catalogue=OWN).check(events)


async def test_a_number_that_no_state_can_hold_is_rejected_by_its_reason(
    redis_url: str, database_url: str
) -> None:
    xp = EventType("coins.earned", "what was earned", {"amount": Property(int, "points")})
    own = CATALOGUE.extended(xp, Tally("coins", ("coins.earned",), (ACTOR,), sums=("amount",)))
    at = generate(46, 1)[0]["at"]
    events = [
        {
            "name": "coins.earned",
            "at": at,
            "tenant": "delhi",
            "actor": b"\1" * 17,
            "properties": {"amount": amount},
            "shard": 0,
        }
        for amount in (-1, 0, 2**48 - 1, 2**48, 2**62)
    ]
    async with open_engine(redis_url, database_url, catalogue=own) as engine:
        await engine.publish(events, 10)
        await engine.drain()
        assert await engine.outcomes() == {("applied", ""): 2, ("rejected", "invalid_value"): 3}
        [state] = (await stored(engine)).values()
        assert (state.count, state.sums) == (2, (2**48 - 1,))
