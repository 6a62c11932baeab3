"""A tenant's events in archives of the event log: their files are written anew without them, their seals lose its figures.

As in the log, entries keep their numbers and the tenant's counts become nobody's `erased`. Where a file is not there or is damaged, the
receipt says so: whoever has it elsewhere has the tenant's events.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from streamgauge.database import Connection
from streamgauge.errors import ArchiveError
from streamgauge.failpoints import pass_through
from streamgauge.outcomes import ERASED
from streamgauge_workers.deletion import SQL, Deletion, count_of
from streamgauge_workers.retention import expiry
from streamgauge_workers.retention.archive import SQL as ARCHIVES
from streamgauge_workers.retention.archive import Archive
from streamgauge_workers.retention.archive_file import Written, tally_of
from streamgauge_workers.retention.expiry import Removal
from streamgauge_workers.retention.seal import Seal


async def erase(connection: Connection, deletion: Deletion, directory: Path) -> AsyncIterator[int]:
    """Take the tenant out of all archives; yields after every one that changed 1. Raises ArchiveError for a seal that was changed."""
    await expiry.remove_obsolete(connection, directory)
    for row in await connection.fetch(ARCHIVES["archives_of_tenant"], deletion.tenant_id):
        archive = Archive.of_row(row)
        if archive.state == "written":
            # The log still holds it all, and has been seen to: what was copied is copied again.
            await asyncio.to_thread((directory / archive.file).unlink, missing_ok=True)
            await connection.execute(ARCHIVES["archive_discard"], *archive.key)
            continue
        if await _erase(connection, deletion, directory, archive):
            yield 1
    await expiry.remove_obsolete(connection, directory)


async def _erase(connection: Connection, deletion: Deletion, directory: Path, archive: Archive) -> bool:
    seal = archive.seal
    left = seal.without(deletion.tenant_id, ERASED)
    counts = _erased(seal, deletion.tenant_id)
    concerned = deletion.tenant_id in archive.tenants or bool(counts) or left.rows.keys() != seal.rows.keys()
    removal = Removal({deletion.tenant: deletion.tenant_id}, ERASED)
    problem, file = await asyncio.to_thread(_without, archive, directory, removal, concerned)
    if file is not None:
        await pass_through("archive.rewritten")
    if file is None and problem is None and not concerned:
        return False
    async with deletion.step(connection, archive.shard) as tally:
        if not await expiry.replace(connection, archive, file, deletion.tenant_id, left, expired=False):
            raise ArchiveError(f"archive {archive.file} was changed meanwhile")
        if counts:
            hours = [datetime.fromtimestamp(hour, UTC) for hour in counts]
            await connection.execute(SQL["ledger_erased"], archive.shard, hours, list(counts.values()))
        if removal.keys:
            forgotten = await connection.execute(SQL["keys_forget"], archive.shard, removal.keys)
            tally.removed("event_keys", count_of(forgotten))
        if file is not None:
            tally.rewritten(removal.entries, removal.events)
            tally.archives.append(archive.file)
        if problem is not None:
            known = tally.left.setdefault("archives", [])
            known += [said for said in [f"{archive.file} {problem}"] if said not in known]
    await pass_through("archive.replaced")
    return True


def _without(
    archive: Archive, directory: Path, removal: Removal, concerned: bool
) -> tuple[str | None, tuple[str, Written] | None]:
    """Why a file cannot be read, and the file that takes its place, if it holds any of it. Blocks.

    Where its seal says nothing of the tenant, a look at the names is enough: that is repeated until the deletion is complete.
    """
    path = directory / archive.file
    try:
        if (concerned or not path.is_file()) and (problem := archive.problem(directory)) is not None:
            return problem, None
        if not any(name in removal.tenants for name, _, _ in tally_of(path)):
            return None, None
    except ArchiveError as error:
        return str(error), None
    return None, expiry.copy_without(archive, directory, removal)


def _erased(seal: Seal, tenant_id: int) -> Counter[int]:
    """A tenant's events by hour of application."""
    found: Counter[int] = Counter()
    for (hour, owner, _), events in seal.counts.items():
        if owner == tenant_id:
            found[hour] += events
    return found
