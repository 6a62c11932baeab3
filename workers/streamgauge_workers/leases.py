"""Who works on which shard (rule P12): liveness only. That two workers never both write is the token's doing.

Every worker takes free shards up to its fair share and gives back what is above it, so shards spread when workers come and go.
"""

import os
import socket
from collections.abc import Sequence
from uuid import UUID, uuid4

from streamgauge.database import Connection
from streamgauge_workers.queries import SQL


def fair_share(shards: int, live: Sequence[UUID], worker: UUID) -> int:
    """How many shards a worker is to hold: the same for all, and one more for the first few where it does not come out even."""
    each, rest = divmod(shards, max(len(live), 1))
    return each + (worker in live[:rest])


class Leases:
    """One worker's leases."""

    def __init__(self, seconds: int) -> None:
        self.worker_id: UUID = uuid4()
        self.seconds = seconds
        self.held: set[int] = set()

    async def turn(self, connection: Connection) -> set[int]:
        """Renew, take and note what to give back; returns the shards to work on from now on.

        Shards missing from the result that were held before are to be stopped first, then given to `release`.
        """
        await connection.execute(SQL["worker_seen"], self.worker_id, socket.gethostname(), os.getpid())
        live = [row["worker_id"] for row in await connection.fetch(SQL["workers_live"], self.seconds)]
        rows = await connection.fetch(SQL["leases"])
        share = fair_share(len(rows), live, self.worker_id)
        kept: set[int] = set()
        for shard in sorted(self.held):
            if len(kept) < share and await connection.fetchval(
                SQL["lease_renew"], shard, self.worker_id, self.seconds
            ):
                kept.add(shard)
        for row in rows:
            wanted = row["free"] and row["shard"] not in self.held and len(kept) < share
            if wanted and await connection.fetchval(
                SQL["lease_take"], row["shard"], self.worker_id, self.seconds
            ):
                kept.add(row["shard"])
        return kept

    async def release(self, connection: Connection, shard: int) -> None:
        """Give a shard back at once, so that the next worker need not wait for the lease to run out."""
        self.held.discard(shard)
        await connection.execute(SQL["lease_release"], shard, self.worker_id)

    async def leave(self, connection: Connection) -> None:
        """Give everything back."""
        for shard in list(self.held):
            await self.release(connection, shard)
        await connection.execute(SQL["worker_gone"], self.worker_id)
