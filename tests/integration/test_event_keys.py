"""Remembered keys, where two shards meet over one."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from streamgauge.database import Connection, open_connection
from streamgauge.errors import FencedError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.table import thaw
from streamgauge_workers.event_keys import STRADDLE, EventKeys

LATENESS = timedelta(days=7)
PATIENCE = 10.0  # seconds until a test that waits gives up


async def test_a_key_that_another_shard_applied_meanwhile_sends_the_batch_back(database_url: str) -> None:
    table = thaw(freeze([Event("quiz.tried", 0, "school", key=b"k" * 16)]))
    applied, now = np.array([True]), datetime.now(UTC)
    connection = await open_connection(database_url)
    try:
        await EventKeys(0, timedelta(days=7)).prepare(connection, now)
        await EventKeys(0, timedelta(days=7)).store(connection, table, applied, now)
        with pytest.raises(FencedError, match="another shard applied one of these keys"):
            await EventKeys(1, timedelta(days=7)).store(connection, table, applied, now)
    finally:
        await connection.close()


async def test_keys_are_remembered_through_the_next_period_and_then_dropped_whole(database_url: str) -> None:
    table = thaw(freeze([Event("quiz.tried", 0, "school", key=b"k" * 16)]))
    timely, lateness, now = np.array([True]), timedelta(days=7), datetime.now(UTC)
    keys = EventKeys(0, lateness)
    connection = await open_connection(database_url)
    try:
        await keys.prepare(connection, now)
        await keys.store(connection, table, timely, now)
        # As long as an event of that time is not too late, and five minutes longer.
        assert (
            await keys.repeated(connection, table, timely, now + lateness + timedelta(minutes=5))
        ).tolist() == [True]
        much_later = now + 3 * keys.span
        assert (await keys.repeated(connection, table, timely, much_later)).tolist() == [False]
        await keys.prepare(connection, much_later)
        assert await connection.fetchval("SELECT count(*) FROM event_keys") == 0
    finally:
        await connection.close()


@pytest.mark.parametrize("first_is_before", [True, False])
async def test_two_shards_whose_transactions_lie_on_both_sides_of_a_periods_turn_apply_a_key_once(
    database_url: str, first_is_before: bool
) -> None:
    """Both have looked and found nothing: neither sees what the other has not committed."""
    table, timely = thaw(freeze([Event("quiz.tried", 0, "school", key=b"k" * 16)])), np.array([True])
    one, other = EventKeys(0, LATENESS), EventKeys(1, LATENESS)
    turn = datetime.fromtimestamp((one.period(datetime.now(UTC)) + 1) * one.span.total_seconds(), UTC)
    before, after = turn - timedelta(seconds=1), turn + timedelta(seconds=1)
    assert one.period(before) + 1 == one.period(after)
    here, there = (before, after) if first_is_before else (after, before)
    first, second = await open_connection(database_url), await open_connection(database_url)
    try:
        await one.prepare(first, before)
        async with first.transaction():
            undone = second.transaction()
            await undone.start()
            for keys, connection, now in ((one, first, here), (other, second, there)):
                assert (await keys.repeated(connection, table, timely, now)).tolist() == [False]
            await one.store(first, table, timely, here)
            refused = asyncio.create_task(_refused(other.store(second, table, timely, there)))
            await _until_waiting(first)
        await refused
        await undone.rollback()
        for now in (before, after):
            assert (await other.repeated(second, table, timely, now)).tolist() == [True]
        assert await first.fetchval("SELECT count(DISTINCT shard) FROM event_keys") == 1
    finally:
        await first.close()
        await second.close()


async def _refused(storing: Coroutine[None, None, None]) -> None:
    with pytest.raises(FencedError, match="another shard applied one of these keys"):
        await storing


async def _until_waiting(connection: Connection) -> None:
    """Wait until another session waits for this one's transaction."""
    query = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')"
    async with asyncio.timeout(PATIENCE):
        while not await connection.fetchval(query):  # noqa: ASYNC110 - nothing tells when another session begins to wait
            await asyncio.sleep(0.01)


def test_a_key_is_stored_once_but_shortly_before_a_periods_turn() -> None:
    keys = EventKeys(0, LATENESS)
    turn = datetime.fromtimestamp(100 * keys.span.total_seconds(), UTC)
    assert keys.periods(turn) == [100]
    assert keys.periods(turn - STRADDLE - timedelta(seconds=1)) == [99]
    assert keys.periods(turn - STRADDLE) == [99, 100]
    assert keys.periods(turn - timedelta(microseconds=1)) == [99, 100]
