"""Host applications while Redis is away, and when they are killed with events on their disk."""

import asyncio
import re
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.faults.arena import Arena, Row
from tests.faults.ground import Child, until
from tests.faults.scenarios.scenario import scenario
from tests.faults.unsynced import lose
from tests.faults.visits import LEAD, RATE, Visits

MOST_P99 = 1_000.0  # microseconds of a call
#: Of a segment's file: where a frame begins, and the bytes of its magic, length and checksum.
FRAME, FRAME_HEAD = b"\xf5sg\xff", 12


@scenario("F7", "Redis is away while a web application serves")
async def f7(arena: Arena) -> Row:
    return await _visited(arena, "away", arena.redis.stop, arena.redis.start)


@scenario("F8", "Redis hangs while a web application serves")
async def f8(arena: Arena) -> Row:
    async def hang() -> None:
        arena.redis.process.send(signal.SIGSTOP)

    async def go_on() -> None:
        arena.redis.process.send(signal.SIGCONT)

    return await _visited(arena, "hung", hang, go_on)


async def _visited(
    arena: Arena, what: str, begin: Callable[[], Awaitable[object]], end: Callable[[], Awaitable[object]]
) -> Row:
    """Use an application while Redis fails, and the same without a gauge; see what was kept go out while requests go on."""
    worker = await arena.started(arena.worker())
    away = arena.pick(5, 60)
    visits = Visits(arena, away + 3 * LEAD)
    await visits.open()
    using = asyncio.create_task(visits.go_on())
    await asyncio.sleep(LEAD)
    await begin()
    await asyncio.sleep(away)
    waiting = (await visits.status())["waiting"]
    if waiting > RATE:
        arena.fired[what] += 1
    sent, taken = await visits.drained(end)
    await using
    await visits.close()
    if arena.full and sent < 2 * taken:
        arena.troubles.append(f"{sent:.0f} events a second were sent, {taken:.0f} came: not twice as many")
    row = await arena.finish(worker)
    row.notes += [visits.figures(), f"{waiting} waited; sent {sent:.0f} a second, {taken:.0f} came"]
    return row


@scenario("F9", "hosts are killed with a full spool, and garbage is behind its last record", quick=True)
async def f9(arena: Arena) -> Row:
    worker = await arena.started(arena.worker(accepted_loss_seconds="0"))
    durable = {"capture_mode": "durable"}
    for _ in range(arena.pick(1, 20)):
        await arena.redis.stop()
        host = arena.load(by="gauge", ack="durable", patience=10.0, pause=0.01, environment=durable)
        await arena.loaded(10, by=host)
        await host.kill()
        arena.fired["spoilt"] += _spoil(arena, arena.directory / "spool")
        await arena.redis.start()
        # The next one adopts what the killed one left.
        arena.load(by="gauge", ack="durable", patience=10.0, environment=durable)
        await arena.progress(50, worker)
    return await arena.finish(worker)


@scenario("F6d", "Redis forgets everything that durable hosts have sent")
async def f6d(arena: Arena) -> Row:
    worker = arena.worker(accepted_loss_seconds="1")
    arena.load(by="gauge", ack="durable", patience=10.0, environment={"capture_mode": "durable"})
    await arena.progress(50, worker)
    for _ in range(arena.pick(2, 20)):
        worker.process.send(signal.SIGSTOP)
        await arena.loaded(10)
        async with arena.redis.client() as client:
            await client.flushall()
        arena.fired["flushed"] += 1
        worker.process.send(signal.SIGCONT)
        await arena.loaded(5)
    row = await arena.finish(worker)
    if row.verdict.told:
        row.troubles.append(f"{row.verdict.told} durable events are told as lost")
    return row


@scenario("F26", "power fails between write and fsync of durable hosts, while Redis is away")
async def f26(arena: Arena) -> Row:
    worker = await arena.started(arena.worker(accepted_loss_seconds="0"))
    durable = {"capture_mode": "durable"}
    for turn in range(arena.pick(2, 20)):
        await arena.redis.stop()
        journal = arena.directory / f"journal-{turn}"
        point = "" if turn % 2 else f"spool.written=kill@{arena.chosen.randint(5, 25)}"
        host = arena.load(
            by="gauge", ack="durable", patience=10.0, pause=0.005, journal=str(journal),
            environment={**durable, "failpoints": point},
        )  # fmt: skip
        if not point:
            await arena.loaded(10, by=host)
            await host.kill()
        elif await host.ended() != -signal.SIGKILL:
            arena.void("spool.written was not reached")
        arena.fired["unsynced"] += lose(journal)
        await arena.redis.start()
        # The next one adopts what the disk has.
        arena.load(by="gauge", ack="durable", patience=10.0, batches=5, environment=durable)
        await arena.progress(5, worker)
    return await arena.finish(worker)


@scenario("F18", "the disk of the spool is full while Redis is away")
async def f18(arena: Arena) -> Row:
    disk = arena.directory / "disk"
    disk.mkdir()
    mounted = await asyncio.to_thread(_run, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk))
    if mounted.returncode:
        raise AssertionError(f"a small disk takes root: {mounted.stderr.strip()}")
    try:
        worker = await arena.started(arena.worker())
        await arena.redis.stop()
        host = _serving(arena, pause=0.0, size=200, spool_dir=str(disk), buffer_events="1000")

        async def refused() -> bool:
            return re.search(rb'"refused":\[\d', _outcomes(arena)) is not None

        await until(refused, "the host was told that events are dropped", host.process)
        arena.fired["refused"] += 1
        await arena.redis.start()
        return await _served(arena, worker, host)
    finally:
        for child in arena.children:
            await child.kill()
        await asyncio.to_thread(_run, "umount", str(disk))


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _serving(arena: Arena, pause: float = 0.02, size: int = 10, **environment: str) -> Child:
    return arena.load(by="gauge", ack="close", pause=pause, size=size, environment=environment)


async def _served(arena: Arena, worker: Child, host: Child) -> Row:
    """Finish, and see what the host's calls took meanwhile."""
    row = await arena.finish(worker)
    found = re.search(r"calls (\d+) p99_us ([\d.]+) most_us ([\d.]+)", host.output)
    if found is None:
        row.troubles.append("the host did not say what its calls took")
        return row
    row.notes.append(f"host: {found[1]} calls, p99 {found[2]} us, longest {found[3]} us")
    if arena.full and float(found[2]) > MOST_P99:
        row.troubles.append(f"p99 of a host's calls is above {MOST_P99:.0f} us")
    return row


def _outcomes(arena: Arena) -> bytes:
    return arena.ledger.read_bytes() if arena.ledger.exists() else b""


def _spoil(arena: Arena, spool: Path) -> int:
    """Behind every segment's last record: its own copy for another shard, damaged so, and a part of it."""
    spoilt = 0
    for path in spool.glob("*/*.segment"):
        data = path.read_bytes()
        last = data[data.rindex(FRAME) :]
        # The first four bytes of the body are the shard.
        shard = int.from_bytes(last[FRAME_HEAD : FRAME_HEAD + 4], "big")
        other = last[:FRAME_HEAD] + ((shard + 1) % 4).to_bytes(4, "big") + last[FRAME_HEAD + 4 :]
        path.write_bytes(data + other + last[: arena.chosen.randrange(len(last))])
        spoilt += 1
    return spoilt
