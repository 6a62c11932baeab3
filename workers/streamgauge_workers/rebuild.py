"""Fill rollups from the event log: after a new one was declared, or when `verify` found a difference.

One shard at a time, in one transaction that holds the shard's token, so the shard's worker waits and then reads everything anew.
"""

from dataclasses import dataclass

import numpy as np

from streamgauge.catalogue import CATALOGUE
from streamgauge.database import Connection
from streamgauge.errors import InputError
from streamgauge.outcomes import APPLIED
from streamgauge.summaries.fold import MOST_EVENTS
from streamgauge.summaries.rollups import Catalogue
from streamgauge.table import Table, join
from streamgauge_workers import event_log
from streamgauge_workers.position import Position
from streamgauge_workers.queries import SQL
from streamgauge_workers.summariser import Summariser
from streamgauge_workers.summary_rows import GRAINS
from streamgauge_workers.tenants import Tenants


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was rebuilt of one shard."""

    shard: int
    events: int


async def rebuild(
    connection: Connection,
    aside: Connection,
    metrics: list[str],
    limit: int,
    catalogue: Catalogue = CATALOGUE,
) -> list[Rebuilt]:
    """Rebuild these rollups, or all of them when none is named; returns what was read per shard.

    Raises InputError for an unknown rollup, FencedError when a worker committed in the moment of taking over: call again.
    """
    known = [rollup.metric for rollup in catalogue.rollups]
    if unknown := [metric for metric in metrics if metric not in known]:
        raise InputError(f"rollup {unknown[0]!r} is not declared; there are {', '.join(known)}", "rollup")
    chosen = Catalogue(
        catalogue.event_types,
        tuple(rollup for rollup in catalogue.rollups if rollup.metric in (metrics or known)),
    )
    rebuilt = []
    for row in await connection.fetch(SQL["positions"]):
        events = await _rebuild_shard(
            connection, aside, row["shard"], catalogue, chosen, limit, everything=not metrics
        )
        rebuilt.append(Rebuilt(row["shard"], events))
    return rebuilt


async def _rebuild_shard(
    connection: Connection,
    aside: Connection,
    shard: int,
    catalogue: Catalogue,
    chosen: Catalogue,
    limit: int,
    everything: bool,
) -> int:
    position = await Position.load(connection, shard)
    async with connection.transaction():
        await position.swap(connection, position)
        names = [rollup.metric for rollup in chosen.rollups]
        dropped = None if everything else names
        for grain in GRAINS.values():
            await connection.execute(SQL["rebuild_rows"].format(grain=grain), shard, dropped)
        await connection.execute(SQL["rebuild_members"], shard, dropped)
        if everything:
            # Admission may be decided anew only when every row that depends on it goes.
            await connection.execute(SQL["rebuild_admissions"], shard)
            await connection.execute(SQL["rebuild_overflow"], shard)
        tenants = Tenants()
        await tenants.load(connection)
        summariser = Summariser(shard, tenants, catalogue, limit, chosen)
        events = await _refill(connection, aside, shard, summariser)
        # Last, because ids of actors are given out on `aside`, which would wait for this transaction's lock on the tenants.
        await connection.execute(SQL["rebuild_revisions"])
    return events


async def _refill(connection: Connection, aside: Connection, shard: int, summariser: Summariser) -> int:
    waiting: list[Table] = []
    events = 0
    async for row in connection.cursor(SQL["log_of_shard"], shard, prefetch=200):
        table = event_log.read(row)
        if row["outcomes"] is not None:
            table = table.select(np.frombuffer(row["outcomes"], np.uint8) == APPLIED)
        leaving = [name in summariser.tenants.deleting for name in table.tenant.values]
        table = table.select(~np.array(leaving, np.bool_)[table.tenant.codes])
        used = {table.tenant.values[code] for code in np.unique(table.tenant.codes).tolist()}
        if strange := used - summariser.tenants.by_name.keys():
            raise InputError(
                f"the event log holds events of tenant {min(strange)!r}, which is not there: create it again",
                "tenant",
            )
        if waiting and sum(part.n for part in waiting) + table.n > MOST_EVENTS:
            await summariser.add(connection, aside, join(waiting))
            waiting = []
        if table.n:
            waiting.append(table)
            events += table.n
    if waiting:
        await summariser.add(connection, aside, join(waiting))
    return events
