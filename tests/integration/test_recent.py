"""The live views on real servers: the newest activities and who was there in the last minutes, whatever happens to workers."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from pyroaring import BitMap

from streamgauge.catalogue import CATALOGUE
from streamgauge.errors import FencedError
from streamgauge.stream import History
from streamgauge_workers import recent_actors
from streamgauge_workers.applier import Applier
from streamgauge_workers.housekeeping import Housekeeping
from streamgauge_workers.lag import Lag
from streamgauge_workers.position import Position
from streamgauge_workers.rebuild import rebuild
from streamgauge_workers.recent_actors import MOST_PARTS
from streamgauge_workers.tenants import Tenants

from .engine import DAY, Engine, Plain, generate, open_engine
from .program import Program, given

MINUTE = 60_000_000
FIVE_MINUTES = 5 * MINUTE


def recent_events(seed: int, count: int, spread: int = 4 * MINUTE) -> list[Plain]:
    """Events of the last minutes, no two of the same microsecond."""
    chosen = random.Random(seed)
    now = time.time_ns() // 1_000
    times = chosen.sample(range(now - spread, now), count)
    return [{**event, "at": at} for event, at in zip(generate(seed, count), times, strict=True)]


async def shown(engine: Engine) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The activities of every tenant in every shard."""
    rows = await engine.connection.fetch(
        "SELECT name, shard, activities FROM recent_activity JOIN tenants USING (tenant_id)"
    )
    return {(row["name"], row["shard"]): orjson.loads(row["activities"]) for row in rows}


async def present(engine: Engine) -> dict[tuple[str, int], set[bytes]]:
    """The pseudonyms of every tenant's buckets, stripes merged; a bucket is the Unix second of its start."""
    rows = await engine.connection.fetch(
        "SELECT tenant_id, name, extract(epoch FROM bucket)::bigint AS bucket, members FROM recent_actors "
        "JOIN tenants USING (tenant_id)"
    )
    ids = {
        (row["tenant_id"], row["actor_id"]): row["pseudonym"]
        for row in await engine.connection.fetch("SELECT * FROM actors")
    }
    found: dict[tuple[str, int], set[bytes]] = {}
    for row in rows:
        members = {ids[row["tenant_id"], each] for each in BitMap.deserialize(row["members"])}
        found.setdefault((row["name"], row["bucket"]), set()).update(members)
    return found


def newest(events: Sequence[Plain]) -> dict[tuple[str, int], list[int]]:
    """The times of the ten newest events of every tenant in every shard."""
    found: dict[tuple[str, int], list[int]] = {}
    for event in sorted(events, key=lambda each: -each["at"]):
        found.setdefault((event["tenant"], event["shard"]), []).append(event["at"])
    return {place: times[:10] for place, times in found.items()}


def actors_of(events: Sequence[Plain]) -> dict[tuple[str, int], set[bytes]]:
    """The actors of every tenant's ten-second buckets."""
    found: dict[tuple[str, int], set[bytes]] = {}
    for event in events:
        if "actor" in event:
            place = event["tenant"], event["at"] // 10_000_000 * 10
            found.setdefault(place, set()).add(event["actor"])
    return found


async def check(engine: Engine, events: Sequence[Plain]) -> None:
    """Both live views show what these events, all of them of the last minutes, say."""
    times = {place: [each["at"] for each in found] for place, found in (await shown(engine)).items()}
    assert times == newest(events)
    assert await present(engine) == actors_of(events)


@pytest.mark.parametrize(("size", "workers"), [(500, 1), (1, 1), (7, 3)])
async def test_any_order_batching_and_number_of_workers_shows_the_same(
    redis_url: str, database_url: str, size: int, workers: int
) -> None:
    events = recent_events(size, 500)
    async with open_engine(redis_url, database_url, batch_events=50) as engine:
        await engine.publish(events[:300], size)
        async with engine.working(workers):
            sent = await engine.publish(events[300:], size)
            for shard, batch in sent[:20]:
                await engine.send(shard, batch)
            await engine.drained()
        await check(engine, events)
        # The whole of one activity, as it was sent.
        place, (first, *_) = next(iter((await shown(engine)).items()))
        event = next(each for each in events if each["at"] == first["at"])
        declared = event["properties"] if event["name"] == "http.request" else {}
        actor = event.get("actor")
        assert first == {
            "at": event["at"], "name": event["name"], "actor": None if actor is None else actor.hex(), "group": None, "session": False,
            "properties": {name: value for name, value in declared.items() if name in first["properties"]},
        }  # fmt: skip
        assert len(first["properties"]) == min(len(declared), 5)
        assert place == (event["tenant"], event["shard"])
        await engine.check(events)


async def test_what_was_refused_or_repeated_is_not_shown(redis_url: str, database_url: str) -> None:
    now = time.time_ns() // 1_000
    good: Plain = {
        "name": "a.b", "at": now - MINUTE, "tenant": "delhi", "properties": {}, "shard": 0, "key": b"k" * 16,
        "actor": b"\1" + b"g" * 16,
    }  # fmt: skip
    also = {**good, "at": now - 2 * MINUTE, "key": None}
    bad = [
        {**good, "at": now + 60 * MINUTE, "key": None},
        {**good, "at": now - 30 * DAY, "key": None},
        {**good, "tenant": "nobody", "key": None},
        {**good, "at": now, "actor": b"\1" + b"r" * 16},  # repeats the key
        {**good, "at": now, "session": "\0", "key": None},
    ]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish([good], 1)
        await engine.drain()
        # One of the same batch is applied, so the others are there to be left out.
        await engine.publish([*bad, also], 6)
        await engine.drain()
        assert len(await engine.outcomes()) == 5 + 1
        await check(engine, [good, also])


async def test_history_pushes_out_nothing_newer_and_nobody_of_it_counts_as_present(
    redis_url: str, database_url: str
) -> None:
    live = [{**event, "shard": 1, "tenant": "delhi"} for event in recent_events(1, 6)]
    old = [{**event, "at": event["at"] - 400 * DAY} for event in live + recent_events(2, 300)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(live, 3)
        await engine.drain()
        lanes = {shard: engine.lane(shard) for shard in range(4)}
        for lane in lanes.values():
            await engine.trust(lane)
        await engine.publish(old, 50, lanes)
        await engine.drain()
        times = {place: [each["at"] for each in found] for place, found in (await shown(engine)).items()}
        assert times == newest(live + old)
        assert times["delhi", 1][:6] == newest(live)["delhi", 1]
        assert await present(engine) == actors_of(live)


async def test_many_small_transactions_leave_few_parts(redis_url: str, database_url: str) -> None:
    now = time.time_ns() // 1_000 // 10_000_000 * 10_000_000 - 20_000_000
    events: list[Plain] = [
        {
            "name": "a.b", "at": now + number, "tenant": "delhi", "properties": {}, "shard": 2,
            "actor": b"\1" + number.to_bytes(16, "big"),
        }
        for number in range(200)
    ]  # fmt: skip
    async with open_engine(redis_url, database_url, batch_events=1) as engine:
        await engine.publish(events, 1)
        await engine.drain()
        parts = await engine.connection.fetchval("SELECT count(*) FROM recent_actors")
        assert 1 <= parts <= MOST_PARTS
        await check(engine, events)


async def test_rows_of_before_ten_minutes_are_removed_by_the_owner_and_newer_ones_stay(
    redis_url: str, database_url: str
) -> None:
    insert = "INSERT INTO recent_actors SELECT $1, 1, now() - n * interval '1 minute', 1, '' FROM unnest($2::int[]) n"
    async with open_engine(redis_url, database_url) as engine:
        async with engine.working():
            await engine.until("SELECT count(*) = 5 FROM shards WHERE epoch = 1")
        await engine.connection.execute(insert, 0, [1, 9, 11, 600])
        await engine.connection.execute(insert, 1, [11])
        housekeeping = Housekeeping(0, engine.stream, engine.settings, Lag(0, engine.stream))
        housekeeping.due = 0.0
        assert await housekeeping.run(engine.connection, await Position.load(engine.connection, 0)) is False
        ages = await engine.connection.fetch(
            "SELECT shard, round(extract(epoch FROM now() - bucket) / 60)::int AS age FROM recent_actors ORDER BY 1, 2"
        )
        assert [tuple(row) for row in ages] == [(0, 1), (0, 9), (1, 11)]


async def test_of_many_old_rows_one_pass_removes_a_bounded_number(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_actors, "MOST_FORGOTTEN", 3)
    async with open_engine(redis_url, database_url) as engine:
        await engine.connection.execute(
            "INSERT INTO recent_actors SELECT 0, n, now() - interval '1 hour', 1, '' FROM generate_series(1, 5) n"
        )
        for left in (2, 0):
            await recent_actors.forget(engine.connection, 0)
            assert await engine.connection.fetchval("SELECT count(*) FROM recent_actors") == left


async def test_a_zombie_and_a_failed_transaction_leave_no_trace_and_the_next_owner_goes_on(
    redis_url: str, database_url: str
) -> None:
    events = [{**event, "shard": 0} for event in recent_events(3, 90)]
    async with open_engine(redis_url, database_url) as engine:
        connection, tenants = engine.connection, Tenants()
        lanes = {0: engine.lane(0)}
        async with engine.working():  # makes the shards
            await engine.until("SELECT count(*) = 5 FROM shards WHERE epoch = 1")
        await engine.publish(events[:30], 30, lanes)
        await engine.drain()
        zombie = Applier(0, tenants, CATALOGUE, engine.settings)
        before = await Position.load(connection, 0)
        await engine.publish(events[30:60], 30, lanes)
        await engine.drain()
        reader = await engine.stream.open_reader(0)
        reading = await reader.read(before.entry_id, 10, 0)
        await reader.aclose()
        assert isinstance(reading.history, History)
        with pytest.raises(FencedError):
            await zombie.apply(connection, connection, before, reading.entries, time.monotonic())
        await check(engine, events[:60])
        # A transaction that fails after the live views were written.
        await connection.execute("ALTER TABLE outcome_ledger RENAME TO elsewhere")
        await engine.publish(events[60:], 5, lanes)
        async with engine.working():
            await asyncio.sleep(0.3)
            await check(engine, events[:60])
            await connection.execute("ALTER TABLE elsewhere RENAME TO outcome_ledger")
            await engine.drained()
        await check(engine, events)
        await engine.check(events)


async def test_damaged_rows_of_the_live_views_do_not_stop_a_shard_and_heal(
    redis_url: str, database_url: str
) -> None:
    events = recent_events(4, 400, MINUTE)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events[:200], 50)
        await engine.drain()
        await engine.connection.execute("""UPDATE recent_activity SET activities = '{"at": 1}'""")
        await engine.connection.execute("UPDATE recent_actors SET members = 'nonsense'")
        await engine.publish(events[200:], 50)
        await engine.drain()
        await engine.check(events)
        times = {place: [each["at"] for each in found] for place, found in (await shown(engine)).items()}
        assert times == newest(events[200:])
        touched = actors_of(events[200:])
        damaged = (
            "DELETE FROM recent_actors WHERE members = 'nonsense'"  # buckets that nobody new was seen in
        )
        await engine.connection.execute(damaged)
        assert await present(engine) == touched


async def test_verify_and_rebuild_neither_mind_nor_touch_the_live_views(
    redis_url: str, database_url: str
) -> None:
    events = recent_events(5, 200)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events, 20)
        await engine.drain()
        before = await shown(engine), await present(engine)
        await rebuild(engine.connection, engine.connection, [], engine.settings.cardinality_limit)
        assert (await shown(engine), await present(engine)) == before
        await engine.check(events)
        await engine.connection.execute("DELETE FROM recent_activity")
        await engine.connection.execute("DELETE FROM recent_actors")
        assert (await engine.verified()).differences == []


async def test_after_a_kill_in_the_middle_the_next_worker_shows_every_event_once(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    events = recent_events(6, 3000)
    urls = given(redis_url, database_url, STREAMGAUGE_LEASE_SECONDS="1", STREAMGAUGE_BATCH_EVENTS="40")
    async with open_engine(redis_url, database_url) as engine:
        applied = "SELECT coalesce(sum(events), 0) >= $1 FROM outcome_ledger"
        await engine.publish(events[:1500], 20)
        with Program("worker", "--port", "0", log=tmp_path / "one", **urls) as first:
            await engine.until(applied, 200)
            first.process.kill()
            first.ended()
            done = await engine.connection.fetchval("SELECT sum(events)::int FROM outcome_ledger")
            assert done < 1500, "it was killed in the middle"
            with (
                Program("worker", "--port", "0", log=tmp_path / "two", **urls),
                Program("worker", "--port", "0", log=tmp_path / "three", **urls) as third,
            ):
                await engine.until(applied, 1000)
                third.process.kill()
                await engine.publish(events[1500:], 20)
                await engine.until(applied, 3000)
        await check(engine, events)
        await engine.check(events)
