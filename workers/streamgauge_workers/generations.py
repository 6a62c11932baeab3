"""Layouts of streams: changing the number of shards begins a new generation, which workers read beside the older ones.

A shard's number in the tables is never used again, so what it counted stays. Within its generation it has another number, which names
its stream. Producers go over to the new generation one after the other, as they are restarted; what they have sent to an older one is
read until that is retired.

Each generation has one stream more than shards: the overflow, numbered behind them, for what is above a tenant's quota.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streamgauge.database import Connection
from streamgauge.errors import InputError, SettingsError
from streamgauge.settings import Settings
from streamgauge_workers.queries import SQL

LOCK = 0x53474745  # "SGGE"; one change at a time
MOST_SHARDS = 64


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard, and which stream it reads."""

    shard: int
    generation: int
    number: int  #: of the stream within its generation
    shards: int  #: how many there are in its generation, the overflow apart
    overflow: bool = False  #: whether it holds what was above tenants' quotas


@dataclass(frozen=True, slots=True)
class Generation:
    """One layout of streams."""

    generation: int
    shards: int  #: without the overflow
    retired_at: datetime | None


async def listed(connection: Connection) -> list[Generation]:
    """All of them, oldest first; the last one is what producers are to send to."""
    return [Generation(*row) for row in await connection.fetch(SQL["generations"])]


async def agree(connection: Connection, settings: Settings) -> None:
    """Begin the first generation, unless there is one already. Raises SettingsError for a generation or number that is not there."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        known = await listed(connection)
        if not known:
            await _begin(connection, settings.generation, settings.shards)
            return
    mine = next((each for each in known if each.generation == settings.generation), None)
    if mine is None:
        numbers = ", ".join(str(each.generation) for each in known)
        raise SettingsError(
            f"STREAMGAUGE_GENERATION is {settings.generation}, and there is none of that number: set it to one of {numbers}, "
            "as `streamgauge shards` says"
        )
    if mine.shards != settings.shards:
        raise SettingsError(
            f"STREAMGAUGE_SHARDS is {settings.shards}, and {mine.shards} in the database for generation {mine.generation}: set "
            f"STREAMGAUGE_SHARDS={mine.shards}; `streamgauge shards change {settings.shards}` begins another generation"
        )


async def to_send_to(connection: Connection, settings: Settings) -> list[int]:
    """The shards, by number, of the generation that the settings name; for whoever sends to it and looks for it in the tables.

    Raises SettingsError when there is no such generation, when it has another number of shards, or when nobody reads it any more.
    """
    await agree(connection, settings)
    rows = await connection.fetch(SQL["generation_shards"], settings.generation)
    if not rows:
        raise SettingsError(
            f"STREAMGAUGE_GENERATION is {settings.generation}, which is retired: set it and STREAMGAUGE_SHARDS to what "
            "`streamgauge shards` says"
        )
    return [row["shard"] for row in rows]


async def change(connection: Connection, shards: int) -> Generation:
    """Begin a generation with that many shards; workers read it within a second or so.

    Raises InputError when the number is out of range or the newest generation has it, or when there is no generation yet.
    """
    if not 1 <= shards <= MOST_SHARDS:
        raise InputError(f"there may be 1 to {MOST_SHARDS} shards, not {shards}", "shards")
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        known = await listed(connection)
        if not known:
            raise InputError(
                "no worker has run yet: set STREAMGAUGE_SHARDS before the first one does", "shards"
            )
        newest = known[-1]
        if newest.shards == shards:
            raise InputError(f"generation {newest.generation} has {shards} shards already", "shards")
        await _begin(connection, newest.generation + 1, shards)
    return Generation(newest.generation + 1, shards, None)


async def mark_retired(connection: Connection, generation: int) -> None:
    """Nobody is to read it from now on: workers stop within a turn, and what they still try to commit is refused (rule P5)."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        await connection.execute(SQL["generation_retire"], generation)


async def reopen(connection: Connection, generation: int) -> None:
    """Have it read again: its streams from the beginning, of which nothing counts twice. Raises InputError when it is unknown."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        _known(await listed(connection), generation)
        await connection.execute(SQL["generation_reopen"], generation)


def chosen(known: Sequence[Generation], generation: int | None) -> Generation:
    """The generation to retire: the given one, or else the oldest that is read.

    Raises InputError when it is unknown or retired, or the newest, which producers are to send to.
    """
    read = [each for each in known if each.retired_at is None]
    if generation is None and len(read) > 1:
        return read[0]
    if generation is None or (read and generation == read[-1].generation):
        raise InputError(
            "the newest generation cannot be retired: `streamgauge shards change NUMBER` begins another first",
            "generation",
        )
    found = _known(known, generation)
    if found.retired_at is not None:
        raise InputError(f"generation {generation} is retired already", "generation")
    return found


def _known(known: Sequence[Generation], generation: int) -> Generation:
    for each in known:
        if each.generation == generation:
            return each
    raise InputError(f"there is no generation {generation}; `streamgauge shards` lists them", "generation")


async def _begin(connection: Connection, generation: int, shards: int) -> None:
    await connection.execute(SQL["generation_begin"], generation, shards)
    for name, value in (("shards", shards), ("generation", generation)):
        await connection.execute(SQL["installation_set"], name, str(value))
