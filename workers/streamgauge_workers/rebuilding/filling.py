"""Takes the event log into a shadow: first a snapshot of it, shard by shard, then again and again what was applied meanwhile."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from streamgauge.database import Connection
from streamgauge.errors import InputError, ServerError
from streamgauge.outcomes import APPLIED
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import MOST_EVENTS
from streamgauge.table import Table, join
from streamgauge_workers import event_log, log_source
from streamgauge_workers.log_source import LogEntry
from streamgauge_workers.rebuilding.queries import SQL
from streamgauge_workers.rebuilding.seen import Seen
from streamgauge_workers.rebuilding.shadow import Shadow
from streamgauge_workers.summariser import Summariser


class Filling:
    """What has been taken so far. `aside` is a connection for what must not wait for a snapshot's end."""

    def __init__(
        self, connection: Connection, aside: Connection, shadow: Shadow, archives: Path | None
    ) -> None:
        self.connection = connection
        self.aside = aside
        self.shadow = shadow
        self.archives = archives
        self.seen = Seen()
        self.events: Counter[int] = Counter()  #: applied events by shard
        self.summarisers: dict[int, Summariser] = {}
        self.folds = 0
        self._waiting: list[Table] = []
        self._scopes: dict[int, tuple[Calendar, bytes]] = {}

    async def begin(self, shard: int) -> int:
        """Take all that a shard's log holds now, in one snapshot of it; returns how many events were applied."""
        async with self.connection.transaction(isolation="repeatable_read"):
            # First: it keeps days in the log until the snapshot is read.
            known = await log_source.survey(self.connection, self.archives, shard)
            known.require_whole()
            await self._read_tenants()
            await self.shadow.begin(self.connection, shard)
            return await self._take(log_source.of_shard(self.connection, shard, self.archives, known))

    async def go_on(self) -> int:
        """Take what was applied meanwhile, in all shards; returns how many events. Needs a transaction."""
        await self._read_tenants()
        return await self._take(self._unseen())

    def begin_anew(self) -> None:
        """Forget what is known of the tables: a transaction was rolled back, or memory is to be given back."""
        self.summarisers = {}
        self._waiting = []

    def of(self, shard: int) -> Summariser:
        """What takes events into a shard's shadow."""
        return self.summarisers.setdefault(shard, self.shadow.summariser(shard))

    async def _read_tenants(self) -> None:
        tenants = self.shadow.tenants
        await tenants.load(self.connection)
        for tenant_id, tenant in tenants.by_id.items():
            scope = tenant.scope.calendar, tenant.cardinality_key
            if self._scopes.setdefault(tenant_id, scope) != scope:
                raise ServerError(
                    f"tenant {tenant.name!r} was given other time zones while rows were rebuilt by the old ones: "
                    "nothing was changed; run `streamgauge rebuild` again"
                )

    async def _unseen(self) -> AsyncIterator[LogEntry]:
        async for row in self.connection.cursor(SQL["unseen"], prefetch=log_source.PREFETCH):
            table = event_log.read(row)
            decided = row["outcomes"] or bytes(table.n)
            yield LogEntry(
                row["shard"], row["lane"], row["first"], row["n"], row["applied_day"], row["applied_at"], table,
                np.frombuffer(decided, np.uint8), "log",
            )  # fmt: skip

    async def _take(self, entries: AsyncIterator[LogEntry]) -> int:
        """Fold entries that are ordered by shard."""
        before, shard = self.events.total(), -1
        async for entry in entries:
            table = self._counted(entry)
            if entry.shard != shard or sum(part.n for part in self._waiting) + table.n > MOST_EVENTS:
                await self._fold(shard)
                shard = entry.shard
            if table.n:
                self._waiting.append(table)
                self.events[shard] += table.n
            self.seen.add(entry)
        await self._fold(shard)
        for summariser in self.summarisers.values():
            await summariser.store(self.connection)
        await self.seen.store(self.connection)
        return self.events.total() - before

    async def _fold(self, shard: int) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        await self.of(shard).add(self.connection, self.aside, join(waiting))
        self.folds += 1
        # At every doubling. Without knowing the tables' sizes, the planner looks for each row among all of its shard's.
        if self.folds & (self.folds - 1) == 0:
            await self.of(shard).store(self.connection)
            await self.connection.execute(SQL["shadow_measure"])

    def _counted(self, entry: LogEntry) -> Table:
        """The events that count: applied ones of tenants that stay. Raises InputError for a tenant that is not there."""
        tenants = self.shadow.tenants
        table = entry.table.located(entry.lane, entry.first).select(entry.outcomes == APPLIED)
        leaving = [name in tenants.deleting for name in table.tenant.values]
        table = table.select(~np.array(leaving, np.bool_)[table.tenant.codes])
        used = {table.tenant.values[code] for code in np.unique(table.tenant.codes).tolist()}
        if strange := used - tenants.by_name.keys():
            raise InputError(
                f"the event log holds events of tenant {min(strange)!r}, which is not there: create it again",
                "tenant",
            )
        return table
