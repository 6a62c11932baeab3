"""Everything once more, from the event log alone, with the pure fold.

Two passes: which dimension values there were (so that the limit can be applied as if all had been known at once), then the rows.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import numpy as np

from streamgauge.database import Connection
from streamgauge.errors import FrameError
from streamgauge.outcomes import APPLIED, CODES, NOBODYS, Outcome, Outcomes
from streamgauge.ranges import Ranges
from streamgauge.summaries.admission import rank
from streamgauge.summaries.fold import MOST_EVENTS, Scope, fold
from streamgauge.summaries.rollups import Catalogue
from streamgauge.table import Ints, Table, join
from streamgauge_workers import event_log
from streamgauge_workers.admissions import Cell
from streamgauge_workers.canonical import Admitted, RowName, Rows, add
from streamgauge_workers.queries import SQL
from streamgauge_workers.summariser import NOWHERE
from streamgauge_workers.tenants import Tenants

LedgerKey = tuple[int, datetime, Outcome]


@dataclass(slots=True)
class Recount:
    """What the log amounts to."""

    rows: Rows = field(default_factory=dict)
    ledger: Counter[LedgerKey] = field(default_factory=Counter)
    done: dict[tuple[int, bytes], Ranges] = field(default_factory=dict)
    entries: int = 0
    events: int = 0
    damaged: list[str] = field(default_factory=list)  #: rows of the log that are not what was stored
    unknown_actors: set[tuple[int, bytes]] = field(default_factory=set)


async def recount(
    connection: Connection,
    tenants: Tenants,
    catalogue: Catalogue,
    limit: int,
    actors: dict[tuple[int, bytes], int],
) -> Recount:
    """Recompute from the event log, in the connection's snapshot. `actors` is the dictionary of pseudonyms."""
    found, admitted = Recount(), Admitted(limit)

    def note(tenant_id: int, dimension: str, day: int, values: list[str]) -> list[bool]:
        key = tenants.by_id[tenant_id].cardinality_key
        cell = Cell(tenant_id, dimension, day)
        for value in values:
            admitted.offer(cell, value, rank(key, dimension, value))
        return [True] * len(values)

    def decide(tenant_id: int, dimension: str, day: int, values: list[str]) -> list[bool]:
        ranks = admitted.cells[Cell(tenant_id, dimension, day)].ranks
        return [value in ranks for value in values]

    async for table in _tables(connection, tenants, found):
        nobody = np.full(table.n, -1, np.int64)
        for _ in fold(table, nobody, _scopes(table, tenants), catalogue, note):
            pass
    async for table in _tables(connection, tenants, None):
        scopes = _scopes(table, tenants)
        ids = _ids(table, scopes, actors, found)
        for group in fold(table, ids, scopes, catalogue, decide):
            for grain, bucket in (("h", group.hour), ("d", group.day)):
                add(found.rows, RowName("h" if grain == "h" else "d", *group.key, bucket), group.measures)
    return found


async def _tables(connection: Connection, tenants: Tenants, found: Recount | None) -> AsyncIterator[Table]:
    """The log's applied events in tables of convenient size; fills in ledger and lanes where `found` is given.

    Those of tenants that are being deleted are left out, erased or not yet.
    """
    waiting: list[Table] = []
    async for row in connection.cursor(SQL["log"], prefetch=200):
        try:
            table = event_log.read(row)
        except FrameError as error:
            if found is not None:
                found.damaged.append(f"{name_of(row)}: {error}")
            continue
        outcomes = (
            np.zeros(table.n, np.uint8)
            if row["outcomes"] is None
            else np.frombuffer(row["outcomes"], np.uint8)
        )
        if found is not None:
            _account(found, row, table, outcomes, tenants)
        known, leaving = (
            np.array([name in names for name in table.tenant.values], np.bool_)[table.tenant.codes]
            for names in (tenants.by_name, tenants.deleting)
        )
        known &= ~leaving
        if found is not None and (strange := (outcomes == APPLIED) & ~known & ~leaving).any():
            name = table.tenant.values[int(table.tenant.codes[strange][0])]
            found.damaged.append(f"{name_of(row)}: it holds events of tenant {name!r}, which is not there")
        applied = table.select((outcomes == APPLIED) & known)
        if waiting and sum(part.n for part in waiting) + applied.n > MOST_EVENTS:
            yield join(waiting)
            waiting = []
        if applied.n:
            waiting.append(applied)
    if waiting:
        yield join(waiting)


def _account(found: Recount, row: asyncpg.Record, table: Table, outcomes: Outcomes, tenants: Tenants) -> None:
    found.entries += 1
    found.events += table.n
    earliest, latest = (
        event_log.instant(int(at)) for at in (table.occurred_at.min(), table.occurred_at.max())
    )
    if (row["first_at"], row["last_at"]) != (earliest, latest):
        found.damaged.append(
            f"{name_of(row)}: its events lie between {earliest} and {latest}, its row says otherwise"
        )
    found.done.setdefault((row["shard"], row["lane"]), Ranges()).add(row["first"], row["first"] + row["n"])
    hour = row["applied_at"].replace(minute=0, second=0, microsecond=0)
    for code, name in enumerate(table.tenant.values):
        tenant = tenants.by_name.get(name)
        named = tenants.deleting.get(name, 0) if tenant is None else tenant.scope.tenant_id
        codes, counts = np.unique(outcomes[table.tenant.codes == code], return_counts=True)
        for outcome, count in zip(codes.tolist(), counts.tolist(), strict=True):
            # A tenant that was unknown then keeps its rejections under tenant 0, though it may exist by now.
            tenant_id = 0 if CODES[outcome].reason in NOBODYS else named
            found.ledger[tenant_id, hour, CODES[outcome]] += count


def _scopes(table: Table, tenants: Tenants) -> list[Scope]:
    return [
        tenants.by_name[name].scope if name in tenants.by_name else NOWHERE for name in table.tenant.values
    ]


def _ids(table: Table, scopes: Sequence[Scope], actors: dict[tuple[int, bytes], int], found: Recount) -> Ints:
    """Dense ids by the dictionary; a pseudonym that it lacks is noted and counts as nobody."""
    ids = np.full(table.n, -1, np.int64)
    for code, scope in enumerate(scopes):
        rows = np.flatnonzero((table.tenant.codes == code) & (table.actor.codes >= 0))
        used = np.unique(table.actor.codes[rows]).tolist()
        lookup = np.full(len(table.actor.values), -1, np.int64)
        for place in used:
            pair = scope.tenant_id, table.actor.values[place]
            lookup[place] = actors.get(pair, -1)
            if lookup[place] < 0:
                found.unknown_actors.add(pair)
        ids[rows] = lookup[table.actor.codes[rows]]
    return ids


def name_of(row: asyncpg.Record) -> str:
    """A row of the log, for people."""
    return (
        f"event_log {row['applied_day']} shard {row['shard']} lane {row['lane'].hex()} first {row['first']}"
    )
