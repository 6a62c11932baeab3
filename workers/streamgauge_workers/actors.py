"""Dense ids of pseudonyms: what makes sets of actors small enough to keep exactly.

Ids are unique within a tenant and given out in blocks per shard, so that shards do not wait for one another. Pseudonyms made with
the tenant's key and daily-salted visitors have id ranges of their own: a reader tells them apart by the id.
"""

import numpy as np

from streamgauge.database import Connection
from streamgauge.errors import FencedError
from streamgauge.event import DAILY
from streamgauge.summaries.fold import Scope
from streamgauge.table import Ints, Table
from streamgauge_workers.queries import SQL

SMALLEST_BLOCK, LARGEST_BLOCK = 64, 8_192
MOST_CACHED = 500_000  # about 60 MB; beyond that everything is forgotten and read again


class ActorIds:
    """One shard's view of its tenants' actors. Belongs to a token: drop it on any error (rule P5)."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.known: dict[tuple[int, bytes], int] = {}
        self.blocks: dict[tuple[int, bool], tuple[int, int, int]] = {}

    async def resolve(
        self, connection: Connection, aside: Connection, table: Table, scopes: list[Scope]
    ) -> Ints:
        """The actor id of every row, -1 for none; stores the pseudonyms that are new.

        Blocks of ids are taken on `aside`, outside the transaction, so that other shards need not wait for its end.
        Raises FencedError when another shard stored one of them at the same time.
        """
        if len(self.known) > MOST_CACHED:
            self.known.clear()
        size = len(table.actor.values)
        present = np.flatnonzero(table.actor.codes >= 0)
        # Only the pairs that occur: tenants times actors can be a million times more.
        cells, places = np.unique(
            table.tenant.codes[present].astype(np.int64) * size + table.actor.codes[present],
            return_inverse=True,
        )
        pairs = [(scopes[cell // size].tenant_id, table.actor.values[cell % size]) for cell in cells.tolist()]
        missing = [pair for pair in pairs if pair not in self.known]
        if missing:
            await self._learn(connection, aside, missing)
        found = np.full(table.n, -1, np.int64)
        found[present] = np.array([self.known[pair] for pair in pairs], np.int64)[places]
        return found

    async def _learn(
        self, connection: Connection, aside: Connection, missing: list[tuple[int, bytes]]
    ) -> None:
        by_tenant: dict[int, list[bytes]] = {}
        for tenant_id, pseudonym in missing:
            by_tenant.setdefault(tenant_id, []).append(pseudonym)
        fresh = []
        for tenant_id, pseudonyms in by_tenant.items():
            for row in await connection.fetch(SQL["actors_load"], tenant_id, pseudonyms):
                self.known[tenant_id, row["pseudonym"]] = row["actor_id"]
            for pseudonym in pseudonyms:
                if (tenant_id, pseudonym) not in self.known:
                    actor_id = await self._next(aside, tenant_id, pseudonym[0] == DAILY)
                    self.known[tenant_id, pseudonym] = actor_id
                    fresh.append((tenant_id, pseudonym, actor_id))
        if fresh:
            columns = [list(column) for column in zip(*fresh, strict=True)]
            stored = await connection.fetch(SQL["actors_store"], self.shard, *columns)
            if len(stored) != len(fresh):
                raise FencedError("another shard stored one of these actors meanwhile")

    async def _next(self, aside: Connection, tenant_id: int, daily: bool) -> int:
        following, end, size = self.blocks.get((tenant_id, daily), (0, 0, SMALLEST_BLOCK // 2))
        if following == end:
            size = min(size * 2, LARGEST_BLOCK)
            following = await aside.fetchval(
                SQL["visitors_block" if daily else "actors_block"], tenant_id, size
            )
            end = following + size
        self.blocks[tenant_id, daily] = following + 1, end, size
        return following
