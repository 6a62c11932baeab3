"""What must not take the pipeline down, or its numbers: one tenant's mistake, a schema that does not fit, hostile entries, long readers."""

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from streamgauge.catalogue import CATALOGUE
from streamgauge.database import open_connection
from streamgauge.entry import Announcement, Batch, encode
from streamgauge.errors import InputError, SettingsError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.settings import Settings
from streamgauge.stream import stream_key
from streamgauge.summaries.rollups import Dimension, Rollup
from streamgauge_workers import verify as verification
from streamgauge_workers.queries import SQL
from streamgauge_workers.rebuild import rebuild
from streamgauge_workers.worker import open_worker

from .engine import DAY, Engine, event_of, generate, open_engine


async def test_a_tenant_with_a_zone_nobody_knows_does_not_hurt_the_others(
    redis_url: str, database_url: str
) -> None:
    events = generate(1, 200)
    async with open_engine(redis_url, database_url) as engine:
        await engine.connection.execute(
            "WITH made AS (INSERT INTO tenants (name) VALUES ('newcomer') RETURNING tenant_id) "
            "INSERT INTO tenant_time_zones (tenant_id, time_zone) SELECT tenant_id, 'Mars/Olympus' FROM made"
        )
        await engine.publish(events, 10)
        await engine.drain()
        assert await engine.outcomes() == {("applied", ""): 200}


async def test_a_schema_that_does_not_fit_stops_the_shards_and_dead_letters_nothing(
    redis_url: str, database_url: str
) -> None:
    events = generate(1, 200)
    async with open_engine(redis_url, database_url) as engine:
        await engine.connection.execute("ALTER TABLE daily_summary RENAME COLUMN totals TO other")
        await engine.publish(events, 10)
        async with engine.working():
            await asyncio.sleep(3)
            assert await engine.outcomes() == {}
            await engine.connection.execute("ALTER TABLE daily_summary RENAME COLUMN other TO totals")
            await engine.drained()
        await engine.check(events)


async def test_when_nothing_can_be_applied_no_more_than_a_few_entries_are_dead_lettered(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("streamgauge_workers.summariser.fold", broken)
    monkeypatch.setattr("streamgauge_workers.shard_worker.LONGEST_BACKOFF", 0.05)
    events = [{**event, "shard": 0} for event in generate(1, 40)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events, 2)
        async with engine.working():
            await asyncio.sleep(5)
        assert await engine.outcomes() == {("dead_lettered", "poison"): 6}


@pytest.mark.parametrize("what", ["a batch of billions", "a reason with U+0000"])
async def test_a_hostile_entry_is_put_aside_and_its_shard_goes_on(
    redis_url: str, database_url: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What our own classes refuse to make, written by somebody who has none.
    for record in (Batch, Announcement):
        monkeypatch.setattr(record, "__post_init__", lambda _: None)
    hostile = (
        Batch(b"h" * 16, 1, 0, 0, 2**31, b"\1garbage")
        if what == "a batch of billions"
        else Announcement(b"h" * 16, 1, 0, 0, False, {"a\0b": 1})
    )
    fields = encode(hostile)
    monkeypatch.undo()
    events = generate(1, 80)
    async with open_engine(redis_url, database_url) as engine:
        await add_raw(redis_url, fields)
        await engine.publish(events, 10)
        await engine.drain()
        assert await engine.outcomes() == {("applied", ""): 80, ("dead_lettered", "undecodable"): 1}


async def add_raw(redis_url: str, fields: dict[Any, Any]) -> None:
    async with Redis.from_url(redis_url) as client:
        await client.xadd(stream_key("streamgauge", 0, 0), fields)


async def test_one_event_with_an_impossible_source_leaves_the_others_of_its_entry_alone(
    redis_url: str, database_url: str
) -> None:
    now = time.time_ns() // 1_000
    events = [Event("quiz.tried", now, "delhi") for _ in range(99)]
    events.append(Event("quiz.tried", now - 30 * DAY, "delhi", source="\0"))  # type: ignore[arg-type]  # hostile
    async with open_engine(redis_url, database_url) as engine:
        lane = engine.lane(0)
        await engine.send(0, lane.freeze(freeze(events), 100))
        await engine.drain()
        assert await engine.outcomes() == {("applied", ""): 99, ("rejected", "invalid_text"): 1}


@pytest.mark.parametrize("name", ["max_lateness_days", "cardinality_limit", "shards"])
async def test_a_worker_with_other_settings_than_the_tables_were_made_with_refuses_to_start(
    redis_url: str, database_url: str, name: str
) -> None:
    settings = Settings(lease_seconds=1)
    worker, pool, stream = await open_worker(settings, redis_url, database_url)
    worker.stop()
    await worker.run()
    await pool.close()
    await stream.aclose()
    other = Settings.from_environ({}, lease_seconds=1, **{name: 5})
    worker, pool, stream = await open_worker(other, redis_url, database_url)
    with pytest.raises(
        SettingsError, match=f"STREAMGAUGE_{name.upper()} is 5, and {getattr(settings, name)} in the database"
    ):
        await worker.run()
    await pool.close()
    await stream.aclose()


async def test_rebuilding_one_rollup_moves_what_it_pushes_out_of_the_others(
    redis_url: str, database_url: str
) -> None:
    own = Rollup("lessons", "lesson.read", (Dimension("http.route"),), ((), ("http.route",)))
    events = [{**event, "shard": 0} for event in generate(3, 600, routes=4)]
    async with open_engine(redis_url, database_url, cardinality_limit=4) as engine:
        await engine.publish(events)
        await engine.drain()
        engine.catalogue = CATALOGUE.extended(own)
        await rebuilt(engine, ["lessons"], 4)
        assert (await engine.verified()).differences == []


async def rebuilt(engine: Engine, metrics: list[str], limit: int) -> None:
    one, aside = await open_connection(engine.database_url), await open_connection(engine.database_url)
    await rebuild(one, aside, metrics, limit, engine.catalogue)
    await one.close()
    await aside.close()


async def test_a_long_reader_of_the_log_keeps_no_partition_from_being_made(
    redis_url: str, database_url: str
) -> None:
    events = generate(1, 50)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events)
        await engine.drain()
        # As after midnight: a partition that is needed is not there yet.
        last = await engine.connection.fetchval(
            "SELECT max(relname::text) FROM pg_class JOIN pg_inherits ON oid = inhrelid WHERE inhparent = 'event_log'::regclass"
        )
        await engine.connection.execute(f"DROP TABLE {last}")
        reader = await open_connection(engine.database_url)
        async with reader.transaction(isolation="repeatable_read", readonly=True):
            await reader.fetch("SELECT count(*) FROM event_log")  # what verify holds on to as long as it runs
            more = generate(2, 100)
            await engine.publish(more)
            await engine.drain()
            assert await engine.connection.fetchval("SELECT to_regclass($1) IS NOT NULL", last)
        await reader.close()
        await engine.check([*events, *more])


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("UPDATE series SET tenant_id = (SELECT max(tenant_id) FROM tenants)", "hourly_summary"),
        (
            "UPDATE summary_members SET tenant_id = (SELECT max(tenant_id) FROM tenants) WHERE grain = 'd'",
            "daily_summary",
        ),
        ("DELETE FROM dead_letters", "dead_letters"),
    ],
)
async def test_what_readers_go_by_is_verified(
    redis_url: str, database_url: str, change: str, table: str
) -> None:
    late = [
        {
            "name": "quiz.tried",
            "at": 1_700_000_000_000_000,
            "tenant": "delhi",
            "properties": {},
            "shard": 0,
        }
    ] * 3
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish([*generate(1, 200), *late])
        await engine.drain()
        assert (await engine.verified()).differences == []
        await engine.connection.execute(change)
        assert table in {each.table for each in (await engine.verified()).tables if each.differences}


async def test_a_rebuild_during_a_verification_leaves_it_stale(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember = verification._remember

    async def late(*arguments: Any) -> None:
        await rebuilt(engine, [], engine.settings.cardinality_limit)
        await remember(*arguments)

    monkeypatch.setattr(verification, "_remember", late)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(generate(1, 100))
        await engine.drain()
        await engine.verified()
        row = await engine.connection.fetchrow(
            "SELECT v.revision AS verified, t.revision AS now FROM verifications v JOIN tenants t USING (tenant_id) LIMIT 1"
        )
        assert row is not None
        assert row["verified"] < row["now"]


async def test_a_forgotten_lane_that_goes_on_does_not_make_verify_fail(
    redis_url: str, database_url: str
) -> None:
    events = generate(1, 40)
    born = time.time_ns() // 1_000_000 - 20 * 86_400_000
    async with open_engine(redis_url, database_url) as engine:
        lane = engine.lane(0, born=born)
        await engine.send(0, lane.freeze(freeze([event_of(event) for event in events[:20]]), 20))
        await engine.drain()
        await engine.connection.execute("UPDATE lanes SET touched = touched - 9 * 86400000::bigint")
        await engine.connection.fetch(SQL["lanes_forget"], 0, time.time_ns() // 1_000_000 - 8 * 86_400_000)
        await engine.send(0, lane.freeze(freeze([event_of(event) for event in events[20:]]), 20))
        await engine.drain()
        lanes = next(each for each in (await engine.verified()).tables if each.table == "lanes")
        assert lanes.differences == []


async def test_a_shard_that_waits_does_not_keep_the_other_leases_from_being_renewed(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url) as engine, engine.working() as (first,):
        await engine.publish(generate(1, 40))
        await engine.drained()
        holder = await open_connection(database_url)
        holding = holder.transaction()
        await holding.start()
        await holder.execute("SELECT FROM shards WHERE shard >= 2 FOR UPDATE")  # as a rebuild does
        await engine.publish(generate(2, 100))
        await asyncio.sleep(0.5)
        async with engine.working(1):
            await asyncio.sleep(3 * engine.settings.lease_seconds)
            seen = await engine.connection.fetchval(
                "SELECT now() - seen_at < interval '1 second' FROM workers WHERE worker_id = $1",
                first.leases.worker_id,
            )
            await holding.rollback()
        await holder.close()
        assert seen
        await engine.drained()


def test_a_frame_that_could_not_be_stored_is_refused_where_it_is_made() -> None:
    with pytest.raises(InputError, match="n is 40000"):
        Batch(b"h" * 16, 1, 0, 0, 40_000, b"")
