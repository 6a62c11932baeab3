"""A host that is set wrongly, and refuses an event after another, fills no disk and stops nobody else's events; and no ledger lacks one."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.table import thaw
from streamgauge_workers import plausibility, refusals
from streamgauge_workers.refusals import expire

from .engine import DAY, Engine, Plain, event_of, generate, open_engine

KEPT = 30


@pytest.fixture
async def engine(redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """Room for a few letters only, and looked anew in every transaction."""
    monkeypatch.setattr(refusals, "MOST", KEPT)
    monkeypatch.setattr(refusals, "FRESH", 0.0)
    monkeypatch.setattr(plausibility, "FLOOR", 10**6)
    async with open_engine(redis_url, database_url) as opened:
        yield opened


def nobodys(count: int, seed: int) -> list[Plain]:
    return [{**event, "tenant": "nobody", "shard": 1} for event in generate(seed, count)]


def late(count: int, tenant: str, shard: int) -> list[Plain]:
    return [
        {**event, "at": event["at"] - 30 * DAY, "tenant": tenant, "shard": shard}
        for event in generate(8, count)
    ]


async def letters(engine: Engine) -> dict[tuple[int, str], int]:
    rows = await engine.connection.fetch(
        "SELECT shard, reason, count(*)::int AS n FROM dead_letters GROUP BY 1, 2"
    )
    return {(row["shard"], row["reason"]): row["n"] for row in rows}


async def counted(engine: Engine) -> dict[tuple[int, str], int]:
    rows = await engine.connection.fetch(
        "SELECT shard, reason, sum(events)::int AS n FROM dead_letters_counted GROUP BY 1, 2"
    )
    return {(row["shard"], row["reason"]): row["n"] for row in rows}


async def test_of_a_flood_so_many_letters_are_kept_and_the_rest_is_counted_to_the_last_one(
    engine: Engine,
) -> None:
    good = generate(1, 60)
    await engine.publish(good)
    await engine.publish(nobodys(100, 2), 7)
    await engine.publish([*late(45, "delhi", 1), *late(20, "york", 1), *late(40, "delhi", 2)], 9)
    await engine.drain()
    assert await letters(engine) == {(1, "unknown_tenant"): KEPT, (1, "late"): KEPT + 20, (2, "late"): KEPT}
    assert await counted(engine) == {(1, "unknown_tenant"): 70, (1, "late"): 15, (2, "late"): 10}
    assert await engine.outcomes() == {
        ("applied", ""): 60,
        ("rejected", "unknown_tenant"): 100,
        ("dead_lettered", "late"): 105,
    }
    assert (await engine.verified()).differences == []
    await engine.connection.execute("UPDATE dead_letters_counted SET events = events - 1 WHERE shard = 2")
    assert (await engine.verified()).differences == [
        "dead_letters tenant 1 late: 84 events, the event log gives 85"
    ]


async def test_the_first_ones_are_kept_and_room_comes_again_when_somebody_has_decided(engine: Engine) -> None:
    lane = engine.lane(1)
    numbers = "SELECT array_agg(number ORDER BY number)::int[] FROM dead_letters WHERE state = 'open'"

    async def send(count: int) -> None:
        events = [event_of(each) for each in nobodys(count, 3)]
        batch = lane.freeze(freeze(events), count)
        lane.settle(batch)
        await engine.send(1, batch)
        await engine.drained()

    async with engine.working():  # one and the same
        await send(KEPT + 5)
        assert await engine.connection.fetchval(numbers) == list(range(KEPT))
        for first in (10, 20):
            await engine.connection.execute(
                "UPDATE dead_letters SET state = 'discarded', raw = NULL WHERE number < $1", first
            )
            await send(20)
    assert await counted(engine) == {(1, "unknown_tenant"): 25}
    assert await engine.connection.fetchval(numbers) == [*range(20, KEPT), *range(35, 45), *range(55, 65)]
    assert (await engine.verified()).differences == []


async def test_what_is_only_counted_is_counted_once_however_often_it_is_delivered(engine: Engine) -> None:
    lane = engine.lane(0)
    batch = lane.freeze(freeze([event_of(each) for each in nobodys(50, 4)]), 50)
    await engine.send(0, batch, batch)
    await engine.drain()
    await engine.flush_stream(0)
    await engine.send(0, batch)
    await engine.drain()
    assert await counted(engine) == {(0, "unknown_tenant"): 50 - KEPT}
    assert await engine.redelivered() == 100
    assert (await engine.verified()).differences == []


async def test_a_deleted_tenants_counts_go_with_it(engine: Engine) -> None:
    await engine.publish(late(50, "york", 0))
    await engine.drain()
    policies = await engine.connection.fetchval(
        "SELECT count(*) FROM pg_policies WHERE tablename = 'dead_letters_counted'"
    )
    assert policies == 2
    assert await counted(engine) == {(0, "late"): 20}
    await engine.connection.execute("UPDATE tenants SET status = 'deleting' WHERE name = 'york'")
    await engine.connection.execute(
        "INSERT INTO deletion_receipts (tenant, requested_by) VALUES ('york', 'a test')"
    )
    async with engine.working():
        await engine.until("SELECT deleted_at IS NOT NULL FROM deletion_receipts")
    assert await counted(engine) == {}
    assert (await engine.verified()).differences == []


async def test_events_of_unknown_tenants_do_not_stop_a_shard_for_the_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plausibility, "FLOOR", 10)
    good = [event for event in generate(5, 80) if event["shard"] == 1]
    await engine.publish(nobodys(400, 6), 50)
    await engine.publish(good)
    await engine.drain()
    assert await plausibility.stopped(engine.connection) == []
    assert (await engine.outcomes())["applied", ""] == len(good)
    assert (await engine.verified()).differences == []


async def test_old_letters_lose_what_they_held_and_nothing_else(engine: Engine) -> None:
    await engine.publish(late(20, "delhi", 0))
    await engine.drain()
    aged = "UPDATE dead_letters SET at = now() - interval '40 days', requested_at = $1 WHERE number % 4 = $2"
    await engine.connection.execute(aged, None, 0)
    await engine.connection.execute(aged, await engine.connection.fetchval("SELECT now()"), 1)
    outcomes = await engine.outcomes()
    assert await expire(engine.connection, 1, timedelta(days=30)) == 0
    assert await expire(engine.connection, 0, timedelta(days=30)) == 5
    assert await expire(engine.connection, 0, timedelta(days=30)) == 0
    kept = await engine.connection.fetch("SELECT number, state, raw FROM dead_letters ORDER BY number")
    assert [row["number"] for row in kept if row["raw"] is None] == [0, 4, 8, 12, 16]
    assert {row["state"] for row in kept} == {"open"}
    events: list[Event] = [thaw(row["raw"]).event(0) for row in kept if row["raw"] is not None]
    assert len(events) == 15
    assert await engine.outcomes() == outcomes
    assert (await engine.verified()).differences == []
