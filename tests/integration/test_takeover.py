"""Worker processes that are killed or suspended at every step: what they leave behind is taken over, and every event counts once."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from streamgauge import failpoints
from streamgauge.database import Connection, open_connection
from streamgauge_workers.leases import Leases, session_name
from tests.integration.program import PATIENCE, Program, fetch, free_port, given
from tests.integration.test_worker_process import Site, exact, values

SHARDS = 4
#: These come with a clock's ticking, the others with a batch; a history changes once, at the beginning.
OF_THE_CLOCK: tuple[str, ...] = ("trim.before", "trim.after", "acknowledge.before", "acknowledge.after")
OF_A_BATCH = tuple(place for place in failpoints.PLACES if place.startswith(("lease.", "batch.", "commit.")))
if not os.environ.get("STREAMGAUGE_TESTS_FULL"):
    # One on each side of what counts; a process takes seconds to start, and the fault suite's F1 is at every place.
    OF_THE_CLOCK = ("acknowledge.before",)
    OF_A_BATCH = ("batch.read", "commit.swapped", "commit.before", "commit.after")
#: What asyncpg raises on a connection whose session was ended, depending on how far it had come.
ENDED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError)
BESIDE = 5  # processes started beside each other; they are killed one after the other
LEASE = 3  # seconds
IMMEDIATE = 5.0  # seconds that a take-over may last


@pytest.fixture
async def small(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A tenant with a few streams."""
    connection = await asyncpg.connect(database_url)
    tenant = await connection.fetchval("INSERT INTO tenants (name) VALUES ('shop') RETURNING tenant_id")
    await connection.execute(
        "INSERT INTO tenant_time_zones (tenant_id, time_zone) VALUES ($1, 'UTC')", tenant
    )
    made = Site(redis_url, database_url, connection, tmp_path)
    made.urls = given(
        redis_url,
        database_url,
        STREAMGAUGE_SHARDS=str(SHARDS),
        STREAMGAUGE_BATCH_EVENTS="50",
        STREAMGAUGE_TRIM_LAG_SECONDS="0",
        STREAMGAUGE_ACCEPTED_LOSS_SECONDS="0",
    )
    yield made
    await made.stream.aclose()
    await connection.close()


async def send(site: Site, frames: int) -> None:
    """Publish small frames to each of the few streams."""
    for _ in range(frames):
        await site.send(SHARDS, 10)


async def killed(site: Site, *places: str) -> None:
    """Start a worker for each place, and wait until all have been killed there."""
    with ExitStack() as stack:
        workers = {
            place: stack.enter_context(site.worker(place, STREAMGAUGE_FAILPOINTS=f"{place}=kill"))
            for place in places
        }
        deadline = time.monotonic() + PATIENCE
        while workers:
            for place, worker in list(workers.items()):
                if (code := worker.process.poll()) is not None:
                    assert code == -signal.SIGKILL, f"{place}:\n{worker.output}"
                    # What it had is free at once, or this would take as many leases as there are places.
                    await forgotten(site, workers.pop(place))
            assert time.monotonic() < deadline, [
                f"{place}:\n{each.output}" for place, each in workers.items()
            ]
            await asyncio.sleep(0.02)


async def forgotten(site: Site, worker: Program) -> None:
    """Take the leases of a dead worker from it."""
    await site.connection.execute(
        "WITH gone AS (DELETE FROM workers WHERE pid = $1 RETURNING worker_id) "
        "DELETE FROM leases USING gone WHERE leases.worker_id = gone.worker_id",
        worker.process.pid,
    )


async def test_a_worker_killed_at_any_step_leaves_nothing_half_done_and_nothing_counts_twice(
    small: Site,
) -> None:
    await send(small, 8)
    await killed(small, "history.changed")
    for first in range(0, len(OF_A_BATCH), BESIDE):
        await killed(small, *OF_A_BATCH[first : first + BESIDE])
    await send(small, 2)
    await killed(small, *OF_THE_CLOCK)
    with small.worker("last"):
        await small.until_processed(small.sent)
    await exact(small)


async def test_what_a_killed_worker_held_is_written_by_another_within_five_seconds(small: Site) -> None:
    with small.worker("one") as one:
        await small.until_processed(await sent(small, 1))
        with small.worker("two") as two:
            while set((held := await small.holders()).values()) != {one.process.pid, two.process.pid}:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            orphans = [shard for shard, pid in held.items() if pid == one.process.pid]
            one.process.kill()
            at = await small.connection.fetchval("SELECT clock_timestamp()")
            await small.until_processed(await sent(small, 1))
            applied = await small.connection.fetchval(
                "SELECT max(applied_at) FROM shards WHERE shard = ANY($1)", orphans
            )
            assert 0 < (applied - at).total_seconds() <= IMMEDIATE
            assert await asyncio.to_thread(two.stop) == 0
    await exact(small)


async def sent(site: Site, frames: int) -> int:
    """Publish, and tell how many events were published so far."""
    await send(site, frames)
    return site.sent


@pytest.mark.parametrize("place", ["batch.read", "commit.before"])
async def test_a_worker_suspended_beyond_its_lease_is_refused_when_it_goes_on(
    small: Site, place: str
) -> None:
    """Before its transaction began, its token is refused, or its session was ended; within it, PostgreSQL has ended its session."""
    port = free_port()
    small.urls["STREAMGAUGE_LEASE_SECONDS"] = "1"
    await send(small, 3)
    with small.worker("zombie", port, STREAMGAUGE_FAILPOINTS=f"{place}=stop@1") as zombie:
        await until_suspended(zombie)
        with small.worker("other") as other:
            await small.until_processed(small.sent)
            zombie.signal(signal.SIGCONT)
            await asyncio.to_thread(zombie.until, lambda: refused(place, zombie, port), "it was refused")
            await send(small, 2)
            await small.until_processed(small.sent)
            assert await asyncio.to_thread(other.stop) == 0
            assert await asyncio.to_thread(zombie.stop) == 0
    await exact(small)


async def test_all_transactions_of_a_silent_worker_are_ended_at_once_and_nobody_elses(
    database_url: str,
) -> None:
    """One of its sessions waits for another: it would hold its rows next, and its successor would wait for each in turn."""
    silent, live, starting = uuid4(), uuid4(), uuid4()
    with ExitStack() as stack:

        async def session(name: str) -> Connection:
            connection = await open_connection(database_url, application_name=name)
            stack.callback(connection.terminate)
            return connection

        own = await session("streamgauge worker of a test")
        await own.execute("CREATE TABLE held (id int); INSERT INTO held VALUES (1)")
        await own.executemany(
            "INSERT INTO workers (worker_id, host, pid, seen_at) VALUES ($1, 'h', 1, now() - $2 * interval '1 second')",
            [(silent, LEASE + 1), (live, 0)],
        )
        others = [await session(name) for name in (session_name(live), session_name(starting), "psql")]
        for connection in others:
            await connection.execute("BEGIN; SELECT 1")
        holding, waiting = await session(session_name(silent)), await session(session_name(silent))
        await holding.execute("BEGIN; UPDATE held SET id = 2")
        await waiting.execute("BEGIN")
        blocked = asyncio.create_task(waiting.execute("UPDATE held SET id = 3"))
        while not await own.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await own.execute("INSERT INTO shards (shard, generation, number) VALUES (0, 0, 0)")
        await Leases(LEASE).turn(own)
        # The one that waited may get its row for a moment, when the other one's end comes first.
        with suppress(*ENDED):
            await blocked
        theirs = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        deadline = time.monotonic() + PATIENCE
        while await own.fetchval(theirs, session_name(silent)):
            assert time.monotonic() < deadline, "a session of the silent worker is still there"
            await asyncio.sleep(0.01)
        for connection in others:
            assert await connection.fetchval("SELECT 1") == 1
        assert await own.fetchval("SELECT id FROM held") == 1


def refused(place: str, zombie: Program, port: int) -> bool:
    fenced = values(fetch(port, "/metrics").text).get(("streamgauge_transactions_fenced_total", ()), 0)
    if place == "batch.read" and fenced >= 1:
        return True
    # All its shards are stopped at once: one of them may have been within a transaction, whatever the place.
    return any(line["event"] == "shard read again" and line["kind"] == "server" for line in zombie.lines())


async def until_suspended(program: Program) -> None:
    """Wait until a process has stopped itself."""
    deadline = time.monotonic() + PATIENCE
    while (
        await asyncio.to_thread(os.waitid, os.P_PID, program.process.pid, os.WSTOPPED | os.WNOHANG)
    ) is None:
        assert time.monotonic() < deadline, program.output
        await asyncio.sleep(0.02)
