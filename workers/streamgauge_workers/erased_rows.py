"""A tenant's rows in whatever tables there are, as the database's catalogue tells: a table added later is not forgotten.

Nobody adds rows of the tenant any more, and nobody changes them: workers have read that it is being deleted, and servers refuse its
keys. So a table is read once, page by page, and what is found is deleted by its place.
"""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TypeAlias

from streamgauge.database import Connection
from streamgauge_workers.deletion import SQL, Deletion, count_of

PAGES = 128  # of a table, looked at together: a megabyte
MOST_ROWS = 5_000  # of one transaction
Place: TypeAlias = tuple[int, int]

#: Not as other tables: the chain of audits has to be whole at any time, and the tenant's own row says what happens.
APART = frozenset({"tenants", "audit_log", "audit_heads"})
#: Ids of series are given out again. Until then no row may be left that bears one.
LAST = "series"


@dataclass(frozen=True, slots=True)
class Rowed:
    """A table, or a partition of one, that has rows of tenants."""

    name: str  #: as SQL names it
    root: str  #: the table it is a partition of, or itself
    sharded: bool


async def tables(connection: Connection) -> list[Rowed]:
    """Every such table but those apart; those that refer to others before these."""
    found = {row["name"]: row for row in await connection.fetch(SQL["tables"])}
    order: TopologicalSorter[str] = TopologicalSorter()
    for name, row in found.items():
        order.add(name)
        for parent in row["parents"]:
            if parent in found and parent != name:
                order.add(parent, name)
        if name != LAST and LAST in found:
            order.add(LAST, name)
    rows = [found[name] for name in order.static_order()]
    return [Rowed(row["name"], row["root"], row["sharded"]) for row in rows if row["name"] not in APART]


async def erase(connection: Connection, deletion: Deletion, table: Rowed) -> AsyncIterator[int]:
    """Delete the tenant's rows of a table; yields after every transaction how many it deleted."""
    waiting: dict[int | None, list[Place]] = {}
    async for shard, place in _places(connection, deletion.tenant_id, table):
        found = waiting.setdefault(shard, [])
        found.append(place)
        if len(found) == MOST_ROWS:
            yield await _delete(connection, deletion, table, shard, waiting.pop(shard))
    for shard, found in waiting.items():
        yield await _delete(connection, deletion, table, shard, found)


async def any_left(connection: Connection, tenant_id: int, among: Collection[Rowed]) -> bool:
    """Whether any of these tables has a row of the tenant."""
    for table in among:
        if await connection.fetchval(SQL["rows_any"].format(table=table.name), tenant_id):
            return True
    return False


async def _places(
    connection: Connection, tenant_id: int, table: Rowed
) -> AsyncIterator[tuple[int | None, Place]]:
    query = SQL["rows_between_sharded" if table.sharded else "rows_between"].format(table=table.name)
    for page in range(0, await connection.fetchval(SQL["pages"], table.name), PAGES):
        for row in await connection.fetch(query, tenant_id, (page, 0), (page + PAGES, 0)):
            yield (row["shard"] if table.sharded else None), row["ctid"]


async def _delete(
    connection: Connection, deletion: Deletion, table: Rowed, shard: int | None, places: list[Place]
) -> int:
    query = SQL["rows_delete_sharded" if table.sharded else "rows_delete"].format(table=table.name)
    async with deletion.step(connection, shard) as tally:
        arguments = (deletion.tenant_id, places) if shard is None else (deletion.tenant_id, places, shard)
        removed = count_of(await connection.execute(query, *arguments))
        tally.removed(table.root, removed)
    return removed
