"""Workers that are killed, stopped and told to end."""

import asyncio
import signal

from prometheus_client.parser import text_string_to_metric_families

from streamgauge.failpoints import PLACES
from tests.faults.arena import LEASE_SECONDS, Arena, Row
from tests.faults.ground import Child, until
from tests.faults.load import SHARDS
from tests.faults.scenarios.scenario import scenario
from tests.integration.program import fetch, free_port

#: Places of producers and of retention, which fail elsewhere; and those a worker reaches only behind its five seconds of housekeeping.
OF_OTHERS = ("spool.", "archive.")
LATE = ("trim.", "acknowledge.")
INNER = (
    "commit.swapped", "commit.judged", "commit.logged", "commit.summarised", "commit.entered", "commit.stored", "commit.before",
)  # fmt: skip
#: How long a worker may take to come to a place that it passes all the time, and to the late ones, in seconds.
SOON, LATER = 15.0, 25.0
EXIT_SECONDS = 10.0


@scenario("F1", "kill -9 of the worker, at every failpoint and at random", quick=True)
async def f1(arena: Arena) -> Row:
    arena.load()
    places = [place for place in PLACES if not place.startswith(OF_OTHERS)]
    if not arena.full:
        # Before the commit; F2 is about what comes behind it.
        places = arena.chosen.sample([each for each in places if each.startswith(INNER)], 2)
    for place in places:
        await _kill_at(arena, place)
        # Nothing may depend on entries that are applied: whoever takes over could have trimmed them.
        await arena.trimmed()
    for _ in range(arena.pick(1, 200)):
        worker = arena.worker()
        await arena.progress(process=worker)
        await asyncio.sleep(arena.chosen.uniform(0, 0.3))
        await worker.kill()
        arena.fired["random"] += 1
    return await arena.finish()


async def _kill_at(arena: Arena, place: str) -> None:
    times = 1 if place.startswith((*LATE, "lease.", "history.")) else arena.chosen.randint(1, 8)
    if place == "history.changed":
        # Nothing is lost by a restart that flushes: but it is another history.
        await arena.redis.stop()
        await arena.redis.start()
    worker = arena.worker(f"{place}=kill@{times}", trim_lag_seconds="0", accepted_loss_seconds="0")
    code = await worker.ended(LATER if place.startswith(LATE) else SOON)
    if code == -signal.SIGKILL:
        arena.fired[place] += 1
    else:
        arena.void(f"{place} was not reached {times} times")
        await worker.kill()


@scenario("F2", "killed between COMMIT and what follows it, then everything is delivered again", quick=True)
async def f2(arena: Arena) -> Row:
    arena.load()
    for _ in range(arena.pick(1, 10)):
        worker = arena.worker(f"commit.after=kill@{arena.chosen.randint(3, 12)}")
        if await worker.ended(SOON) != -signal.SIGKILL:
            arena.void("commit.after was not reached")
            await worker.kill()
        await arena.redis.stop()  # the next worker finds another history, and reads all that is retained
        await arena.redis.start()
        arena.fired["killed"] += 1
    row = await arena.finish()
    if row.verdict.duplicates < 50:
        row.troubles.append(f"void: only {row.verdict.duplicates} events were delivered again")
    return row


@scenario("F5", "a worker is stopped past its lease, another takes over, the first goes on", quick=True)
async def f5(arena: Arena) -> Row:
    arena.load()
    second = None
    for turn in range(arena.pick(1, 50)):
        port = free_port()
        # Between the read and its transaction: a zombie that holds no lock, and still means to commit.
        inside = arena.full and turn % 5 == 4
        place = "commit.summarised" if inside else "batch.read"
        first = arena.worker(f"{place}=stop@{arena.chosen.randint(2, 6)}", port)
        if second is not None:
            await second.terminate()
        await _stopped(first)
        tokens = await _tokens(arena)
        second = arena.worker()
        await asyncio.sleep(LEASE_SECONDS)
        await _replaced(arena, tokens, second)
        first.process.send(signal.SIGCONT)
        await _fenced(arena, first, port)
        await first.kill()
    return await arena.finish(second)


async def _tokens(arena: Arena) -> set[str]:
    return {
        str(row["token"])
        for row in await arena.connection.fetch("SELECT token FROM shards WHERE shard < $1", SHARDS)
    }


async def _replaced(arena: Arena, tokens: set[str], worker: Child) -> None:
    """Wait until another has written for every shard: whichever of them the stopped worker is at, it comes too late."""

    async def moved() -> bool:
        return not tokens & await _tokens(arena)

    await until(moved, "every shard is written by another worker", worker.process)


async def _stopped(worker: Child) -> None:
    async def is_stopped() -> bool:
        return _state(worker) == "T"

    await until(is_stopped, "the worker has stopped itself", worker.process, SOON)


def _state(worker: Child) -> str:
    with open(f"/proc/{worker.process.pid}/stat") as file:
        return file.read().rpartition(") ")[2][0]


async def _fenced(arena: Arena, worker: Child, port: int) -> None:
    """Wait until a worker's commit was refused; one with a shard inside a transaction may have lost its connection instead."""

    async def refused() -> bool:
        text = (await asyncio.to_thread(fetch, port, "/metrics")).text
        families = text_string_to_metric_families(text)
        found = {sample.name: sample.value for family in families for sample in family.samples}
        return (
            found.get("streamgauge_transactions_fenced_total", 0) > 0 or worker.said("shard read again") > 0
        )

    arena.fired["resumed"] += 1
    try:
        await until(refused, "the commit of a worker that was replaced is refused", worker.process, LATER)
    except AssertionError as error:
        # What came of it is for the judge to tell.
        arena.troubles.append(str(error))


@scenario("F24", "SIGTERM in a burst: workers, and a host that forked its processes")
async def f24(arena: Arena) -> Row:
    arena.load(pause=0.0)
    for _ in range(arena.pick(2, 20)):
        worker = arena.worker()
        await arena.progress(process=worker)
        code = await worker.terminate(EXIT_SECONDS)
        if code != 0:
            arena.troubles.append(f"a worker told to end ended with {code}")
        arena.fired["worker"] += 1
    worker = arena.worker()
    for _ in range(arena.pick(1, 5)):
        host = arena.load(by="gauge", forks=2, patience=0.05)
        await arena.loaded(5, by=host)
        code = await host.terminate(EXIT_SECONDS)
        if code != 0:
            arena.troubles.append(f"a host told to end ended with {code}: {host.process.output(5)}")
        arena.fired["host"] += 1
    return await arena.finish(worker)
