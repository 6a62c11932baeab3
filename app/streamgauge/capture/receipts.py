"""What a durable gauge's callers wait for: the moment from which an event is on disk."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from streamgauge.capture.buffer import Buffer
from streamgauge.capture.pending import ACCEPTED, DropReason, Pending, Ticket


class Desk:
    """Where the tickets of one process are waited for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: set[Future[bool]] = set()
        self.closed = False

    def close(self) -> None:
        """Nothing more is written: whoever waits is told so. In a forked child do not: see `DurableBuffer.reset`."""
        with self.lock:
            self.closed = True
            waiting, self.waiting = self.waiting, set()
        for each in waiting:
            _answer(each, False)


class Receipt(Ticket):
    """A ticket whose event is written to disk before anything else. `reason` tells why it was not, once that is known."""

    __slots__ = ("_desk", "_future", "_outcome")
    _outcome: bool | None
    _future: "Future[bool] | None"
    _desk: Desk

    # Two events are never the same, and a set of tickets must not look at what may change.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __init__(self, desk: Desk) -> None:
        """Made for every event, so it is cheap: what waits is made when somebody waits."""
        super().__init__(True)
        settle = object.__setattr__
        settle(self, "_desk", desk)
        settle(self, "_future", None)
        settle(self, "_outcome", None)

    async def durable(self) -> bool:
        """See `Ticket.durable`."""
        return await asyncio.wrap_future(self._awaited())

    def durable_within(self, seconds: float) -> bool:
        """See `Ticket.durable_within`."""
        try:
            # Not the awaited future itself: a timeout must not cancel what others wait for.
            return self._awaited().result(seconds)
        except TimeoutError:
            return False

    def resolve(self, reason: DropReason | None) -> None:
        """It is on disk, or else why it is not and will not be. The first word stands."""
        settle = object.__setattr__
        with self._desk.lock:
            if self._outcome is not None:
                return
            settle(self, "_outcome", reason is None)
            settle(self, "reason", reason)
            future = self._future
            if future is not None:
                self._desk.waiting.discard(future)
        if future is not None:
            _answer(future, reason is None)

    def _awaited(self) -> "Future[bool]":
        mine: Future[bool] = Future()
        if self._outcome is None and not self._desk.closed:
            with self._desk.lock:
                if self._outcome is None and not self._desk.closed:
                    if self._future is None:
                        object.__setattr__(self, "_future", Future())
                    shared = self._future
                    assert shared is not None  # noqa: S101 - made above
                    self._desk.waiting.add(shared)
                    shared.add_done_callback(lambda done: _answer(mine, done.result()))
                    return mine
        mine.set_result(bool(self._outcome))
        return mine


class Recorded(Ticket):
    """The ticket of a test's record: durable in every mode."""

    __slots__ = ()

    async def durable(self) -> bool:
        """At once."""
        return self.accepted

    def durable_within(self, seconds: float) -> bool:
        """At once."""
        return self.accepted


class DurableBuffer(Buffer):
    """A buffer that gives every event a ticket of its own."""

    __slots__ = ("_desk", "_receipts")

    def __init__(self, most_events: int, most_bytes: int, wake: Callable[[], None]) -> None:
        """As `Buffer`."""
        super().__init__(most_events, most_bytes, wake)

    def _begin(self) -> None:
        super()._begin()
        self._desk = Desk()
        self._receipts: deque[Receipt] = deque()

    def reset(self) -> None:
        """In a forked child: whoever waits for a ticket of the parent's is told that it is not on disk, as far as the child knows."""
        # Without its lock, which another thread of the parent's may have held.
        self._desk.closed = True
        super().reset()

    def put(self, pending: Pending) -> Ticket:
        """See `Buffer.put`."""
        with self._lock:
            ticket = super().put(pending)
            if ticket is not ACCEPTED:
                return ticket
            receipt = Receipt(self._desk)
            self._receipts.append(receipt)
            return receipt

    def take_receipts(self, events: int) -> list[Receipt]:
        """The tickets of the events that were taken last."""
        with self._lock:
            return [self._receipts.popleft() for _ in range(min(events, len(self._receipts)))]

    def give_up_queue(self, reason: DropReason) -> int:
        """See `Buffer.give_up_queue`."""
        events = super().give_up_queue(reason)
        resolve(self.take_receipts(events), reason)
        return events

    def abandon(self) -> None:
        """See `Buffer.abandon`."""
        super().abandon()
        resolve(self.take_receipts(len(self._receipts)), "undelivered")
        self._desk.close()


def resolve(receipts: Iterable[Receipt], reason: DropReason | None) -> None:
    """Say the same of many tickets."""
    for each in receipts:
        each.resolve(reason)


def _answer(future: "Future[bool]", done: bool) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(done)
