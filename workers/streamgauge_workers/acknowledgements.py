"""Tells producers which of their numbers are in PostgreSQL for good (rule P9), so that durable ones keep no batch any longer.

What is told was read from committed rows, never from what a transaction was going to write; it waits until it is on PostgreSQL's disk
and older than the accepted loss. A worker that takes over tells everything again, since Redis may have lost it. One whose lease has
passed on can at most repeat an older truth: a prefix never comes from anywhere but the table.
"""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from streamgauge.database import Connection
from streamgauge.errors import ServerError
from streamgauge.failpoints import pass_through
from streamgauge.logs import redacted
from streamgauge.settings import Settings
from streamgauge.stream import StreamPort
from streamgauge_workers.queries import SQL

EVERY = 1.0  # seconds
MOST_WAITING = 64  # looks that may wait for their age; with a large accepted loss they are further apart
MOST_LANES = 1_000  # told in one command

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the rows said at one moment."""

    at: float  #: monotonic seconds, after everything it saw was committed
    written: str  #: where PostgreSQL's log was by then
    prefixes: dict[bytes, int]


class Acknowledgements:
    """One shard's. Belongs to its connection to PostgreSQL: drop it with that on any error.

    `number` is the stream's within its generation.
    """

    def __init__(self, shard: int, number: int, stream: StreamPort, settings: Settings) -> None:
        self.shard = shard
        self.number = number
        self.stream = stream
        self.age = float(settings.accepted_loss_seconds)
        self.every = max(EVERY, self.age / MOST_WAITING)
        self.due = float("-inf")
        #: Lanes with new numbers since the last look; None: look at all of them.
        self.touched: set[bytes] | None = None
        self.waiting: deque[_Look] = deque()

    def applied(self, lanes: Iterable[bytes]) -> None:
        """A transaction that touched these lanes was committed."""
        if self.touched is not None:
            self.touched.update(lanes)

    def again(self) -> None:
        """Begin again with all lanes: the server may have lost what it was told, or lanes were forgotten."""
        self.touched = None
        self.waiting.clear()

    async def run(self, connection: Connection) -> None:
        """Look and tell, when it is due. Trouble with Redis is kept for the next time: reading must go on."""
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + (EVERY if self.waiting else self.every)
        await self._look(connection)
        try:
            await self._tell(connection)
        except ServerError as error:
            log.info("not acknowledged", shard=self.shard, detail=redacted(str(error)))

    async def _look(self, connection: Connection) -> None:
        last = self.waiting[-1].at if self.waiting else float("-inf")
        if self.touched == set() or time.monotonic() < last + self.every:
            return
        wanted = None if self.touched is None else list(self.touched)
        self.touched = set()
        rows = await connection.fetch(SQL["lanes_prefixes"], self.shard, wanted)
        # Asked after the rows: what they show was written to the log before this.
        written = await connection.fetchval(SQL["wal_written"])
        prefixes = {row["lane"]: row["prefix"] for row in rows}
        if prefixes:
            self.waiting.append(_Look(time.monotonic(), written, prefixes))

    async def _tell(self, connection: Connection) -> None:
        while self.waiting and self.waiting[0].at + self.age <= time.monotonic():
            if not await connection.fetchval(SQL["wal_flushed"], self.waiting[0].written):
                return
            await pass_through("acknowledge.before")
            await _say(self.stream, self.number, self.waiting[0].prefixes)
            await pass_through("acknowledge.after")
            self.waiting.popleft()


async def forget(stream: StreamPort, number: int, lanes: Sequence[bytes]) -> None:
    """Take forgotten lanes (rule P10) out of what is acknowledged. One that stays behind says nothing wrong."""
    try:
        await _say(stream, number, dict.fromkeys(lanes, 0))
    except ServerError as error:
        log.info("acknowledgements not forgotten", number=number, detail=redacted(str(error)))


async def _say(stream: StreamPort, number: int, prefixes: Mapping[bytes, int]) -> None:
    lanes = list(prefixes)
    for first in range(0, len(lanes), MOST_LANES):
        await stream.acknowledge(number, {lane: prefixes[lane] for lane in lanes[first : first + MOST_LANES]})
