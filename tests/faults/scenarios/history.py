"""Redis forgets, goes back, or refuses: every change of history."""

import asyncio
import shutil
import signal
import time
from contextlib import suppress

from redis.exceptions import RedisError

from streamgauge.capture.publisher import Lane
from streamgauge.entry import encode
from streamgauge.stream import stream_key
from tests.faults.arena import Arena, Row
from tests.faults.ground import RedisServer, until
from tests.faults.ledger import Ledger
from tests.faults.load import SHARDS
from tests.faults.proxy import Proxy
from tests.faults.scenarios.scenario import scenario
from tests.integration.program import free_port

HOUR_MS = 3_600_000
KEYS = [stream_key("streamgauge", 0, shard) for shard in range(SHARDS)]


@scenario("F6", "Redis is ended and killed under load, with both ways of appending", may_lose=True)
async def f6(arena: Arena) -> Row:
    worker = await arena.started(arena.worker())
    arena.load()
    for turn in range(arena.pick(4, 50)):
        await arena.loaded(20)
        await arena.redis.stop(signal.SIGKILL if turn % 2 else signal.SIGTERM)
        arena.redis.settings["appendfsync"] = ("always", "everysec")[turn // 2 % 2]
        await arena.redis.start()
        arena.fired["restart"] += 1
    return await arena.finish(worker)


@scenario(
    "F10",
    "FLUSHALL, and the clock of Redis an hour back: new entries have smaller numbers",
    quick=True,
    may_lose=True,
)
async def f10(arena: Arena) -> Row:
    async with arena.redis.client() as client:
        for shard, key in enumerate(KEYS):
            # The server's clock as it would have been an hour ahead: entries that follow stay there.
            ahead = time.time_ns() // 1_000_000 + HOUR_MS
            fields = [part for pair in encode(Lane(shard, ahead).announcement(True)).items() for part in pair]
            await client.execute_command("XADD", key, f"{ahead}-0", *fields)  # type: ignore[no-untyped-call]  # untyped in redis-py
        arena.load()
        meant: set[int] = set()
        # Trimming that is about to happen in the old history meets the new one.
        worker = arena.worker("trim.before=sleep:3", trim_lag_seconds="0", accepted_loss_seconds="0")
        for _ in range(arena.pick(1, 5)):
            await arena.progress(100, worker)
            await asyncio.sleep(arena.pick(5, 6) + arena.chosen.random())
            await client.flushall()
            arena.fired["flushed"] += 1
            meant = set(Ledger.read(arena.ledger).facts)
            await arena.loaded(20)
        await asyncio.sleep(3)  # until what was about to happen has
    row = await arena.finish(worker)
    if skipped := row.verdict.missing - meant:
        row.troubles.append(f"{len(skipped)} events were lost that were sent behind the last FLUSHALL")
    epochs = await arena.connection.fetchval("SELECT min(epoch) FROM shards")
    if epochs < 1:
        row.troubles.append("void: nobody noticed another history")
    return row


@scenario("F10b", "an old snapshot is restored while entries arrive", may_lose=True)
async def f10b(arena: Arena) -> Row:
    arena.load()
    worker = arena.worker()
    await arena.progress(500, worker)
    async with arena.redis.client() as client:
        old = {key: await client.dump(key) for key in KEYS}
        await arena.progress(500, worker)
        for key, dump in old.items():
            assert dump is not None
            await client.restore(key, 0, dump, replace=True)
            arena.fired["restored"] += 1
    await arena.loaded(20)
    return await arena.finish(worker)


@scenario("F11", "a replica that lags is made the primary", may_lose=True)
async def f11(arena: Arena) -> Row:
    primary = arena.redis
    async with primary.client() as client:
        await primary.stop()
        primary.settings["port"] = str(free_port())
        await primary.start()
    async with (
        Proxy(("127.0.0.1", 0), ("127.0.0.1", int(primary.settings["port"]))) as link,
        Proxy(arena.directory / "front", primary.socket) as front,
    ):
        assert isinstance(link.listen, tuple)
        replica = RedisServer(arena.directory, "replica", replicaof=f"{link.listen[0]} {link.listen[1]}")
        await replica.start()
        url = f"unix://{front.listen}"
        worker = arena.worker(redis_url=url)
        arena.load(url)
        async with replica.client() as client:

            async def following() -> bool:
                info = await client.info("replication")
                return bool(info.get("master_link_status") == "up")

            await until(following, "the replica follows")
            await arena.progress(200, worker)
            # What only the old primary has, and nobody has read, is lost; and has to be told.
            worker.process.send(signal.SIGSTOP)
            link.trouble.flowing.clear()
            await arena.loaded(20)
            await primary.stop(signal.SIGKILL)
            worker.process.send(signal.SIGCONT)
            link.reset_all()
            await client.replicaof("NO", "ONE")
            arena.fired["promoted"] += 1
        arena.redis = replica
        front.target = replica.socket
        link.trouble.flowing.set()
        await arena.loaded(20)
        row = await arena.finish(worker)
    if not row.verdict.told:
        row.troubles.append("void: the replica did not lag")
    return row


@scenario("F12", "entries are trimmed that nobody has read", quick=True, may_lose=True)
async def f12(arena: Arena) -> Row:
    worker = arena.worker()
    arena.load()
    await arena.progress(100, worker)
    worker.process.send(signal.SIGSTOP)
    await arena.loaded(40)
    async with arena.redis.client() as client:
        for key in KEYS:
            arena.fired["trimmed"] += await client.xtrim(key, maxlen=3, approximate=False)
    worker.process.send(signal.SIGCONT)
    await arena.loaded(10)
    row = await arena.finish(worker)
    if not row.verdict.told:
        row.troubles.append("void: nothing was lost by it")
    return row


@scenario("F13", "Redis is full and refuses")
async def f13(arena: Arena) -> Row:
    worker = arena.worker(trim_lag_seconds="0", accepted_loss_seconds="0")
    arena.load(pause=0.0)
    await arena.progress(100, worker)
    async with arena.redis.client() as client:
        for _ in range(arena.pick(2, 10)):
            await client.config_set("maxmemory", "1mb")
            await asyncio.sleep(1.5)
            await client.config_set("maxmemory", "0")
            await arena.loaded(20)
        arena.fired["refused"] = await _errors(arena, "OOM")
    return await arena.finish(worker)


@scenario("F19", "Redis cannot write its snapshot and refuses (MISCONF)")
async def f19(arena: Arena) -> Row:
    worker = arena.worker()
    arena.load()
    await arena.progress(100, worker)
    block = arena.redis.directory / "dump.rdb"
    for _ in range(arena.pick(1, 5)):
        # A directory in the file's place: renaming the finished snapshot fails, for root as well.
        block.mkdir()
        (block / "in the way").touch()
        async with arena.redis.client() as client:
            await client.config_set("save", "3600 1000000")
            await client.bgsave()
            before = await _errors(arena, "MISCONF")

            async def refusing(known: int = before) -> bool:
                return await _errors(arena, "MISCONF") > known

            await until(refusing, "Redis refuses")
            shutil.rmtree(block)
            # Another attempt is refused while one is under way.
            with suppress(RedisError):
                await client.bgsave()
            arena.fired["refused"] = await _errors(arena, "MISCONF")
        await arena.loaded(20)
        block.unlink(missing_ok=True)
    return await arena.finish(worker)


async def _errors(arena: Arena, name: str) -> int:
    async with arena.redis.client() as client:
        found = await client.info("errorstats")
    return int(found.get(f"errorstat_{name}", {}).get("count", 0))
