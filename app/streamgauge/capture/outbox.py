"""Frozen batches on their way: numbered once, sent until they are taken, announced, and never given two numbers."""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from streamgauge.capture.buffer import Buffer, size_of
from streamgauge.capture.destination import Destination
from streamgauge.capture.pending import Pending
from streamgauge.capture.pseudonymiser import Pseudonymiser
from streamgauge.capture.publisher import FIRST_DELAY, LONGEST_DELAY, Lane, Publisher
from streamgauge.capture.troubles import Troubles
from streamgauge.entry import Batch
from streamgauge.errors import ServerError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.sharding import shard_of

PRODUCER_BYTES: Final = 16
#: A lane idle for longer gives way to a new one, long before a worker forgets it.
IDLE_MS: Final = 24 * 3600 * 1000
#: Longest wait between attempts in seconds once the process is about to end.
CLOSING_DELAY: Final = 0.1
MOST_CONNECTIONS: Final = 8


@dataclass(eq=False, slots=True)
class Parcel:
    """A batch that is not known to be in the stream."""

    lane: Lane
    batch: Batch
    size: int  #: what its events count in the buffer


class Outbox:
    """One process's batches and lanes. Belongs to one event loop; nobody else may send for these lanes."""

    def __init__(
        self,
        buffer: Buffer,
        destination: Destination,
        pseudonymiser: Pseudonymiser,
        troubles: Troubles,
        shards: int,
    ) -> None:
        self._buffer = buffer
        self._destination = destination
        self._pseudonymiser = pseudonymiser
        self._troubles = troubles
        self._shards = shards
        self._publisher = Publisher(destination, _now_ms, attempts=1)
        self._producer = secrets.token_bytes(PRODUCER_BYTES)
        self._parcels: list[Parcel] = []
        # Drops are announced in one lane. Those of its predecessors are not said again.
        self._home = shard_of(None, None, None, self._producer, shards)
        self._home_lane: Lane | None = None
        self._told: Counter[str] = Counter()
        self._told_before: Counter[str] = Counter()
        #: Numbered events that were given up: their lane tells of them, as lost numbers.
        self._numbered_drops = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is under way."""
        return not self._parcels

    def fill(self, pending: Sequence[Pending]) -> None:
        """Make events, group them by shard, and freeze and number each group. What cannot be sent is given up."""
        events, size = len(pending), sum(each.size or size_of(each) for each in pending)
        made: list[tuple[Event, int]] = []
        try:
            for raw, event in zip(pending, self._pseudonymiser.events(pending), strict=True):
                weight = raw.size or size_of(raw)
                if isinstance(event, Event):
                    made.append((event, weight))
                else:
                    self._buffer.give_up(event, 1, weight)
                    events -= 1
                    size -= weight
            for parcel in self._packed(made):
                self._parcels.append(parcel)
                events -= parcel.batch.n
                size -= parcel.size
        finally:
            if events:
                self._buffer.give_up("unsendable", events, size)

    def forget(self) -> None:
        """See `Pseudonymiser.forget`."""
        self._pseudonymiser.forget()

    async def deliver(self, closing: asyncio.Event) -> None:
        """Send everything under way, side by side, until all of it is taken. Ends by cancellation only otherwise.

        `closing` makes the waits between attempts short.
        """
        at_once = asyncio.Semaphore(MOST_CONNECTIONS)
        async with asyncio.TaskGroup() as group:
            for parcel in self._parcels:
                group.create_task(self._deliver(parcel, closing, at_once))

    def give_up(self) -> None:
        """Let go of everything under way. What did not arrive is in its lane's measured loss."""
        for parcel in self._parcels:
            parcel.lane.settle(parcel.batch)
            self._numbered_drops += parcel.batch.n
            self._buffer.give_up("undelivered", parcel.batch.n, parcel.size)
        self._parcels.clear()

    async def announce(self, closed: bool = False) -> None:
        """Say how far the lanes got and what was dropped. Raises ServerError when that could not be said."""
        self._tell_drops()
        await self._publisher.announce(closed)
        await self._publisher.renew(IDLE_MS)

    def _tell_drops(self) -> None:
        drops: Counter[str] = Counter(self._buffer.drops())
        drops["undelivered"] -= self._numbered_drops
        drops = +drops
        if drops == self._told:
            return
        lane = self._publisher.lane(self._home)
        if lane is not self._home_lane:
            self._home_lane, self._told_before = lane, self._told
        lane.drops = drops - self._told_before
        self._told = drops

    async def _deliver(self, parcel: Parcel, closing: asyncio.Event, at_once: asyncio.Semaphore) -> None:
        ceiling = FIRST_DELAY
        while True:
            try:
                async with at_once:
                    await self._publisher.send(parcel.lane.shard, parcel.batch)
                break
            except ServerError as error:
                self._troubles.meet("redis_failed", str(error))
            except Exception:  # noqa: BLE001 - the batch is kept whatever it was
                self._troubles.meet("sender_failed")
            longest = min(ceiling, CLOSING_DELAY) if closing.is_set() else ceiling
            await pause(random.uniform(longest / 4, longest), closing)  # noqa: S311 - jitter, not a secret
            ceiling = min(ceiling * 2, LONGEST_DELAY)
        # Nothing is awaited from here on: a batch is on both accounts or on none.
        parcel.lane.settle(parcel.batch)
        self._parcels.remove(parcel)
        self._buffer.settle(parcel.batch.n, parcel.size)

    def _packed(self, made: Sequence[tuple[Event, int]]) -> Iterator[Parcel]:
        shards: dict[int, list[tuple[Event, int]]] = {}
        for event, size in made:
            shard = shard_of(event.actor, event.session, event.key, self._producer, self._shards)
            shards.setdefault(shard, []).append((event, size))
        for shard, group in shards.items():
            lane = self._publisher.lane(shard)
            for payload, part in self._frames(group):
                yield Parcel(lane, lane.freeze(payload, len(part)), sum(size for _, size in part))

    def _frames(self, group: list[tuple[Event, int]]) -> Iterator[tuple[bytes, list[tuple[Event, int]]]]:
        """Frames of all events that can be frozen; a frame that cannot be made is tried in halves."""
        try:
            payload = freeze([event for event, _ in group])
        except Exception:  # noqa: BLE001 - InputError, or what we did not think of: one event must not take others along
            if len(group) == 1:
                self._troubles.meet("unsendable")
                return
            half = len(group) // 2
            yield from self._frames(group[:half])
            yield from self._frames(group[half:])
        else:
            yield payload, group


async def pause(seconds: float, closing: asyncio.Event) -> None:
    """Wait so long, or until closing begins."""
    if closing.is_set():
        await asyncio.sleep(seconds)
        return
    try:
        await asyncio.wait_for(closing.wait(), seconds)
    except TimeoutError:
        return


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
