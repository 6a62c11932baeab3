"""PostgreSQL stops, or does not answer."""

import asyncio
import math
import time

from streamgauge.database import open_connection
from tests.faults.answers import asked_all_the_time
from tests.faults.arena import Arena, Row
from tests.faults.ground import POSTGRES_SOCKET, Child, until
from tests.faults.ledger import Ledger, Outcome
from tests.faults.memory import Memory, own_bytes
from tests.faults.proxy import Proxy
from tests.faults.scenarios.scenario import scenario
from tests.faults.standby import alone_again, follow

#: Bytes of their own that programs may have at twice what can be counted.
MOST_OWN = {"worker": 150 << 20, "host": 120 << 20, "API server": 150 << 20}
MOST_RESIDENT = 400 * 1024 * 1024  # bytes of a worker


@scenario("F14", "PostgreSQL stops at once in the middle of transactions", quick=True)
async def f14(arena: Arena) -> Row:
    arena.load()
    worker = arena.worker()
    for _ in range(arena.pick(2, 50)):
        await arena.progress(100, worker)
        await asyncio.sleep(arena.chosen.uniform(0, 0.1))
        failures = worker.said('"shard read again"')
        await arena.ground.crash_postgres()
        await arena.reconnect()

        async def noticed(before: int = failures) -> bool:
            return worker.said('"shard read again"') > before

        await until(noticed, "the worker has felt it", worker.process)
        arena.fired["crash"] += 1
    row = await arena.finish(worker)
    letters = await arena.connection.fetchval("SELECT count(*) FROM dead_letters")
    if letters:
        row.troubles.append(f"{letters} dead letters: an outage was taken for poison")
    return row


@scenario("F16", "a table is locked while events arrive")
async def f16(arena: Arena) -> Row:
    arena.load(pause=0.0)
    worker = arena.worker()
    await arena.progress(process=worker)
    holder = await open_connection(arena.ground.database_url(arena.database))
    try:
        lock = holder.transaction()
        await lock.start()
        await holder.execute("LOCK TABLE hourly_summary IN ACCESS EXCLUSIVE MODE")

        async def waiting() -> bool:
            return bool(
                await holder.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'hourly_summary'::regclass"
                )
            )

        await until(waiting, "a worker waits for the lock", worker.process)
        arena.fired["waited"] += 1
        most = 0
        for _ in range(arena.pick(3, 60)):
            await asyncio.sleep(1.0)
            most = max(most, _resident(worker))
        await lock.rollback()
    finally:
        await holder.close()
    if most > MOST_RESIDENT:
        arena.troubles.append(f"the worker grew to {most >> 20} MiB while it waited")
    return await arena.finish(worker)


@scenario("F15", "the standby that commits wait for is promoted")
async def f15(arena: Arena) -> Row:
    sockets = arena.directory / "p"
    sockets.mkdir()
    standby = await follow(arena.ground, arena.directory, arena.database)
    try:
        async with Proxy(
            sockets / POSTGRES_SOCKET, arena.ground.sockets / "p" / POSTGRES_SOCKET, "bytes", arena.seed
        ) as proxy:
            arena.database_host = sockets
            await arena.connection.close()
            await arena.reconnect()  # for what comes: commits wait for the standby
            arena.load()
            worker = arena.worker(accepted_loss_seconds="0", trim_lag_seconds="0")
            async with asked_all_the_time(arena) as answers:
                await arena.progress(arena.pick(500, 5_000), worker)
                lost = time.monotonic()
                await arena.ground.lose_postgres()
                await standby.promote()
                proxy.target = arena.directory / "q" / POSTGRES_SOCKET
                proxy.reset_all()
                arena.fired["promoted"] += 1
                await arena.reconnect()
                await arena.progress(100, worker)
                back = time.monotonic()
                await asyncio.sleep(arena.pick(2, 10))
            arena.notes.append(f"away {back - lost:.1f} s; {answers.told(lost, back + 1.0)}")
            if answers.bad_outside(lost, back + 1.0):
                arena.troubles.append("the API server failed before or after PostgreSQL was away")
            row = await arena.finish(worker)
            await arena.connection.close()
            return row
    finally:
        arena.database_host = None
        await standby.stop()
        await alone_again(arena.ground)
        await arena.reconnect()


@scenario("F22", "twice as many events arrive as can be counted, for minutes: everything stays bounded")
async def f22(arena: Arena) -> Row:
    """Commits are slowed down, so that the limit is not the machine's; Redis, files and buffer are small."""
    worker = await arena.started(
        arena.worker(
            "commit.before=sleep:0.7", batch_events="50", trim_lag_seconds="0", accepted_loss_seconds="0"
        )
    )
    async with arena.redis.client() as client:
        await client.config_set("maxmemory", f"{arena.pick(3, 16)}mb")
    # Each of the four shards commits an entry or two in that time, at best.
    host = arena.load(
        by="gauge", ack="close", pause=0.25, size=800, deadline=600.0,
        environment={"spool_bytes": str(arena.pick(1, 4) << 20), "buffer_events": "2000"},
    )  # fmt: skip
    memory, began, refused = Memory(), time.monotonic(), 0
    async with asked_all_the_time(arena) as answers:
        await arena.progress(100, worker)
        before, first = await arena.applied(), time.monotonic()
        while time.monotonic() < began + arena.pick(30, 300):
            await asyncio.sleep(1.0)
            now = time.monotonic() - began
            for part, child in (("worker", worker), ("host", host), ("API server", answers.server)):
                memory.sample(part, now, own_bytes(child.process.pid))
        rate = (await arena.applied() - before) / (time.monotonic() - first)
    took = time.monotonic() - began
    meant = Ledger.read(arena.ledger)
    refused = len(meant.numbers(Outcome.REFUSED))
    arrived = len(meant.facts) / took
    arena.notes.append(
        f"{arrived:.0f} events a second came, {rate:.0f} were counted, {refused} were refused to the host"
    )
    if arrived > 1.8 * rate:
        arena.fired["overload"] += 1
    for part, most in MOST_OWN.items():
        arena.notes.append(
            f"{part}: {memory.most(part) >> 20} MiB at most, {memory.growth(part):+.1f} MiB an hour"
        )
        if memory.most(part) > most:
            arena.troubles.append(f"{part} grew to {memory.most(part) >> 20} MiB")
    if bad := answers.bad_outside(math.inf, -math.inf):
        arena.troubles.append(f"the API server failed {bad} times")
    await worker.terminate()
    # What waits is counted by one that may hurry; nobody makes room for it.
    worker = await arena.started(arena.worker(trim_lag_seconds="0", accepted_loss_seconds="0"))
    return await arena.finish(worker)


def _resident(worker: Child) -> int:
    with open(f"/proc/{worker.process.pid}/statm") as file:
        return int(file.read().split()[1]) * 4096
