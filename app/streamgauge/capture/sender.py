"""The thread that sends: one per process, started by the first accepted event, with an event loop of its own."""

import asyncio
import concurrent.futures.thread  # noqa: F401 - what sends at the very end of a process needs it, when it can no longer be loaded
import threading
import time
from concurrent.futures import Future
from typing import Any, Final

from streamgauge.capture.bell import Bell
from streamgauge.capture.buffer import ENOUGH, Buffer
from streamgauge.capture.destination import Destination
from streamgauge.capture.ending import Ending
from streamgauge.capture.forks import Undisturbed
from streamgauge.capture.outbox import TAKEN_SECONDS, Outbox, pause
from streamgauge.capture.own_loop import OwnLoop
from streamgauge.capture.replay import Replay
from streamgauge.capture.troubles import Troubles
from streamgauge.errors import ServerError

ANNOUNCE_SECONDS: Final = 5.0
#: Most that is taken from the buffer, and frozen, in one go.
MOST_EVENTS: Final = 5_000
MOST_BYTES: Final = 8 * 1024 * 1024
#: How often an address of Redis is looked for while none is known, in seconds; and the pause after a defect.
LOOK_SECONDS: Final = 1.0
#: The share of the time for closing that is kept for the last announcement.
LAST_WORDS: Final = 0.2
#: How often ending the lanes is tried while somebody waits for it, in seconds.
AGAIN_SECONDS: Final = 0.1
#: The longest that live events wait for others while something else is going on, in seconds.
BESIDE_SECONDS: Final = 0.05


class Sender:
    """Sends what is in a buffer until it is told to stop. It knows nothing of the gauge, which may be collected meanwhile."""

    def __init__(
        self,
        buffer: Buffer,
        bell: Bell,
        destination: Destination,
        outbox: Outbox,
        troubles: Troubles,
        undisturbed: Undisturbed,
        flush_seconds: float,
        replay: Replay | None = None,
        durable: bool = False,
    ) -> None:
        """`undisturbed` is held while files are used: a process must not be forked then. Without `replay` there is no spool."""
        self._buffer = buffer
        self._bell = bell
        self._destination = destination
        self._outbox = outbox
        self._troubles = troubles
        self._undisturbed = undisturbed
        self._flush_seconds = flush_seconds
        self._replay = replay
        self._durable = durable
        self._ending = Ending(buffer, destination, outbox, replay, troubles, self._fill)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._own_loop: OwnLoop | None = None
        self._closing = asyncio.Event()
        self._deadline: float | None = None
        self._last_words = 0.0
        self._hurry = False
        self._announced = time.monotonic()
        #: Who waits until the lanes are ended.
        self._leaving: list[Future[bool]] = []

    def start(self) -> None:
        """Start the thread. Raises RuntimeError when the process can have no more threads."""
        self._thread = threading.Thread(target=self._run, name="streamgauge", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None  # there is nothing to wait for
            raise

    def hurry(self) -> None:
        """Send what is there without waiting for more."""
        self._hurry = True
        self._bell.ring()

    def begin_to_close(self, seconds: float) -> None:
        """Send what is left, say goodbye and end, within so many seconds. Returns at once."""
        if self._deadline is None:
            now = time.monotonic()
            self._last_words = now + seconds * (1 - LAST_WORDS)
            self._deadline = now + seconds
        self._bell.ring()
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._closing.set)
            except RuntimeError:  # it ended meanwhile
                return

    def sign_off(self, seconds: float) -> bool:
        """Tell what was dropped, and end the lanes, as soon as nothing is under way; whether that was done in so many seconds.

        Sending goes on: the next event opens new lanes.
        """
        done: Future[bool] = Future()
        self._leaving.append(done)
        self.hurry()
        try:
            return done.result(max(seconds, 0.0))
        except TimeoutError:
            return False
        finally:
            self._leaving.remove(done)

    def join(self, seconds: float) -> bool:
        """Wait for the thread's end at most so long; whether it has ended, or never began."""
        if self._thread is None or self._thread is threading.current_thread():
            return self._thread is None
        self._thread.join(max(seconds, 0.0))
        return not self._thread.is_alive()

    def disown(self) -> None:
        """In a forked child: see to it that nothing done to these objects is felt by the parent, whose they are.

        Its spool stays the parent's.
        """
        if self._replay is not None:
            self._replay.disown()
        if self._own_loop is not None:
            self._own_loop.disown()

    def _run(self) -> None:
        ended = False
        while not ended:
            try:
                with asyncio.Runner(loop_factory=self._make_loop) as runner:
                    self._loop = runner.get_loop()
                    self._send(runner)
                ended = True
            except OSError:  # a loop needs file descriptors, and the host may have used up all of them
                self._troubles.meet("sender_failed")
                ended = self._deadline is not None
                self._bell.wait(0 if ended else LOOK_SECONDS)
        self._buffer.abandon()

    def _send(self, runner: asyncio.Runner) -> None:
        while self._deadline is None:
            try:
                self._wait()
                runner.run(self._round())
            except Exception:  # noqa: BLE001 - a defect must not end the sending
                self._troubles.meet("sender_failed")
                self._bell.wait(LOOK_SECONDS)
        try:
            runner.run(self._finish(self._deadline))
        except Exception:  # noqa: BLE001 - as above
            self._troubles.meet("sender_failed")

    def _wait(self) -> None:
        """For an event, the next announcement or the end; behind an event, for others."""
        if not self._buffer.untaken:
            due = self._announced + ANNOUNCE_SECONDS - time.monotonic()
            if self._replay is not None and self._destination.is_known():
                due = min(due, self._replay.due() - time.monotonic())
            self._bell.wait(min(due, AGAIN_SECONDS) if self._leaving else due)
        # It may still ring for events that were taken meanwhile. Silence it first, and look then: nothing is missed so.
        self._bell.wait(0)
        if self._deadline is None and not self._hurry and 0 < self._buffer.untaken < ENOUGH:
            self._bell.wait(self._flush_seconds)
        self._hurry = False

    async def _round(self) -> None:
        """Send until nothing is under way and few events wait, with announcements in between."""
        while self._deadline is None:
            if self._has_events:
                if not self._destination.is_known() and not self._keep():
                    await pause(LOOK_SECONDS, self._closing)
                    await self._tick()
                    continue
                await self._until_closing(self._send_live())
            if self._is_replay_due:
                assert self._replay is not None  # noqa: S101 - it is due
                await self._until_closing(self._beside(self._replay.step()), patient=False)
            # What is under way has numbers that are not settled: its lane cannot end.
            if self._deadline is None and self._leaving and self._outbox.is_empty:
                await self._sign_off()
            await self._tick()
            if self._outbox.is_empty and self._buffer.untaken < ENOUGH and not self._is_replay_due:
                return

    @property
    def _has_events(self) -> bool:
        return bool(self._buffer.untaken) or not self._outbox.is_empty

    @property
    def _is_replay_due(self) -> bool:
        due = self._replay is not None and time.monotonic() >= self._replay.due()
        return due and self._destination.is_known()

    def _keep(self) -> bool:
        """Without an address, put durable events into the spool; whether that took them all."""
        if self._durable:
            self._fill()
            self._outbox.spool_all()
        return not self._has_events

    async def _send_live(self) -> None:
        self._fill()
        if self._replay is None:
            await self._outbox.deliver(self._closing)
        else:
            await self._outbox.deliver_or_spool(self._closing)

    async def _beside(self, work: Any) -> None:
        """Do something that may take its time while live events go on being sent, or spooled."""
        doing = asyncio.ensure_future(work)
        try:
            while not doing.done():
                await asyncio.wait({doing}, timeout=min(self._flush_seconds, BESIDE_SECONDS))
                if self._has_events and self._deadline is None:
                    await self._send_live()
        finally:
            doing.cancel()
            await asyncio.wait({doing})
        if not doing.cancelled():
            doing.result()

    async def _tick(self) -> None:
        if self._deadline is not None or time.monotonic() - self._announced < ANNOUNCE_SECONDS:
            return
        self._announced = time.monotonic()
        await self._destination.tidy()
        self._forget()
        if not self._destination.is_known():
            return
        if self._replay is None:
            await self._until_closing(self._announce())
        else:
            await self._until_closing(self._beside(self._announce()))
        await self._until_closing(self._renew())

    async def _sign_off(self) -> None:
        waiting = list(self._leaving)
        if not self._destination.is_known():
            _answer(waiting, False)
        elif await self._until_closing(self._announce(closed=True)):
            _answer(waiting, True)

    def _forget(self) -> None:
        with self._undisturbed.files:
            self._outbox.forget()

    def _fill(self) -> None:
        """Freeze what waits, unless something frozen is still to be sent: at most one round is under way."""
        if self._outbox.is_empty:
            with self._undisturbed.files:
                self._outbox.fill(self._buffer.take(MOST_EVENTS, MOST_BYTES))
            self._outbox.keep()

    async def _announce(self, closed: bool = False) -> bool:
        return await self._tell(self._outbox.announce(closed), bounded=closed)

    async def _renew(self) -> bool:
        return await self._tell(self._outbox.renew(), bounded=True)

    async def _tell(self, telling: Any, bounded: bool) -> bool:
        """Whether it was told. With a spool events must not wait for that: it is bounded then."""
        try:
            async with asyncio.timeout(TAKEN_SECONDS if bounded and self._replay is not None else None):
                await telling
        except ServerError as error:
            self._troubles.meet("redis_failed", str(error))
            return False
        except TimeoutError:
            self._troubles.meet("redis_failed", "an announcement was not taken in time")
            return False
        return True

    async def _until_closing(self, work: Any, patient: bool = True) -> Any:
        """Do something until it is done or, from when closing begins, until there is no more time for it; what came of it.

        What is in files can wait: without `patient` there is no time for it then, until what is not has been sent.
        """
        doing, closing = asyncio.ensure_future(work), asyncio.ensure_future(self._closing.wait())
        both = {doing, closing}
        try:
            # Redis may be away for days: what is to be forgotten by then is forgotten.
            while not (
                await asyncio.wait(both, timeout=ANNOUNCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            )[0]:
                self._forget()
            if patient and not doing.done() and self._deadline is not None:
                await asyncio.wait({doing}, timeout=max(self._last_words - time.monotonic(), 0.0))
        finally:
            closing.cancel()
            if not doing.done():
                doing.cancel()
            await asyncio.wait({doing, closing})
        return None if doing.cancelled() else doing.result()

    async def _finish(self, deadline: float) -> None:
        self._closing.set()
        await self._ending.run(self._closing, self._last_words, deadline, self._say_goodbye)

    async def _say_goodbye(self) -> None:
        _answer(list(self._leaving), await self._announce(closed=True))

    def _make_loop(self) -> asyncio.AbstractEventLoop:
        self._own_loop = OwnLoop()
        return self._own_loop


def _answer(waiting: "list[Future[bool]]", done: bool) -> None:
    for each in waiting:
        if not each.done():
            each.set_result(done)
