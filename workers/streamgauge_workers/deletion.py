"""One tenant's deletion, in steps: each a transaction that also says in the receipt what it did.

So whatever was committed is counted once, whoever goes on after a crash, and the receipt is the same as if nothing had happened.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from streamgauge.database import Connection
from streamgauge.errors import FencedError
from streamgauge.sql import named_queries

SQL = named_queries("streamgauge_workers", "erasure.sql")


@dataclass(slots=True)
class Tally:
    """What was done so far; the receipt's content."""

    rows: dict[str, int] = field(default_factory=dict)  #: deleted, by table
    event_log: dict[str, int] = field(default_factory=dict)  #: entries rewritten, events erased
    archives: list[str] = field(default_factory=list)  #: files that were replaced by ones without the tenant
    dead_letters_rewritten: int = 0
    audit: dict[str, Any] | None = None  #: where the chain ended
    left: dict[str, Any] = field(default_factory=dict)

    def removed(self, table: str, rows: int) -> None:
        """Count deleted rows."""
        if rows:
            self.rows[table] = self.rows.get(table, 0) + rows

    def rewritten(self, entries: int, events: int) -> None:
        """Count what was rewritten in the event log."""
        for name, count in (("entries", entries), ("events", events)):
            self.event_log[name] = self.event_log.get(name, 0) + count

    def as_json(self) -> str:
        """As the receipt keeps it."""
        return orjson.dumps(self, option=orjson.OPT_SORT_KEYS).decode()


@dataclass(frozen=True, slots=True)
class Deletion:
    """A tenant that is being deleted, and the receipt it is asked for with."""

    receipt_id: UUID
    tenant: str
    tenant_id: int

    @asynccontextmanager
    async def step(self, connection: Connection, shard: int | None = None) -> AsyncIterator[Tally]:
        """A transaction of the deletion. With `shard` it holds that shard's token (rule P5): its worker waits, then reads anew.

        Raises FencedError when somebody else has completed the deletion.
        """
        async with connection.transaction():
            # In this order everywhere: the receipt, then a shard, then rows.
            content = await connection.fetchval(SQL["receipt_take"], self.receipt_id)
            if content is None:
                raise FencedError(f"deletion {self.receipt_id} was completed by another worker")
            if shard is not None:
                await take(connection, shard)
            tally = Tally(**orjson.loads(content))
            yield tally
            await connection.execute(SQL["receipt_store"], self.receipt_id, tally.as_json())


async def take(connection: Connection, shard: int) -> None:
    """Swap a shard's token, for the transaction's length. Rows of a shard that is not there have no other writer."""
    token = await connection.fetchval(SQL["shard_lock"], shard)
    if token is not None:
        await connection.execute(SQL["shard_swap"], shard, token)


def count_of(status: str) -> int:
    """How many rows a command's status says it met."""
    return int(status.rsplit(" ", 1)[-1])
