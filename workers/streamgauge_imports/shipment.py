"""Sends an import's frames to their shards, no faster than they are applied, and waits until they are."""

import asyncio
import time
from collections.abc import Sequence

from streamgauge.capture.publisher import FIRST_DELAY, LONGEST_DELAY
from streamgauge.database import Connection
from streamgauge.entry import Announcement, Batch, Record
from streamgauge.errors import ServerError
from streamgauge.ranges import Ranges
from streamgauge.settings import Settings
from streamgauge.stream import StreamPort
from streamgauge_imports.attendance import Attendance
from streamgauge_imports.batches import Frame
from streamgauge_imports.progress import Progress
from streamgauge_imports.queries import SQL

PATIENCE = 60.0  # seconds without any progress
LOOK_SECONDS = 0.05
SEND_ATTEMPTS = 30  # about 50 seconds
BORN = 0  # a trusted lane has no age


class Shipment:
    """One import's lane. It has the same id in every shard; numbers run from 0 in each."""

    def __init__(
        self,
        lane: bytes,
        stream: StreamPort,
        shards: Sequence[int],
        connection: Connection,
        attendance: Attendance,
        settings: Settings,
        progress: Progress,
    ) -> None:
        """`shards`: by number of the stream, how the tables name it."""
        self.lane = lane
        self.shards = shards
        self.sent = [0] * stream.shards  #: events numbered, by shard
        self.done = [Ranges() for _ in range(stream.shards)]
        self._closed: set[int] = set()
        self._stream = stream
        self._connection = connection
        self._attendance = attendance
        self._progress = progress
        self._read = 0  # rows of the source
        # Two transactions' worth for each shard keep the workers busy; more would only delay live events behind it.
        self.most_ahead = 2 * settings.batch_events * stream.shards
        self._unseen = 0  # sent since the last look
        self._moved_at = time.monotonic()
        self._moved_to = -1

    @property
    def published(self) -> int:
        """Events sent, or found to be done already."""
        return sum(self.sent)

    @property
    def applied(self) -> int:
        """Those of them that the workers are done with, as of the last look."""
        return sum(done.size_below(sent) for done, sent in zip(self.done, self.sent, strict=True))

    async def look(self) -> int:
        """Ask how far the workers are; returns how many redeliveries they counted."""
        redelivered = 0
        for row in await self._connection.fetch(SQL["lane"], self.lane, self.shards):
            number = self.shards.index(row["shard"])
            self.done[number] = Ranges((each.lower, each.upper) for each in row["done"])
            redelivered += row["redelivered"]
            if row["closed"]:
                self._closed.add(number)
        self._unseen = 0
        self._progress.update(self._read, self.applied)
        return redelivered

    async def send(self, frames: Sequence[Frame]) -> None:
        """Number frames and send them, but those whose events are done; waits while too many are under way.

        Raises ServerError when they cannot be sent, or when the workers stand still.
        """
        await self._attendance.ensure()
        batches: dict[int, list[Record]] = {}
        for frame in frames:
            self._read = frame.read
            first = self.sent[frame.shard]
            self.sent[frame.shard] += frame.n
            # Only saves the trip: the workers would find it a duplicate.
            if not self.done[frame.shard].covers(first, first + frame.n):
                batch = Batch(self.lane, BORN, self._stream.generation, first, frame.n, frame.payload)
                batches.setdefault(frame.shard, []).append(batch)
                self._unseen += frame.n
        await asyncio.gather(*[self._append(shard, records) for shard, records in batches.items()])
        if self._unseen >= self.most_ahead // 4:
            await self.look()
            self._check_progress(waiting=False)
            while self.published - self.applied > self.most_ahead:
                await self._wait()

    async def _append(self, shard: int, records: Sequence[Record]) -> None:
        """Append the same records until that succeeds; copies are duplicates to the workers (rule P2)."""
        for attempt in range(SEND_ATTEMPTS):
            try:
                await self._stream.append_many(shard, records)
                return
            except ServerError:
                if attempt == SEND_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(min(LONGEST_DELAY, FIRST_DELAY * 2**attempt))

    async def settle(self) -> int:
        """Close the lane in every shard it was used in, and wait until all of it is applied.

        Returns how many redeliveries were counted. Raises ServerError when the workers stand still.
        """
        used = [shard for shard, sent in enumerate(self.sent) if sent]
        for shard in used:
            end = Announcement(self.lane, BORN, self._stream.generation, self.sent[shard], True)
            await self._append(shard, [end])
        self._check_progress(waiting=False)
        while True:
            redelivered = await self._wait()
            if self.applied == self.published and self._closed.issuperset(used):
                return redelivered

    async def _wait(self) -> int:
        await self._attendance.ensure()
        await asyncio.sleep(LOOK_SECONDS)
        redelivered = await self.look()
        self._check_progress(waiting=True)
        return redelivered

    def _check_progress(self, waiting: bool) -> None:
        """Raise ServerError when nothing was applied for long although there is something to wait for."""
        applied = self.applied + len(self._closed)
        now = time.monotonic()
        if applied != self._moved_to or not waiting:
            self._moved_to, self._moved_at = applied, now
        elif now - self._moved_at > PATIENCE:
            raise ServerError(
                f"no worker applied anything for {PATIENCE:.0f} seconds: {self.applied:,} of {self.published:,} events are in the "
                "tables, the others wait in the stream. `streamgauge doctor` says what is wrong; then run the same command again"
            )
