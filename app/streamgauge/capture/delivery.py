"""From an accepted event to the stream, in one process: the buffer, and the sender that empties it."""

import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from streamgauge.capture import exits, forks
from streamgauge.capture.absences import Absences
from streamgauge.capture.bell import Bell
from streamgauge.capture.buffer import Buffer
from streamgauge.capture.destination import Destination
from streamgauge.capture.host_keys import MOST_TENANTS, HostKeys
from streamgauge.capture.outbox import Outbox
from streamgauge.capture.pending import DropReason, Pending, Ticket
from streamgauge.capture.pseudonymiser import Pseudonymiser
from streamgauge.capture.quota import Quota
from streamgauge.capture.receipts import DurableBuffer
from streamgauge.capture.replay import Replay
from streamgauge.capture.segment import Label
from streamgauge.capture.sender import LAST_WORDS, Sender
from streamgauge.capture.spool import Spool
from streamgauge.capture.troubles import Troubles
from streamgauge.capture.visitors import FILE, DailySalts, Visitors
from streamgauge.settings import Settings

if TYPE_CHECKING:
    from streamgauge.stream import StreamPort

#: How long what is left of a gauge that nobody holds any more may be sent, in seconds.
FORGOTTEN_SECONDS: Final = 2.0
#: Nobody is told of these: a disabled gauge has no thread and no connection, and a closed one no more.
UNTOLD: Final[frozenset[DropReason]] = frozenset({"disabled", "closed"})
#: How much longer than asked `close` waits for a thread that should have ended by itself, in seconds.
GRACE: Final = 0.25

# What children inherited. It must never be collected: see `Sender.disown`.
_inherited: list[object] = []


class Outlet(Protocol):
    """Where a gauge's events go: to a stream, or into a test's record. Nothing here raises or waits but `flush`, `sign_off` and `close`."""

    @property
    def troubles(self) -> Troubles:
        """What went wrong with it, and with the gauge."""

    def put(self, pending: Pending, /) -> Ticket:
        """Take an event, or say why not."""

    def drop(self, reason: DropReason, /) -> Ticket:
        """Count an event that is not taken."""

    def flush(self, seconds: float, /) -> bool:
        """Wait until everything taken so far is sent, or given up; whether it was sent."""

    def sign_off(self, seconds: float, /) -> bool:
        """Send what waits, tell what was dropped and end the lanes, within so many seconds; go on with new ones. Whether it was done."""

    def close(self, seconds: float, /) -> bool:
        """Send what is left within so many seconds, spool or give up the rest, and take nothing more; whether nothing was given up."""

    def status(self) -> dict[str, Any]:
        """Counters: waiting, waiting_bytes, accepted, sent, dropped by reason, redis, spool."""


class Delivery:
    """An outlet into the streams. Starts its thread with the first event, taken or dropped, in each process anew."""

    def __init__(
        self,
        settings: Settings,
        open_stream: "Callable[[str], StreamPort] | None" = None,
    ) -> None:
        """`open_stream` makes a stream of an address; of Redis when left out."""
        self._settings = settings
        self.troubles = Troubles()
        self._open_stream = open_stream
        self._bell = Bell()
        # Weakly, or the sender's thread would keep all of this alive.
        kind = DurableBuffer if settings.capture_mode == "durable" else Buffer
        self._buffer = kind(settings.buffer_events, settings.buffer_bytes, _weakly(self._wake))
        #: See `Outlet.put`: no call of ours in between.
        self.put: Callable[[Pending], Ticket] = self._buffer.put
        self._begin()
        forks.register(self)
        exits.close_at_exit(self)

    def _begin(self) -> None:
        """What belongs to one process."""
        settings = self._settings
        self._undisturbed = forks.Undisturbed()
        self._starting = threading.Lock()
        self._started = False
        self._destination = Destination(settings, self._undisturbed, self._open_stream)
        self._salts = DailySalts(settings.keyring.with_name(FILE))
        pseudonymiser = Pseudonymiser(HostKeys(settings, MOST_TENANTS), Visitors(self._salts), self.troubles)
        durable, absences = settings.capture_mode == "durable", Absences()
        spool = replay = None
        if settings.capture_mode != "memory":
            label = Label(settings.stream_prefix, durable)
            spool = Spool(
                settings.spool_dir, label, settings.spool_bytes, self.troubles.meet, self._undisturbed
            )
        outbox = Outbox(
            self._buffer, self._destination, pseudonymiser, self.troubles, settings.shards, absences, spool,
            Quota(settings.tenant_events_per_second),
        )  # fmt: skip
        if spool is not None:
            replay = Replay(
                spool,
                settings.spool_dir,
                self._destination,
                absences,
                outbox,
                self.troubles,
                self._undisturbed,
            )
        self._spool = spool
        self._sender = Sender(
            self._buffer, self._bell, self._destination, outbox, self.troubles, self._undisturbed, settings.flush_milliseconds / 1000,
            replay, durable,
        )  # fmt: skip
        # Nobody has to wait for that: the thread ends by itself.
        self._farewell = weakref.finalize(self, self._sender.begin_to_close, FORGOTTEN_SECONDS)
        self._farewell.atexit = False

    def drop(self, reason: DropReason, /) -> Ticket:
        """See `Outlet.drop`."""
        ticket = self._buffer.drop(reason)
        if not self._started and reason not in UNTOLD:
            self._start()
        return ticket

    def flush(self, seconds: float, /) -> bool:
        """See `Outlet.flush`."""
        self._sender.hurry()
        return self._buffer.wait_until_settled(seconds)

    def sign_off(self, seconds: float, /) -> bool:
        """See `Outlet.sign_off`."""
        until = time.monotonic() + seconds
        sent = self.flush(seconds * (1 - LAST_WORDS))
        if not self._started or self._buffer.closed:  # there is nothing to tell, or it has been told
            return sent
        return self._sender.sign_off(until - time.monotonic()) and sent

    def close(self, seconds: float, /) -> bool:
        """See `Outlet.close`."""
        given_up = self._buffer.counts()["given_up"]
        self.begin_to_close(seconds)
        self.finish_closing(seconds)
        return self._buffer.counts()["given_up"] == given_up

    def begin_to_close(self, seconds: float) -> None:
        """Take nothing more, and send what is left within so many seconds. Returns at once."""
        self._buffer.close()
        self._sender.begin_to_close(seconds)

    def finish_closing(self, seconds: float) -> None:
        """Wait for that at most so long, and a moment more."""
        # Whoever starts the thread holds this for a moment; from now on nobody can.
        if self._starting.acquire(timeout=GRACE):
            self._started = True
            self._starting.release()
        self._sender.join(seconds + GRACE)
        self._buffer.abandon()
        exits.leave_open(self)

    def status(self) -> dict[str, Any]:
        """See `Outlet.status`."""
        counts = self._buffer.counts()
        del counts["given_up"]
        return {
            **counts,
            "dropped": self._buffer.drops(),
            "redis": self._destination.state,
            "spool": Spool.nothing() if self._spool is None else self._spool.status(),
        }

    def _wake(self) -> None:
        self._bell.ring()
        self._start()

    def _start(self) -> None:
        # One thread starts the sender's; another one that comes meanwhile need not wait for that.
        if self._started or not self._starting.acquire(blocking=False):
            return
        try:
            if not self._started:
                self._sender.start()
                self._started = True
                exits.watch_multiprocessing()
        except (
            RuntimeError
        ):  # no more threads, or the interpreter is ending: one of the next events tries again
            self.troubles.meet("sender_not_started")
        finally:
            self._starting.release()

    def before_fork(self) -> None:
        """See `Forked`: no module half loaded and no file locked by us at the moment of the fork."""
        self._undisturbed.hold()

    def after_fork_in_parent(self) -> None:
        """See `Forked`."""
        self._undisturbed.let_go()

    def after_fork_in_child(self) -> None:
        """See `Forked`: an empty buffer, new lanes, no thread; what was waiting is the parent's."""
        self._farewell.detach()
        self._sender.disown()
        _inherited.append((self._sender, self._destination))
        self.troubles.reset()
        self._bell = Bell()
        self._buffer.reset()
        self._begin()


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    known = weakref.WeakMethod(method)

    def call() -> None:
        found = known()
        if found is not None:
            found()

    return call
