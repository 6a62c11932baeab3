"""Who works on which shard (rule P12): liveness only. That two workers never both write is the token's doing.

Every worker takes free shards up to its fair share and gives back what is above it, so shards spread when workers come and go.
"""

import os
import socket
from collections.abc import Sequence
from uuid import UUID, uuid4

from streamgauge.database import Connection
from streamgauge.failpoints import pass_through
from streamgauge_workers.generations import Shard
from streamgauge_workers.queries import SQL

LONGEST_PAUSE = 1.0  # seconds
#: By which PostgreSQL knows the sessions of workers; behind it comes which one's.
APPLICATION_NAME = "streamgauge worker"


def session_name(worker_id: UUID) -> str:
    """The name of a worker's sessions, by which others end them when it falls silent."""
    return f"{APPLICATION_NAME} {worker_id}"


def fair_share(shards: int, live: Sequence[UUID], worker: UUID) -> int:
    """How many shards a worker is to hold: the same for all, and one more for the first few where it does not come out even."""
    each, rest = divmod(shards, max(len(live), 1))
    return each + (worker in live[:rest])


class Leases:
    """One worker's leases."""

    def __init__(self, seconds: int, worker_id: UUID | None = None) -> None:
        self.worker_id = worker_id or uuid4()
        self.seconds = seconds
        self.held: set[int] = set()

    @property
    def pause(self) -> float:
        """Seconds between two turns: three may fail before a lease runs out, and what is free is not left lying about."""
        return min(self.seconds / 4, LONGEST_PAUSE)

    async def turn(self, connection: Connection) -> dict[int, Shard]:
        """Renew, take and note what to give back; returns the shards to work on from now on.

        Shards missing from the result that were held before are to be stopped first, then given to `release`.
        """
        rows = await connection.fetch(
            SQL["lease_turn"],
            self.worker_id,
            socket.gethostname(),
            os.getpid(),
            self.seconds,
            list(self.held),
        )
        if not rows:
            return {}
        # In every turn: of a worker that is suspended, sessions that wait for each other come to hold rows one after the other.
        await connection.execute(SQL["sessions_end"], APPLICATION_NAME, self.seconds)
        share = fair_share(len(rows), rows[0]["live"], self.worker_id)
        kept = [row["shard"] for row in rows if row["renewed"]][:share]
        free = [row["shard"] for row in rows if row["free"] and row["shard"] not in self.held]
        if wanted := free[: share - len(kept)]:
            kept += await self._take(connection, wanted)
        return {
            row["shard"]: Shard(
                row["shard"], row["generation"], row["number"], row["shards"], row["overflow"]
            )
            for row in rows
            if row["shard"] in kept
        }

    async def _take(self, connection: Connection, shards: Sequence[int]) -> list[int]:
        """Take what is still free of these."""
        taken = await connection.fetch(SQL["leases_take"], self.worker_id, self.seconds, shards)
        for _ in taken:
            await pass_through("lease.taken")
        return [row["shard"] for row in taken]

    async def release(self, connection: Connection, shard: int) -> None:
        """Give a shard back at once, so that the next worker need not wait for the lease to run out."""
        self.held.discard(shard)
        await connection.execute(SQL["lease_release"], shard, self.worker_id)

    async def leave(self, connection: Connection) -> None:
        """Give everything back."""
        for shard in list(self.held):
            await self.release(connection, shard)
        await connection.execute(SQL["worker_gone"], self.worker_id)
