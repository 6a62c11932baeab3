"""One installation for hours, with every fault that leaves it one, at random: `./run faults soak [--hours 8] [--seed N]`.

What lives all the time: Redis, PostgreSQL, a worker, a producer by lanes and a durable host, whose memory is watched. Beside them a
worker and a host that are killed, and hosts that come and go. Every few minutes the producers wait, and the judge looks at everything
since the beginning.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamgauge.settings import Settings
from streamgauge_workers.verify import verify
from tests.faults import memory
from tests.faults.accidents import ACCIDENTS
from tests.faults.arena import Arena, Row
from tests.faults.catalogue import CATALOGUE
from tests.faults.ground import POSTGRES_SOCKET, Child, until
from tests.faults.judge import Verdict, find, judge
from tests.faults.ledger import Ledger
from tests.faults.proxy import Proxy

SAMPLE_SECONDS = 10.0
RECOVERY_SECONDS = 60.0  # until events are applied again behind a fault
AGREE_SECONDS = 90.0  # until books agree once producers wait: replays have their own pace
MOST_DISK = 8 << 30  # bytes
DURABLE = {"capture_mode": "durable"}
WORKER = {"trim_lag_seconds": "5", "accepted_loss_seconds": "2"}


@dataclass
class Result:
    """What a soak amounts to; figures for the table and the file."""

    seed: int
    seconds: float = 0.0
    checks: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    recovery: dict[str, float] = field(default_factory=dict)  #: the longest by fault, in seconds
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    disk_mib: list[float] = field(default_factory=list)
    row: Row = field(default_factory=lambda: Row("F28"))

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        found = self.row.verdict
        return {
            "good": self.row.good, "seed": self.seed, "seconds": round(self.seconds), "checks": self.checks,
            "faults": dict(sorted(self.faults.items())), "fired": self.row.fired,
            "events": {
                "acked": found.acked, "counted": found.counted, "duplicates": found.duplicates, "lost": found.lost,
                "doubled": found.doubled, "announced_as_lost": found.told, "dropped": dict(found.drops),
            },
            "longest_recovery_seconds": {name: round(each, 1) for name, each in sorted(self.recovery.items())},
            "memory": self.memory, "disk_mib": self.disk_mib, "troubles": self.row.troubles,
        }  # fmt: skip


class Soak:
    """The installation, and what is done to it. `proxies` stand before Redis for producers and workers, and before PostgreSQL."""

    def __init__(self, arena: Arena, sockets: Path) -> None:
        self.arena = arena
        self.chosen = arena.chosen
        self.producers = Proxy(sockets / "producers", arena.redis.socket, "redis", arena.seed)
        self.workers = Proxy(sockets / "workers", arena.redis.socket, seed=arena.seed + 1)
        target = arena.ground.sockets / "p" / POSTGRES_SOCKET
        self.database = Proxy(sockets / POSTGRES_SOCKET, target, "postgres", arena.seed + 2)
        self.result = Result(arena.seed)
        self.memory = memory.Memory()
        self.ledger = Ledger()
        self._sockets = sockets
        self._began = time.monotonic()
        self.visitors: list[Child] = []
        self.steady_worker: Child
        self.steady_lanes: Child
        self.steady_host: Child
        self.victim: Child
        self.victim_host: Child

    async def settle_in(self) -> None:
        """Start everything that is there from the beginning."""
        self.steady_worker = await self.arena.started(self.worker())
        self.victim = self.worker()
        self.steady_lanes = self.arena.load(
            self.producers_url, pause=0.5, size=6, patience=2.0, deadline=600.0, poison=0.003,
            batches=10_000_000,
        )  # fmt: skip
        self.steady_host = self.host()
        self.victim_host = self.host()
        self.visit()

    @property
    def producers_url(self) -> str:
        """Redis, as producers know it."""
        return f"unix://{self.producers.listen}"

    def worker(self, failpoints: str = "") -> Child:
        """A worker behind the proxies."""
        url = self.arena.ground.database_url(self.arena.database, self._sockets)
        return self.arena.worker(
            failpoints, 0, {}, redis_url=f"unix://{self.workers.listen}", database_url=url, **WORKER
        )

    async def living_victim(self) -> Child:
        """The worker that may be harmed, at work; one that was started while Redis was away may have ended."""
        if self.victim.process.exit_code is not None:
            self.victim = self.worker()
        return await self.arena.started(self.victim)

    def host(self) -> Child:
        """A durable host without end. What it is told is durable counts, whatever happens."""
        return self.arena.load(
            self.producers_url, DURABLE, by="gauge", ack="durable", patience=10.0, pause=0.4, size=3,
            batches=10_000_000, deadline=600.0,
        )  # fmt: skip

    def visit(self) -> None:
        """A host that keeps files while Redis is away, and goes soon; one at a time."""
        self.visitors = [each for each in self.visitors if each.process.exit_code is None]
        if not self.visitors:
            self.visitors.append(
                self.arena.load(self.producers_url, by="gauge", ack="close", pause=0.3, size=4, batches=40)
            )

    async def run(self, seconds: float, between_checks: float) -> Result:
        """Provoke faults for so long, with the last look behind them."""
        sampling = asyncio.create_task(self._sample())
        try:
            await self.settle_in()
            await self.arena.progress(100, self.steady_worker)
            next_check = time.monotonic() + between_checks
            deck: list[str] = []
            while self.elapsed < seconds and not self.arena.troubles:
                if not deck:  # every one has its turn before any has its second
                    deck = self.chosen.sample(sorted(ACCIDENTS), len(ACCIDENTS))
                name = deck.pop()
                _say(f"{self.elapsed:6.0f} s: {name}")
                await ACCIDENTS[name](self)
                await self._recover(name)
                if time.monotonic() >= next_check:
                    await self.check()
                    next_check = time.monotonic() + between_checks
                self.visit()
                await asyncio.sleep(self.chosen.uniform(1, 5))
        except Exception as error:  # noqa: BLE001 - the figures are to be kept
            self.arena.troubles.append(
                f"{type(error).__name__}: {error}{self.arena.tails()}{await self.arena.activity()}"
            )
        finally:
            sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampling
        return await self._end()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    async def check(self) -> None:
        """See a probe through, have producers wait, and hold everything against the ledger."""
        await self.arena.probed()
        await self.arena.witness.pause()
        began = time.monotonic()
        verdict = await self._verdict()
        while verdict.troubles and time.monotonic() < began + AGREE_SECONDS:
            await asyncio.sleep(2.0)
            verdict = await self._verdict()
        self.arena.troubles += verdict.troubles
        self.arena.troubles += [
            f"verify: {each}"
            for each in (
                await verify(self.arena.connection, CATALOGUE, Settings().cardinality_limit)
            ).differences[:3]
        ]
        await self.arena.witness.resume()
        self.result.checks += 1
        self.result.row.verdict = verdict
        size = _disk_bytes(self.arena.ground.directory)
        self.result.disk_mib.append(round(size / memory.MIB, 1))
        if size > MOST_DISK:
            self.arena.troubles.append(f"{size >> 20} MiB are on the disk")
        self.arena.forget_the_ended()
        _say(
            f"{self.elapsed:6.0f} s: acked {verdict.acked}, counted {verdict.counted}, again {verdict.duplicates}, lost "
            f"{verdict.lost}, doubled {verdict.doubled}, announced {verdict.told}, disk {size >> 20} MiB"
        )

    async def caught_up(self) -> None:
        """Wait until those who come and go have gone, and all that they have sent is applied."""
        for visitor in self.visitors:
            await visitor.ended(120)
        await self.arena.applied_until_now()

    async def _verdict(self) -> Verdict:
        self.ledger.follow(self.arena.ledger)
        return judge(self.ledger, await find(self.arena.connection), self.arena.junk)

    async def _recover(self, name: str) -> None:
        began, before = time.monotonic(), await self.arena.applied()

        async def more() -> bool:
            return await self.arena.applied() > before + 20

        await until(
            more, f"events are applied again behind {name}", self.steady_worker.process, RECOVERY_SECONDS
        )
        took = time.monotonic() - began
        self.result.recovery[name] = max(took, self.result.recovery.get(name, 0.0))
        self.result.faults[name] += 1
        _say(f"{self.elapsed:6.0f} s: going again after {took:.1f} s")

    async def _end(self) -> Result:
        result, row = self.result, self.result.row
        try:
            if not self.arena.troubles:
                await self.check()
            await self.arena.witness.resume()
            row = await self.arena.finish(self.steady_worker)
        except (AssertionError, Exception) as error:  # noqa: BLE001 - as above
            row.troubles = [*self.arena.troubles, f"at the end: {type(error).__name__}: {error}"]
            row.fired = self.arena.fired.total()
        result.row, result.seconds, result.memory = row, self.elapsed, self.memory.table()
        row.seconds = self.elapsed
        return result

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            now, arena = self.elapsed, self.arena
            for part, child in (
                ("worker", self.steady_worker), ("producer by lanes", self.steady_lanes), ("durable host", self.steady_host),
            ):  # fmt: skip
                self.memory.sample(part, now, memory.own_bytes(child.process.pid))
            if arena.redis.running:
                self.memory.sample("Redis", now, memory.own_bytes(arena.redis.process.pid))
            if (pid := arena.ground.postgres_pid) is not None:
                self.memory.sample("PostgreSQL", now, memory.family_bytes(pid))


@asynccontextmanager
async def open_soak(arena: Arena) -> AsyncIterator[Soak]:
    """A soak in an arena, with its proxies."""
    sockets = arena.directory / "x"
    sockets.mkdir()
    soak = Soak(arena, sockets)
    async with AsyncExitStack() as stack:
        for proxy in (soak.producers, soak.workers, soak.database):
            await stack.enter_async_context(proxy)
        try:
            yield soak
        finally:
            # Before the proxies go: their ends would be heard as one more fault.
            for child in arena.children:
                await child.kill()


def _disk_bytes(directory: Path) -> int:
    done = 0
    for root, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                done += (Path(root) / name).lstat().st_blocks * 512
    return done


def _say(line: str) -> None:
    print(line, flush=True)
