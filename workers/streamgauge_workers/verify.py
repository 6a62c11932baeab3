"""Prove the tables: recompute all of them from the event log and its archives and compare, row by row.

What is compared is one snapshot, so the pipeline may go on meanwhile. Every difference names its row. Days whose archives cannot be read
are checked by their seals.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
from asyncpg import Record

from streamgauge.database import Connection
from streamgauge.outcomes import Outcome
from streamgauge.ranges import Ranges
from streamgauge.summaries.boards import Place
from streamgauge.summaries.histogram import buckets_of
from streamgauge.summaries.measures import Measures
from streamgauge.summaries.rollups import Catalogue
from streamgauge.summaries.tallies import merged
from streamgauge_workers import canonical, tally_rows
from streamgauge_workers.admissions import Cell
from streamgauge_workers.canonical import Admitted, DayOf, RowName, Rows
from streamgauge_workers.log_source import survey
from streamgauge_workers.queries import SQL
from streamgauge_workers.recount import LedgerKey, Origin, Recount, recount
from streamgauge_workers.tenants import Tenants

TABLES = {"h": "hourly_summary", "d": "daily_summary"}
SCALARS = ("count", "errors", "observed", "sum", "min", "max", "totals")


@dataclass(slots=True)
class Compared:
    """One table: how many rows were compared, and every difference, each naming its row."""

    table: str
    rows: int = 0
    differences: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Verification:
    """The result: what was covered and how every table fared."""

    entries: int
    events: int
    applied_from: datetime | None
    applied_to: datetime | None
    occurred_from: datetime | None
    occurred_to: datetime | None
    tables: list[Compared]
    #: Days of application by where their events were read: log, archive, or only the seal of an archive that cannot be read.
    days: dict[Origin, list[date]] = field(default_factory=dict)
    #: Why archives were not read, by file.
    archives: dict[str, str] = field(default_factory=dict)
    #: Rollups that were not compared: days known by seal alone were sealed before these were declared.
    unchecked: list[str] = field(default_factory=list)
    #: How far every shard was, as the stream's entry id.
    positions: dict[int, str] = field(default_factory=dict)

    @property
    def differences(self) -> list[str]:
        """All differences."""
        return [difference for table in self.tables for difference in table.differences]


async def verify(
    connection: Connection,
    catalogue: Catalogue,
    limit: int,
    max_lateness: timedelta = timedelta(days=7),
    archives: Path | None = None,
) -> Verification:
    """Compare every table with the event log and its archives, and remember the outcome for the tenants (`verifications`).

    `limit` and `max_lateness` are the workers' settings: values kept per dimension and day, and how late an event may come.
    `archives` is the directory of archives; without it, archived days are checked by their seals.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        # First of all, before the snapshot is taken: no day may leave the log between the two.
        known = await survey(connection, archives)
        tenants = Tenants()
        await tenants.load(connection)
        # What a tenant that is being deleted still has is not compared: it goes, in an order of its own.
        leaving = frozenset(tenants.deleting.values())
        ids = list(tenants.by_id)
        covered = await connection.fetchrow(SQL["log_range"])
        assert covered is not None  # noqa: S101 - an aggregate always has its one row
        positions = await connection.fetch(SQL["positions"])
        revisions = {row["tenant_id"]: row["revision"] for row in await connection.fetch(SQL["revisions"])}
        dictionary = await connection.fetch(SQL["actors"], ids)
        actors = {(row["tenant_id"], row["pseudonym"]): row["actor_id"] for row in dictionary}
        expected = await recount(connection, tenants, catalogue, limit, actors, known)
        calendars = DayOf({tenant_id: tenant.scope.calendar for tenant_id, tenant in tenants.by_id.items()})
        admitted = Admitted(limit)
        for row in await connection.fetch(SQL["canonical_admissions"], ids):
            admitted.offer(Cell(row["tenant_id"], row["dimension"], row["day"]), row["value"], row["rank"])
        named = [row["tenant_id"] for row in await connection.fetch(SQL["canonical_tenants"])]
        stored = await canonical.stored(connection, {*ids, *named} - leaving, catalogue, admitted, calendars)
        tables = [
            Compared("event_log", expected.entries + len(expected.damaged), expected.damaged),
            *_compare_summaries(_checkable(expected.rows, expected), _checkable(stored, expected), tenants),
            await _compare_tallies(connection, expected, set(ids) - leaving, tenants),
            *await _compare_boards(connection, expected, set(ids) - leaving, tenants),
            _compare_actors(expected, actors),
            await _compare_ledger(connection, expected, leaving),
            await _compare_lanes(connection, expected, max_lateness),
            await _compare_dead_letters(connection, expected, leaving),
        ]
    result = Verification(
        expected.entries,
        expected.events,
        min(_given(covered["first"], [archive.first_applied for archive in known.all]), default=None),
        max(_given(covered["last"], [archive.last_applied for archive in known.all]), default=None),
        min(_given(covered["first_at"], [archive.first_at for archive in known.all]), default=None),
        max(_given(covered["last_at"], [archive.last_at for archive in known.all]), default=None),
        tables,
        {origin: sorted(days) for origin, days in sorted(expected.days.items())},
        known.problems,
        sorted(expected.unsealed),
        {row["shard"]: f"{row['position_ms']}-{row['position_seq']}" for row in positions},
    )
    await _remember(connection, revisions, tenants, expected.rows, positions, result)
    return result


def _given(one: datetime | None, others: list[datetime]) -> list[datetime]:
    return others if one is None else [one, *others]


def _checkable(rows: Rows, expected: Recount) -> Rows:
    """The rows without those that seals cannot tell of."""
    if not expected.unsealed:
        return rows
    return {name: measures for name, measures in rows.items() if name.metric not in expected.unsealed}


def _compare_summaries(expected: Rows, stored: Rows, tenants: Tenants) -> Iterator[Compared]:
    for grain, table in TABLES.items():
        scalars, histograms, sets = (
            Compared(table),
            Compared(f"{table}.histogram"),
            Compared(f"summary_members ({table})"),
        )
        names = {name for name in expected.keys() | stored.keys() if name.grain == grain}
        for name in sorted(names):
            shown, want, have = _name(name, tenants), expected.get(name), stored.get(name)
            # Members alone are what is left of a row that was deleted.
            if want is None or have is None or have == Measures(members=have.members):
                missing = "is there, though no event belongs to it" if want is None else "is missing"
                scalars.differences.append(f"{table} {shown} {missing}")
                continue
            scalars.rows += 1
            histograms.rows += want.histogram is not None
            sets.rows += bool(want.members)
            scalars.differences += [f"{table} {shown}: {difference}" for difference in _scalars(want, have)]
            if want.histogram != have.histogram:
                histograms.differences.append(f"{table} {shown}: the histogram differs")
            if want.members != have.members:
                extra, lacking = len(have.members - want.members), len(want.members - have.members)
                sets.differences.append(
                    f"summary_members of {table} {shown}: {extra} too many, {lacking} missing"
                )
        yield from (scalars, histograms, sets)


def _scalars(want: Measures, have: Measures) -> Iterator[str]:
    for scalar in SCALARS:
        if getattr(want, scalar) != getattr(have, scalar):
            yield f"{scalar} is {getattr(have, scalar)}, the event log gives {getattr(want, scalar)}"


async def _compare_tallies(
    connection: Connection, expected: Recount, tenant_ids: set[int], tenants: Tenants
) -> Compared:
    """Stripes merged, every row of every tally."""
    rows = await connection.fetch(SQL["tallies_stored"], sorted(tenant_ids))
    have = merged([tally_rows.read(row) for row in rows])
    compared = Compared("tally_rows", len(have))
    for key in sorted(expected.tallies.keys() | have.keys(), key=str):
        if key.tally in expected.unsealed or expected.tallies.get(key) == have.get(key):
            continue
        tenant = tenants.by_id.get(key.tenant_id)
        who = "" if key.actor is None else f" actor {key.actor.hex()}"
        name = f"tally_rows tenant {tenant.name if tenant else key.tenant_id} {key.tally}{who} {list(key.parts)} at {key.bucket}"
        compared.differences.append(
            f"{name}: the table has {have.get(key)}, the event log gives {expected.tallies.get(key)}"
        )
    return compared


async def _compare_boards(
    connection: Connection, expected: Recount, tenant_ids: set[int], tenants: Tenants
) -> list[Compared]:
    """Every score, and that as many participants are counted for every level as have such scores."""
    chosen = sorted(tenant_ids)
    want = {place: score for place, score in expected.scores.items() if place.board not in expected.unsealed}
    have = {Place(*row[:5]): row["score"] for row in await connection.fetch(SQL["scores_stored"], chosen)}
    levels = Counter(
        {tuple(row[:5]): row["participants"] for row in await connection.fetch(SQL["levels_stored"], chosen)}
    )
    counted: Counter[tuple[object, ...]] = Counter()
    for place, level in zip(have, buckets_of(np.array(list(have.values()), np.int64)).tolist(), strict=True):
        counted[*place[:4], level] += 1
    scores, participants = Compared("board_scores", len(have)), Compared("board_levels", len(levels))

    def named(table: str, tenant_id: int, *rest: object) -> str:
        tenant = tenants.by_id.get(tenant_id)
        return f"{table} tenant {tenant.name if tenant else tenant_id} {' '.join(map(str, rest))}"

    for place in sorted(want.keys() | {each for each in have if each.board not in expected.unsealed}):
        if want.get(place) != have.get(place):
            name = named("board_scores", *place[:4], place.actor.hex())
            scores.differences.append(f"{name} is {have.get(place)}, the event log gives {want.get(place)}")
    for level in sorted(counted.keys() | levels.keys(), key=str):
        if counted[level] != levels[level]:
            name = named("board_levels", *level)
            participants.differences.append(f"{name} is {levels[level]}, board_scores has {counted[level]}")
    return [scores, participants]


def _compare_actors(expected: Recount, actors: dict[tuple[int, bytes], int]) -> Compared:
    compared = Compared("actors", len(actors))
    for tenant_id, pseudonym in sorted(expected.unknown_actors):
        compared.differences.append(
            f"actors: tenant {tenant_id} lacks pseudonym {pseudonym.hex()} of the event log"
        )
    uses = Counter((tenant_id, actor_id) for (tenant_id, _), actor_id in actors.items())
    for (tenant_id, actor_id), count in uses.items():
        if count > 1:
            compared.differences.append(
                f"actors: tenant {tenant_id} gave id {actor_id} to {count} pseudonyms"
            )
    return compared


async def _compare_ledger(connection: Connection, expected: Recount, leaving: frozenset[int]) -> Compared:
    want: Counter[LedgerKey] = Counter(expected.ledger)
    for row in await connection.fetch(SQL["dead_entries"]):
        want[0, row["hour"], Outcome("dead_lettered", row["reason"])] += row["events"]
    have: Counter[LedgerKey] = Counter()
    for row in await connection.fetch(SQL["ledger"]):
        have[row["tenant_id"], row["hour"], Outcome(row["outcome"], row["reason"])] += row["events"]
    compared = Compared("outcome_ledger", len(have))
    for key in sorted(want.keys() | have.keys(), key=str):
        if key[0] in leaving:
            continue
        if want[key] != have[key]:
            tenant_id, hour, outcome = key
            name = f"tenant {tenant_id} hour {hour:%Y-%m-%dT%H}Z {' '.join(filter(None, outcome))}"
            compared.differences.append(
                f"outcome_ledger {name}: {have[key]} events, the event log gives {want[key]}"
            )
    return compared


async def _compare_lanes(connection: Connection, expected: Recount, max_lateness: timedelta) -> Compared:
    """What lanes have done is what the log and the dead letters hold of them; forgotten lanes have no row any more."""
    done = {key: ranges.copy() for key, ranges in expected.done.items()}
    for row in await connection.fetch(SQL["dead_numbers"]):
        done.setdefault((row["shard"], row["lane"]), Ranges()).add(
            row["number"], row["number"] + row["events"]
        )
    compared = Compared("lanes")
    for row in await connection.fetch(SQL["lanes_done"]):
        compared.rows += 1
        have = Ranges((each.lower, each.upper) for each in row["done"])
        want = done.get((row["shard"], row["lane"]), Ranges())
        # A stray was forgotten once: its row holds what came since.
        if have != want and not (row["stray"] and all(want.covers(*each) for each in have)):
            name = f"lanes shard {row['shard']} lane {row['lane'].hex()}"
            compared.differences.append(f"{name}: done is {list(have)}, the event log holds {list(want)}")
    for row in await connection.fetch(SQL["lanes_unforgettable"], max_lateness):
        name = f"lanes shard {row['shard']} lane {row['lane'].hex()}"
        compared.differences.append(f"{name} is missing, and too young to have been forgotten")
    return compared


async def _compare_dead_letters(
    connection: Connection, expected: Recount, leaving: frozenset[int]
) -> Compared:
    """Every event that the log holds as refused is kept or counted among the dead letters, but those of deleted tenants."""
    since = await connection.fetchval(SQL["rejected_kept_from"])
    want: Counter[tuple[int, str]] = Counter()
    for (tenant_id, hour, outcome), count in expected.ledger.items():
        rejected = outcome.name == "rejected" and outcome.reason != "tenant_deleted" and hour >= since
        if rejected or outcome.name == "dead_lettered":
            want[tenant_id, outcome.reason] += count
    rows = await connection.fetch(SQL["dead_events"], since)
    have: Counter[tuple[int, str]] = Counter()
    for row in rows:
        have[row["tenant_id"], row["reason"]] += row["events"]
    compared = Compared("dead_letters", sum(have.values()))
    for tenant_id, reason in sorted(want.keys() | have.keys()):
        if tenant_id not in leaving and want[tenant_id, reason] != have[tenant_id, reason]:
            name = f"dead_letters tenant {tenant_id} {reason}"
            compared.differences.append(
                f"{name}: {have[tenant_id, reason]} events, the event log gives {want[tenant_id, reason]}"
            )
    return compared


async def _remember(
    connection: Connection,
    revisions: dict[int, int],
    tenants: Tenants,
    expected: Rows,
    positions: Sequence[Record],
    result: Verification,
) -> None:
    at = orjson.dumps({str(row["shard"]): [row["position_ms"], row["position_seq"]] for row in positions})
    days: dict[int, list[int]] = {}
    for name in expected:
        if name.grain == "d":
            days.setdefault(name.tenant_id, []).append(name.bucket)
    for tenant_id, tenant in tenants.by_id.items():
        if tenant.name in tenants.deleting:
            continue
        buckets = days.get(tenant_id)
        first = tenant.scope.calendar.date_of(min(buckets)) if buckets else None
        last = tenant.scope.calendar.date_of(max(buckets)) if buckets else None
        await connection.execute(
            SQL["verification_store"],
            tenant_id,
            first,
            last,
            at.decode(),
            len(result.differences),
            revisions[tenant_id],
        )


def _name(name: RowName, tenants: Tenants) -> str:
    tenant = tenants.by_id.get(name.tenant_id)
    calendar = tenant.scope.calendar if tenant else None
    bucket = calendar.local_iso(name.bucket) if calendar else str(name.bucket)
    owner = tenant.name if tenant else str(name.tenant_id)
    return f"tenant {owner} metric {name.metric} {list(name.dimensions)} at {bucket}"
