"""Events taken out of archives: because their tenant's own retention is over, or because the tenant is being deleted.

An entry keeps its place and its numbers, as in the log (`streamgauge_workers.erased_log`); the file is written anew beside the former
one, and takes its place in the transaction that says so.

A tenant's retention that is shorter than the log's is reached when the log's day is archived.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streamgauge.database import Connection
from streamgauge.failpoints import pass_through
from streamgauge_workers.erased_log import rewrite
from streamgauge_workers.log_source import entry_of
from streamgauge_workers.retention.archive import SQL, Archive, file_name
from streamgauge_workers.retention.archive_file import ArchiveWriter, Entry, Written, entries_of
from streamgauge_workers.retention.columns import EXPIRED
from streamgauge_workers.retention.seal import Seal


@dataclass(slots=True)
class Removal:
    """What is to be taken out of a file, and what was."""

    tenants: Mapping[str, int]  #: ids by name
    instead: int  #: the outcome that takes their place
    keys: list[bytes] = field(default_factory=list)  #: of applied events that were taken out
    entries: int = 0
    events: int = 0

    def applied(self, entry: Entry) -> Entry:
        """The entry without these tenants' events."""
        row, table, outcomes = entry
        for name, tenant_id in self.tenants.items():
            if name not in table.tenant.values:
                continue
            found = rewrite(row, name, tenant_id, self.instead)
            if found is None:
                continue
            self.keys += found.keys
            self.entries += 1
            self.events += found.blanked
            changed = {name: getattr(found, name) for name in ("tenants", "outcomes", "digest", "payload")}
            row = {**dict(row.items()), **changed}
            left = entry_of(row, "archive")
            table, outcomes = left.table, left.outcomes
        return row, table, outcomes


def copy_without(archive: Archive, directory: Path, removal: Removal) -> tuple[str, Written]:
    """Write an archive's next revision; returns its file's name. Blocks. Raises ArchiveError."""
    name = file_name(*archive.key, archive.revision + 1)
    writer = ArchiveWriter(directory / name)
    try:
        for page in entries_of(directory / archive.file):
            entries = [entry_of(row, "archive") for row in page]
            writer.add(
                [
                    removal.applied((row, each.table, each.outcomes))
                    for row, each in zip(page, entries, strict=True)
                ]
            )
        return name, writer.finish()
    finally:
        writer.close()


async def replace(
    connection: Connection,
    archive: Archive,
    file: tuple[str, Written] | None,
    gone: int,
    seal: Seal,
    expired: bool,
) -> bool:
    """Let the next revision take an archive's place, without a tenant; with `expired`, its figures stay in the seal.

    Without `file` the seal alone changes. False when somebody else was here.
    """
    name, written = file or (archive.file, Written(archive.size, archive.sha256))
    counts, _, summaries, digest = seal.encoded()
    out = archive.expired | {gone} if expired else archive.expired
    return (
        await connection.fetchval(
            SQL["archive_rewrite"], *archive.key, archive.revision, name, written.size, written.sha256,
            sorted(archive.tenants - {gone}), sorted(out), counts, summaries, digest,
        )
        is not None
    )  # fmt: skip


async def expire(
    connection: Connection, archive: Archive, directory: Path, tenant: str, tenant_id: int
) -> bool:
    """Take a tenant's events out of an archive; its summaries and counts stay. False when its file is not there or is damaged."""
    if await asyncio.to_thread(archive.problem, directory) is not None:
        return False
    file = await asyncio.to_thread(copy_without, archive, directory, Removal({tenant: tenant_id}, EXPIRED))
    await pass_through("archive.rewritten")
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = on")
        await replace(connection, archive, file, tenant_id, archive.seal, expired=True)
    await pass_through("archive.replaced")
    return True


async def remove_obsolete(connection: Connection, directory: Path) -> int:
    """Remove files whose places others have taken; returns how many."""
    removed = 0
    for row in await connection.fetch(SQL["archives_obsolete"]):
        for name in row["obsolete"]:
            await asyncio.to_thread((directory / name).unlink, missing_ok=True)
            await connection.execute(
                SQL["obsolete_removed"], row["applied_day"], row["shard"], row["part"], name
            )
            removed += 1
    return removed
