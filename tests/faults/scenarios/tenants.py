"""Tenants beside each other: what one of them does to the others."""

import asyncio
import time

from benchmarks.record import percentiles

from streamgauge.sharding import overflow_of
from tests.faults.arena import Arena, Row
from tests.faults.lag import Passage, Window, noting_commits, passages, within
from tests.faults.load import SHARDS
from tests.faults.scenarios.scenario import scenario

ORDINARY, FLOOD = ("red", "blue", "green"), "flood"
OVERFLOW = overflow_of(SHARDS)
TIMES = 50  # as many events as all the others together
BAR = 2.0  # times the lag without a flood
#: Above what an ordinary tenant sends, and not by much: within its quota the one that floods is one of them, and costs what it sends.
QUOTA = {"tenant_events_per_second": "20"}
WARM_UP = 2_000  # milliseconds of a flood that do not count: they make rows that are there from then on
SETTLED = 1.0  # seconds behind a flood
#: Entries, with a flood and without, of which percentiles are worth failing for.
ENOUGH = 400


@scenario("F27", "one tenant sends 50 times as many events as all the others together")
async def f27(arena: Arena) -> Row:
    """Its surplus waits in the overflow. Time with a flood and without takes turns, so that a busy machine is so for both."""
    await arena.connection.close()
    async with noting_commits(arena.ground):
        await arena.reconnect()
        worker = await arena.started(arena.worker(batch_events="32000"))
        arena.load(by="gauge", ack="close", pause=0.02, size=1, tenants=ORDINARY, environment=QUOTA)
        await arena.progress(100, worker)
        alone, floods = [await _alone(arena)], []
        for _ in range(arena.pick(1, 3)):
            floods.append(await _flood(arena))
            alone.append(await _alone(arena))
        await arena.applied_until_now()
        _compare(arena, await passages(arena.redis.url, arena.connection), alone, floods)
        return await arena.finish(worker)


async def _alone(arena: Arena) -> Window:
    """Let the others be without a flood for a while."""
    await asyncio.sleep(SETTLED)
    begin = time.time() * 1000
    await asyncio.sleep(arena.pick(3, 6))
    return begin, time.time() * 1000


async def _flood(arena: Arena) -> Window:
    """A host of the tenant that floods, from its start until everything it sent is applied."""
    begin = time.time() * 1000
    host = arena.load(
        by="gauge", ack="close", pause=0.08, size=480, batches=arena.pick(50, 100), tenants=(FLOOD,),
        environment=QUOTA,
    )  # fmt: skip
    assert await host.ended(120.0) == 0, f"the flood failed: {host.process.output(5)}"
    await arena.applied_until_now()
    return begin, time.time() * 1000


def _compare(arena: Arena, found: list[Passage], alone: list[Window], floods: list[Window]) -> None:
    """Note how long the others' entries waited without a flood and with one."""
    above = [each for each in found if each.stream == OVERFLOW]
    arena.fired["overflow"] = len(above)
    if others := sum(each.events for each in above if FLOOD not in each.tenants):
        arena.troubles.append(f"{others} events of tenants within their quota were in the overflow")
    sent = [[each.appended for each in within(above, [flood])] for flood in floods]
    flooding = [(min(moments) + WARM_UP, max(moments)) for moments in sent if moments]
    if not flooding:
        return
    ordinary = [each for each in found if FLOOD not in each.tenants]
    before, beside = within(ordinary, alone), within(ordinary, flooding)
    if min(len(before), len(beside)) < 2:
        arena.void("nobody sent anything beside the flood")
        return
    times = _events(within([each for each in found if FLOOD in each.tenants], flooding)) / _events(beside)
    arena.notes.append(
        f"one tenant sent {times:.0f} times as many events as the {len(ORDINARY)} others together"
    )
    if times < TIMES:
        arena.void(f"{times:.0f} times as many are not {TIMES}")
    without, with_flood = _figures(before), _figures(beside)
    ratios = {name: with_flood[name] / without[name] for name in ("p50_ms", "p95_ms")}
    for what, figures, number in (("alone", without, len(before)), ("flooded", with_flood, len(beside))):
        shown = ", ".join(f"{name[:3]} {figures[name]:.1f} ms" for name in ratios)
        arena.notes.append(f"the others' lag {what}: {shown} ({number} entries)")
    shown = ", ".join(f"{name[:3]} {ratio:.2f}" for name, ratio in ratios.items())
    arena.notes.append(f"times as long: {shown}; bar {BAR:g}")
    if not arena.full:
        return
    if min(len(before), len(beside)) < ENOUGH:
        arena.void(f"of fewer than {ENOUGH} entries, percentiles say little")
    elif max(ratios.values()) > BAR:
        arena.troubles.append(f"the others waited {max(ratios.values()):.2f} times as long while one flooded")


def _events(passed: list[Passage]) -> int:
    return sum(each.events for each in passed)


def _figures(passed: list[Passage]) -> dict[str, float]:
    return percentiles([round(each.lag * 1e6) for each in passed])
