"""Deleting a tenant: its events, its rows in every table, itself; and the receipt that says so.

Asked for by `tenants.status = 'deleting'` and a row of `deletion_receipts`; done by whichever worker comes first, in steps (`deletion`),
each of which leaves a database that `verify` passes:

1. Every shard's token is moved, so that its worker reads the tenants anew behind it: from then on events of this name are rejected as
   `tenant_deleted` and logged without content. Nobody writes rows of the tenant after that.
2. The event log, its archives and refused entries lose the tenant's events (`erased_log`, `erased_archives`).
3. Every table loses the tenant's rows (`erased_rows`).
4. Once servers have forgotten its keys: its chain of audits, from its end backwards so that it is a whole chain at any time, and the
   tenant itself, together with the receipt's completion.

Nothing is remembered between steps but what is in the database, so another worker, or the same after a crash, begins again at 1 and
finds less to do.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from streamgauge.database import Connection, Pool
from streamgauge.errors import FencedError
from streamgauge.logs import redacted
from streamgauge.settings import Settings
from streamgauge_workers import erased_archives, erased_log, erased_rows
from streamgauge_workers.deletion import SQL, Deletion, count_of

EVERY = 2.0  # seconds between looks for a deletion
PAUSE = 0.1  # seconds between steps: each makes a shard's worker read its caches anew
#: Seconds after which no server lets anybody write for the tenant any more: they remember keys for less.
SETTLED = 10.0
MOST_AUDITS = 5_000  # of one transaction
LOCK = 0x53474552  # "SGER"; retention takes it too: neither sees the other half done

log = structlog.get_logger(__name__)


class Erasure:
    """One worker's share in deleting tenants, until `stopping` is set."""

    def __init__(self, pool: Pool, settings: Settings, stopping: asyncio.Event) -> None:
        self.pool = pool
        self.settings = settings
        self.stopping = stopping

    async def run(self) -> None:
        """Look for deletions now and then, and do them. Raises nothing but cancellation."""
        while not self.stopping.is_set():
            try:
                await self.turn()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next turn goes on where this one ended
                log.warning(
                    "deletions not looked for", error=type(error).__name__, detail=redacted(str(error))
                )
            await self._wait(EVERY)

    async def turn(self) -> int:
        """Do what is to be done of all deletions; returns how many are complete. One that fails does not hold up the others."""
        complete = 0
        async with self.pool.acquire() as connection:
            found = await connection.fetch(SQL["deletions"], SETTLED)
            # Given back with the connection, however this ends.
            if not found or not await connection.fetchval(SQL["deletion_turn"], LOCK):
                return 0
            for row in found:
                deletion = Deletion(row["receipt_id"], row["tenant"], row["tenant_id"])
                try:
                    complete += await self._delete(connection, deletion, row["settled"])
                except FencedError as error:
                    log.info("deletion done already", reason=str(error))
                except Exception as error:  # noqa: BLE001 - the next turn goes on where this one ended
                    what, detail = type(error).__name__, redacted(str(error))
                    log.warning(
                        "deletion interrupted", receipt=str(deletion.receipt_id), error=what, detail=detail
                    )
        return complete

    async def _delete(self, connection: Connection, deletion: Deletion, settled: bool) -> bool:
        async for _ in self._steps(connection, deletion):
            await self._wait(PAUSE)
            if self.stopping.is_set():
                return False
        return settled and await self._complete(connection, deletion)

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _steps(self, connection: Connection, deletion: Deletion) -> AsyncIterator[int]:
        shards = [row["shard"] for row in await connection.fetch(SQL["shards"])]
        for shard in shards:
            async with deletion.step(connection, shard):
                await connection.execute(SQL["lanes_distrust"], shard, deletion.tenant_id)
        for shard in shards:
            async for entries in erased_log.erase(connection, deletion, shard):
                yield entries
        async for archives in erased_archives.erase(connection, deletion, self.settings.archive_dir):
            yield archives
        async for letters in erased_log.erase_letters(connection, deletion):
            yield letters
        for table in await erased_rows.tables(connection):
            async for rows in erased_rows.erase(connection, deletion, table):
                yield rows

    async def _complete(self, connection: Connection, deletion: Deletion) -> bool:
        while await self._shorten_audit(connection, deletion):
            await self._wait(0)
        tables = await erased_rows.tables(connection)
        async with connection.transaction():
            # Batches are committed without waiting for the disk. Waiting for this one waits for all before it.
            await connection.execute("SET LOCAL synchronous_commit = on")
            async with deletion.step(connection) as tally:
                if await erased_rows.any_left(connection, deletion.tenant_id, tables):
                    return False
                removed = count_of(await connection.execute(SQL["tenant_delete"], deletion.tenant_id))
                tally.removed("tenants", removed)
                at = datetime.now(UTC)
                tally.left |= await self._left(connection, at)
            await connection.execute(SQL["receipt_complete"], deletion.receipt_id, tally.as_json(), at)
            await connection.execute(SQL["receipts_complete"], deletion.tenant, deletion.receipt_id, at)
        log.info("tenant deleted", tenant_id=deletion.tenant_id, receipt=str(deletion.receipt_id))
        return True

    async def _shorten_audit(self, connection: Connection, deletion: Deletion) -> bool:
        """Remove the end of the tenant's chain of audits; False when there is none any more."""
        async with deletion.step(connection) as tally:
            head = await connection.fetchrow(SQL["audit_head"], deletion.tenant_id)
            if head is None:
                return False
            if tally.audit is None:
                tally.audit = {"entries": head["sequence"], "head": head["digest"].hex()}
            rest = max(head["sequence"] - MOST_AUDITS, 0)
            removed = await connection.execute(SQL["audit_cut"], deletion.tenant_id, rest)
            tally.removed("audit_log", count_of(removed))
            if rest:
                await connection.execute(SQL["audit_shorten"], deletion.tenant_id, rest)
            else:
                ended = await connection.execute(SQL["audit_end"], deletion.tenant_id)
                tally.removed("audit_heads", count_of(ended))
        return True

    async def _left(self, connection: Connection, at: datetime) -> dict[str, Any]:
        """What a deletion in the database does not reach, and until when that is there."""
        seconds = self.settings.trim_lag_seconds
        unread = at + timedelta(seconds=seconds)
        positions = {
            str(row["shard"]): f"{row['position_ms']}-{row['position_seq']}"
            for row in await connection.fetch(SQL["shards"])
        }
        return {
            "backups": f"Backups and snapshots of PostgreSQL and Redis from before {at:%Y-%m-%d %H:%M} UTC, and replicas that lag: "
            "until they are removed. After one is restored, delete the tenant again.",
            "database": "Row versions that PostgreSQL has not vacuumed yet, and its write-ahead log: until autovacuum and recycling.",
            "redis": {
                "what": "Stream entries up to these positions hold events of the tenant until they are trimmed: "
                f"{seconds} seconds after they were read, at the next entry of their shard. What is read of them again is rejected.",
                "until": unread.isoformat(timespec="seconds"),
                "positions": positions,
            },
            "keyring": f"The tenant's key in {self.settings.keyring.name} (STREAMGAUGE_KEYRING) of every host and server that measured "
            "for it: until it is taken out there. With it, a known identifier can still be turned into its pseudonym.",
            "hosts": "Events that hosts have not sent yet: they are rejected as tenant_deleted when they come.",
            "receipt": "This receipt, with the tenant's name: so that late events of it are told from a new tenant's.",
        }
