"""What happens to a long-lived installation: each does one fault, to its end, and counts that it happened.

Where Redis forgets entries that nobody has read, those who come and go have gone before: a closed lane's last words are entries too.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from streamgauge.database import open_connection
from streamgauge.stream import stream_key
from tests.faults.arena import LEASE_SECONDS
from tests.faults.ground import until
from tests.faults.load import SHARDS
from tests.faults.proxy import Proxy, Trouble

if TYPE_CHECKING:
    from tests.faults.soak import Soak

Accident = Callable[["Soak"], Awaitable[None]]
ACCIDENTS: dict[str, Accident] = {}
KEYS = [stream_key("streamgauge", 0, shard) for shard in range(SHARDS)]
PLACES = (
    "batch.read", "commit.swapped", "commit.judged", "commit.logged", "commit.summarised", "commit.entered", "commit.stored",
    "commit.before", "commit.after", "trim.before", "trim.after", "acknowledge.before", "acknowledge.after",
)  # fmt: skip
PLACE_SECONDS = 60.0
EXIT_SECONDS = 10.0


def accident(name: str) -> Callable[[Accident], Accident]:
    """Put a function into the list."""

    def enter(deed: Accident) -> Accident:
        ACCIDENTS[name] = deed
        return deed

    return enter


@accident("worker killed")
async def worker_killed(soak: "Soak") -> None:
    victim = await soak.living_victim()
    await asyncio.sleep(soak.chosen.uniform(0, 1))
    await victim.kill()
    soak.arena.fired["worker killed"] += 1
    soak.victim = soak.worker()


@accident("worker killed at a failpoint")
async def worker_killed_at_a_failpoint(soak: "Soak") -> None:
    await (await soak.living_victim()).terminate()
    place = soak.chosen.choice(PLACES)
    doomed = soak.worker(f"{place}=kill@{soak.chosen.randint(1, 5)}")
    if await doomed.ended(PLACE_SECONDS) != -signal.SIGKILL:
        soak.arena.void(f"{place} was not reached")
    soak.arena.fired[place] += 1
    await doomed.kill()
    soak.victim = soak.worker()


@accident("worker stopped past its lease")
async def worker_stopped(soak: "Soak") -> None:
    victim = await soak.living_victim()
    victim.process.send(signal.SIGSTOP)
    await asyncio.sleep(LEASE_SECONDS + soak.chosen.uniform(0.5, 5))
    victim.process.send(signal.SIGCONT)
    soak.arena.fired["worker stopped"] += 1


@accident("worker told to end")
async def worker_told_to_end(soak: "Soak") -> None:
    victim = await soak.living_victim()
    code = await victim.terminate(EXIT_SECONDS)
    if code != 0:
        soak.arena.troubles.append(f"a worker told to end ended with {code}: {victim.output[-500:]}")
    soak.arena.fired["worker ended"] += 1
    soak.victim = soak.worker()


@accident("Redis ended")
async def redis_ended(soak: "Soak") -> None:
    await _redis_away(soak, signal.SIGTERM)


@accident("Redis killed")
async def redis_killed(soak: "Soak") -> None:
    await _redis_away(soak, signal.SIGKILL)


async def _redis_away(soak: "Soak", how: signal.Signals) -> None:
    await soak.arena.redis.stop(how)
    await asyncio.sleep(soak.chosen.uniform(0, 8))
    await soak.arena.redis.start()
    soak.arena.fired["Redis away"] += 1


@accident("Redis hung")
async def redis_hung(soak: "Soak") -> None:
    soak.arena.redis.process.send(signal.SIGSTOP)
    await asyncio.sleep(soak.chosen.uniform(1, 10))
    soak.arena.redis.process.send(signal.SIGCONT)
    soak.arena.fired["Redis hung"] += 1


@accident("Redis full")
async def redis_full(soak: "Soak") -> None:
    async with soak.arena.redis.client() as client:
        before = await _refused(soak)
        await client.config_set("maxmemory", "1mb")

        async def refusing() -> bool:
            return await _refused(soak) > before

        await until(refusing, "Redis refuses")
        await asyncio.sleep(soak.chosen.uniform(0, 4))
        await client.config_set("maxmemory", "0")
        soak.arena.fired["Redis full"] += 1


async def _refused(soak: "Soak") -> int:
    async with soak.arena.redis.client() as client:
        found = await client.info("errorstats")
    return int(found.get("errorstat_OOM", {}).get("count", 0))


@accident("Redis forgets everything")
async def redis_flushed(soak: "Soak") -> None:
    await soak.caught_up()
    async with soak.arena.redis.client() as client:
        await client.flushall()
    soak.arena.fired["flushed"] += 1


@accident("an old snapshot of Redis restored")
async def redis_restored(soak: "Soak") -> None:
    await soak.caught_up()
    async with soak.arena.redis.client() as client:
        old = {key: await client.dump(key) for key in KEYS}
        await asyncio.sleep(soak.chosen.uniform(1, 4))
        for key, dump in old.items():
            if dump is not None:
                await client.restore(key, 0, dump, replace=True)
                soak.arena.fired["restored"] += 1


@accident("unread entries trimmed")
async def redis_trimmed(soak: "Soak") -> None:
    await soak.caught_up()
    workers = (soak.steady_worker, await soak.living_victim())
    for worker in workers:
        worker.process.send(signal.SIGSTOP)
    await soak.arena.loaded(6, by=soak.steady_lanes)
    async with soak.arena.redis.client() as client:
        for key in KEYS:
            soak.arena.fired["trimmed"] += await client.xtrim(key, maxlen=2, approximate=False)
    for worker in workers:
        worker.process.send(signal.SIGCONT)


@accident("PostgreSQL crashed")
async def postgres_crashed(soak: "Soak") -> None:
    await soak.arena.ground.crash_postgres()
    await soak.arena.reconnect()
    soak.arena.fired["PostgreSQL crashed"] += 1


@accident("PostgreSQL ends every session")
async def sessions_ended(soak: "Soak") -> None:
    query = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user"""
    soak.arena.fired["sessions ended"] += await soak.arena.connection.fetchval(query)


@accident("a table locked")
async def table_locked(soak: "Soak") -> None:
    holder = await open_connection(soak.arena.ground.database_url(soak.arena.database))
    try:
        async with holder.transaction():
            table = soak.chosen.choice(["hourly_summary", "lanes", "event_log", "outcome_ledger"])
            await holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(soak.chosen.uniform(2, 6))
    finally:
        await holder.close()
    soak.arena.fired["locked"] += 1


@accident("answers to COMMIT cut off")
async def commits_cut(soak: "Soak") -> None:
    await _until_done(
        soak, soak.database, "cut", Trouble(answer=b"COMMIT", deed="cut", times=5, share=0.3), 5
    )


@accident("answers to XADD swallowed")
async def answers_swallowed(soak: "Soak") -> None:
    await _until_done(soak, soak.producers, "swallow", Trouble(answer=b"XADD", times=4, share=0.5), 4)


async def _until_done(soak: "Soak", proxy: Proxy, deed: str, trouble: Trouble, times: int) -> None:
    wanted = proxy.fired[deed] + times
    proxy.trouble = trouble

    async def done() -> bool:
        return proxy.fired[deed] >= wanted

    await until(done, f"enough answers were {deed}")
    proxy.trouble = Trouble()
    soak.arena.fired[deed] += times


@accident("bad connections")
async def bad_connections(soak: "Soak") -> None:
    proxies = (soak.producers, soak.workers, soak.database)
    before = sum(proxy.fired["delay"] + proxy.fired["reset"] for proxy in proxies)
    for proxy in proxies:
        proxy.trouble = Trouble(
            delay=soak.chosen.choice([0.0, 0.01, 0.05]),
            jitter=0.02,
            reset=soak.chosen.choice([0.0, 0.01]),
        )
    await asyncio.sleep(soak.chosen.uniform(3, 8))
    for proxy in proxies:
        proxy.trouble = Trouble()
    soak.arena.fired["bad connections"] += (
        sum(proxy.fired["delay"] + proxy.fired["reset"] for proxy in proxies) > before
    )


@accident("connections half open")
async def half_open(soak: "Soak") -> None:
    proxy = soak.chosen.choice([soak.producers, soak.workers, soak.database])
    stalled, trouble = proxy.fired["stall"], Trouble()
    trouble.flowing.clear()
    proxy.trouble = trouble
    await asyncio.sleep(soak.chosen.uniform(3, 8))
    proxy.trouble = Trouble()
    trouble.flowing.set()
    soak.arena.fired["half open"] += proxy.fired["stall"] > stalled


@accident("host killed")
async def host_killed(soak: "Soak") -> None:
    await soak.victim_host.kill()
    soak.arena.fired["host killed"] += 1
    # The next one adopts what it left.
    soak.victim_host = soak.host()


@accident("host killed while Redis is away")
async def host_killed_while_redis_is_away(soak: "Soak") -> None:
    await soak.arena.redis.stop(signal.SIGKILL)
    await soak.arena.loaded(5, by=soak.victim_host)
    await soak.victim_host.kill()
    await soak.arena.redis.start()
    soak.arena.fired["host killed"] += 1
    soak.victim_host = soak.host()


@accident("a producer's clock is wrong")
async def wrong_clock(soak: "Soak") -> None:
    hours = soak.chosen.choice([-48, -1, 1, 48])
    wrong = soak.arena.load(soak.producers_url, clock=hours * 3600, pause=0.1, batches=30, deadline=300.0)
    if await wrong.ended(60) is None:
        soak.arena.void("a producer with a wrong clock does not end")
    soak.arena.fired["wrong clock"] += 1
