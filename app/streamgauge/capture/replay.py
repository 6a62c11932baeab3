"""Sends what lies in spools, this process's own and those of dead ones: oldest first, beside what is sent live."""

import asyncio
import math
import time
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

from streamgauge.capture.absences import Absences
from streamgauge.capture.adoption import HeldSpool, abandoned
from streamgauge.capture.destination import Destination
from streamgauge.capture.forks import Undisturbed
from streamgauge.capture.kept_segment import LaneKey
from streamgauge.capture.spool import Spool
from streamgauge.capture.troubles import Troubles
from streamgauge.entry import Batch, Record
from streamgauge.errors import ServerError
from streamgauge.failpoints import reach

#: How often acknowledgements are asked for, and spools of dead processes looked for; seconds.
ASK_SECONDS: Final = 1.0
ADOPT_SECONDS: Final = 30.0
#: What goes in one round trip, and how long that may take: a slow line must be able to make it.
PART_BYTES: Final = 256 * 1024
PART_SECONDS: Final = 10.0
#: The least time between two steps of which the first had nothing to do, in seconds.
IDLE_SECONDS: Final = 0.05

Answer = TypeVar("Answer")


class Account(Protocol):
    """Who has to know what became of this process's own batches."""

    def replayed(self, batch: Batch, /) -> None:
        """It is in the stream."""

    def lost(self, key: LaneKey, first: int, end: int, /) -> None:
        """These numbers will never be in the stream."""


class Replay:
    """Belongs to one event loop. `step` does a bounded piece of work; one at a time."""

    def __init__(
        self,
        own: Spool,
        root: Path,
        destination: Destination,
        absences: Absences,
        account: Account,
        troubles: Troubles,
        undisturbed: Undisturbed,
    ) -> None:
        self._own = HeldSpool(own)
        #: All spools that this process holds.
        self.held = [self._own]
        self._root = root
        self._destination = destination
        self._absences = absences
        self._account = account
        self._troubles = troubles
        self._undisturbed = undisturbed
        self._adopted_at = -math.inf
        self._foreign: set[Path] = set()
        self._idle_until = 0.0

    def due(self) -> float:
        """When there is something to do; monotonic seconds."""
        times = [self._adopted_at + ADOPT_SECONDS]
        for held in self.held:
            kept = any(segment.kept for segment in held.spool.segments)
            if kept and held.spool.label.durable:
                times.append(held.asked_at + ASK_SECONDS)
            if kept and held.may_send():
                times += [self._absences.due(shard) for shard in held.spool.unsent_shards()]
            if held.adopted and not kept:
                times.append(
                    min((self._absences.due(key.shard) for key in held.farewells), default=-math.inf)
                )
        return max(min(times), self._idle_until)

    def can_send(self) -> bool:
        """Whether something of this process's own waits for a server that is not known to be away."""
        return any(not self._absences.holds(shard) for shard in self._own.spool.unsent_shards())

    async def step(self) -> None:
        """Adopt, ask what is acknowledged, send the oldest that can be sent, and delete what is done with."""
        self._adopt()
        for held in list(self.held):
            await self._ask(held)
            for segment in held.spool.segments:
                segment.resend_if_due(time.monotonic())
        busy = False
        for held in sorted(self.held, key=_age):
            busy = busy or (held.may_send() and await self._send(held))
        for held in list(self.held):
            await self._finish(held)
        self._idle_until = 0.0 if busy else time.monotonic() + IDLE_SECONDS

    def close(self) -> None:
        """Let go of all spools."""
        for held in self.held:
            held.spool.close()

    def disown(self) -> None:
        """In a forked child."""
        for held in self.held:
            held.spool.disown()

    def _adopt(self) -> None:
        if time.monotonic() < self._adopted_at + ADOPT_SECONDS:
            return
        self._adopted_at = time.monotonic()
        folders = {held.spool.folder.path for held in self.held if held.spool.folder is not None}
        with self._undisturbed.files:
            known = folders | self._foreign
            self.held += abandoned(self._root, self._own.spool.label, known, self._troubles.meet)
            self._foreign = known - folders

    async def _ask(self, held: HeldSpool) -> None:
        """Learn which durable batches PostgreSQL has for good."""
        if not held.spool.label.durable or time.monotonic() < held.asked_at + ASK_SECONDS:
            return
        held.asked_at = time.monotonic()
        streams: dict[tuple[int, int], list[LaneKey]] = {}
        for key in held.spool.kept_lanes():
            streams.setdefault((key.generation, key.shard), []).append(key)
        answered = await asyncio.gather(
            *(self._ask_stream(held, *stream, keys) for stream, keys in streams.items())
        )
        held.asked = held.asked or all(answered)

    async def _ask_stream(self, held: HeldSpool, generation: int, shard: int, keys: list[LaneKey]) -> bool:
        if not self._absences.may_try(shard):
            return False
        lanes = [key.lane for key in keys]
        asking = self._destination.acknowledged(generation, shard, lanes)
        prefixes = await self._attempt(shard, asking)
        if prefixes is None:
            return False
        for key, prefix in zip(keys, prefixes, strict=True):
            held.spool.acknowledge(key, prefix)
        return True

    async def _send(self, held: HeldSpool) -> bool:
        """Whether there was anything to send."""
        shards = {shard for shard in held.spool.unsent_shards() if self._absences.may_try(shard)}
        stowed, lost = held.spool.owed(shards)
        if held is self._own:
            for numbers in lost:
                self._account.lost(*numbers)
        streams: dict[tuple[int, int], list[Batch]] = {}
        for each in stowed:
            assert isinstance(each.record, Batch)  # noqa: S101 - nothing else is owed
            streams.setdefault((each.record.generation, each.shard), []).append(each.record)
        await asyncio.gather(*(self._send_stream(held, *stream, found) for stream, found in streams.items()))
        return bool(stowed or lost)

    async def _send_stream(self, held: HeldSpool, generation: int, shard: int, batches: list[Batch]) -> None:
        for part in _parts(batches, self._absences.holds(shard)):
            sent = await self._attempt(shard, self._destination.append_many(generation, shard, part))
            if sent is None:
                return
            reach("spool.sent")
            for batch in part:
                held.spool.sent(shard, batch)
                if held is self._own:
                    self._account.replayed(batch)

    async def _finish(self, held: HeldSpool) -> None:
        """Delete what nothing is kept of any more, and say the last words of an adopted spool's lanes before."""
        finished = held.spool.finished()
        for key, said in held.closings() if finished or not held.spool.segments else ():
            if not self._absences.may_try(key.shard):
                return
            telling: list[Record] = [said]
            told = await self._attempt(
                key.shard, self._destination.append_many(key.generation, key.shard, telling)
            )
            if told is None:
                return
            del held.farewells[key]
        for segment in finished:
            held.spool.remove(segment)
        if held.adopted and not held.spool.segments:
            held.spool.close()
            self.held.remove(held)

    async def _attempt(self, shard: int, doing: Awaitable[Answer]) -> Answer | None:
        """Do something with a shard's server; None when it did not answer."""
        try:
            async with asyncio.timeout(PART_SECONDS):
                done = await doing
        except Exception as error:  # noqa: BLE001 - whatever it was, the files still have it
            known = isinstance(error, ServerError | TimeoutError)
            self._troubles.meet("redis_failed" if known else "sender_failed", str(error) if known else "")
            self._absences.fail(shard)
            return None
        if self._absences.end(shard):
            self.server_was_away()
        return done

    def server_was_away(self) -> None:
        """What it had may be lost: durable batches are not kept waiting for their acknowledgement as long as usual."""
        for held in self.held:
            for segment in held.spool.segments:
                segment.resend_soon(time.monotonic())


def _age(held: HeldSpool) -> int:
    return min((segment.written_at for segment in held.spool.segments if segment.unsent), default=0)


def _parts(batches: Sequence[Batch], careful: bool) -> Iterator[list[Batch]]:
    """What is sent in one go; of a server that was away, the first batch by itself."""
    part: list[Batch] = []
    size = 0
    for batch in batches:
        if part and (careful or size + len(batch.payload) > PART_BYTES):
            yield part
            part, size, careful = [], 0, False
        part.append(batch)
        size += len(batch.payload)
    if part:
        yield part
