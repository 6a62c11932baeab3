"""Frozen batches on their way: numbered once, sent until they are taken, announced, and never given two numbers."""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from streamgauge.capture.absences import Absences
from streamgauge.capture.buffer import Buffer, size_of
from streamgauge.capture.destination import Destination
from streamgauge.capture.kept_segment import LaneKey
from streamgauge.capture.pending import DropReason, Pending
from streamgauge.capture.pseudonymiser import Pseudonymiser
from streamgauge.capture.publisher import FIRST_DELAY, LONGEST_DELAY, Lane, Publisher
from streamgauge.capture.quota import Quota
from streamgauge.capture.receipts import DurableBuffer, Receipt, resolve
from streamgauge.capture.spool import Spool
from streamgauge.capture.troubles import Troubles
from streamgauge.entry import Announcement, Batch
from streamgauge.errors import ServerError
from streamgauge.event import Event
from streamgauge.failpoints import reach
from streamgauge.frame import freeze
from streamgauge.sharding import overflow_of, shard_of

PRODUCER_BYTES: Final = 16
#: A lane idle for longer gives way to a new one, long before a worker forgets it.
IDLE_MS: Final = 24 * 3600 * 1000
#: Longest wait between attempts in seconds once the process is about to end.
CLOSING_DELAY: Final = 0.1
MOST_CONNECTIONS: Final = 8
#: A batch that was not taken in so many seconds goes into the spool.
TAKEN_SECONDS: Final = 1.0
#: How often it is looked meanwhile whether the buffer fills up, in seconds.
LOOK_SECONDS: Final = 0.02
#: Most events of a batch above a tenant's quota: a worker takes whole batches, and whoever waits for it must not wait long.
OVERFLOW_EVENTS: Final = 1_000


#: An event, what it counts in the buffer, and its ticket if it has one of its own.
Made = tuple[Event, int, Receipt | None]


@dataclass(eq=False, slots=True)
class Parcel:
    """A batch that is not known to be in the stream."""

    lane: Lane
    batch: Batch
    size: int  #: what its events count in the buffer
    receipts: list[Receipt] = field(default_factory=list)  #: of its events, if they have any
    written: bool = False  #: whether it is in the spool


class Outbox:
    """One process's batches and lanes. Belongs to one event loop; nobody else may send for these lanes."""

    def __init__(
        self,
        buffer: Buffer,
        destination: Destination,
        pseudonymiser: Pseudonymiser,
        troubles: Troubles,
        shards: int,
        absences: Absences,
        spool: Spool | None,
        quota: Quota,
    ) -> None:
        """Without a `spool` everything waits in memory. What is above `quota` goes into the overflow."""
        self._buffer = buffer
        self._absences = absences
        self._spool = spool
        self._is_durable = spool is not None and spool.label.durable
        self._destination = destination
        self._pseudonymiser = pseudonymiser
        self._troubles = troubles
        self._shards = shards
        self._quota = quota
        self._publisher = Publisher(destination, _now_ms, attempts=1)
        self._producer = secrets.token_bytes(PRODUCER_BYTES)
        self._parcels: list[Parcel] = []
        # Drops are announced in one lane. Those of its predecessors are not said again.
        self._home = shard_of(None, None, None, self._producer, shards)
        self._home_lane: Lane | None = None
        self._told: Counter[str] = Counter()
        self._told_before: Counter[str] = Counter()
        #: Numbered events that were given up: their lane tells of them, as lost numbers.
        self._numbered_drops: Counter[DropReason] = Counter()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is under way."""
        return not self._parcels

    def fill(self, pending: Sequence[Pending]) -> None:
        """Make events, group them by shard, and freeze and number each group. What cannot be sent is given up."""
        events, size = len(pending), sum(each.size or size_of(each) for each in pending)
        receipts = self._receipts_of(events)
        made: list[Made] = []
        try:
            for raw, event, receipt in zip(
                pending, self._pseudonymiser.events(pending), receipts, strict=True
            ):
                weight = raw.size or size_of(raw)
                if isinstance(event, Event):
                    made.append((event, weight, receipt))
                else:
                    self._buffer.give_up(event, 1, weight)
                    resolve([receipt] if receipt else [], event)
                    events -= 1
                    size -= weight
            for parcel in self._packed(made):
                self._parcels.append(parcel)
                events -= parcel.batch.n
                size -= parcel.size
        finally:
            if events:
                self._buffer.give_up("unsendable", events, size)
            kept = {receipt for parcel in self._parcels for receipt in parcel.receipts}
            resolve((each for each in receipts if each and each not in kept), "unsendable")

    def keep(self) -> None:
        """Put durable batches on disk, before they are sent; or tell their tickets why not: those are sent from memory."""
        if self._is_durable:
            self._write([each for each in self._parcels if not each.written], live=True)

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

    async def deliver_or_spool(self, closing: asyncio.Event, seconds: float = TAKEN_SECONDS) -> None:
        """Send what is under way; what is not taken in so many seconds, or not before the buffer fills up, goes into the spool.

        What is for a shard that is known to be absent goes there at once. What the spool does not take stays under way.
        """
        self._put_away([each for each in self._parcels if self._absences.holds(each.lane.shard)])
        at_once, until = asyncio.Semaphore(MOST_CONNECTIONS), time.monotonic() + seconds
        sending = {asyncio.ensure_future(self._deliver(each, closing, at_once)) for each in self._parcels}
        waiting = sending
        try:
            while waiting:
                _, waiting = await asyncio.wait(waiting, timeout=min(LOOK_SECONDS, seconds))
                # A spool that refuses makes no room: then there is no hurry.
                crowded = self._buffer.is_crowded and self._spool is not None and self._spool.refusal is None
                if crowded or time.monotonic() >= until:
                    break
        finally:
            for each in sending:
                each.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
        for shard in {parcel.lane.shard for parcel in self._parcels}:
            self._absences.fail(shard)
        self.spool_all()

    def spool_all(self) -> None:
        """Put everything that is under way into the spool, as far as that takes it."""
        self._put_away(list(self._parcels))

    def give_up(self) -> None:
        """Let go of everything under way. What did not arrive is in its lane's measured loss."""
        for parcel in self._parcels:
            resolve(parcel.receipts, "undelivered")
            parcel.lane.settle(parcel.batch)
            self._numbered_drops["undelivered"] += parcel.batch.n
            self._buffer.give_up("undelivered", parcel.batch.n, parcel.size)
        self._parcels.clear()

    def replayed(self, batch: Batch) -> None:
        """See `Account.replayed`."""
        lane = self._publisher.find_lane(batch.lane)
        if lane is not None:
            self._buffer.settle_spooled(lane.unspool(batch.first, batch.end))

    def acknowledged(self, key: LaneKey, prefix: int) -> None:
        """See `Account.acknowledged`."""
        lane = self._publisher.find_lane(key.lane)
        if lane is not None:
            self._buffer.settle_spooled(lane.unspool(0, prefix))

    def lost(self, key: LaneKey, first: int, end: int) -> None:
        """See `Account.lost`."""
        lane = self._publisher.find_lane(key.lane)
        if lane is not None:
            events = lane.unspool(first, end)
            self._numbered_drops["spool_failed"] += events
            self._buffer.give_up_spooled("spool_failed", events)

    def write_farewells(self) -> None:
        """Put the last words that could not be said into the spool, for whoever sends what is in it."""
        if self._spool is None:
            return
        self._tell_drops()
        for lane in self._publisher.unclosed():
            said = Announcement(lane.id, lane.born, lane.generation, lane.next, True, dict(lane.drops))
            self._spool.write([(lane.shard, said)])

    async def announce(self, closed: bool = False) -> None:
        """Say how far the lanes got and what was dropped. Raises ServerError when that could not be said."""
        self._tell_drops()
        await self._publisher.announce(closed, self._absences.holds)

    async def renew(self) -> None:
        """End idle lanes. Freeze nothing meanwhile. Raises ServerError as `announce` does."""
        await self._publisher.renew(IDLE_MS)

    def _tell_drops(self) -> None:
        drops: Counter[str] = Counter(self._buffer.drops())
        drops.subtract(self._numbered_drops)
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
                self._absences.stumble()
                self._troubles.meet("redis_failed", str(error))
            except Exception:  # noqa: BLE001 - the batch is kept whatever it was
                self._troubles.meet("sender_failed")
            longest = min(ceiling, CLOSING_DELAY) if closing.is_set() else ceiling
            await pause(random.uniform(longest / 4, longest), closing)  # noqa: S311 - jitter, not a secret
            ceiling = min(ceiling * 2, LONGEST_DELAY)
        # Nothing is awaited from here on: a batch is on both accounts or on none.
        if parcel.written and self._spool is not None:
            reach("spool.sent")
            self._spool.sent(parcel.lane.shard, parcel.batch)
        parcel.lane.settle(parcel.batch)
        self._absences.end(parcel.lane.shard)
        self._parcels.remove(parcel)
        self._buffer.settle(parcel.batch.n, parcel.size)

    def _receipts_of(self, events: int) -> list[Receipt] | list[None]:
        if isinstance(self._buffer, DurableBuffer):
            return self._buffer.take_receipts(events)
        return [None] * events

    def _write(self, parcels: Sequence[Parcel], live: bool = False) -> None:
        """Write parcels into the spool, as far as it takes them; durable ones are on disk then. `live`: see `Spool.write`."""
        spool = self._spool
        if spool is None or not parcels:
            return
        taken = spool.write([(each.lane.shard, each.batch) for each in parcels], live)
        if self._is_durable and taken and not spool.sync():
            taken = 0
        refusal = spool.refusal
        self._buffer.full_reason = refusal or "buffer_full"
        for place, parcel in enumerate(parcels):
            parcel.written = place < taken
            resolve(parcel.receipts, None if parcel.written else refusal)

    def _put_away(self, parcels: list[Parcel]) -> None:
        self._write([each for each in parcels if not each.written])
        for parcel in parcels:
            if parcel.written and self._spool is not None:
                self._parcels.remove(parcel)
                if self._spool.owe(parcel.lane.shard, parcel.batch):
                    parcel.lane.spool(parcel.batch)
                    self._buffer.spool(parcel.batch.n, parcel.size)
                else:  # its reply was lost, and PostgreSQL has it by now
                    parcel.lane.settle(parcel.batch)
                    self._buffer.settle(parcel.batch.n, parcel.size)

    def _packed(self, made: Sequence[Made]) -> Iterator[Parcel]:
        for shard, group in self._placed(made):
            lane = self._publisher.lane(shard)
            for payload, part in self._frames(group):
                receipts = [receipt for _, _, receipt in part if receipt is not None]
                yield Parcel(
                    lane, lane.freeze(payload, len(part)), sum(size for _, size, _ in part), receipts
                )

    def _placed(self, made: Sequence[Made]) -> Iterator[tuple[int, list[Made]]]:
        """Each event in its shard, or, when it is above its tenant's quota, in the overflow; decided once, as its number is."""
        shards: dict[int, list[Made]] = {}
        shares, overflow = self._quota.shares(event.tenant for event, _, _ in made), overflow_of(self._shards)
        for each in made:
            event = each[0]
            if shares.take(event.tenant):
                shard = shard_of(event.actor, event.session, event.key, self._producer, self._shards)
            else:
                shard = overflow
            shards.setdefault(shard, []).append(each)
        above = shards.pop(overflow, [])
        yield from shards.items()
        for first in range(0, len(above), OVERFLOW_EVENTS):
            yield overflow, above[first : first + OVERFLOW_EVENTS]

    def _frames(self, group: list[Made]) -> Iterator[tuple[bytes, list[Made]]]:
        """Frames of all events that can be frozen; a frame that cannot be made is tried in halves."""
        try:
            payload = freeze([event for event, _, _ in group])
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
