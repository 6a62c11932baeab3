"""Leaderboards against a sort oracle while points arrive: at rest they are what sorting gives, and meanwhile every look is of one moment."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence

from streamgauge.catalogue import CATALOGUE
from streamgauge.database import Connection, open_connection
from streamgauge.domains.gamification.declarations import BOARD, LEDGER
from streamgauge.domains.gamification.leaderboard import Reading, read
from streamgauge.entities.standings import Frame, Score
from streamgauge.entities.stored_standings import StoredStandings
from streamgauge.read.rows import snapshot
from streamgauge_workers.rebuild import rebuild

from .engine import DAY, HOUR, Engine, Plain, open_engine

SCHOOL = {"school": "Europe/Berlin"}
PEOPLE = [bytes([1, *[number] * 16]) for number in range(60)]
ALL = Frame("xp", "all", 0)


def points(seed: int, count: int, shards: int = 4) -> list[Plain]:
    """Points of the last days; an actor's come through every shard, as after a change of their number."""
    chosen, now = random.Random(seed), int(time.time() * 1_000_000)
    return [
        {
            "name": chosen.choice(["xp.earned", "xp.earned", "learning_session.ended", "quiz.attempted"]),
            "at": now - chosen.randrange(3 * DAY) - HOUR,
            "tenant": "school",
            "actor": chosen.choice(PEOPLE),
            "properties": {"xp": chosen.choice([0, 1, 10, 10, 250])},
            "shard": number % shards,
            "key": (seed << 64 | number).to_bytes(16),
        }
        for number in range(count)
    ]


def ordered(events: Sequence[Plain]) -> list[Score]:
    """Added up and sorted."""
    found: Counter[bytes] = Counter()
    for event in events:
        if event["name"] != "quiz.attempted":
            found[event["actor"]] += event["properties"]["xp"]
    return [Score(*each) for each in sorted(found.items(), key=lambda each: (-each[1], each[0]))]


async def whole(connection: Connection, tenant_id: int) -> list[Score]:
    """Everybody's scores, sorted here."""
    rows = await connection.fetch(
        "SELECT actor, score FROM board_scores WHERE tenant_id = $1 AND board = $2 AND timeframe = $3", tenant_id, *ALL[:2]
    )  # fmt: skip
    return sorted((Score(*row) for row in rows), key=lambda each: (-each.score, each.actor))


def agrees(reading: Reading, order: Sequence[Score], actor: bytes, limit: int) -> None:
    """A reading is what the whole order gives."""
    assert reading.best == list(order[:limit])
    assert reading.participants == len(order)
    place = next((at for at, each in enumerate(order) if each.actor == actor), None)
    if place is None:
        assert reading.own is None
        return
    assert reading.own == (place + 1, len(order), order[place].score)
    assert reading.above == list(reversed(order[max(place - 2, 0) : place]))
    assert reading.below == list(order[place + 1 : place + 3])


async def look(connection: Connection, tenant_id: int, chosen: random.Random) -> int:
    """One look at the board of somebody, in one snapshot; all participants' points."""
    actor, limit = chosen.choice([*PEOPLE, b"\2" * 17]), chosen.choice([1, 10, 100])
    async with snapshot(connection):
        reading = await read(StoredStandings(connection, tenant_id), ALL, actor, limit)
        order = await whole(connection, tenant_id)
    agrees(reading, order, actor, limit)
    return sum(each.score for each in order)


async def journalled(engine: Engine) -> dict[bytes, int]:
    """Everybody's points by the journal."""
    rows = await engine.connection.fetch(
        "SELECT actor, sum((said ->> 'xp')::bigint)::bigint AS points, sum(sums[1])::bigint AS again FROM tally_rows WHERE tally = $1 GROUP BY 1",
        LEDGER.name,
    )
    assert all(row["points"] == row["again"] for row in rows)
    return {row["actor"]: row["points"] for row in rows}


async def test_every_look_is_of_one_moment_while_points_arrive_and_at_rest_all_is_as_sorted(
    redis_url: str, database_url: str
) -> None:
    events = points(1, 2_000)
    async with open_engine(redis_url, database_url, SCHOOL) as engine:
        tenant_id = await engine.connection.fetchval("SELECT tenant_id FROM tenants")
        looking = await open_connection(database_url)
        chosen, seen = random.Random(2), list[int]()

        async def publish() -> None:
            lanes = {shard: engine.lane(shard) for shard in range(4)}
            for first in range(0, len(events), 40):
                sent = await engine.publish(events[first : first + 40], 4, lanes)
                # What was sent comes again now and then, and must not count again.
                if first % 200 == 0:
                    for shard, batch in sent:
                        await engine.send(shard, batch)
                await asyncio.sleep(0.01)

        async with engine.working(2):
            publishing = asyncio.create_task(publish())
            while not publishing.done():
                seen.append(await look(looking, tenant_id, chosen))
            await publishing
            await engine.drained()
        order = ordered(events)
        assert await whole(looking, tenant_id) == order
        for actor in [*PEOPLE, b"\2" * 17]:
            agrees(await read(StoredStandings(looking, tenant_id), ALL, actor, 100), order, actor, 100)
        # Something changed while it was looked at, and never went back.
        assert len(set(seen)) > 3
        assert seen == sorted(seen)
        assert len(order) == len(PEOPLE)
        scores = {each.actor: each.score for each in order}
        assert await journalled(engine) == scores
        # All of it can be had again from the log.
        aside = await open_connection(database_url)
        await engine.connection.execute("UPDATE board_scores SET score = score + 5")
        await rebuild(
            engine.connection, aside, [BOARD.name, LEDGER.name], engine.settings.cardinality_limit, CATALOGUE
        )
        assert await whole(looking, tenant_id) == order
        assert await journalled(engine) == scores
        assert (await engine.verified()).differences == []
        for each in (aside, looking):
            await each.close()
