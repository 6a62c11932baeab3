"""Events that wait to be sent: bounded, counted to the last one, and never in the way of whoever adds to them."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from streamgauge.capture.pending import ACCEPTED, DropReason, Pending, Ticket

#: So many waiting events are sent without waiting for more.
ENOUGH: Final = 500
#: Estimated bytes of an event that does not say its own: objects and short texts.
USUAL_SIZE: Final = 800

REASONS: Final[tuple[DropReason, ...]] = (
    "disabled", "closed", "sampled_out", "undeclared_event", "invalid_property", "invalid_identity", "too_many_tenants",
    "buffer_full", "spool_full", "spool_failed", "not_configured", "unsendable", "undelivered",
)  # fmt: skip
#: The ticket for every reason.
DROPPED: Final[Mapping[DropReason, Ticket]] = {reason: Ticket(False, reason) for reason in REASONS}


class Buffer:
    """Accepted events until they are sent or given up. Any thread may add; one takes.

    accepted = sent + waiting + dropped after acceptance, at any moment. Events that were taken and are under way still wait, and
    count towards both bounds; those in a spool wait, and count towards none. The lock is held for a few additions only, and the same thread may take it again, so that a signal
    handler or a destructor that tracks something is not stuck.
    """

    __slots__ = (
        "_abandoned", "_bytes", "_closed", "_drops", "_events", "_given_up", "_lock", "_most_bytes", "_most_events", "_queue",
        "_sent", "_settled", "_spooled", "_wake", "full_reason",
    )  # fmt: skip

    def __init__(self, most_events: int, most_bytes: int, wake: Callable[[], None]) -> None:
        """`wake` is called, by whoever adds, when there is something to take, again when there is `ENOUGH`, and when it is full."""
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._wake = wake
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._settled = threading.Condition(self._lock)
        self._queue: deque[Pending] = deque()
        self._closed = self._abandoned = False
        self._events = self._bytes = 0
        self._sent = self._given_up = self._spooled = 0
        #: Why an event is dropped that finds it full: what is behind that.
        self.full_reason: DropReason = "buffer_full"
        self._drops: dict[DropReason, int] = {}

    def reset(self) -> None:
        """In a forked child: forget what is the parent's, its lock and its counts too. A closed buffer stays closed."""
        closed = self._closed
        self._begin()
        self._closed = closed

    def put(self, pending: Pending) -> Ticket:
        """Take an event in, or say why not. Never waits."""
        size = pending.size or size_of(pending)
        with self._lock:
            if self._closed:
                return self.drop("closed")
            # An event of nobody's size must still get in when nothing else is there.
            full = self._events >= self._most_events or (
                self._events and self._bytes + size > self._most_bytes
            )
            if not full:
                self._events += 1
                self._bytes += size
                self._queue.append(pending)
                waiting = len(self._queue)
        if full:
            self._wake()  # it may be full because nobody takes: the sender's thread could not be started until now
            return self.drop(self.full_reason)
        if waiting == 1 or not waiting % ENOUGH:
            self._wake()
        return ACCEPTED

    def drop(self, reason: DropReason) -> Ticket:
        """Count an event that was never accepted."""
        with self._lock:
            self._drops[reason] = self._drops.get(reason, 0) + 1
        return DROPPED[reason]

    def take(self, most_events: int, most_bytes: int) -> list[Pending]:
        """The oldest events, at least one if there is any. They stay on the account until `settle` or `give_up`."""
        taken: list[Pending] = []
        size = 0
        # Nobody else takes, so what is there stays there.
        while self._queue and len(taken) < most_events and size < most_bytes:
            taken.append(self._queue.popleft())
            size += taken[-1].size or size_of(taken[-1])
        return taken

    def settle(self, events: int, size: int) -> None:
        """These were sent."""
        with self._lock:
            if not self._abandoned:
                self._sent += events
                self._release(events, size)

    def spool(self, events: int, size: int) -> None:
        """These are in files now, and will be sent from there."""
        with self._lock:
            if not self._abandoned:
                self._spooled += events
                self._release(events, size)

    def settle_spooled(self, events: int) -> None:
        """These were sent from files."""
        with self._lock:
            self._spooled -= events
            self._sent += events
            self._settled.notify_all()

    def give_up_spooled(self, reason: DropReason, events: int) -> None:
        """These were lost with files."""
        with self._lock:
            self._spooled -= events
            self._given_up += events
            self._drops[reason] = self._drops.get(reason, 0) + events
            self._settled.notify_all()

    def give_up(self, reason: DropReason, events: int, size: int) -> None:
        """These were accepted and will not be sent."""
        with self._lock:
            if events and not self._abandoned:
                self._drops[reason] = self._drops.get(reason, 0) + events
                self._given_up += events
                self._release(events, size)

    def give_up_queue(self, reason: DropReason) -> int:
        """Give up everything not yet taken; returns how many events that was."""
        left = self.take(len(self._queue), self._bytes + 1)
        self.give_up(reason, len(left), sum(each.size or size_of(each) for each in left))
        return len(left)

    def _release(self, events: int, size: int) -> None:
        self._events -= events
        self._bytes -= size
        self._settled.notify_all()

    def close(self) -> None:
        """Accept nothing more."""
        with self._lock:
            self._closed = True

    def abandon(self) -> None:
        """Give up whatever is still here, under way too: whoever took it is no longer listened to."""
        with self._lock:
            if not self._abandoned:
                self._queue.clear()
                if self._events:
                    self.give_up("undelivered", self._events, self._bytes)
                self._abandoned = True

    def wait_until_settled(self, seconds: float) -> bool:
        """Wait until all that is accepted by now is sent or given up; whether all of it was sent."""
        with self._lock:
            given_up = self._given_up
            goal = self._sent + given_up + self._events + self._spooled
            # What is spooled may be overtaken by what is not.
            settled = self._settled.wait_for(
                lambda: self._sent + self._given_up >= goal and not self._spooled, seconds
            )
            return settled and self._given_up == given_up

    @property
    def untaken(self) -> int:
        """How many events nobody has taken yet."""
        return len(self._queue)

    @property
    def is_crowded(self) -> bool:
        """Whether there may soon be no room in memory."""
        return 4 * self._events >= 3 * self._most_events or 4 * self._bytes >= 3 * self._most_bytes

    @property
    def closed(self) -> bool:
        """Whether nothing more is accepted."""
        return self._closed

    def drops(self) -> dict[DropReason, int]:
        """Events not accepted, or given up, by reason."""
        with self._lock:
            return dict(self._drops)

    def counts(self) -> dict[str, int]:
        """Of one moment: accepted, sent, waiting, waiting_bytes (in memory, estimated) and given_up (dropped after acceptance)."""
        with self._lock:
            return {
                "accepted": self._sent + self._given_up + self._events + self._spooled, "sent": self._sent,
                "waiting": self._events + self._spooled, "waiting_bytes": self._bytes, "given_up": self._given_up,
            }  # fmt: skip


def size_of(pending: Pending) -> int:
    """Estimated bytes of an event that does not say its own."""
    visitor = pending.visitor
    return USUAL_SIZE if visitor is None else USUAL_SIZE + len(visitor[1])
