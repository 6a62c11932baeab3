"""A worker whose PostgreSQL takes fewer connections than it needs does its work all the same, and says what is wrong."""

import asyncio
from unittest.mock import patch

from structlog.testing import capture_logs

from streamgauge.database import Connection
from streamgauge_workers import scarcity
from streamgauge_workers.scarcity import TURN, Scarcity

from .engine import generate, open_engine

#: Two of five shards at a time, the leases, what deletes and archives now and then, and ours.
FEW = 7


async def limit(connection: Connection, number: int) -> None:
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} CONNECTION LIMIT {number}")


async def test_with_too_few_connections_shards_take_turns_and_every_event_counts_once(
    redis_url: str, database_url: str
) -> None:
    events = generate(5, 400)
    async with open_engine(redis_url, database_url) as engine:
        with (
            patch.object(scarcity, "TURN", 0.2),
            patch.object(scarcity, "PAUSE", 0.02),
            capture_logs() as logs,
        ):
            # The first connection of its pool it has to get.
            await limit(engine.connection, FEW)
            async with engine.working() as workers:
                await engine.publish(events[:200], 10)
                await engine.drained()
                await engine.publish(events[200:], 10)
                await engine.drained()
                assert await engine.connection.fetchval("SELECT max(term) FROM leases") == 1
                assert workers[0].leases.held
            told = [each for each in logs if "takes no more connections" in each["event"]]
            assert len(told) == 1, logs
            assert "too many connections" in told[0]["detail"]
            assert not any(each["event"] in {"leases not renewed", "shard read again"} for each in logs)
        await limit(engine.connection, -1)
        await engine.check(events)


def test_a_turn_ends_only_when_somebody_waits() -> None:
    now = [0.0]
    shared = Scarcity(lambda: now[0])
    now[0] = 10 * TURN
    assert not shared.is_over(0.0)
    shared.waiting.add(3)
    assert shared.is_over(9 * TURN)
    assert not shared.is_over(9.1 * TURN)


async def test_a_shard_that_is_to_stop_waits_for_no_connection() -> None:
    stopping, shared = asyncio.Event(), Scarcity()
    stopping.set()
    async with shared.pair(None, 0, stopping) as pair:  # type: ignore[arg-type]  # it is not asked
        assert pair is None
    assert shared.waiting == set()
