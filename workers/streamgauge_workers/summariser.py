"""Takes accepted events into one stripe's summaries: fold, ids, admission, rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from streamgauge.database import Connection
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import Group, Scope, SeriesKey, fold, touched_days
from streamgauge.summaries.rollups import OTHER, Catalogue
from streamgauge.summaries.scoring import score
from streamgauge.summaries.tallying import tally
from streamgauge.table import Ints, Table
from streamgauge_workers import board_scores, tally_rows
from streamgauge_workers.actors import ActorIds
from streamgauge_workers.admissions import Admissions, Cell, Eviction
from streamgauge_workers.breathing import breathing
from streamgauge_workers.queries import SQL
from streamgauge_workers.series import SeriesIds
from streamgauge_workers.summary_rows import MOST_CACHED, RowKey, SummaryRows
from streamgauge_workers.tenants import Tenants

NOWHERE = Scope(0, Calendar([(None, "UTC")]))


class Added(NamedTuple):
    """How many rows were written, and the dense actor id of each event, -1 for none."""

    rows: int
    actors: Ints


class Summariser:
    """One stripe's summaries. Belongs to a token: drop it on any error (rule P5)."""

    def __init__(
        self,
        shard: int,
        tenants: Tenants,
        catalogue: Catalogue,
        cardinality_limit: int,
        *,
        queries: Mapping[str, str] = SQL,
        actors: ActorIds | None = None,
        hoarding: bool = False,
    ) -> None:
        """`queries`: those of other tables of the same form. `hoarding`: write rows only when there are many, or at `store`."""
        self.shard = shard
        self.tenants = tenants
        self.catalogue = catalogue
        self.queries = queries
        self.hoarding = hoarding
        self.actors = actors or ActorIds(shard)
        self.admissions = Admissions(shard, cardinality_limit, tenants, queries)
        self.series = SeriesIds(shard, queries)
        self.rows = SummaryRows(shard, queries)

    async def add(self, connection: Connection, aside: Connection, table: Table) -> Added:
        """Add up to MOST_EVENTS events of known tenants.

        Runs inside the transaction that swapped the shard's token; `aside` is another connection (see `ActorIds`).
        """
        scopes = [
            self.tenants.by_name[name].scope if name in self.tenants.by_name else NOWHERE
            for name in table.tenant.values
        ]
        await self.admissions.load(connection, touched_days(table, scopes))
        actors = await self.actors.resolve(connection, aside, table, scopes)
        folding = fold(table, actors, scopes, self.catalogue, self.admissions.admit)
        groups = [group async for some in breathing(folding) for group in some]
        await self._merge(connection, groups)
        if self.catalogue.tallies:
            states = tally(table, scopes, self.catalogue.tallies)
            await tally_rows.add(connection, self.shard, states, self.queries)
        if self.catalogue.boards:
            scores = score(table, scopes, self.catalogue.boards)
            await board_scores.add(connection, self.shard, scores, self.queries)
        kept = self.hoarding and len(self.rows.dirty) < MOST_CACHED
        return Added(0 if kept else await self.store(connection), actors)

    async def offer(self, connection: Connection, values: Mapping[Cell, Iterable[str]]) -> None:
        """Offer dimension values as if an event of no rollup here had brought them: they may push others out."""
        await self.admissions.load(connection, {(cell.tenant_id, cell.day) for cell in values})
        for cell, offered in values.items():
            self.admissions.admit(*cell, list(offered))
        await self._merge(connection, [])

    async def store(self, connection: Connection) -> int:
        """Write the rows changed since the last call; returns how many."""
        return await self.rows.store(connection)

    async def _merge(self, connection: Connection, groups: Sequence[Group]) -> None:
        """Merge groups into their rows, and those of values that had to leave into "(other)"."""
        evictions = await self.admissions.store(connection)
        if evictions and self.rows.dirty:
            # What an eviction takes, it takes from the tables.
            await self.store(connection)
        merged = [*groups]
        for eviction in evictions:
            merged += await self._evict(connection, eviction)
        new_series = await self.series.resolve(connection, {group.key for group in merged})
        await self.rows.merge(
            connection, [(self.series.known[group.key], group) for group in merged], new_series
        )

    async def _evict(self, connection: Connection, eviction: Eviction) -> list[Group]:
        """Take a value's rows of a day out of the tables, as groups that belong to "(other)" now."""
        cell, groups = eviction.cell, []
        calendar = self.tenants.by_id[cell.tenant_id].scope.calendar
        date = calendar.date_of(cell.day)
        day = calendar.days(date, date)[0]
        for rollup in self.catalogue.rollups:
            for place, grouping in enumerate(rollup.groupings):
                if cell.dimension not in grouping:
                    continue
                where = grouping.index(cell.dimension)
                found = await connection.fetch(
                    self.queries["series_of_value"],
                    self.shard,
                    cell.tenant_id,
                    rollup.metric,
                    place,
                    where + 1,
                    eviction.value,
                )
                series = {row["series_id"]: tuple(row["dimensions"]) for row in found}
                hours = [
                    RowKey("h", row["series_id"], row["bucket"])
                    for row in await connection.fetch(
                        self.queries["hourly_of_series"], self.shard, list(series), day.start, day.end
                    )
                ]
                for key, measures in zip(hours, await self.rows.take(connection, hours), strict=True):
                    dimensions = series[key.series_id]
                    merged = tuple(
                        value if self.admissions.keeps(Cell(cell.tenant_id, name, cell.day), value) else OTHER
                        for name, value in zip(grouping, dimensions, strict=True)
                    )
                    series_key = SeriesKey(cell.tenant_id, rollup.metric, place, merged)
                    groups.append(Group(series_key, key.bucket, cell.day, measures))
                # The hours are merged into "(other)"'s day as well; the value's own day goes.
                await self.rows.remove(connection, [RowKey("d", series_id, cell.day) for series_id in series])
        return groups
