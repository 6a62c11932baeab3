"""Events that are spoilt, late or from the future."""

import asyncio

from streamgauge.stream import stream_key
from tests.faults.arena import Arena, Row
from tests.faults.scenarios.scenario import scenario

DAY_SECONDS = 86_400
_AGREE = """
SELECT (SELECT coalesce(sum(count), 0) FROM hourly_summary) = (SELECT coalesce(sum(count), 0) FROM daily_summary) AS agree,
       (SELECT coalesce(sum(count), 0)::bigint FROM daily_summary) AS events"""


@scenario("F17", "one event in a hundred is poison, and so are some entries", quick=True)
async def f17(arena: Arena) -> Row:
    worker = arena.worker()
    arena.load(poison=0.01)
    for _ in range(arena.pick(5, 50)):
        await arena.loaded(5)
        async with arena.redis.client() as client:
            key = stream_key("streamgauge", 0, arena.chosen.randrange(4))
            await client.xadd(key, {"h": arena.chosen.randbytes(60), "p": arena.chosen.randbytes(30)})
        arena.junk += 1
        arena.fired["junk"] += 1
    await arena.progress(process=worker)
    row = await arena.finish(worker)
    reasons = await arena.connection.fetch(
        "SELECT DISTINCT outcome, reason FROM outcome_ledger WHERE outcome <> 'applied'"
    )
    if len(reasons) < 3:
        row.troubles.append(f"void: only {len(reasons)} kinds of poison were met")
    return row


@scenario("F20", "producers' clocks are an hour and days wrong, both ways")
async def f20(arena: Arena) -> Row:
    worker = arena.worker()
    for hours in (-1, 1, -48, 48):
        arena.load(clock=hours * 3600, pause=0.2)
    await arena.loaded(arena.pick(60, 1_000))
    await arena.progress(process=worker)
    arena.fired["future"] = await arena.connection.fetchval(
        "SELECT coalesce(sum(events), 0)::int FROM outcome_ledger WHERE reason = 'future'"
    )
    return await arena.finish(worker)


@scenario("F21", "late and out of order over hours and days: both tables agree at every moment")
async def f21(arena: Arena) -> Row:
    worker = arena.worker()
    arena.load(hours=6 * 24)
    arena.load(hours=30)
    await arena.progress(process=worker)
    seen = set()
    for _ in range(arena.pick(60, 1_000)):
        async with arena.connection.transaction(isolation="repeatable_read", readonly=True):
            found = await arena.connection.fetchrow(_AGREE)
        assert found is not None
        if not found["agree"]:
            arena.troubles.append(f"hours and days disagree at {found['events']} events")
        seen.add(found["events"])
        await asyncio.sleep(0.05)
    arena.fired["moments"] = len(seen) - 1
    return await arena.finish(worker)
