"""PostgreSQL stops, or does not answer."""

import asyncio

from streamgauge.database import open_connection
from tests.faults.arena import Arena, Row
from tests.faults.ground import Child, until
from tests.faults.scenarios.scenario import scenario

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


def _resident(worker: Child) -> int:
    with open(f"/proc/{worker.process.pid}/statm") as file:
        return int(file.read().split()[1]) * 4096
