"""What producers are told to be kept for good (rule P9): committed, on the disk, old enough, and never more."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from asyncpg import Range

from streamgauge.capture.publisher import Lane
from streamgauge.database import Connection, open_connection, open_pool
from streamgauge.errors import ServerError
from streamgauge.frame import freeze
from streamgauge.memory_stream import MemoryStream
from streamgauge.settings import Settings
from streamgauge_workers import acknowledgements, shard_worker
from streamgauge_workers.acknowledgements import Acknowledgements, forget
from streamgauge_workers.queries import SQL
from streamgauge_workers.worker import Worker

from .engine import PATIENCE, event_of, generate, open_engine

ONE, TWO, THREE = (bytes([number]) * 16 for number in (1, 2, 3))
AGE = 10


class Clock:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def clock_by_hand() -> Iterator[Clock]:
    clock = Clock()
    with patch.object(acknowledgements, "time", SimpleNamespace(monotonic=clock)):
        yield clock


async def store(connection: Connection, lane: bytes, *done: tuple[int, int]) -> None:
    """A lane's row."""
    await connection.execute(
        'INSERT INTO lanes (shard, lane, done, "end", closed, born, touched, stray, trusted, scanned) '
        "VALUES (0, $1, $2, 0, false, 0, 0, false, false, 0) ON CONFLICT (shard, lane) DO UPDATE SET done = excluded.done",
        lane,
        [Range(first, end) for first, end in done],
    )


async def opened(database_url: str, age: int = AGE) -> tuple[Connection, MemoryStream, Acknowledgements]:
    connection = await open_connection(database_url)
    await connection.execute("INSERT INTO shards (shard, generation, number) VALUES (0, 0, 0)")
    stream = MemoryStream()
    return connection, stream, Acknowledgements(0, 0, stream, Settings(accepted_loss_seconds=age))


async def run(told: Acknowledgements, connection: Connection) -> None:
    """Run it, with everything that PostgreSQL has written by now on its disk."""
    await connection.execute("SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'test', '')")
    await told.run(connection)


async def test_a_prefix_is_told_when_it_is_as_old_as_the_accepted_loss_and_no_sooner(
    database_url: str,
) -> None:
    with clock_by_hand() as clock:
        connection, stream, told = await opened(database_url)
        await store(connection, ONE, (0, 5))
        await run(told, connection)
        for _ in range(AGE - 1):
            clock.now += 1.0
            await run(told, connection)
        assert await stream.acknowledged(0, [ONE]) == [0]
        await store(connection, ONE, (0, 9))
        told.applied([ONE])
        clock.now += 1.0
        await run(told, connection)
        assert await stream.acknowledged(0, [ONE]) == [5]  # the newer numbers are too young
        clock.now += AGE
        await run(told, connection)
        assert await stream.acknowledged(0, [ONE]) == [9]
        await connection.close()


async def test_what_a_transaction_has_not_committed_is_not_told(database_url: str) -> None:
    with clock_by_hand() as clock:
        connection, stream, told = await opened(database_url)
        await store(connection, ONE, (0, 5))
        other = await open_connection(database_url)
        transaction = other.transaction()
        await transaction.start()
        await store(other, ONE, (0, 50))
        told.applied([ONE])
        for _ in range(2):
            await run(told, connection)
            clock.now += 2 * AGE
        assert await stream.acknowledged(0, [ONE]) == [5]
        await transaction.rollback()
        told.applied([ONE])
        for _ in range(3):
            await run(told, connection)
            clock.now += 2 * AGE
        assert await stream.acknowledged(0, [ONE]) == [5]
        await other.close()
        await connection.close()


async def test_what_is_not_on_postgresqls_disk_is_not_told(database_url: str) -> None:
    with clock_by_hand() as clock:
        connection, stream, told = await opened(database_url)
        await store(connection, ONE, (0, 5))
        never = {**SQL, "wal_flushed": "SELECT $1::text IS NULL"}
        with patch.object(acknowledgements, "SQL", never):
            for _ in range(3):
                await run(told, connection)
                clock.now += AGE
            assert await stream.acknowledged(0, [ONE]) == [0]
        await run(told, connection)
        assert await stream.acknowledged(0, [ONE]) == [5]
        await connection.close()


async def test_a_prefix_ends_at_the_first_hole_and_a_lane_without_its_beginning_has_none(
    database_url: str,
) -> None:
    with clock_by_hand() as clock:
        connection, stream, told = await opened(database_url, 0)
        await store(connection, ONE, (0, 5), (7, 9))
        await store(connection, TWO, (3, 9))
        await store(connection, THREE)
        for _ in range(2):
            await run(told, connection)
            clock.now += 1
        assert stream.nodes[0].acknowledged == {ONE: 5}
        await connection.close()


async def test_whoever_takes_over_tells_everything_again_and_so_does_who_sees_another_history(
    database_url: str,
) -> None:
    with clock_by_hand() as clock:
        connection, stream, told = await opened(database_url)
        for lane in (ONE, TWO):
            await store(connection, lane, (0, 5))
        for _ in range(2):
            await run(told, connection)
            clock.now += AGE
        stream.wipe(0)
        await run(told, connection)
        assert await stream.acknowledged(0, [ONE, TWO]) == [0, 0]  # nothing was touched
        told.again()
        for _ in range(2):
            clock.now += AGE
            await run(told, connection)
        assert await stream.acknowledged(0, [ONE, TWO]) == [5, 5]
        stream.wipe(0)
        other = Acknowledgements(0, 0, stream, Settings(accepted_loss_seconds=AGE))
        for _ in range(2):
            clock.now += AGE
            await run(other, connection)
        assert await stream.acknowledged(0, [ONE, TWO]) == [5, 5]
        await forget(stream, 0, [ONE])
        assert await stream.acknowledged(0, [ONE, TWO]) == [0, 5]
        await connection.close()


async def test_trouble_with_redis_does_not_stop_the_shard_and_is_made_up_for(database_url: str) -> None:
    with clock_by_hand() as clock:
        connection, stream, told = await opened(database_url)
        await store(connection, ONE, (0, 5))
        await run(told, connection)
        clock.now += AGE
        with patch.object(stream, "acknowledge", side_effect=ServerError("full")):
            await run(told, connection)
        clock.now += 1.0
        await run(told, connection)
        assert await stream.acknowledged(0, [ONE]) == [5]
        await connection.close()


@pytest.mark.parametrize("loss", [0, 1])
async def test_a_worker_acknowledges_all_that_it_has_applied(
    redis_url: str, database_url: str, loss: int
) -> None:
    events = generate(50, 120)
    async with open_engine(redis_url, database_url, accepted_loss_seconds=loss) as engine:
        async with engine.working():
            sent = await engine.publish(events, size=30)
            ends = {(shard, batch.lane): batch.end for shard, batch in sent}
            await engine.drained()
            deadline = time.monotonic() + PATIENCE
            while any([
                await engine.stream.acknowledged(shard, [lane]) != [end] for (shard, lane), end in ends.items()
            ]):  # fmt: skip
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        await engine.check(events)


async def test_a_transaction_that_fails_at_its_end_acknowledges_nothing(database_url: str) -> None:
    """The whole worker on a stream in memory."""
    settings = Settings(lease_seconds=1, accepted_loss_seconds=0)
    connection = await open_connection(database_url)
    tenant = await connection.fetchval("INSERT INTO tenants (name) VALUES ('delhi') RETURNING tenant_id")
    await connection.execute(
        "INSERT INTO tenant_time_zones (tenant_id, time_zone) VALUES ($1, 'UTC')", tenant
    )
    # Checked when the transaction is committed, and not before.
    await connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not now'; END$$; "
        "CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON lanes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    stream = MemoryStream(shards=4)
    pool = await open_pool(database_url, 12, synchronous_commit="off")
    worker = Worker(stream, pool, settings)
    lane = Lane(0, int(time.time() * 1000))
    await stream.append(0, lane.freeze(freeze([event_of(event) for event in generate(51, 5)]), 5))
    with patch.object(shard_worker, "BLOCK_MS", 20), patch.object(acknowledgements, "EVERY", 0.02):
        running = asyncio.create_task(worker.run())
        try:
            deadline = time.monotonic() + PATIENCE
            while not await connection.fetchval(
                "SELECT coalesce(max(position_ms), 0) + max(epoch) > 0 FROM shards"
            ):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)
            assert stream.nodes[0].acknowledged == {}
            await connection.execute("DROP TRIGGER refused ON lanes")
            while stream.nodes[0].acknowledged != {lane.id: 5}:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        finally:
            worker.stop()
            await running
            await pool.close()
            await connection.close()
