"""The shadow of the summaries: filled beside live traffic, then put in the place of the rows.

Temporary tables: written without a log of their own, invisible to everybody else, and gone with the connection, so a rebuild that ends
in whatever way leaves nothing behind. The shadow gives its series ids of its own; only while the tokens are held are they paired, by
digest, with the ids that the shards' workers gave out, and the missing ones given out.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import asyncpg

from streamgauge.database import Connection
from streamgauge.summaries.rollups import Catalogue
from streamgauge_workers.admissions import Cell
from streamgauge_workers.rebuilding.known_actors import KnownActors, Tokens
from streamgauge_workers.rebuilding.queries import SHADOW_SQL, SQL
from streamgauge_workers.summariser import Summariser
from streamgauge_workers.summary_rows import GRAINS
from streamgauge_workers.tenants import Tenants

OF_TENANTS = (
    "series",
    "hourly_summary",
    "daily_summary",
    "summary_members",
    "tally_rows",
    "board_scores",
    "board_levels",
    "dimension_values",
    "dimension_overflow",
)


class Shadow:
    """Rows of all shards, of the `chosen` rollups or of all. Needs a session: a pooler that changes it loses the tables."""

    def __init__(
        self, catalogue: Catalogue, chosen: Catalogue, everything: bool, limit: int, tenants: Tenants
    ) -> None:
        self.catalogue = catalogue
        self.chosen = chosen
        self.everything = everything
        self.limit = limit
        self.tenants = tenants
        self.tokens = Tokens()

    @asynccontextmanager
    async def tables(self, connection: Connection) -> AsyncIterator[None]:
        """The tables, empty, for as long as the context lasts."""
        await connection.execute(SQL["shadow_drop"])
        await connection.execute(SQL["shadow_create"])
        try:
            yield
        finally:
            if not connection.is_closed():
                await connection.execute(SQL["shadow_drop"])

    async def begin(self, connection: Connection, shard: int) -> None:
        """Prepare a shard. Admission may be decided anew only when every row that depends on it is."""
        if not self.everything:
            await connection.execute(SQL["shadow_admissions"], shard)
            await connection.execute(SQL["shadow_overflow"], shard)

    def summariser(self, shard: int) -> Summariser:
        """Takes events into a shard's shadow. What it knows stays true as long as no other one of the shard is used."""
        return Summariser(
            shard,
            self.tenants,
            self.chosen,
            self.limit,
            queries=SHADOW_SQL,
            actors=KnownActors(shard, self.tokens),
            hoarding=True,
        )

    async def settle(self, connection: Connection, of: Callable[[int], Summariser]) -> None:
        """Make the shadow ready for its place: whoever is not there any more leaves it, and admissions agree with the shards'.

        Runs with all tokens held; `of` gives a shard's summariser of the shadow.
        """
        staying = [row["tenant_id"] for row in await connection.fetch(SQL["tenants_staying"])]
        for table in OF_TENANTS:
            await connection.execute(SQL["shadow_forget"].format(table=table), staying)
        if self.everything:
            return
        # What others admitted meanwhile may push out the shadow's values; then the shadow's may push out others'.
        lacking = await connection.fetch(SQL["values_lacking"], staying)
        for shard, values in _by_shard(lacking).items():
            await of(shard).offer(connection, values)
            await of(shard).store(connection)
        others = tuple(each for each in self.catalogue.rollups if each not in self.chosen.rollups)
        apart = Catalogue(self.catalogue.event_types, others)
        new = await connection.fetch(SQL["values_new"], staying)
        for shard, values in _by_shard(new).items():
            summariser = Summariser(shard, self.tenants, apart, self.limit)
            await summariser.offer(connection, values)
            await summariser.store(connection)

    async def take_place(self, connection: Connection) -> None:
        """Replace the rows by the shadow's. Rows that are equal already stay as they are. Runs with all tokens held."""
        metrics = None if self.everything else self.chosen.summaries
        await connection.execute(SQL["series_adopt"])
        await connection.execute(SQL["series_pair"])
        for grain in GRAINS.values():
            await connection.execute(SQL["rows_leave"].format(grain=grain), metrics)
            await connection.execute(SQL["rows_enter"].format(grain=grain))
        await connection.execute(SQL["parts_leave"], metrics)
        await connection.execute(SQL["parts_enter"])
        await connection.execute(SQL["tallies_leave"], metrics)
        await connection.execute(SQL["tallies_enter"])
        await connection.execute(SQL["scores_leave"], metrics)
        await connection.execute(SQL["scores_enter"])
        await connection.execute(SQL["levels_leave"], metrics)
        await connection.execute(SQL["levels_enter"])
        if self.everything:
            await connection.execute(SQL["values_leave"])
            await connection.execute(SQL["values_enter"])
            await connection.execute(SQL["overflow_leave"])
        await connection.execute(SQL["overflow_enter"])


def _by_shard(rows: Iterable[asyncpg.Record]) -> dict[int, dict[Cell, list[str]]]:
    found: dict[int, dict[Cell, list[str]]] = {}
    for row in rows:
        cell = Cell(row["tenant_id"], row["dimension"], row["day"])
        found.setdefault(row["shard"], {}).setdefault(cell, []).append(row["value"])
    return found
