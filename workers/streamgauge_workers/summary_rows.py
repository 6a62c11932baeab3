"""The summary rows a shard's owner has open: read once, merged in memory, written whole in every transaction.

Being the only writer of its stripe (the token says so), the owner writes absolute values, which is what lets histograms live in the
row. Distinct actors are the exception: a set can be large, so only new members are appended, and parts are compacted now and then.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from asyncpg import Record
from pyroaring import BitMap

from streamgauge.database import Connection
from streamgauge.errors import ServerError
from streamgauge.summaries.fold import Group
from streamgauge.summaries.histogram import Histogram
from streamgauge.summaries.measures import Measures
from streamgauge_workers.breathing import breathing, parts
from streamgauge_workers.queries import SQL

Grain = Literal["h", "d"]
GRAINS: dict[Grain, str] = {"h": "hourly", "d": "daily"}
MOST_CACHED = 6_000  # rows, of about 9 kB with a histogram; the least recently merged are dropped first
MOST_PARTS = 16  # of one set before it is written as one part again


class RowKey(NamedTuple):
    """A row of a summary table: its grain, series and bucket (UTC second of its start)."""

    grain: Grain
    series_id: int
    bucket: int


@dataclass(slots=True)
class Row:
    """A row in memory: its measures, the members that are not stored yet, and how many parts are."""

    tenant_id: int
    measures: Measures = field(default_factory=Measures)
    fresh: BitMap = field(default_factory=BitMap)
    parts: int = 0

    def merge(self, measures: Measures) -> None:
        """Add a group's events."""
        if measures.members:
            self.fresh |= measures.members - self.measures.members
        self.measures.merge(measures)


class SummaryRows:
    """One shard's open rows. Belongs to a token: drop it on any error (rule P5)."""

    def __init__(self, shard: int, queries: Mapping[str, str] = SQL) -> None:
        self.shard = shard
        self.queries = queries
        self.rows: dict[RowKey, Row] = {}
        self.dirty: dict[RowKey, Row] = {}

    async def merge(
        self, connection: Connection, groups: Sequence[tuple[int, Group]], new_series: set[int]
    ) -> None:
        """Merge groups, each with its series id, into their hours' and days' rows. `new_series` cannot have rows yet."""
        wanted: dict[RowKey, int] = {}
        for series_id, group in groups:
            wanted[RowKey("h", series_id, group.hour)] = group.key.tenant_id
            wanted[RowKey("d", series_id, group.day)] = group.key.tenant_id
        await self._open(connection, wanted, new_series)
        async for some in breathing(groups):
            for series_id, group in some:
                self.dirty[RowKey("h", series_id, group.hour)].merge(group.measures)
                self.dirty[RowKey("d", series_id, group.day)].merge(group.measures)

    async def _open(self, connection: Connection, wanted: dict[RowKey, int], new_series: set[int]) -> None:
        missing = [key for key in wanted if key not in self.rows]
        unread = [key for key in missing if key.series_id not in new_series]
        for key in missing:
            self.rows[key] = Row(wanted[key])
        if unread:
            await self.read(connection, unread)
        for key in wanted:
            # Taken out and put back: the dictionary's order is the order of last use.
            row = self.dirty[key] = self.rows.pop(key)
            self.rows[key] = row

    async def read(self, connection: Connection, keys: Sequence[RowKey]) -> None:
        """Fill rows that are open already with what the tables hold of them. Raises ServerError for a damaged row."""
        for grain, name in GRAINS.items():
            for chosen in parts([key for key in keys if key.grain == grain]):
                await self._read(connection, grain, name, chosen)

    async def _read(self, connection: Connection, grain: Grain, name: str, keys: Sequence[RowKey]) -> None:
        series, buckets = [key.series_id for key in keys], [key.bucket for key in keys]
        rows = await connection.fetch(
            self.queries["summary_load"].format(grain=name), self.shard, series, buckets
        )
        async for some in breathing(rows):
            for found in some:
                row = self.rows[RowKey(grain, found["series_id"], found["bucket"])]
                try:
                    row.measures = stored_measures(found)
                except ValueError as error:
                    raise self._damaged(f"{name}_summary", found) from error
        rows = await connection.fetch(
            self.queries["members_load"], self.shard, grain.encode(), series, buckets
        )
        async for some in breathing(rows):
            for found in some:
                row = self.rows[RowKey(grain, found["series_id"], found["bucket"])]
                try:
                    row.measures.members = union(found["parts"])
                except (ValueError, IndexError) as error:
                    raise self._damaged("summary_members", found) from error
                row.parts = found["last"]

    def _damaged(self, table: str, found: Record) -> ServerError:
        # The server's trouble and not the entries': these must wait for the repair and not become dead letters.
        where = f"shard {self.shard} series {found['series_id']} bucket {found['bucket']}"
        return ServerError(
            f"{table} {where} is damaged: run `streamgauge verify`, then `streamgauge rebuild`"
        )

    async def store(self, connection: Connection) -> int:
        """Write the rows merged into since the last call; returns how many."""
        dirty, self.dirty = self.dirty, {}
        for grain, name in GRAINS.items():
            for rows in parts([(key, row) for key, row in dirty.items() if key.grain == grain]):
                values = [_values(item) async for some in breathing(rows) for item in some]
                await connection.execute(
                    self.queries["summary_store"].format(grain=name), self.shard, *_columns(values)
                )
                await self._store_members(connection, grain, rows)
        for key in list(self.rows)[: max(len(self.rows) - MOST_CACHED, 0)]:
            del self.rows[key]
        return len(dirty)

    async def _store_members(
        self, connection: Connection, grain: Grain, rows: Sequence[tuple[RowKey, Row]]
    ) -> None:
        fresh, compacted = [], []
        async for some in breathing([(key, row) for key, row in rows if row.fresh]):
            for key, row in some:
                members, row.fresh = row.fresh, BitMap()
                if row.parts >= MOST_PARTS:
                    compacted.append((key.series_id, key.bucket))
                    members, row.parts = row.measures.members, 0
                row.parts += 1
                fresh.append((key.series_id, row.tenant_id, key.bucket, row.parts, members.serialize()))
        if compacted:
            await connection.execute(
                self.queries["members_remove"], self.shard, grain.encode(), *_columns(compacted)
            )
        if fresh:
            await connection.execute(
                self.queries["members_store"], self.shard, grain.encode(), *_columns(fresh)
            )

    async def remove(self, connection: Connection, keys: Sequence[RowKey]) -> None:
        """Delete rows whose measures have been taken elsewhere."""
        for grain, name in GRAINS.items():
            chosen = [(key.series_id, key.bucket) for key in keys if key.grain == grain]
            if chosen:
                await connection.execute(
                    self.queries["summary_remove"].format(grain=name), self.shard, *_columns(chosen)
                )
                await connection.execute(
                    self.queries["members_remove"], self.shard, grain.encode(), *_columns(chosen)
                )
        for key in keys:
            self.rows.pop(key, None)
            self.dirty.pop(key, None)

    async def take(self, connection: Connection, keys: Sequence[RowKey]) -> list[Measures]:
        """Read rows and delete them; returns their measures in the order of `keys`."""
        self.rows.update({key: Row(0) for key in keys})
        await self.read(connection, keys)
        measures = [self.rows[key].measures for key in keys]
        await self.remove(connection, keys)
        return measures


def stored_measures(found: Record | dict[str, Any]) -> Measures:
    """The measures of a summary table's row, without its members. Raises ValueError for a damaged histogram."""
    histogram = None if found["histogram"] is None else Histogram.decode(found["histogram"])
    return Measures(
        found["count"],
        found["errors"],
        found["observed"],
        int(found["sum"]),
        found["min"],
        found["max"],
        histogram,
        totals=tuple(None if total is None else int(total) for total in found["totals"]),
    )


def union(parts: Iterable[bytes]) -> BitMap:
    """The set whose parts these are."""
    return BitMap.union(BitMap(), *[BitMap.deserialize(part) for part in parts])


def _values(item: tuple[RowKey, Row]) -> tuple[Any, ...]:
    key, row = item
    found = row.measures
    return (
        key.series_id, row.tenant_id, key.bucket, found.count, found.errors, found.observed, found.sum, found.min,
        found.max, None if found.histogram is None else found.histogram.encode(), _array(found.totals),
    )  # fmt: skip


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows as one list per column, the form `unnest` takes."""
    return [list(column) for column in zip(*rows, strict=True)]


def _array(totals: tuple[int | None, ...]) -> str:
    """A PostgreSQL array as text: `unnest` would flatten an array of arrays."""
    return "{" + ",".join("NULL" if total is None else str(total) for total in totals) + "}"
