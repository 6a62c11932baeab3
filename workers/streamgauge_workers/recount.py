"""Everything once more, from the event log and its archives alone, with the pure fold.

Two passes: which dimension values there were (so that the limit can be applied as if all had been known at once), then the rows. What
no file has any more is taken from seals (`streamgauge_workers.retention.seal`).
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Literal

import numpy as np

from streamgauge.database import Connection
from streamgauge.errors import ArchiveError
from streamgauge.outcomes import APPLIED, CODES, NOBODYS, Outcome
from streamgauge.ranges import Ranges
from streamgauge.summaries.admission import rank
from streamgauge.summaries.boards import Place
from streamgauge.summaries.fold import MOST_EVENTS, Scope, fold
from streamgauge.summaries.rollups import Catalogue
from streamgauge.summaries.scoring import add_scores, score
from streamgauge.summaries.tallies import State, TallyKey, add_states
from streamgauge.summaries.tallying import tally
from streamgauge.table import Ints, Table, join
from streamgauge_workers import log_source
from streamgauge_workers.admissions import Cell
from streamgauge_workers.canonical import Admitted, RowName, Rows, add
from streamgauge_workers.log_source import EXPIRED, LogEntry, Survey
from streamgauge_workers.retention.archive import Archive
from streamgauge_workers.retention.sealed_rows import SealedRows, Whose, from_seals
from streamgauge_workers.summariser import NOWHERE
from streamgauge_workers.tenants import Tenants

Origin = Literal["log", "archive", "archive and seal", "seal"]
LedgerKey = tuple[int, datetime, Outcome]


@dataclass(slots=True)
class Recount:
    """What the log and its archives amount to."""

    rows: Rows = field(default_factory=dict)
    tallies: dict[TallyKey, State] = field(default_factory=dict)
    scores: dict[Place, int] = field(default_factory=dict)
    ledger: Counter[LedgerKey] = field(default_factory=Counter)
    done: dict[tuple[int, bytes], Ranges] = field(default_factory=dict)
    entries: int = 0
    events: int = 0
    damaged: list[str] = field(default_factory=list)  #: rows of the log that are not what was stored
    unknown_actors: set[tuple[int, bytes]] = field(default_factory=set)
    days: dict[Origin, set[date]] = field(
        default_factory=dict
    )  #: of application, by where they were read from
    #: Rollups that sealed days may have more events of than their seals say: they were declared later.
    unsealed: set[str] = field(default_factory=set)


async def recount(
    connection: Connection,
    tenants: Tenants,
    catalogue: Catalogue,
    limit: int,
    actors: dict[tuple[int, bytes], int],
    known: Survey | None = None,
) -> Recount:
    """Recompute from log and archives, in the connection's snapshot. `actors` is the dictionary of pseudonyms.

    `known` are the archives; what cannot be read of them is taken from their seals. Raises ArchiveError without it when there are any.
    """
    if known is None:
        known = await log_source.survey(connection, None)
        known.require_whole()
    found, admitted = Recount(), Admitted(limit)
    found.damaged += known.damaged

    def note(tenant_id: int, dimension: str, day: int, values: list[str]) -> list[bool]:
        key = tenants.by_id[tenant_id].cardinality_key
        cell = Cell(tenant_id, dimension, day)
        for value in values:
            admitted.offer(cell, value, rank(key, dimension, value))
        return [True] * len(values)

    def decide(tenant_id: int, dimension: str, day: int, values: list[str]) -> list[bool]:
        ranks = admitted.cells[Cell(tenant_id, dimension, day)].ranks
        return [value in ranks for value in values]

    sealed = SealedRows(tenants, catalogue)
    for archive, which in from_seals(known):
        _take_seal(found, sealed, archive, which, catalogue)
    sealed.offer(note)
    async for table in _tables(connection, tenants, known, found):
        nobody = np.full(table.n, -1, np.int64)
        for _ in fold(table, nobody, scopes_of(table, tenants), catalogue, note):
            pass
    async for table in _tables(connection, tenants, known, None):
        scopes = scopes_of(table, tenants)
        ids = _ids(table, scopes, actors, found)
        add_states(found.tallies, tally(table, scopes, catalogue.tallies))
        add_scores(found.scores, score(table, scopes, catalogue.boards))
        for group in fold(table, ids, scopes, catalogue, decide):
            for grain, bucket in (("h", group.hour), ("d", group.day)):
                add(found.rows, RowName("h" if grain == "h" else "d", *group.key, bucket), group.measures)
    sealed.merge_into(found.rows, admitted)
    return found


def _take_seal(
    found: Recount, sealed: SealedRows, archive: Archive, which: Whose, catalogue: Catalogue
) -> None:
    """Take account of what only an archive's seal tells: everything, or the events of some tenants."""
    try:
        seal = archive.seal
    except ArchiveError as error:
        found.damaged.append(f"archive {archive.file}: {error}")
        return
    found.unsealed |= {rollup.metric for rollup in catalogue.rollups} - set(archive.metrics)
    # Seals hold rows of summaries, which are few; states of everybody are as many as the events themselves.
    found.unsealed |= {tally.name for tally in catalogue.tallies} | {board.name for board in catalogue.boards}
    sealed.take(seal.rows, which)
    for (hour, owner, code), events in seal.counts.items():
        found.ledger[owner, datetime.fromtimestamp(hour, UTC), CODES[code]] += events
    if which is None:
        found.entries += archive.entries
        found.events += archive.events
        found.days.setdefault("seal", set()).add(archive.applied_day)
        for lane, ranges in seal.lanes.items():
            done = found.done.setdefault((archive.shard, lane), Ranges())
            for each in ranges:
                done.add(*each)
    else:
        found.days.setdefault("archive and seal", set()).add(archive.applied_day)


async def _tables(
    connection: Connection, tenants: Tenants, known: Survey, found: Recount | None
) -> AsyncIterator[Table]:
    """The applied events in tables of convenient size; fills in ledger and lanes where `found` is given."""
    waiting: list[Table] = []
    damaged: list[str] = [] if found is None else found.damaged
    async for entry in log_source.whole(connection, known=known, damaged=damaged):
        if found is not None:
            _account(found, entry, tenants)
        applied = counted(entry, tenants)
        if waiting and sum(part.n for part in waiting) + applied.n > MOST_EVENTS:
            yield join(waiting)
            waiting = []
        if applied.n:
            waiting.append(applied)
    if waiting:
        yield join(waiting)


def counted(entry: LogEntry, tenants: Tenants) -> Table:
    """The events of an entry that summaries are made from.

    Those of tenants that are being deleted are left out, erased or not yet.
    """
    own = tenants.by_name.keys() - tenants.deleting.keys()
    known = np.array([name in own for name in entry.table.tenant.values], np.bool_)[entry.table.tenant.codes]
    return entry.table.located(entry.lane, entry.first).select((entry.outcomes == APPLIED) & known)


def _account(found: Recount, entry: LogEntry, tenants: Tenants) -> None:
    table = entry.table
    found.entries += 1
    found.events += table.n
    found.days.setdefault(entry.source, set()).add(entry.applied_day)
    found.done.setdefault((entry.shard, entry.lane), Ranges()).add(entry.first, entry.first + entry.n)
    hour = entry.applied_at.replace(minute=0, second=0, microsecond=0)
    for (owner, code), count in owners(entry, tenants).items() if entry.counted else ():
        found.ledger[owner, hour, CODES[code]] += count
    named = [name in tenants.by_name or name in tenants.deleting for name in table.tenant.values]
    if (strange := (entry.outcomes == APPLIED) & ~np.array(named, np.bool_)[table.tenant.codes]).any():
        name = table.tenant.values[int(table.tenant.codes[strange][0])]
        found.damaged.append(f"{entry.name}: it holds events of tenant {name!r}, which is not there")


def owners(entry: LogEntry, tenants: Tenants) -> Counter[tuple[int, int]]:
    """An entry's events by the tenant they are entered for and the outcome's code; expired ones are left out."""
    found: Counter[tuple[int, int]] = Counter()
    for code, name in enumerate(entry.table.tenant.values):
        tenant = tenants.by_name.get(name)
        named = tenants.deleting.get(name, 0) if tenant is None else tenant.scope.tenant_id
        codes, counts = np.unique(entry.outcomes[entry.table.tenant.codes == code], return_counts=True)
        for outcome, count in zip(codes.tolist(), counts.tolist(), strict=True):
            if outcome != EXPIRED:
                # A tenant that was unknown then keeps its rejections under tenant 0, though it may exist by now.
                found[0 if CODES[outcome].reason in NOBODYS else named, outcome] += count
    return found


def scopes_of(table: Table, tenants: Tenants) -> list[Scope]:
    """The fold's scope of every tenant that a table names."""
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
