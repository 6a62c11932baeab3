"""One worker's share in keeping the event log within its days and bytes, and tenants' events within theirs.

One worker at a time does it, and none while a tenant is being deleted, so that neither works on what the other has half done.
"""

import asyncio
from datetime import UTC, date, datetime, timedelta

import structlog

from streamgauge.database import Connection, Pool
from streamgauge.logs import redacted
from streamgauge.settings import Settings
from streamgauge.summaries.rollups import Catalogue
from streamgauge_workers import metrics
from streamgauge_workers.erasure import LOCK
from streamgauge_workers.retention.archive import SQL, Archive
from streamgauge_workers.retention.archiving import Archivist
from streamgauge_workers.retention.expiry import expire, remove_obsolete
from streamgauge_workers.retention.policy import LogDay, day_of, due, expired
from streamgauge_workers.tenants import Tenants

EVERY = 60.0  # seconds between looks
LONGEST = 3_600.0  # seconds between them while archiving fails

log = structlog.get_logger(__name__)


class Retention:
    """Archives and drops what is due, until `stopping` is set."""

    def __init__(self, pool: Pool, settings: Settings, catalogue: Catalogue, stopping: asyncio.Event) -> None:
        self.pool = pool
        self.settings = settings
        self.stopping = stopping
        self.archivist = Archivist(
            settings.archive_dir, Tenants(), catalogue, settings.cardinality_limit, stopping
        )

    async def run(self) -> None:
        """Look at the log now and then. Raises nothing but cancellation."""
        pause = EVERY
        while not self.stopping.is_set():
            try:
                await self.turn()
                pause = EVERY
            except Exception as error:  # noqa: BLE001 - whatever it is, the log keeps what it has, and the next turn tries again
                metrics.ARCHIVE_FAILURES.inc()
                log.warning("event log not archived", error=type(error).__name__, detail=redacted(str(error)))
                pause = min(2 * pause, LONGEST)
            try:
                await asyncio.wait_for(self.stopping.wait(), pause)
            except TimeoutError:
                continue

    async def turn(self, today: date | None = None) -> list[date]:
        """Archive and drop what is due; returns the days that left the log. `today` is the database's day where it is not given.

        Raises ArchiveError or FrameError for what cannot be archived; it stays in the log.
        """
        async with self.pool.acquire() as connection:
            # Of the session, which the pool ends: nothing here is one transaction.
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                return []
            if today is None:
                today = await connection.fetchval("SELECT current_date")
            await remove_obsolete(connection, self.settings.archive_dir)
            left = []
            for day in due(
                await days(connection), today, self.settings.log_retention_days, self.settings.log_max_bytes
            ):
                if self.stopping.is_set():
                    break
                if await self.archivist.archive(connection, day, await _expired(connection, day.day, today)):
                    left.append(day.day)
            await self._expire(connection, today)
            await measure(connection)
        return left

    async def _expire(self, connection: Connection, today: date) -> None:
        """Take events out of archives whose tenants' own retention is over."""
        for tenant in await connection.fetch(SQL["tenants_short"]):
            before = today - timedelta(days=tenant["retention_days"])
            for row in await connection.fetch(SQL["archives_expiring"], tenant["tenant_id"], before):
                if self.stopping.is_set():
                    return
                archive = Archive.of_row(row)
                if not await expire(
                    connection, archive, self.settings.archive_dir, tenant["name"], tenant["tenant_id"]
                ):
                    log.info("archive not there, its events stay as they are", file=archive.file)
        await remove_obsolete(connection, self.settings.archive_dir)


async def days(connection: Connection) -> list[LogDay]:
    """The days that the log holds, with the bytes of their partitions."""
    found = [(day_of(row["name"]), row["bytes"]) for row in await connection.fetch(SQL["days"])]
    return [LogDay(day, size) for day, size in found if day is not None]


async def measure(connection: Connection) -> None:
    """Set the gauges of log and archive."""
    held = await days(connection)
    metrics.LOG_BYTES.set(sum(day.size for day in held))
    oldest = min((day.day for day in held), default=datetime.now(UTC).date())
    metrics.LOG_OLDEST.set((datetime.now(UTC).date() - oldest).total_seconds())
    figures = await connection.fetchrow(SQL["figures"])
    assert figures is not None  # noqa: S101 - an aggregate always has its one row
    metrics.ARCHIVED_DAYS.set(figures["days"])
    metrics.ARCHIVE_BYTES.set(figures["bytes"])


async def _expired(connection: Connection, day: date, today: date) -> dict[str, int]:
    """Tenants, by name, whose own retention is over for a day."""
    tenants = await connection.fetch(SQL["tenants_short"])
    over = expired(day, today, {row["name"]: row["retention_days"] for row in tenants})
    return {row["name"]: row["tenant_id"] for row in tenants if row["name"] in over}
