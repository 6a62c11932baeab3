"""Entries that cannot be applied: kept and counted, while everything else is applied exactly."""

from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest

from streamgauge import table as frames
from streamgauge.entry import VERSION, Batch, EntryId, checksum, encode
from streamgauge.frame import VERSION as FRAME_VERSION
from streamgauge.frame import freeze
from streamgauge.summaries.fold import Group
from streamgauge.summaries.fold import fold as real_fold
from streamgauge.table import Table
from streamgauge_workers import suspicion

from .engine import Engine, event_of, generate, open_engine

KEY = "streamgauge:{0.%d}:events"
NEWER = bytes([FRAME_VERSION + 1])


async def dead_letters(engine: Engine) -> list[tuple[str, int]]:
    rows = await engine.connection.fetch("SELECT reason, events FROM dead_letters ORDER BY dead_letter_id")
    return [(row["reason"], row["events"]) for row in rows]


def poisoned(kill: Callable[[Table], bool]) -> Callable[..., Iterator[Group]]:
    def fold(table: Table, *rest: Any) -> Iterator[Group]:
        if kill(table):
            raise ValueError("this event cannot be folded")
        return real_fold(table, *rest)

    return fold


def holds(name: str) -> Callable[[Table], bool]:
    return lambda table: name in {table.name.values[code] for code in table.name.codes.tolist()}


async def test_a_payload_that_is_no_frame_is_a_dead_letter_and_the_rest_is_applied(
    redis_url: str, database_url: str
) -> None:
    events = generate(1, 200)
    async with open_engine(redis_url, database_url) as engine:
        lane = engine.lane(0)
        await engine.publish(events[:100], 10)
        garbage = lane.freeze(b"\1garbage", 7)
        short = lane.freeze(freeze([event_of(events[0])]), 3)  # holds fewer events than its entry says
        await engine.send(0, garbage, short, garbage, lane.announcement(closed=True))
        await engine.publish(events[100:], 10)
        await engine.drain()
        await engine.send(0, garbage, short)  # once more, when they are done
        await engine.drain()
        await engine.check(events)
        assert await dead_letters(engine) == [("undecodable", 7), ("undecodable", 3)]
        assert await engine.outcomes() == {("applied", ""): 200, ("dead_lettered", "undecodable"): 10}
        assert (await engine.transport()).lost == 0
        kept = await engine.connection.fetchval(
            "SELECT raw FROM dead_letters ORDER BY dead_letter_id LIMIT 1"
        )
        assert kept == b"\1garbage"


async def test_entries_that_are_not_ours_or_damaged_are_kept_once(redis_url: str, database_url: str) -> None:
    events = generate(2, 100)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events[:50], 10)
        fields = encode(engine.lane(1).freeze(freeze([event_of(events[0])]), 1))
        damaged = {**fields, b"p": fields[b"p"][:-1] + b"x"}
        foreign: list[dict[Any, Any]] = [
            {b"hello": b"world"}, {b"h": b""}, {b"h": b"x" * 50, b"p": b"{}"}, {**damaged}, {**damaged},
        ]  # fmt: skip
        for each in foreign:
            await engine.redis.xadd(KEY % 1, each)
        await engine.publish(events[50:], 10)
        await engine.drain()
        assert await engine.rows() == await engine.expected(events)
        assert await dead_letters(engine) == [("undecodable", 1)] * 4
        assert await engine.outcomes() == {("applied", ""): 100, ("dead_lettered", "undecodable"): 4}
        assert (await engine.verified()).differences == []


async def test_an_entry_that_makes_the_fold_fail_is_a_dead_letter_and_the_rest_is_applied(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge_workers.summariser.fold", poisoned(holds("poison.event")))
    events = generate(3, 300)
    bad = [{**event, "name": "poison.event"} for event in generate(4, 6)]
    async with open_engine(redis_url, database_url) as engine:
        async with engine.working():
            await engine.publish(events[:100], 10)
            for event in bad:
                await engine.publish([event], 1)
            await engine.publish(events[100:], 10)
            await engine.drained()
        await engine.check(events)
        assert await dead_letters(engine) == [("poison", 1)] * 6
        assert await engine.outcomes() == {("applied", ""): 300, ("dead_lettered", "poison"): 6}
        detail = await engine.connection.fetchval("SELECT detail FROM dead_letters LIMIT 1")
        assert f"failed {suspicion.FAILURES_ALLOWED} times" in detail
        # Its bytes are kept, so that it can be replayed once the fault is mended.
        assert frames.thaw(await engine.connection.fetchval("SELECT raw FROM dead_letters LIMIT 1")).n == 1
        assert (await engine.transport()).lost == 0


async def test_a_failure_that_passes_costs_nothing(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [suspicion.FAILURES_ALLOWED - 1]

    def kill(table: Table) -> bool:
        left[0] -= 1
        return left[0] >= 0

    monkeypatch.setattr("streamgauge_workers.summariser.fold", poisoned(kill))
    events = [{**event, "shard": 0} for event in generate(5, 100)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events, 10)
        await engine.drain()
        await engine.check(events)
        assert await dead_letters(engine) == []


async def tried(engine: Engine, shard: int, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let a worker try in vain that often."""
    tries = [0]
    real = suspicion.Suspicion.failed

    def failed(self: suspicion.Suspicion, *arguments: Any) -> None:
        tries[0] += 1
        real(self, *arguments)

    monkeypatch.setattr(suspicion.Suspicion, "failed", failed)
    async with engine.working():
        await engine.drained({0, 1, 2, 3} - {shard})
        for _ in range(3_000):
            if tries[0] >= times:
                break
            await engine.until("SELECT pg_sleep(0.005) IS NOT NULL")
    monkeypatch.setattr(suspicion.Suspicion, "failed", real)
    assert tries[0] >= times or await dead_letters(engine)


async def test_a_frame_of_a_newer_version_stops_its_shard_until_the_worker_is_upgraded(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = generate(6, 200)
    new = [{**event, "shard": 0} for event in generate(7, 10)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events[:100], 10)
        lane = engine.lane(0)
        payload = NEWER + freeze([event_of(event) for event in new])[1:]
        await engine.send(0, lane.freeze(payload, 10), lane.announcement(closed=True))
        await engine.publish(events[100:], 10)
        # Often, in a process, and again in the next one: it may take days until somebody upgrades.
        await tried(engine, 0, monkeypatch, 25)
        await tried(engine, 0, monkeypatch, 5)
        assert await dead_letters(engine) == []
        ahead = [event for event in events[:100] if event["shard"] == 0]
        others = [event for event in events if event["shard"] != 0]
        await engine.check(ahead + others)  # what came in front of it is applied, nothing behind it

        def upgraded(payload: bytes) -> Table:
            return frames.thaw(bytes([FRAME_VERSION]) + payload[1:])

        monkeypatch.setattr("streamgauge_workers.applier.thaw", upgraded)
        monkeypatch.setattr("streamgauge_workers.event_log.thaw", upgraded)
        await engine.drain()
        await engine.check(events + new)
        assert await dead_letters(engine) == []


async def test_an_entry_of_a_newer_version_stops_its_shard_and_the_others_go_on(
    redis_url: str, database_url: str
) -> None:
    events = generate(8, 200)
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events[:100], 10)
        header = encode(engine.lane(2).freeze(b"x", 1))[b"h"][1:-4]
        body = bytes([VERSION + 1]) + header
        newer: dict[Any, Any] = {b"h": body + checksum(body, [(b"p", b"x")]).to_bytes(4, "big"), b"p": b"x"}
        stopped = EntryId.parse(await engine.redis.xadd(KEY % 2, newer))
        await engine.publish(events[100:], 10)
        async with engine.working():
            await engine.drained({0, 1, 3})
            await engine.until("SELECT pg_sleep(0.3) IS NOT NULL")
        row = await engine.connection.fetchrow("SELECT position_ms, position_seq FROM shards WHERE shard = 2")
        assert row is not None
        assert EntryId(*row) < stopped
        await engine.check(
            [event for place, event in enumerate(events) if event["shard"] != 2 or place < 100]
        )
        assert await dead_letters(engine) == []


async def test_trouble_of_the_server_never_makes_a_dead_letter_however_long_it_lasts(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [{**event, "shard": 0} for event in generate(9, 60)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.connection.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;"
            "CREATE TRIGGER full_disk BEFORE INSERT ON hourly_summary EXECUTE FUNCTION full_disk()"
        )
        await engine.publish(events, 10)
        await tried(engine, 0, monkeypatch, 25)
        await tried(engine, 0, monkeypatch, 5)  # the operator restarts the worker
        assert await engine.rows() == {}
        await engine.connection.execute("DROP TRIGGER full_disk ON hourly_summary")
        await engine.drain()
        await engine.check(events)
        assert await dead_letters(engine) == []


async def test_an_entry_that_kills_its_process_again_and_again_is_a_dead_letter(
    redis_url: str, database_url: str
) -> None:
    events = [{**event, "shard": 0} for event in generate(10, 40)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.publish(events[:10], 10)
        await engine.drain()
        await engine.publish(events[10:20], 10)
        await engine.publish(events[20:], 10)
        # What dead processes leave behind is the count made before each attempt.
        await engine.connection.execute(
            "UPDATE shards SET attempts = $1 WHERE shard = 0", suspicion.CRASHES_ALLOWED
        )
        await engine.drain()
        assert await dead_letters(engine) == [("poison", 10)]
        await engine.check(events[:10] + events[20:])


async def test_a_write_that_postgresql_refuses_leaves_nothing_of_the_batch_behind(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [{**event, "shard": 0} for event in generate(11, 20)]
    async with open_engine(redis_url, database_url) as engine:
        await engine.connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' "
            "USING ERRCODE = '57014'; END $$; CREATE TRIGGER refuse BEFORE INSERT ON lanes EXECUTE FUNCTION refuse()"
        )
        await engine.publish(events, 10)
        await tried(engine, 0, monkeypatch, 3)
        tables = (
            "event_log",
            "outcome_ledger",
            "hourly_summary",
            "daily_summary",
            "summary_members",
            "actors",
            "series",
        )
        for table in tables:
            assert await engine.connection.fetchval(f"SELECT count(*) FROM {table}") == 0
        row = await engine.connection.fetchrow("SELECT position_ms FROM shards WHERE shard = 0")
        assert row is not None
        assert row["position_ms"] == 0
        await engine.connection.execute("DROP TRIGGER refuse ON lanes")
        await engine.drain()
        await engine.check(events)


def test_transient_errors_are_the_servers_and_not_the_entries() -> None:
    assert suspicion.transient(asyncpg.DiskFullError())
    assert suspicion.transient(asyncpg.DeadlockDetectedError())
    assert suspicion.transient(ConnectionResetError())
    assert not suspicion.transient(asyncpg.UniqueViolationError())
    assert not suspicion.transient(ValueError())


def test_a_batch_is_what_its_numbers_say() -> None:
    # Guards the constant that these tests build newer entries with.
    assert encode(Batch(bytes(16), 0, 0, 0, 1, b"x"))[b"h"][0] == VERSION
