"""A day of the event log on its way into the archive: written, read again, sealed, and only then dropped.

Every step can be the last one before a crash. A file without a row in `archives` is written again, under the same name. A row that is
`written` leaves the log in charge; what it stands for is compared with the log once more in the transaction that drops the day.
"""

import asyncio
import hashlib
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import structlog
from asyncpg import LockNotAvailableError, Record

from streamgauge.database import Connection
from streamgauge.errors import ArchiveError
from streamgauge.failpoints import pass_through
from streamgauge.outcomes import CODES, NOBODYS
from streamgauge.summaries.rollups import Catalogue
from streamgauge_workers.log_source import entry_of
from streamgauge_workers.retention.archive import SQL, Archive, file_name
from streamgauge_workers.retention.archive_file import ArchiveWriter, Entry, tally_of
from streamgauge_workers.retention.columns import EXPIRED
from streamgauge_workers.retention.expiry import Removal
from streamgauge_workers.retention.policy import LogDay
from streamgauge_workers.retention.seal import Counts
from streamgauge_workers.retention.sealing import Sealing, admitted_between, name_and_digest
from streamgauge_workers.tenants import Tenants

PAGE, MOST_EVENTS = 64, 32_768  # entries read at once, and the events of them, about
DIGESTS = 5_000  # the same of their digests
BEFORE_ALL = (b"", -1)
SPARE = 256 * 1024 * 1024  # bytes of the disk that archives leave free
LOCK_TIMEOUT = "250ms"  # for which readers and workers queue up behind the dropping of a day, at most
TRIES, PAUSE = 8, 0.5  # seconds

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Archivist:
    """What archiving needs to know. `limit`: dimension values with rows of their own, per day."""

    directory: Path
    tenants: Tenants
    catalogue: Catalogue
    limit: int
    stopping: asyncio.Event  #: once set, what has begun is left for the next time

    async def archive(
        self, connection: Connection, day: LogDay, expired: Mapping[str, int] | None = None
    ) -> bool:
        """Move a day out of the log; returns whether it is out, False when others kept it locked or it is time to stop.

        Events of tenants in `expired` (ids by name) are left out of the file; the seal counts them. Raises ArchiveError for what cannot
        be written or is not what was written, FrameError for an entry that is damaged: the day stays in the log then.
        """
        for row in await connection.fetch(SQL["shards_of_day"], day.day):
            if not await self._is_written(connection, day.day, row["shard"], expired or {}):
                if not await self._write(connection, day.day, row, expired or {}):
                    return False
                await pass_through("archive.recorded")
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSE)
            if self.stopping.is_set():
                return False
            try:
                await self._drop(connection, day)
            except LockNotAvailableError:
                continue
            log.info("day of the event log archived", day=str(day.day), bytes=day.size)
            return True
        log.info("day of the event log is in use", day=str(day.day))
        return False

    async def _is_written(
        self, connection: Connection, day: date, shard: int, expired: Mapping[str, int]
    ) -> bool:
        """Whether a file of an earlier attempt is there and holds what the log holds."""
        for row in await connection.fetch(SQL["archives_of_day"], day):
            found = Archive.of_row(row)
            if found.shard == shard and found.state == "written":
                same = found.content == await content(connection, day, shard) and not found.tenants & set(
                    expired.values()
                )
                return same and await asyncio.to_thread(found.problem, self.directory) is None
        return False

    async def _write(
        self, connection: Connection, day: date, extent: Record, expired: Mapping[str, int]
    ) -> bool:
        """Write and record a file; returns whether there was time to."""
        shard = extent["shard"]
        part = await connection.fetchval(SQL["part_next"], day, shard)
        path = self.directory / file_name(day, shard, part, 0)
        await asyncio.to_thread(require_room, self.directory, extent["bytes"])
        await self.tenants.load(connection)
        admitted = await admitted_between(connection, extent["first_at"], extent["last_at"], self.limit)
        sealing = Sealing(self.tenants, self.catalogue, admitted)
        writer = await asyncio.to_thread(ArchiveWriter, path)
        removal = Removal(expired, EXPIRED)
        try:
            async for page in pages(connection, day, shard):
                if self.stopping.is_set():
                    return False
                entries: list[Entry] = []
                for row in page:
                    entry = entry_of(row, "log")
                    await sealing.add(connection, entry, row["digest"])
                    entries.append(removal.applied((row, entry.table, entry.outcomes)))
                await asyncio.to_thread(writer.add, entries)
            seal = await sealing.settle(connection)
            written = await asyncio.to_thread(writer.finish)
        finally:
            await asyncio.to_thread(writer.close)
        await pass_through("archive.written")
        await asyncio.to_thread(check, path, seal.counts, self.tenants, frozenset(expired.values()))
        out = sealing.owners & set(expired.values())
        *sealed, digest = seal.encoded()
        await connection.execute(
            SQL["archive_store"], day, shard, part, path.name, written.size, written.sha256, sealing.content.digest(), sealing.entries,
            sealing.events, extent["first_applied"], extent["last_applied"], extent["first_at"], extent["last_at"],
            sorted(sealing.owners - out), sorted(out), *sealed, [rollup.metric for rollup in self.catalogue.rollups], digest,
        )  # fmt: skip
        return True

    async def _drop(self, connection: Connection, day: LogDay) -> None:
        """Take the day out of the log, if its archives hold what it holds. Raises ArchiveError if not."""
        async with connection.transaction():
            await connection.execute("SET LOCAL synchronous_commit = on")
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            # Reading goes on while it is compared; then everybody waits, for the moment it takes to write it down.
            await connection.execute(SQL["partition_freeze"].format(partition=day.partition))
            written = {
                row["shard"]: row["content"]
                for row in await connection.fetch(SQL["archives_of_day"], day.day)
                if row["state"] == "written"
            }
            for row in await connection.fetch(SQL["shards_of_day"], day.day):
                if written.get(row["shard"]) != await content(connection, day.day, row["shard"]):
                    raise ArchiveError(
                        f"{day.partition} was changed while it was archived: it stays, and is archived again"
                    )
            await connection.execute(SQL["partition_detach"].format(partition=day.partition))
            await connection.execute(SQL["partition_drop"].format(partition=day.partition))
            await connection.execute(SQL["archived"], day.day)
            await pass_through("archive.detached")
        await pass_through("archive.dropped")


async def pages(connection: Connection, day: date, shard: int) -> AsyncIterator[list[Record]]:
    """A day's entries of a shard in the order of their names. No transaction stays open in between."""
    last = BEFORE_ALL
    while page := await connection.fetch(SQL["page"], day, shard, *last, PAGE, MOST_EVENTS):
        last = page[-1]["lane"], page[-1]["first"]
        yield page


async def content(connection: Connection, day: date, shard: int) -> bytes:
    """The digest over what the log holds of a day and shard."""
    found, last = hashlib.sha256(), BEFORE_ALL
    while page := await connection.fetch(SQL["digests"], day, shard, *last, DIGESTS):
        last = page[-1]["lane"], page[-1]["first"]
        for row in page:
            found.update(name_and_digest(row["lane"], row["first"], row["digest"]))
    return found.digest()


def require_room(directory: Path, payload: int) -> None:
    """Raise ArchiveError when the disk might not hold a file of entries of so many bytes, twice, and some more."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    if free < 4 * payload + SPARE:
        raise ArchiveError(
            f"the disk of {directory} has {free // 2**20} MiB free, too little to archive a day of {payload // 2**20} MiB: "
            "free some, or set STREAMGAUGE_ARCHIVE_DIR"
        )


def check(path: Path, counts: Counts, tenants: Tenants, expired: frozenset[int]) -> None:
    """Read a file again. Raises ArchiveError unless it holds, for every tenant and outcome, the events that were counted."""
    want: Counter[tuple[int, str, str]] = Counter()
    for (_, owner, code), events in counts.items():
        out = owner in expired
        want[0 if out else owner, *(("expired", "") if out else CODES[code])] += events
    have: Counter[tuple[int, str, str]] = Counter()
    for (name, outcome, reason), events in tally_of(path).items():
        tenant = tenants.by_name.get(name or "")
        named = tenants.deleting.get(name or "", 0) if tenant is None else tenant.scope.tenant_id
        have[0 if reason in NOBODYS else named, outcome, reason or ""] += events
    if want != have:
        differing = sorted(key for key in want.keys() | have.keys() if want[key] != have[key])
        tenant_id, outcome, reason = differing[0]
        raise ArchiveError(
            f"archive {path.name} holds {have[differing[0]]} events of tenant {tenant_id} {outcome} {reason}, "
            f"the log {want[differing[0]]}"
        )
