"""Takes accepted events into one stripe's summaries: fold, ids, admission, rows."""

from typing import NamedTuple

from streamgauge.database import Connection
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import Group, Scope, SeriesKey, fold, touched_days
from streamgauge.summaries.rollups import OTHER, Catalogue
from streamgauge.table import Ints, Table
from streamgauge_workers.actors import ActorIds
from streamgauge_workers.admissions import Admissions, Cell, Eviction
from streamgauge_workers.queries import SQL
from streamgauge_workers.series import SeriesIds
from streamgauge_workers.summary_rows import RowKey, SummaryRows
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
        folded: Catalogue | None = None,
    ) -> None:
        """`folded`: the rollups to add events to, all of the catalogue's unless given. Evictions concern all of them."""
        self.folded = folded or catalogue
        self.shard = shard
        self.tenants = tenants
        self.catalogue = catalogue
        self.actors = ActorIds(shard)
        self.admissions = Admissions(shard, cardinality_limit, tenants)
        self.series = SeriesIds(shard)
        self.rows = SummaryRows(shard)

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
        groups = list(fold(table, actors, scopes, self.folded, self.admissions.admit))
        for eviction in await self.admissions.store(connection):
            groups += await self._evict(connection, eviction)
        new_series = await self.series.resolve(connection, {group.key for group in groups})
        await self.rows.merge(
            connection, [(self.series.known[group.key], group) for group in groups], new_series
        )
        return Added(await self.rows.store(connection), actors)

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
                    SQL["series_of_value"],
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
                        SQL["hourly_of_series"], self.shard, list(series), day.start, day.end
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
