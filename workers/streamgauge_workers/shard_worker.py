"""Reads one shard's stream from the position in PostgreSQL and applies it, until told to stop.

Every error ends in the same place: drop the reader, the connection's transaction and all caches, and begin again from what the
shard's row says. That is the whole of recovery.
"""

import asyncio
import random
import time
from collections.abc import Sequence

import asyncpg
import structlog

from streamgauge.database import Connection, Pool
from streamgauge.entry import Batch, Entry
from streamgauge.errors import FencedError, NewerFrameError
from streamgauge.failpoints import pass_through
from streamgauge.logs import redacted
from streamgauge.settings import Settings
from streamgauge.stream import Reader, StreamPort
from streamgauge.summaries.fold import MOST_EVENTS
from streamgauge.summaries.rollups import Catalogue
from streamgauge_workers import metrics
from streamgauge_workers.acknowledgements import Acknowledgements
from streamgauge_workers.applier import Applied, Applier
from streamgauge_workers.housekeeping import Housekeeping
from streamgauge_workers.lag import Lag
from streamgauge_workers.pacing import Pacing
from streamgauge_workers.plausibility import LOOK, ImplausibleError, Plausibility
from streamgauge_workers.position import Position
from streamgauge_workers.queries import SQL
from streamgauge_workers.scarcity import Scarcity
from streamgauge_workers.suspicion import Suspicion, transient
from streamgauge_workers.tenants import Tenants

BLOCK_MS = 500  # how long an idle read waits; also the longest a stop has to wait for it
MOST_ENTRIES = 1_024  # of one read; bounds its memory when small entries are followed by large ones
LONGEST_BACKOFF = 5.0  # seconds
STOPPED_PAUSE = 30.0  # seconds between looks at a shard that holds a newer version's entries
RESCAN_EVERY = 60.0  # seconds at least between re-reads for new holes: a producer that keeps losing must not stall its shard
LIKELY_EVENTS = 500.0  # per entry, until some were seen

log = structlog.get_logger(__name__)


class ShardWorker:
    """One shard's loop."""

    def __init__(
        self,
        shard: int,
        stream: StreamPort,
        pool: Pool,
        tenants: Tenants,
        catalogue: Catalogue,
        settings: Settings,
        number: int | None = None,
        pacing: Pacing | None = None,
        overflow: bool = False,
        scarcity: Scarcity | None = None,
    ) -> None:
        """`number` is the stream's within its generation; in the first one it is the shard's own. `pacing` and `scarcity` are the
        process's."""
        self.shard = shard
        self.number = shard if number is None else number
        self.stream = stream
        self.pool = pool
        self.tenants = tenants
        self.catalogue = catalogue
        self.settings = settings
        self.limit = min(settings.batch_events, MOST_EVENTS)
        self.pacing = pacing or Pacing()
        self.overflow = overflow
        self.scarcity = scarcity or Scarcity()
        self.stopping = asyncio.Event()
        self.events_per_entry = LIKELY_EVENTS
        self.lag = Lag(shard, stream, number)
        self.acknowledgements = Acknowledgements(shard, self.number, stream, settings)
        self.suspicion = Suspicion()
        self.plausibility = Plausibility(shard, settings.dead_letter_percent)
        self.rescan_due = float("-inf")

    async def run(self) -> None:
        """Apply until `stopping` is set. Raises nothing but cancellation."""
        pause = 0.0
        while not self.stopping.is_set():
            try:
                await self._attend()
                pause = 0.0
            except FencedError:
                metrics.FENCED.inc()
                pause = 0.05
            except ImplausibleError as error:
                log.error("shard stopped", shard=self.shard, reason=str(error))
                pause = LOOK
            except NewerFrameError as error:
                log.error("shard stopped", shard=self.shard, reason=str(error))
                pause = STOPPED_PAUSE
            except Exception as error:  # noqa: BLE001 - whatever it is, the answer is to begin again
                kind = "server" if transient(error) else "entry"
                metrics.FAILURES.labels(kind).inc()
                log.warning(
                    "shard read again",
                    shard=self.shard,
                    kind=kind,
                    error=type(error).__name__,
                    detail=redacted(str(error)),
                )
                pause = min(max(pause * 2, 0.1), LONGEST_BACKOFF)
            if pause:
                self.pacing.rest(self.shard)
                await self._sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
        self.pacing.rest(self.shard)
        self.lag.forget()
        self.plausibility.leave()

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _attend(self) -> None:
        """From a fresh look at the shard's row to the first error, or to the stop."""
        reader = await self.stream.open_reader(self.number)
        try:
            known, armed = None, False
            applier = self._applier()
            housekeeping = Housekeeping(self.shard, self.stream, self.settings, self.lag)
            self.acknowledgements = Acknowledgements(self.shard, self.number, self.stream, self.settings)
            while not self.stopping.is_set():
                async with self.scarcity.pair(self.pool, self.shard, self.stopping) as pair:
                    if pair is None:
                        return
                    (connection, aside), since = pair, self.scarcity.clock()
                    await self.plausibility.consult(aside)
                    position = await Position.load(connection, self.shard)
                    if known is None or known.token != position.token:
                        self.lag.entries.rewound()  # somebody else may have moved it
                        applier, armed = self._applier(), False
                        self.acknowledgements.again()
                    while not self.stopping.is_set() and not self.scarcity.is_over(since):
                        position, armed = await self._step(
                            reader, connection, aside, applier, position, armed
                        )
                        await self.acknowledgements.run(aside)
                        if await housekeeping.run(aside, position):
                            position = await Position.load(connection, self.shard)
                            applier = self._applier()
                            self.acknowledgements.again()
                    known = position
                self.pacing.rest(self.shard)
                await self.scarcity.rest(self.stopping)
        finally:
            await reader.aclose()

    def _applier(self) -> Applier:
        return Applier(self.shard, self.tenants, self.catalogue, self.settings, self.plausibility)

    async def _step(
        self,
        reader: Reader,
        connection: Connection,
        aside: Connection,
        applier: Applier,
        position: Position,
        armed: bool,
    ) -> tuple[Position, bool]:
        """One read and, if there was anything, one transaction. `armed`: an attempt on these caches has succeeded."""
        limit = await self._turn()
        count = min(max(int(limit / self.events_per_entry), 1), MOST_ENTRIES)
        reading = await reader.read(position.entry_id, count, BLOCK_MS)
        if reading.history != position.history:
            return await self._change_history(connection, position, position.rewound(reading.history)), armed
        if not reading.entries:
            self.lag.caught_up()
            self.pacing.rest(self.shard)
            return position, armed
        await pass_through("batch.read")
        entries = self._cut(position, reading.entries, limit)
        if not self.overflow:
            self.pacing.read(self.shard, len(entries) < len(reading.entries) or len(entries) == count)
        await applier.prepare(connection)
        counted = not armed or self.suspicion.careful
        poison = await self._attempt(aside, entries) if counted else None
        started = time.monotonic()
        try:
            applied = await applier.apply(
                connection, aside, position, entries, started, poison, started > self.rescan_due
            )
        except Exception as error:
            self.suspicion.failed(entries, error, counted and not await self._uncount(aside))
            if isinstance(error, ImplausibleError):
                await self.plausibility.stop(aside, error)
            raise
        # A read of announcements alone proves nothing about batches.
        if poison is not None or applied.events:
            self.suspicion.passed(entries[-1][0], poison is not None)
        self.acknowledgements.applied(applied.lanes)
        seconds = time.monotonic() - started
        self._succeeded(applied, seconds)
        if self.overflow:
            self.pacing.worked(seconds)
        if applied.position.entry_id == entries[-1][0]:
            self.lag.entries.applied(len(entries))
        else:
            self.rescan_due = started + RESCAN_EVERY
            self.lag.entries.rewound()
        return applied.position, True

    async def _turn(self) -> int:
        """How many events the next transaction may take. The overflow waits here until it may take any."""
        if not self.overflow:
            return self.limit
        if pause := self.pacing.pause():
            await self._sleep(pause)
        return self.pacing.most_events(self.limit)

    async def _change_history(self, connection: Connection, position: Position, target: Position) -> Position:
        """Rule P7: the stream is not the one the position belongs to. Read all of it that is retained."""
        self.lag.entries.rewound()
        self.suspicion.forget()
        self.acknowledgements.again()
        if position.history is not None:
            metrics.EPOCHS.inc()
            log.info("history changed", shard=self.shard, epoch=target.epoch)
        moved, _ = await position.swap(connection, target)
        await pass_through("history.changed")
        return moved

    def _cut(self, position: Position, entries: Sequence[Entry], limit: int) -> Sequence[Entry]:
        """As many entries as one transaction takes; one at a time while something among them is suspect."""
        sizes = [record.n if isinstance(record, Batch) else 0 for _, record in entries]
        self.events_per_entry = max(sum(sizes) / len(sizes), 1.0)
        self.suspicion.look(entries, position.attempts)
        if self.suspicion.careful:
            return entries[:1]
        total = 0
        for place, size in enumerate(sizes):
            total += size
            if total > limit and place:
                return entries[:place]
        return entries

    async def _attempt(self, aside: Connection, entries: Sequence[Entry]) -> str | None:
        """Count an attempt before making it; says why the entry is to be dead-lettered, if it is."""
        attempts = await aside.fetchval(SQL["shard_attempt"], self.shard)
        return self.suspicion.verdict(entries[0][0], attempts) if len(entries) == 1 else None

    async def _uncount(self, aside: Connection) -> bool:
        """Take an attempt that ended in a caught error off the count: the next process would take it for a crash."""
        try:
            await aside.execute(SQL["shard_uncount"], self.shard)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    def _succeeded(self, applied: Applied, seconds: float) -> None:
        metrics.RECEIVED.inc(applied.events + applied.redelivered)
        metrics.REDELIVERED.inc(applied.redelivered)
        for outcome, count in applied.outcomes.items():
            metrics.OUTCOMES.labels(outcome.name, outcome.reason).inc(count)
        for reason, count in applied.not_kept.items():
            metrics.NOT_KEPT.labels(reason).inc(count)
        metrics.BATCH.observe(applied.events)
        metrics.TRANSACTION.observe(seconds)
