"""Remembered keys, where two shards meet over one."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from streamgauge.database import open_connection
from streamgauge.errors import FencedError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.table import thaw
from streamgauge_workers.event_keys import EventKeys


async def test_a_key_that_another_shard_applied_meanwhile_sends_the_batch_back(database_url: str) -> None:
    table = thaw(freeze([Event("quiz.attempted", 0, "school", key=b"k" * 16)]))
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
    table = thaw(freeze([Event("quiz.attempted", 0, "school", key=b"k" * 16)]))
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
