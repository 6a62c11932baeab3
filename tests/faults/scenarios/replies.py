"""Answers that do not arrive, and connections that are bad."""

import asyncio

from tests.faults.arena import Arena, Row
from tests.faults.ground import POSTGRES_SOCKET, until
from tests.faults.proxy import Proxy, Trouble
from tests.faults.scenarios.scenario import scenario


@scenario("F3", "the answer to COMMIT is cut off: nobody knows whether it happened", quick=True)
async def f3(arena: Arena) -> Row:
    sockets = arena.directory / "p"
    sockets.mkdir()
    target = arena.ground.sockets / "p" / POSTGRES_SOCKET
    arena.load()
    async with Proxy(sockets / POSTGRES_SOCKET, target, "postgres", arena.seed) as proxy:
        worker = arena.worker(database_url=arena.ground.database_url(arena.database, sockets))
        await arena.progress(process=worker)
        wanted = arena.pick(10, 100)
        proxy.trouble = Trouble(answer=b"COMMIT", deed="cut", times=wanted, share=0.3)

        async def cut() -> bool:
            return proxy.fired["cut"] >= wanted

        await until(cut, "enough commits were cut", worker.process, 30 + wanted)
        arena.fired["cut"] = proxy.fired["cut"]
        return await arena.finish(worker)


@scenario("F4", "the answer to XADD is swallowed: the producer sends again", quick=True)
async def f4(arena: Arena) -> Row:
    async with Proxy(arena.directory / "r", arena.redis.socket, "redis", arena.seed) as proxy:
        worker = arena.worker()
        url = f"unix://{proxy.listen}"
        arena.load(url, patience=0.2)
        wanted = arena.pick(10, 100)
        proxy.trouble = Trouble(answer=b"XADD", times=wanted, share=0.5)

        async def swallowed() -> bool:
            return proxy.fired["swallow"] >= wanted

        await until(swallowed, "enough answers were swallowed", worker.process, 30 + wanted)
        # An application's own way of sending waits longer; its connection breaks instead.
        arena.load(url, by="gauge", patience=5.0)
        await arena.loaded(2)
        proxy.trouble = Trouble(answer=b"XADD", deed="cut", times=arena.pick(3, 30), share=0.5)

        async def broken() -> bool:
            return proxy.fired["cut"] >= arena.pick(3, 30)

        await until(broken, "enough answers were cut off", worker.process)
        arena.fired["swallowed"] = proxy.fired["swallow"] + proxy.fired["cut"]
        row = await arena.finish(worker)
    if row.verdict.duplicates == 0:
        row.troubles.append("void: nothing was sent twice")
    return row


@scenario("F25", "connections with delay, jitter, resets at random bytes, and some that are half open")
async def f25(arena: Arena) -> Row:
    sockets = arena.directory / "p"
    sockets.mkdir()
    target = arena.ground.sockets / "p" / POSTGRES_SOCKET
    async with (
        Proxy(("127.0.0.1", 0), arena.redis.socket, seed=arena.seed) as producers,
        Proxy(("127.0.0.1", 0), arena.redis.socket, seed=arena.seed + 1) as workers,
        Proxy(sockets / POSTGRES_SOCKET, target, seed=arena.seed + 2) as database,
    ):
        arena.load("redis://{}:{}".format(*_address(producers)))
        worker = arena.worker(
            redis_url="redis://{}:{}".format(*_address(workers)),
            database_url=arena.ground.database_url(arena.database, sockets),
        )
        await arena.progress(process=worker)
        proxies = (producers, workers, database)
        for turn in range(arena.pick(4, 24)):
            for proxy in proxies:
                proxy.trouble.flowing.set()
                proxy.trouble = Trouble(delay=0.01 * (turn % 3), jitter=0.02, reset=0.005)
            if turn % 4 == 3:
                # Half open: what is connected stays so, and nothing comes through any more.
                proxies[turn // 4 % 3].trouble.flowing.clear()
            await asyncio.sleep(2.0)
        for proxy in proxies:
            proxy.trouble.flowing.set()
            proxy.trouble = Trouble()
            arena.fired += proxy.fired
        del arena.fired["delay"]
        await arena.progress(process=worker)
        return await arena.finish(worker)


def _address(proxy: Proxy) -> tuple[str, int]:
    assert isinstance(proxy.listen, tuple)
    return proxy.listen
