"""Rule P6: one transaction takes what was read into every table, or leaves nothing behind.

Token, duplicates, acceptance, keys, event log, summaries, live views, dead letters, ledger, position: in that order. Whatever is
looked up on the way is kept in caches that belong to the token; after any error the applier is thrown away with them.
"""

import time
from collections import Counter
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from streamgauge.database import Connection
from streamgauge.entry import Entry
from streamgauge.errors import FrameError, NewerFrameError
from streamgauge.failpoints import pass_through
from streamgauge.outcomes import (
    APPLIED,
    CODES,
    REPEATED_KEY,
    TENANT_DELETED,
    WHOLE,
    Outcome,
    Outcomes,
)
from streamgauge.settings import Settings
from streamgauge.summaries.rollups import Catalogue
from streamgauge.table import Mask, Table, join, thaw
from streamgauge_workers import dead_letters
from streamgauge_workers.acceptance import judge as judge_events
from streamgauge_workers.acceptance import of_deleted_tenants
from streamgauge_workers.blanking import blank, refreeze
from streamgauge_workers.dead_letters import DeadLetter
from streamgauge_workers.delivery import Verdict
from streamgauge_workers.delivery import judge as judge_entries
from streamgauge_workers.event_keys import EventKeys
from streamgauge_workers.event_log import EventLog, Logged
from streamgauge_workers.lanes import Lanes
from streamgauge_workers.plausibility import Plausibility, Seen
from streamgauge_workers.position import Position
from streamgauge_workers.queries import SQL
from streamgauge_workers.recent_activity import RecentActivity
from streamgauge_workers.recent_actors import RecentActors
from streamgauge_workers.refusals import Refusals
from streamgauge_workers.summariser import Summariser
from streamgauge_workers.tenants import Tenants

PARTITIONS_LOCK = 0x53475054  # "SGPT"
PREPARE_EVERY = 600.0  # seconds; partitions are made at least a day ahead
FORGET_MARGIN = timedelta(days=1)  # rule P10


@dataclass(slots=True)
class Applied:
    """What one transaction did, for metrics and logs."""

    position: Position
    entries: int = 0
    events: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    redelivered: int = 0
    rows: int = 0
    seen: Seen | None = None  #: for the shard's plausibility
    not_kept: Mapping[str, int] = field(default_factory=dict)  #: refused events that are only counted
    #: Lanes whose rows were written.
    lanes: Collection[bytes] = ()


class Applier:
    """Applies one shard's entries. Valid for as long as nothing fails."""

    def __init__(
        self,
        shard: int,
        tenants: Tenants,
        catalogue: Catalogue,
        settings: Settings,
        plausibility: Plausibility | None = None,
    ) -> None:
        self.shard = shard
        self.plausibility = plausibility
        self.tenants = tenants
        self.catalogue = catalogue
        self.max_lateness = timedelta(days=settings.max_lateness_days)
        self.lanes = Lanes(shard)
        self.summariser = Summariser(shard, tenants, catalogue, settings.cardinality_limit)
        self.keys = EventKeys(shard, self.max_lateness)
        self.log = EventLog(shard)
        self.refusals = Refusals(shard)
        self.recent_activity = RecentActivity(shard, catalogue)
        self.recent_actors = RecentActors(shard)
        self.prepare_due = float("-inf")
        self.tenants_read = False

    async def prepare(self, connection: Connection) -> None:
        """Create the partitions that the next transactions need."""
        if time.monotonic() < self.prepare_due:
            return
        self.prepare_due = time.monotonic() + PREPARE_EVERY
        async with connection.transaction():
            # CREATE TABLE IF NOT EXISTS still fails when two sessions create the same one at the same time.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", PARTITIONS_LOCK)
            now = await connection.fetchval("SELECT now()")
            await self.keys.prepare(connection, now)
            await self.log.prepare(connection, now)

    async def apply(
        self,
        connection: Connection,
        aside: Connection,
        position: Position,
        entries: Sequence[Entry],
        at: float,
        poison: str | None = None,
        may_rescan: bool = True,
    ) -> Applied:
        """Apply entries read behind `position`. `at` is a monotonic clock's seconds, for refreshing tenants.

        With `poison` set, dead-letter the entries' batches for that reason instead of applying them. `may_rescan`: a new hole
        sends the position back to the oldest retained entry (rule P11).

        Raises FencedError when another writer was here, NewerFrameError for a payload of a newer version, and whatever
        PostgreSQL raises; nothing of the entries is stored then.
        """
        async with connection.transaction():
            moved, now = await position.swap(connection, replace(position, entry_id=entries[-1][0]))
            await pass_through("commit.swapped")
            verdict = await self._judge(connection, entries, now)
            await pass_through("commit.judged")
            done = Applied(moved, len(entries), lanes=verdict.lanes.keys())
            done.redelivered = sum(batch.n for _, batch in verdict.duplicates)
            letters = [
                dead_letters.of_fields(record.fields, record.reason) for _, record in verdict.unreadable
            ]
            letters += [
                dead_letters.of_batch(batch, "range_conflict", "a part of its numbers is done already")
                for _, batch in verdict.conflicts
            ]
            if poison is not None:
                letters += [dead_letters.of_batch(batch, "poison", poison) for _, batch in verdict.fresh]
                verdict.fresh.clear()
                verdict.drops.clear()
            if not may_rescan:
                self._keep_scanned(verdict)
            await self._apply_batches(connection, aside, verdict, letters, now, at, done)
            await self.lanes.store(connection, verdict)
            await dead_letters.replayed(connection, self.shard, verdict.lanes)
            await pass_through("commit.stored")
            if verdict.rescan and may_rescan:
                assert moved.history is not None  # noqa: S101 - entries were read, so there was a history
                done.position, _ = await moved.swap(connection, moved.rewound(moved.history))
            await pass_through("commit.before")
        await pass_through("commit.after")
        if self.plausibility is not None and done.seen is not None:
            self.plausibility.committed(done.seen)
        return done

    def _keep_scanned(self, verdict: Verdict) -> None:
        """A hole that the stream is not read again for now is to be looked for later (rule P11)."""
        for lane, state in verdict.lanes.items():
            known = self.lanes.known.get(lane)
            state.scanned = 0 if known is None else min(known.scanned, state.scanned)

    async def _judge(self, connection: Connection, entries: Sequence[Entry], now: datetime) -> Verdict:
        lanes = await self.lanes.load(connection, entries)
        horizon = now - self.max_lateness - FORGET_MARGIN
        return judge_entries(lanes, entries, _milliseconds(now), _milliseconds(horizon), self.lanes.trusted)

    async def _apply_batches(
        self,
        connection: Connection,
        aside: Connection,
        verdict: Verdict,
        letters: list[DeadLetter],
        now: datetime,
        at: float,
        done: Applied,
    ) -> None:
        readable, tables = [], []
        for _, batch in verdict.fresh:
            try:
                table = thaw(batch.payload)
                if table.n != batch.n:
                    raise FrameError(f"it holds {table.n} events, its entry says {batch.n}")
            except NewerFrameError:
                raise
            except FrameError as error:
                letters.append(dead_letters.of_batch(batch, "undecodable", str(error)))
                continue
            readable.append(batch)
            tables.append(table)
        counts: Counter[tuple[int, Outcome]] = Counter()
        untrusted: Counter[Outcome] = Counter()
        if tables:
            if self.catalogue.tallies:
                tables = [
                    part.located(batch.lane, batch.first)
                    for batch, part in zip(readable, tables, strict=True)
                ]
            table = join(tables)
            # The first time behind this token: what a deletion has announced by moving it has to be seen (rule P5).
            await self.tenants.require(connection, table.tenant.values, at, anew=not self.tenants_read)
            self.tenants_read = True
            trusted = np.repeat(
                [verdict.lanes[batch.lane].trusted for batch in readable], [batch.n for batch in readable]
            )
            # Another shard may read the tenants anew meanwhile: what is decided by these is entered for these.
            tenants = self.tenants.by_name
            deleted = of_deleted_tenants(table, trusted, self.tenants.deleted)
            outcomes = await self._outcomes(connection, table, trusted, deleted, tenants, now)
            known = {name: tenant.scope.tenant_id for name, tenant in tenants.items()}
            tenant_ids = np.array([known.get(name, 0) for name in table.tenant.values])[table.tenant.codes]
            tenant_ids[deleted] = 0
            logged = []
            for batch, part, start in zip(
                readable, tables, np.cumsum([0] + [part.n for part in tables]), strict=False
            ):
                decided = outcomes[start : start + part.n]
                if (forgotten := decided == TENANT_DELETED).any():
                    part = blank(part, forgotten, now)
                    batch = replace(batch, payload=refreeze(part))
                ids = [known.get(name, 0) for name in part.tenant.values]
                logged.append(Logged(batch, part, ids, decided))
                letters += await self.refusals.letters(connection, batch, part, ids, decided)
            await self.log.store(connection, logged, now)
            await pass_through("commit.logged")
            applied = table.select(outcomes == APPLIED)
            if applied.n:
                done.rows = await self._summarise(connection, aside, applied, known, now)
                await pass_through("commit.summarised")
            for code, count in zip(*np.unique(outcomes[~trusted], return_counts=True), strict=True):
                untrusted[CODES[int(code)]] = int(count)
            for code in np.unique(outcomes).tolist():
                owners, found = np.unique(tenant_ids[outcomes == code], return_counts=True)
                counts.update(
                    {
                        (tenant, CODES[code]): count
                        for tenant, count in zip(owners.tolist(), found.tolist(), strict=True)
                    }
                )
        # Entries that could not be read belong to no known tenant; a dead letter kept before is not counted again.
        kept = await dead_letters.store(connection, self.shard, letters)
        done.not_kept = await self.refusals.store(connection)
        for reason in WHOLE:
            if kept.get(reason):
                counts[0, Outcome("dead_lettered", reason)] += kept[reason]
                untrusted[Outcome("dead_lettered", reason)] += kept[reason]
        await self._enter(connection, counts, done)
        if self.plausibility is not None:
            done.seen = self.plausibility.weigh(untrusted, at)
        await pass_through("commit.entered")

    async def _summarise(
        self, connection: Connection, aside: Connection, table: Table, known: Mapping[str, int], now: datetime
    ) -> int:
        """Take applied events into the summaries and the live views; returns how many summary rows were written."""
        rows, actors = await self.summariser.add(connection, aside, table)
        tenant_ids = [known.get(name, 0) for name in table.tenant.values]
        await self.recent_activity.store(connection, table, tenant_ids)
        await self.recent_actors.store(connection, table, actors, tenant_ids, now)
        return rows

    async def _outcomes(
        self,
        connection: Connection,
        table: Table,
        trusted: Mask,
        deleted: Mask,
        tenants: Container[str],
        now: datetime,
    ) -> Outcomes:
        outcomes = judge_events(table, trusted, tenants, self.catalogue, now, self.max_lateness)
        outcomes[deleted] = TENANT_DELETED
        timely = outcomes == APPLIED
        repeated = await self.keys.repeated(connection, table, timely, now)
        repeated &= ~deleted
        outcomes[repeated] = REPEATED_KEY
        await self.keys.store(connection, table, timely & ~repeated, now)
        return outcomes

    async def _enter(
        self, connection: Connection, counts: Counter[tuple[int, Outcome]], done: Applied
    ) -> None:
        """Write the outcome ledger."""
        rows = [(tenant, *outcome, count) for (tenant, outcome), count in counts.items() if count]
        for _, name, reason, count in rows:
            done.outcomes[Outcome(name, reason)] += count
            done.events += count
        if rows:
            columns = [list(column) for column in zip(*rows, strict=True)]
            await connection.execute(SQL["ledger_store"], self.shard, *columns)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
