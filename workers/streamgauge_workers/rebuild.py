"""Fill rollups from the event log: after a new one was declared, or when `verify` found a difference.

Beside live traffic. The log is folded into a shadow of the summaries in one snapshot per shard; what was applied meanwhile is taken in
again and again until little is left; then one short transaction holds every shard's token (rule P5), takes in the rest and puts the
shadow in the place of the rows. Readers see all of the old rows or all of the new ones, workers wait for that transaction alone and then
read everything anew, and a rebuild that ends before its commit has changed nothing.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

import asyncpg

from streamgauge.catalogue import CATALOGUE
from streamgauge.database import Connection
from streamgauge.errors import InputError, ServerError
from streamgauge.summaries.rollups import Catalogue
from streamgauge_workers.deletion import take
from streamgauge_workers.rebuilding.filling import Filling
from streamgauge_workers.rebuilding.queries import SQL
from streamgauge_workers.rebuilding.shadow import Shadow
from streamgauge_workers.retention.archive import SQL as ARCHIVES
from streamgauge_workers.tenants import Tenants

FEW_EVENTS = 2_000  # little enough to be taken in while workers wait
MOST_ROUNDS = 20  # of catching up; more only if events come faster than they are folded
MOST_TRIES = 10  # at the tokens, when somebody holds one for longer than LONGEST_WAIT
LONGEST_WAIT = "2s"  # for a token, while the workers of shards already taken wait
_LOCK = 0x53475242  # "SGRB"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was rebuilt of one shard."""

    shard: int
    events: int


class Listener(Protocol):
    """Is told how far a rebuild is."""

    def taken(self, events: int) -> None:
        """So many more events are in the shadow."""
        ...

    def placed(self, seconds: float, events: int) -> None:
        """The shadow's rows are in place; workers waited so long, while these last events were taken in."""
        ...


class Nobody:
    """Does not want to know."""

    def taken(self, events: int) -> None:
        """See `Listener.taken`."""

    def placed(self, seconds: float, events: int) -> None:
        """See `Listener.placed`."""


async def rebuild(
    connection: Connection,
    aside: Connection,
    metrics: list[str],
    limit: int,
    catalogue: Catalogue = CATALOGUE,
    archives: Path | None = None,
    listener: Listener | None = None,
) -> list[Rebuilt]:
    """Rebuild these rollups, or all of them when none is named; returns what was read per shard.

    `archives`: the directory of archives, which hold what the log holds no more (Settings.archive_dir). `connection` and `aside` are
    used by nobody else meanwhile. The snapshots of the first pass keep PostgreSQL from vacuuming what is newer than they are.

    Raises InputError for an unknown rollup or a log with a tenant that is not there, FrameError for a damaged entry, ArchiveError for
    an archive that cannot be read, ServerError when another rebuild is under way or something it builds on was changed meanwhile;
    nothing is changed then.
    """
    known = catalogue.summaries
    if unknown := [metric for metric in metrics if metric not in known]:
        raise InputError(f"rollup {unknown[0]!r} is not declared; there are {', '.join(known)}", "rollup")
    chosen = Catalogue(
        catalogue.event_types,
        tuple(rollup for rollup in catalogue.rollups if rollup.metric in (metrics or known)),
        tuple(tally for tally in catalogue.tallies if tally.name in (metrics or known)),
        tuple(board for board in catalogue.boards if board.name in (metrics or known)),
    )
    shadow = Shadow(catalogue, chosen, not metrics, limit, Tenants())
    async with _turn(connection), shadow.tables(connection):
        filling = Filling(connection, aside, shadow, archives)
        await _fill(filling, listener or Nobody())
    return [Rebuilt(shard, events) for shard, events in sorted(filling.events.items())]


@asynccontextmanager
async def _turn(connection: Connection) -> AsyncIterator[None]:
    if not await connection.fetchval(SQL["rebuild_turn"], _LOCK):
        raise ServerError("another rebuild of this database is under way: wait for its end, then try again")
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute(SQL["rebuild_done"], _LOCK)


async def _fill(filling: Filling, listener: Listener) -> None:
    connection, shadow = filling.connection, filling.shadow
    alone = await _archived(connection)
    for row in await connection.fetch(SQL["shards_known"]):
        filling.events[row["shard"]] = 0
        listener.taken(await filling.begin(row["shard"]))
        filling.begin_anew()
    await connection.execute(SQL["shadow_measure"])
    for attempt in range(1, MOST_TRIES + 1):
        await _catch_up(filling, listener)
        before = filling.events.copy()
        try:
            await _take_place(filling, alone, listener)
            return
        except asyncpg.LockNotAvailableError:
            if attempt == MOST_TRIES:
                raise ServerError(
                    f"a transaction held a shard for longer than {LONGEST_WAIT}, {MOST_TRIES} times: nothing was changed; "
                    "look for long transactions, then run `streamgauge rebuild` again"
                ) from None
            shadow.tokens.held = False
            filling.events = before
            filling.begin_anew()


async def _catch_up(filling: Filling, listener: Listener) -> None:
    for _ in range(MOST_ROUNDS):
        async with filling.connection.transaction(isolation="repeatable_read"):
            events = await filling.go_on()
        listener.taken(events)
        if events <= FEW_EVENTS:
            return


async def _archived(connection: Connection) -> set[tuple[date, int, int]]:
    """Names of the archives that hold what the log holds no more."""
    rows = await connection.fetch(ARCHIVES["archives_alone"], None)
    return {(row["applied_day"], row["shard"], row["part"]) for row in rows}


async def _take_place(filling: Filling, alone: set[tuple[date, int, int]], listener: Listener) -> None:
    """The one transaction that workers wait for."""
    connection, shadow = filling.connection, filling.shadow
    async with connection.transaction():
        began = time.monotonic()
        await connection.execute(f"SET LOCAL lock_timeout = '{LONGEST_WAIT}'")
        await connection.execute(ARCHIVES["hold"])
        for shard in await connection.fetch(SQL["shards_known"]):
            # In this order everywhere.
            await take(connection, shard["shard"])
        if gone := await _archived(connection) - alone:
            raise ServerError(
                f"the log of {min(gone)[0]} was archived meanwhile: nothing was changed; run `streamgauge rebuild` again"
            )
        shadow.tokens.held = True
        rest = await filling.go_on()
        await shadow.settle(connection, filling.of)
        await shadow.take_place(connection)
        # Last, because ids of actors are given out on the other connection, which would wait for this lock.
        await connection.execute(SQL["rebuild_revisions"])
    listener.taken(rest)
    listener.placed(time.monotonic() - began, rest)
