"""Promises about boards in the tables: scores and levels are what the log gives, whoever adds to them at the same time."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from streamgauge.catalogue import CATALOGUE
from streamgauge.database import open_connection
from streamgauge.summaries.boards import Board, Points
from streamgauge_workers.rebuild import rebuild

from .engine import Engine, Plain, generate, open_engine

BOARD = Board("lessons", (Points("lesson.read", None, 3), Points("draft.sent", "duration")))
OWN = CATALOGUE.extended(BOARD)


def counted(events: Sequence[Plain]) -> dict[tuple[str, bytes], int]:
    """Scores of all time, by tenant and actor."""
    found: Counter[tuple[str, bytes]] = Counter()
    for event in events:
        if "actor" in event and event["name"] == "lesson.read":
            found[event["tenant"], event["actor"]] += 3
        if "actor" in event and event["name"] == "draft.sent" and "duration" in event["properties"]:
            found[event["tenant"], event["actor"]] += event["properties"]["duration"]
    return dict(found)


async def stored(engine: Engine) -> dict[tuple[str, bytes], int]:
    rows = await engine.connection.fetch(
        "SELECT t.name, b.actor, b.score FROM board_scores b JOIN tenants t USING (tenant_id) WHERE timeframe = 'all'"
    )
    return {(row["name"], row["actor"]): row["score"] for row in rows}


async def test_scores_and_levels_are_those_of_the_events_though_shards_share_actors(
    redis_url: str, database_url: str
) -> None:
    # Every actor in every shard: what a change of the number of shards, or an overflow, leads to.
    events = [{**event, "shard": place % 4} for place, event in enumerate(generate(51, 900))]
    async with open_engine(redis_url, database_url, catalogue=OWN) as engine:
        batches = await engine.publish(events, 7)
        for shard, batch in batches[::5]:
            await engine.send(shard, batch)
        await engine.drain(2)
        assert await stored(engine) == counted(events)
        await engine.check(events)


async def test_a_changed_score_or_level_is_found_and_a_rebuild_mends_it_beside_traffic(
    redis_url: str, database_url: str
) -> None:
    first, more = generate(52, 300), generate(53, 300)
    async with open_engine(redis_url, database_url, catalogue=OWN) as engine:
        await engine.publish(first, 20)
        await engine.drain()
        await engine.connection.execute(
            "UPDATE board_levels SET participants = participants + 1 WHERE timeframe = 'all'"
        )
        assert {text.split()[0] for text in (await engine.verified()).differences} == {"board_levels"}
        await engine.connection.execute("UPDATE board_scores SET score = score + 1 WHERE timeframe = 'week'")
        assert {text.split()[0] for text in (await engine.verified()).differences} == {
            "board_levels",
            "board_scores",
        }
        one, aside = await open_connection(database_url), await open_connection(database_url)
        async with engine.working():
            publishing = asyncio.create_task(engine.publish(more, 5))
            await rebuild(one, aside, ["lessons"], engine.settings.cardinality_limit, OWN)
            await publishing
            await engine.drained()
        await one.close()
        await aside.close()
        assert await stored(engine) == counted([*first, *more])
        await engine.check([*first, *more])
