"""Dead letters in the database: found, taken for a replay, discarded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from asyncpg import Record

from streamgauge.database import Connection
from streamgauge.sql import named_queries

SQL = named_queries("streamgauge.dead_letters")
State = Literal["open", "replayed", "discarded"]
MOST_AT_ONCE: Final = 1_000  #: letters of one transaction


@dataclass(frozen=True, slots=True)
class Whose:
    """Letters of everybody, of one tenant, or of none: entries that could not be read, events of unknown tenants."""

    everybody: bool = False
    tenant_id: int | None = None


EVERYBODY: Final = Whose(everybody=True)
NOBODY: Final = Whose()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of them; None: any. `since` to before `until`: when they were refused."""

    reason: str | None = None
    state: State | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: Sequence[int] | None = None
    before: int | None = None  #: ids lower than this one


async def listed(
    connection: Connection, whose: Whose, wanted: Wanted, limit: int, *, lock: bool = False
) -> list[Record]:
    """Letters, the newest first. With `lock` nobody else decides about them before the transaction ends."""
    query = SQL["letters"] + (" FOR UPDATE OF d" if lock else "")
    return await connection.fetch(
        query, whose.everybody, whose.tenant_id, wanted.reason, wanted.state, wanted.since, wanted.until,
        wanted.ids, wanted.before, limit,
    )  # fmt: skip


async def contents(connection: Connection, ids: Sequence[int]) -> dict[int, Record]:
    """What letters hold, by id."""
    return {row["dead_letter_id"]: row for row in await connection.fetch(SQL["contents"], ids)}


async def discard(connection: Connection, whose: Whose, wanted: Wanted, limit: int, by: str) -> list[Record]:
    """Remove what open letters hold; returns them as they were. Their rows and counts stay, so that ledgers stay true."""
    letters = await listed(connection, whose, wanted, limit, lock=True)
    found = [letter for letter in letters if letter["state"] == "open"]
    await connection.execute(SQL["discard"], [letter["dead_letter_id"] for letter in found], by)
    return found


def behind(wanted: Wanted, letters: Sequence[Record]) -> Wanted:
    """The same, from behind these on."""
    return replace(wanted, before=letters[-1]["dead_letter_id"])
