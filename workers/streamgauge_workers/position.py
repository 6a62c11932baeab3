"""The row of a shard: how far its stream has been applied, in which history, and under which token."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from streamgauge.database import Connection
from streamgauge.entry import BEGINNING, EntryId
from streamgauge.errors import FencedError, ServerError
from streamgauge.stream import History
from streamgauge_workers.queries import SQL


@dataclass(frozen=True, slots=True)
class Position:
    """A shard's row as it was read. Whoever writes any of the shard's rows swaps its token first (rule P5)."""

    shard: int
    generation: int
    number: int
    entry_id: EntryId
    epoch: int
    history: History | None
    token: UUID
    attempts: int

    @classmethod
    async def load(cls, connection: Connection, shard: int) -> "Position":
        """Read it. Raises ServerError when there is no such shard."""
        row = await connection.fetchrow(SQL["shard"], shard)
        if row is None:
            raise ServerError(f"shard {shard} has no row: run `streamgauge migrate`, then start a worker")
        history = None if row["run_id"] is None else History(row["run_id"], row["birthmark"])
        at = EntryId(row["position_ms"], row["position_seq"])
        return cls(
            shard, row["generation"], row["number"], at, row["epoch"], history, row["token"], row["attempts"]
        )

    def rewound(self, history: History) -> "Position":
        """At the beginning of what is retained, in a new epoch (rules P7, P11)."""
        return replace(self, entry_id=BEGINNING, epoch=self.epoch + 1, history=history)

    async def swap(self, connection: Connection, target: "Position") -> tuple["Position", datetime]:
        """Move to `target` under a new token; returns it with PostgreSQL's time of the transaction.

        Raises FencedError when the token is not the one that was read: another writer was here.
        """
        history = target.history or History("", "")
        row = await connection.fetchrow(
            SQL["shard_swap"], self.shard, self.token, target.entry_id.milliseconds, target.entry_id.sequence,
            target.epoch, history.run_id, history.birthmark,
        )  # fmt: skip
        if row is None:
            raise FencedError(f"shard {self.shard}: another writer moved its token")
        return replace(target, token=row["token"], attempts=0), row["now"]
