"""The event log: every applied stream entry as it was frozen, compressed, with the outcome of each of its events.

What `verify`, `rebuild`, event queries and erasure read. Frozen batches instead of rows of JSON: a quarter of the bytes and a fifth of
the time, and nothing is reformatted between the stream and the proof.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import zstandard

from streamgauge.database import Connection
from streamgauge.entry import Batch
from streamgauge.errors import FrameError
from streamgauge.event_log.entries import content_of, digest
from streamgauge.outcomes import Outcomes
from streamgauge.table import Table, thaw
from streamgauge_workers import partitions
from streamgauge_workers.queries import SQL

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
EARLIEST, LATEST = (
    datetime.fromisoformat("0001-01-02T00:00:00+00:00"),
    datetime.fromisoformat("9999-12-30T00:00:00+00:00"),
)
COMPRESSION_LEVEL = 3
DAYS_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Logged:
    """One entry with what was decided: `tenant_ids` follows the table's tenant labels, 0 where unknown."""

    batch: Batch
    table: Table
    tenant_ids: list[int]
    outcomes: Outcomes


class EventLog:
    """Appends entries to the log of one shard."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)

    async def prepare(self, connection: Connection, now: datetime) -> None:
        """Create the partitions of today and of the days ahead."""
        for day in (now.date() + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)):
            bounds = f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
            await partitions.attach(connection, "event_log", f"event_log_{day:%Y%m%d}", bounds)

    async def store(self, connection: Connection, entries: Sequence[Logged], now: datetime) -> None:
        """Append entries."""
        # Not COPY: it is refused where row-level security holds for the table's owner.
        await connection.executemany(SQL["log_store"], [self._record(entry, now) for entry in entries])

    def _record(self, entry: Logged, now: datetime) -> tuple[object, ...]:
        batch = entry.batch
        outcomes = entry.outcomes.tobytes() if entry.outcomes.any() else None
        return (
            now.date(), self.shard, batch.lane, batch.first, batch.n, now, sorted(set(entry.tenant_ids)),
            *span(entry.table), outcomes, digest(batch.payload, outcomes),
            self.compressor.compress(batch.payload),
        )  # fmt: skip


def instant(microseconds: int) -> datetime:
    """A UTC datetime, cut to the years that a datetime can hold."""
    try:
        return min(max(EPOCH + timedelta(microseconds=microseconds), EARLIEST), LATEST)
    except OverflowError:
        return LATEST if microseconds > 0 else EARLIEST


def span(table: Table) -> tuple[datetime, datetime]:
    """When a table's first and last events occurred."""
    return instant(int(table.occurred_at.min())), instant(int(table.occurred_at.max()))


def read(row: asyncpg.Record | Mapping[str, Any]) -> Table:
    """The table of a row of the log. Raises FrameError when its payload or outcomes are not what was stored."""
    payload = content_of(row["payload"])
    if digest(payload, row["outcomes"]) != row["digest"]:
        raise FrameError("its payload or outcomes do not match its digest")
    table = thaw(payload)
    if table.n != row["n"]:
        raise FrameError(f"it holds {table.n} events, its row says {row['n']}")
    return table
