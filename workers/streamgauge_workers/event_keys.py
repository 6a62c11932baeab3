"""Ids of keyed events that were applied, remembered for longer than lateness allows an event to come.

An event whose key is forgotten is too late to be applied, so no repetition is ever counted. Periods rotate: the current and the one
before are probed, older ones are dropped whole. The first applied wins.

Two shards may meet over a key, and the key's uniqueness within a period sends one of them back. Their transactions may lie on the two
sides of a period's turn: shortly before it keys are stored for the next period too, so that these meet as well.
"""

from datetime import datetime, timedelta

import asyncpg
import numpy as np

from streamgauge.database import Connection
from streamgauge.errors import FencedError
from streamgauge.table import Mask, Table
from streamgauge_workers import partitions
from streamgauge_workers.queries import SQL

#: Ahead of PostgreSQL's clock an event may be by five minutes; one hour covers that and the turn of a period.
MARGIN = timedelta(hours=1)
#: Before a period's turn; much longer than any transaction lasts.
STRADDLE = timedelta(minutes=15)


class EventKeys:
    """The periods of remembered keys of one shard's worker."""

    def __init__(self, shard: int, max_lateness: timedelta) -> None:
        self.shard = shard
        self.span = max_lateness + MARGIN

    def period(self, now: datetime) -> int:
        """The number of the period that `now` lies in."""
        return int(now.timestamp() // self.span.total_seconds())

    def periods(self, now: datetime) -> list[int]:
        """The periods that a key applied at `now` is stored for."""
        return sorted({self.period(now), self.period(now + STRADDLE)})

    async def prepare(self, connection: Connection, now: datetime) -> None:
        """Create this and the next period's partitions, drop those before the previous one."""
        current = self.period(now)
        for period in (current, current + 1):
            await partitions.attach(
                connection, "event_keys", f"event_keys_{period}", f"FOR VALUES IN ({period})"
            )
        for name in await partitions.names(connection, "event_keys"):
            if int(name.removeprefix("event_keys_")) < current - 1:
                await self._drop(connection, name)

    async def _drop(self, connection: Connection, name: str) -> None:
        """Drop a partition if nobody is in the way; else the next preparation does."""
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '200ms'")
                await connection.execute(f"DROP TABLE {name}")
        except asyncpg.LockNotAvailableError:
            return

    async def repeated(self, connection: Connection, table: Table, timely: Mask, now: datetime) -> Mask:
        """Which rows repeat a key that was applied already, or that a timely row of this table comes first with."""
        found = np.zeros(table.n, np.bool_)
        if not table.keys:
            return found
        known = await connection.fetch(SQL["keys_known"], list(set(table.keys)), self.period(now) - 1)
        seen = {row["event_id"] for row in known}
        for row, key in zip(table.key_rows.tolist(), table.keys, strict=True):
            found[row] = key in seen
            # A row that is refused leaves its key free for a later one.
            if timely[row]:
                seen.add(key)
        return found

    async def store(self, connection: Connection, table: Table, applied: Mask, now: datetime) -> None:
        """Remember the keys of the applied rows. Raises FencedError when another shard was faster with one of them."""
        keys = [key for row, key in zip(table.key_rows.tolist(), table.keys, strict=True) if applied[row]]
        if keys:
            periods = self.periods(now)
            stored = await connection.fetch(SQL["keys_store"], self.shard, periods, keys)
            if len(stored) != len(keys) * len(periods):
                raise FencedError("another shard applied one of these keys meanwhile")
