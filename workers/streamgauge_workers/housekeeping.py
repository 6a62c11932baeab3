"""What a shard's owner does between batches: trim its stream (rule P8), forget idle lanes (rule P10), tell its lag,
clear its live view and what old dead letters held."""

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from streamgauge.database import Connection
from streamgauge.entry import EntryId
from streamgauge.failpoints import pass_through
from streamgauge.settings import Settings
from streamgauge.stream import StreamPort
from streamgauge_workers import metrics
from streamgauge_workers.acknowledgements import forget as forget_acknowledged
from streamgauge_workers.lag import Lag
from streamgauge_workers.position import Position
from streamgauge_workers.queries import SQL
from streamgauge_workers.recent_actors import forget as forget_recent_actors
from streamgauge_workers.refusals import expire

EVERY = 5.0  # seconds
FORGET_EVERY = 3_600.0  # seconds
CLEAR_EVERY = 60.0  # seconds
IDLE_MARGIN = timedelta(days=1)


class Housekeeping:
    """One shard's chores."""

    def __init__(
        self,
        shard: int,
        stream: StreamPort,
        settings: Settings,
        behind: Lag,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.shard = shard
        self.number = behind.number
        self.stream = stream
        self.behind = behind
        self.lag = settings.trim_lag_seconds * 1000
        self.accepted_loss = settings.accepted_loss_seconds
        #: Positions of the last seconds, oldest first, and when each was seen.
        self.seen: deque[tuple[float, Position]] = deque()
        self.most_bytes = settings.stream_max_bytes
        self.letters_age = timedelta(days=settings.log_retention_days)
        self.idle = timedelta(days=settings.max_lateness_days) + IDLE_MARGIN
        self.due = self.clock() + EVERY
        self.forget_due = self.clock()
        self.clear_due = self.clock()

    async def run(self, connection: Connection, position: Position) -> bool:
        """Do what is due. True when it moved the token: read the row again and drop caches."""
        now = self.clock()
        if now < self.due:
            return False
        self.due = now + EVERY
        await self.behind.measure(position.entry_id)
        await self.trim(connection, position)
        if now >= self.clear_due:
            self.clear_due = now + CLEAR_EVERY
            await forget_recent_actors(connection, self.shard)
        if now < self.forget_due:
            return False
        self.forget_due = now + FORGET_EVERY
        await expire(connection, self.shard, self.letters_age)
        return await self.forget(connection, position)

    async def trim(self, connection: Connection, position: Position) -> int:
        """Remove entries behind the durable position minus the lag; returns how many."""
        entry_id = self.lasting(position)
        if position.history is None or entry_id is None:
            return 0
        lag = 0 if await self.stream.bytes_used(self.number) > self.most_bytes else self.lag
        before = EntryId(entry_id.milliseconds - lag, entry_id.sequence if not lag else 0)
        first = await self.stream.first_id(self.number)
        if first is None or first >= before:
            return 0
        # Batches commit without waiting for the disk. Waiting for this later write waits for them too.
        async with connection.transaction():
            await connection.execute("SET LOCAL synchronous_commit = on")
            await connection.execute("SELECT pg_logical_emit_message(true, 'streamgauge', 'trim')")
        await pass_through("trim.before")
        removed = await self.stream.trim(self.number, position.history, before) or 0
        await pass_through("trim.after")
        metrics.TRIMMED.inc(removed)
        return removed

    def lasting(self, position: Position) -> EntryId | None:
        """How far the position had come before the loss that is accepted of PostgreSQL; None: that is not known yet.

        A worker that catches up passes hours of entries in seconds. A failover that takes those seconds back needs the entries again,
        however long ago they were made.
        """
        now = self.clock()
        if self.seen and self.seen[-1][1].history != position.history:
            self.seen.clear()
        self.seen.append((now, position))
        while len(self.seen) > 1 and self.seen[1][0] <= now - self.accepted_loss:
            self.seen.popleft()
        at, lasting = self.seen[0]
        # The present one may be in front of it: the stream is read again.
        return None if at > now - self.accepted_loss else min(lasting.entry_id, position.entry_id)

    async def forget(self, connection: Connection, position: Position) -> bool:
        """Forget lanes idle for longer than lateness allows an event to come; True when there were any."""
        idle = int(self.idle.total_seconds() * 1000)
        before = int(await connection.fetchval("SELECT extract(epoch FROM now()) * 1000")) - idle
        if not await connection.fetchval(SQL["lanes_idle"], self.shard, before):
            return False
        async with connection.transaction():
            await position.swap(connection, position)
            gone = await connection.fetch(SQL["lanes_forget"], self.shard, before)
        await forget_acknowledged(self.stream, self.number, [row["lane"] for row in gone])
        return True
