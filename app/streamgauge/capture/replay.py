"""Sends what lies in spools, this process's own and those of dead ones: oldest first, beside what is sent live."""

import asyncio
import math
import time
from collections.abc import Awaitable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Protocol, TypeVar

from streamgauge.capture.absences import Absences
from streamgauge.capture.adoption import MOST_HELD, HeldSpool, abandoned, read_on
from streamgauge.capture.destination import Destination
from streamgauge.capture.forks import Undisturbed
from streamgauge.capture.kept_segment import LaneKey, Stream
from streamgauge.capture.spool import Spool
from streamgauge.capture.troubles import Troubles
from streamgauge.entry import LANE_BYTES, Batch, Record
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

    def acknowledged(self, key: LaneKey, prefix: int, /) -> None:
        """All numbers of a lane below `prefix` are in PostgreSQL for good."""

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
        #: Of the streams that live events go to; those of older generations may be gone for good, and hold up nothing else.
        self._absences = absences
        self._older: dict[int, Absences] = {}
        self._stumbles = 0
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
                times += [self._due(stream) for stream in held.spool.unsent_streams()]
            if held.adopted and not kept:
                times.append(min((self._due(key.stream) for key in held.farewells), default=-math.inf))
        return max(min(times), self._idle_until)

    @property
    def is_durable(self) -> bool:
        """Whether this process's own spool is."""
        return self._own.spool.label.durable

    @property
    def keeps_own(self) -> bool:
        """Whether something of this process's own is in files."""
        return any(segment.kept for segment in self._own.spool.segments)

    def can_send(self) -> bool:
        """Whether something of this process's own waits for a server that is not known to be away."""
        return any(not self._of(stream).holds(stream[1]) for stream in self._own.spool.unsent_streams())

    async def step(self) -> bool:
        """Adopt, ask what is acknowledged, send the oldest that can be sent, and delete what is done with; whether that was anything."""
        await self._adopt()
        self._resend_soon()
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
        return busy

    def close(self) -> None:
        """Let go of all spools."""
        for held in self.held:
            held.spool.close()

    def disown(self) -> None:
        """In a forked child."""
        for held in self.held:
            held.spool.disown()

    async def _adopt(self) -> None:
        room = 1 + MOST_HELD - len(self.held)
        if time.monotonic() >= self._adopted_at + ADOPT_SECONDS and room:
            found = self._look(room)
            # There may be more: they are looked for as soon as these are done with.
            self._adopted_at = -math.inf if found == room else time.monotonic()
        for held in list(self.held):
            while held.unread:
                if not read_on(held, self._own.spool.label.prefix, self._foreign, self._troubles.meet):
                    self.held.remove(held)
                    break
                await asyncio.sleep(0)  # live events must not wait for all of it

    def _look(self, room: int) -> int:
        """Lock so many spools of dead processes at most; how many it were."""
        folders = {held.spool.folder.path for held in self.held if held.spool.folder is not None}
        known, before = folders | self._foreign, len(self.held)
        with self._undisturbed.files:
            for held in islice(
                abandoned(self._root, self._own.spool.label, known, self._troubles.meet), room
            ):
                self.held.append(held)
        self._foreign = known - folders
        return len(self.held) - before

    async def _ask(self, held: HeldSpool) -> None:
        """Learn which durable batches PostgreSQL has for good."""
        if not held.spool.label.durable or held.unread or time.monotonic() < held.asked_at + ASK_SECONDS:
            return
        held.asked_at = time.monotonic()
        streams: dict[Stream, list[LaneKey]] = {}
        for key in held.spool.kept_lanes():
            streams.setdefault(key.stream, []).append(key)
        answered = await asyncio.gather(
            *(self._ask_stream(held, stream, keys) for stream, keys in streams.items())
        )
        held.asked = held.asked or all(answered)

    async def _ask_stream(self, held: HeldSpool, stream: Stream, keys: list[LaneKey]) -> bool:
        if not self._may_try(stream):
            return False
        asking = self._destination.acknowledged(*stream, [key.lane for key in keys])
        prefixes = await self._attempt(stream, asking)
        if prefixes is None:
            return False
        for key, prefix in zip(keys, prefixes, strict=True):
            held.spool.acknowledge(key, prefix)
            if held is self._own:
                self._account.acknowledged(key, prefix)
        return True

    async def _send(self, held: HeldSpool) -> bool:
        """Whether there was anything to send."""
        tried = [each for each in held.spool.unsent_streams() if self._may_try(each)]
        answers = await asyncio.gather(*map(self._answers, tried))
        stowed, lost = held.spool.owed({each for each, there in zip(tried, answers, strict=True) if there})
        if held is self._own:
            for numbers in lost:
                self._account.lost(*numbers)
        streams: dict[Stream, list[Batch]] = {}
        for each in stowed:
            assert isinstance(each.record, Batch)  # noqa: S101 - nothing else is owed
            streams.setdefault((each.record.generation, each.shard), []).append(each.record)
        await asyncio.gather(*(self._send_stream(held, stream, found) for stream, found in streams.items()))
        return bool(stowed or lost)

    async def _answers(self, stream: Stream) -> bool:
        """Whether a server that was away may be there: asked before a whole file is read for it, again and again for hours."""
        if not self._of(stream).holds(stream[1]):
            return True
        # It may answer, and still be full: only what it takes ends its absence.
        asking = self._destination.acknowledged(*stream, [bytes(LANE_BYTES)])
        return await self._attempt(stream, asking, ends=False) is not None

    async def _send_stream(self, held: HeldSpool, stream: Stream, batches: list[Batch]) -> None:
        shard = stream[1]
        for part in _parts(batches, self._of(stream).holds(shard)):
            sent = await self._attempt(stream, self._destination.append_many(*stream, part))
            if sent is None:
                return
            reach("spool.sent")
            for batch in part:
                held.spool.sent(shard, batch)
                if held is self._own:
                    self._account.replayed(batch)

    async def _finish(self, held: HeldSpool) -> None:
        """Delete what nothing is kept of any more, and say the last words of an adopted spool's lanes before."""
        if held.unread:
            return
        finished = held.spool.finished()
        for key, said in held.closings() if finished or not held.spool.segments else ():
            if not self._may_try(key.stream):
                return
            telling: list[Record] = [said]
            told = await self._attempt(key.stream, self._destination.append_many(*key.stream, telling))
            if told is None:
                return
            del held.farewells[key]
        for segment in finished:
            held.spool.remove(segment)
        if held.adopted and not held.spool.segments:
            assert held.spool.folder is not None  # noqa: S101 - it has been adopted
            path = held.spool.folder.path
            held.spool.close()
            self.held.remove(held)
            if path.exists():  # its files cannot be removed: once is enough
                self._foreign.add(path)

    def _of(self, stream: Stream) -> Absences:
        generation = stream[0]
        if generation == self._destination.generation:
            return self._absences
        return self._older.setdefault(generation, Absences())

    def _due(self, stream: Stream) -> float:
        return self._of(stream).due(stream[1])

    def _may_try(self, stream: Stream) -> bool:
        return self._of(stream).may_try(stream[1])

    async def _attempt(self, stream: Stream, doing: Awaitable[Answer], ends: bool = True) -> Answer | None:
        """Do something with a stream's server; None when it did not answer. Unless it `ends` its absence, an answer changes nothing."""
        try:
            async with asyncio.timeout(PART_SECONDS):
                done = await doing
        except Exception as error:  # noqa: BLE001 - whatever it was, the files still have it
            known = isinstance(error, ServerError | TimeoutError)
            self._troubles.meet("redis_failed" if known else "sender_failed", str(error) if known else "")
            self._of(stream).fail(stream[1])
            return None
        if ends:
            self._of(stream).end(stream[1])
        return done

    def _resend_soon(self) -> None:
        """What a server had that stumbled may be lost: durable batches do not wait for their acknowledgement as long as usual."""
        stumbles = self._absences.stumbles + sum(each.stumbles for each in self._older.values())
        if stumbles == self._stumbles:
            return
        self._stumbles = stumbles
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
