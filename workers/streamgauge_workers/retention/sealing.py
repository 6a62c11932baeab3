"""A seal made while an archive is written: entry by entry, from the very tables that are written."""

import hashlib
from datetime import datetime, timedelta

import numpy as np

from streamgauge.database import Connection
from streamgauge.ranges import Ranges
from streamgauge.summaries.fold import MOST_EVENTS, fold
from streamgauge.summaries.rollups import Catalogue
from streamgauge.table import Ints, Table, join
from streamgauge_workers.admissions import Cell
from streamgauge_workers.canonical import Admitted, RowName, add
from streamgauge_workers.log_source import LogEntry
from streamgauge_workers.queries import SQL as WORKERS
from streamgauge_workers.recount import counted, owners, scopes_of
from streamgauge_workers.retention.archive import SQL
from streamgauge_workers.retention.seal import Seal
from streamgauge_workers.tenants import Tenants

DAY = timedelta(days=1)  # more than local days differ from UTC's


class Sealing:
    """The seal of one archive, as far as entries were added."""

    def __init__(self, tenants: Tenants, catalogue: Catalogue, admitted: Admitted) -> None:
        self.tenants = tenants
        self.catalogue = catalogue
        self.admitted = admitted
        self.seal = Seal()
        self.content = hashlib.sha256()
        self.owners: set[int] = set()
        self.entries = self.events = 0
        self.waiting: list[Table] = []
        self.tallied = 0

    async def add(self, connection: Connection, entry: LogEntry, digest: bytes) -> None:
        """Take an entry into account; `digest` is the log's."""
        self.content.update(name_and_digest(entry.lane, entry.first, digest))
        self.entries += 1
        self.events += entry.n
        hour = int(entry.applied_at.replace(minute=0, second=0, microsecond=0).timestamp())
        for (owner, code), events in owners(entry, self.tenants).items():
            self.seal.counts[hour, owner, code] += events
            self.owners.add(owner)
        self.seal.lanes.setdefault(entry.lane, Ranges()).add(entry.first, entry.first + entry.n)
        applied = counted(entry, self.tenants)
        if self.tallied + applied.n > MOST_EVENTS:
            await self.settle(connection)
        if applied.n:
            self.waiting.append(applied)
            self.tallied += applied.n

    async def settle(self, connection: Connection) -> Seal:
        """Fold what waits; returns the seal."""
        if self.waiting:
            table = join(self.waiting)
            self.waiting, self.tallied = [], 0
            scopes = scopes_of(table, self.tenants)
            ids = await self._actors(connection, table)
            for group in fold(table, ids, scopes, self.catalogue, self._admit):
                add(self.seal.rows, RowName("h", *group.key, group.hour), group.measures)
                add(self.seal.rows, RowName("d", *group.key, group.day), group.measures)
        return self.seal

    def _admit(self, tenant_id: int, dimension: str, day: int, values: list[str]) -> list[bool]:
        cell = self.admitted.cells.get(Cell(tenant_id, dimension, day))
        return [cell is None or not cell.overflowed or value in cell.ranks for value in values]

    async def _actors(self, connection: Connection, table: Table) -> Ints:
        """Dense ids, by the dictionary; -1 for nobody, and for pseudonyms that it lacks."""
        ids = np.full(table.n, -1, np.int64)
        for code, name in enumerate(table.tenant.values):
            rows = np.flatnonzero((table.tenant.codes == code) & (table.actor.codes >= 0))
            if not len(rows):
                continue
            used = np.unique(table.actor.codes[rows]).tolist()
            tenant_id = self.tenants.by_name[name].scope.tenant_id
            asked = [table.actor.values[place] for place in used]
            known = {
                row["pseudonym"]: row["actor_id"]
                for row in await connection.fetch(WORKERS["actors_load"], tenant_id, asked)
            }
            lookup = np.full(len(table.actor.values), -1, np.int64)
            lookup[used] = [known.get(pseudonym, -1) for pseudonym in asked]
            ids[rows] = lookup[table.actor.codes[rows]]
        return ids


def name_and_digest(lane: bytes, first: int, digest: bytes) -> bytes:
    """What the digest of an archive's content is over, for one entry."""
    return lane + first.to_bytes(8, "big") + digest


async def admitted_between(
    connection: Connection, earliest: datetime, latest: datetime, limit: int
) -> Admitted:
    """The dimension values that have rows of their own on the local days between two moments, over all stripes."""
    admitted = Admitted(limit)
    for row in await connection.fetch(SQL["admitted"], earliest - DAY, latest + DAY):
        admitted.offer(Cell(row["tenant_id"], row["dimension"], row["day"]), row["value"], row["rank"])
    return admitted
