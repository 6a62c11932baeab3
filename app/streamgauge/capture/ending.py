"""The end of a sender: what is left is sent while there is time, then put into files, then told; in this order, whatever fails."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from streamgauge.capture.buffer import Buffer
from streamgauge.capture.destination import Destination
from streamgauge.capture.outbox import TAKEN_SECONDS, Outbox
from streamgauge.capture.own_loop import loop_time
from streamgauge.capture.replay import Replay
from streamgauge.capture.troubles import Troubles


class Ending:
    """Done once, in the sender's event loop, when nothing else of it is done any more."""

    def __init__(
        self,
        buffer: Buffer,
        destination: Destination,
        outbox: Outbox,
        replay: Replay | None,
        troubles: Troubles,
        fill: Callable[[], None],
    ) -> None:
        """`fill` freezes some of what waits in the buffer. Without `replay` there is no spool."""
        self._buffer = buffer
        self._destination = destination
        self._outbox = outbox
        self._replay = replay
        self._troubles = troubles
        self._fill = fill

    async def run(
        self, closing: asyncio.Event, last_words: float, deadline: float, say: Callable[[], Awaitable[object]]
    ) -> None:
        """Send until `last_words`, keep or give up the rest, then `say` goodbye until the `deadline`; both in monotonic seconds."""
        known = self._destination.is_known()
        if known:
            await self._in_time(self._send(closing, last_words), last_words, None)
        try:
            self._keep_rest()
        except Exception:  # noqa: BLE001 - a defect must not keep the last words from being said
            self._troubles.meet("sender_failed")
        self._outbox.give_up()
        self._buffer.give_up_queue("undelivered" if known else "not_configured")
        if known:
            await self._in_time(say(), deadline, "the last announcement was not taken in time")
        if self._replay is not None:
            if known or self._replay.keeps_own:
                self._outbox.write_farewells()
            self._replay.close()
        await self._destination.aclose()

    async def _in_time(self, work: Awaitable[object], until: float, late: str | None) -> None:
        try:
            async with asyncio.timeout_at(loop_time(until)):
                await work
        except TimeoutError:
            if late is not None:
                self._troubles.meet("redis_failed", late)
        except Exception:  # noqa: BLE001 - as above
            self._troubles.meet("sender_failed")

    async def _send(self, closing: asyncio.Event, last_words: float) -> None:
        while self._buffer.untaken or not self._outbox.is_empty:
            self._fill()
            if self._replay is None:
                await self._outbox.deliver(closing)
            else:
                left = max(last_words - time.monotonic(), 0.0)
                await self._outbox.deliver_or_spool(closing, min(TAKEN_SECONDS, left / 2))
        # A file that cannot be read is not sent: there is nothing to be done then.
        while self._replay is not None and self._replay.can_send() and await self._replay.step():
            pass

    def _keep_rest(self) -> None:
        """Put all that is still here into the spool, as far as that takes it."""
        if self._replay is None or not (self._destination.is_known() or self._replay.is_durable):
            return
        self._outbox.spool_all()
        while self._buffer.untaken and self._outbox.is_empty:
            self._fill()
            self._outbox.spool_all()
