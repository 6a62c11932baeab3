"""The smallest producer that keeps rules P1 and P3: lanes that number events, frozen batches, announcements."""

import asyncio
import os
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Protocol

from streamgauge.entry import LANE_BYTES, Announcement, Batch, EntryId, Record
from streamgauge.errors import ServerError
from streamgauge.ranges import Ranges

#: How often one entry is sent before it is given up.
ATTEMPTS = 6
#: Longest wait before the first repetition, in seconds; it doubles with every one, up to the ceiling.
FIRST_DELAY = 0.05
LONGEST_DELAY = 2.0
#: An announcement is said again after so many milliseconds, even if there is nothing new: Redis may have lost it.
REPEAT_MS = 60_000


class Appendable(Protocol):
    """The part of a `StreamPort` that a producer needs."""

    @property
    def generation(self) -> int:
        """See `StreamPort.generation`."""

    async def append(self, shard: int, record: Record, /) -> EntryId:
        """See `StreamPort.append`."""


class Lane:
    """Numbers the events of one process for one shard. Its identity is 128 random bits, made after any fork."""

    def __init__(self, shard: int, born: int, generation: int = 0) -> None:
        """`born` is Unix milliseconds."""
        self.id = secrets.token_bytes(LANE_BYTES)
        self.shard = shard
        self.born = born
        self.generation = generation
        self.next = 0
        self.drops: Counter[str] = Counter()
        #: When it was last asked for, Unix milliseconds.
        self.used = born
        #: The announcement that is known to be in the stream.
        self.said: Announcement | None = None
        #: When that was, Unix milliseconds.
        self.said_at = born
        #: Numbers that lie in a spool, and were never sent. As ranges: there may be very many batches.
        self.spooled = Ranges()
        #: First numbers of other batches that may still be sent.
        self._open: set[int] = set()

    def freeze(self, payload: bytes, n: int) -> Batch:
        """Give the next `n` numbers to the events in `payload`. Raises InputError when n < 1."""
        batch = Batch(self.id, self.born, self.generation, self.next, n, payload)
        self._open.add(batch.first)
        self.next += n
        return batch

    def settle(self, batch: Batch) -> None:
        """Say that a batch is in the stream, or that it will not be sent again. Twice is fine."""
        self._open.discard(batch.first)

    def spool(self, batch: Batch) -> None:
        """Say that a batch will be sent from a spool, by this process or another one."""
        self._open.discard(batch.first)
        self.spooled.add(batch.first, batch.end)

    def unspool(self, first: int, end: int) -> int:
        """Say that these numbers need not be sent from a spool any more; how many of them there were."""
        before = self.spooled.size
        self.spooled.remove(first, end)
        return before - self.spooled.size

    @property
    def under_way(self) -> bool:
        """Whether batches may still be sent."""
        return bool(self._open or self.spooled)

    def announcement(self, closed: bool = False) -> Announcement:
        """How far the lane is settled: up to the oldest batch that may still be sent, or to the end when closed.

        Announcing a batch that is still on its way would report it lost until it arrives. So a lane of which something is in a spool
        is not closed yet: whoever sends that says its last word.
        """
        closed = closed and not self.spooled
        end = self.next if closed else min(self._open, default=self.next)
        if self.spooled:
            end = min(end, next(iter(self.spooled))[0])
        return Announcement(self.id, self.born, self.generation, end, closed, dict(self.drops))


class DeterministicLane(Lane):
    """The lane of an import or of a dead letter's replay: the same source gives the same lane and numbers.

    A repeated import then makes only duplicates. The worker must be told to trust it.
    """

    def __init__(self, shard: int, source: tuple[bytes, ...], born: int = 0, generation: int = 0) -> None:
        """`source` identifies the input: say, a file's digest, the options, the tenant."""
        super().__init__(shard, born, generation)
        # Lengths in front, so that no two sources read alike when joined.
        parts = [b"%d " % shard, *(b"%d " % len(part) + part for part in source)]
        self.id = blake2b(b"".join(parts), digest_size=LANE_BYTES, person=b"streamgauge lane").digest()


class Publisher:
    """Sends frozen batches to a stream, one lane per shard; after a fork the child starts new lanes.

    A child drops what it inherited, because the parent sends it. It needs a connection of its own too: `RedisStream`
    sees to that.
    """

    def __init__(
        self,
        stream: Appendable,
        clock: Callable[[], int],
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` gives Unix milliseconds."""
        self._stream = stream
        self._clock = clock
        self._attempts = attempts
        self._sleep = sleep
        self._process = os.getpid()
        self._lanes: dict[int, Lane] = {}

    def lane(self, shard: int) -> Lane:
        """This process's lane for a shard."""
        self._drop_inherited()
        if shard not in self._lanes:
            self._lanes[shard] = Lane(shard, self._clock(), self._stream.generation)
        lane = self._lanes[shard]
        lane.used = self._clock()
        return lane

    def unclosed(self) -> list[Lane]:
        """Lanes that have something to say, and have not said their last word."""
        return [lane for lane in self._lanes.values() if lane.next or lane.drops]

    def find_lane(self, identity: bytes) -> Lane | None:
        """The present lane of this identity."""
        return next((lane for lane in self._lanes.values() if lane.id == identity), None)

    async def publish(self, shard: int, payload: bytes, n: int, lane: Lane | None = None) -> EntryId:
        """Number the `n` events in `payload`, freeze them and send them until they are in the stream.

        Raises ServerError when every attempt failed; the batch is then given up, and is in the measured loss
        unless one of the attempts arrived after all.
        """
        lane = lane or self.lane(shard)
        batch = lane.freeze(payload, n)
        try:
            return await self.send(shard, batch)
        finally:
            lane.settle(batch)

    async def send(self, shard: int, record: Record) -> EntryId:
        """Append the same bytes to the same stream until that succeeds. Raises ServerError after the last attempt."""
        for attempt in range(1, self._attempts):
            try:
                return await self._stream.append(shard, record)
            except ServerError:
                ceiling = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (attempt - 1))
                # Full jitter, or the hosts of one outage would all come back at once. Not for secrets.
                await self._sleep(random.uniform(0, ceiling))  # noqa: S311
        return await self._stream.append(shard, record)

    async def announce(
        self, closed: bool = False, absent: Callable[[int], bool] = lambda shard: False
    ) -> None:
        """Announce every lane that has something to say: every 5 seconds, and with `closed` at shutdown.

        Those of `absent` shards are left out. Closed lanes are followed by new ones. Raises ServerError when a lane could not be
        announced, or ended, behind all others; the next call says as much.
        """
        self._drop_inherited()
        failure: ServerError | None = None
        for lane in list(self._lanes.values()):
            if not absent(lane.shard):
                try:
                    await self._announce(lane, closed)
                except ServerError as error:
                    failure = error
            elif closed and (lane.next or lane.drops):
                failure = ServerError("a lane cannot end while its server is away")
        if failure is not None:
            raise failure

    async def renew(self, idle_ms: int) -> None:
        """Close the lanes that were idle for longer than this, in milliseconds: a worker forgets an idle lane one day (P10).

        A lane whose batches may still be sent is left alone. Raises ServerError as `announce` does.
        """
        self._drop_inherited()
        for lane in list(self._lanes.values()):
            if self._clock() - lane.used > idle_ms and not lane.under_way:
                await self._announce(lane, closed=True)

    async def _announce(self, lane: Lane, closed: bool) -> None:
        said = lane.announcement(closed)
        if abs(self._clock() - lane.said_at) >= REPEAT_MS:  # clocks step back, too
            lane.said = None
        if (lane.next or lane.drops) and said != lane.said:
            await self.send(lane.shard, said)
            lane.said, lane.said_at = said, self._clock()
        if said.closed and self._lanes.get(lane.shard) is lane:
            del self._lanes[lane.shard]

    def _drop_inherited(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lanes = {}
