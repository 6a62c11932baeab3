"""Tallies in PostgreSQL, read in the caller's snapshot."""

from collections.abc import Collection
from typing import Final

import orjson
from asyncpg import Record

from streamgauge.database import Connection
from streamgauge.entities.tallies import EVER, By, Group, Saying, Span, Total, parts_of
from streamgauge.errors import InputError
from streamgauge.sql import named_queries
from streamgauge.summaries.tallies import Moment, State, TallyKey, merged

SQL = named_queries("streamgauge.entities")
MOST_ROWS: Final = 100_000  # of one statement: with as many, a report takes about a second


class StoredTallies:
    """The rows of one tenant, of `actors` (None: of everybody)."""

    def __init__(self, connection: Connection, tenant_id: int, actors: frozenset[bytes] | None) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._actors = None if actors is None else sorted(actors)

    async def states(
        self, tally: str, span: Span = EVER, *, part: str | None = None
    ) -> dict[TallyKey, State]:
        rows = await self._fetch("states", tally, span, part)
        return merged(map(_state, rows))

    async def totals(
        self, tally: str, by: Collection[By] = (), span: Span = EVER, *, part: str | None = None
    ) -> dict[Group, Total]:
        rows = await self._fetch("totals", tally, span, part, "bucket" in by, "actor" in by, parts_of(by))
        return {Group(row["bucket"], row["actor"], tuple(row["parts"])): _total(row) for row in rows}

    async def sayings(
        self,
        tally: str,
        property: str,
        at_least: int,
        by: Collection[By] = (),
        span: Span = EVER,
        *,
        part: str | None = None,
    ) -> dict[Group, Saying]:
        rows = await self._fetch(
            "sayings", tally, span, part, "actor" in by, parts_of(by), property, at_least
        )
        return {
            Group(None, row["actor"], tuple(row["parts"])): Saying(
                row["entities"], row["actors"], int(row["sum"]), row["reached"]
            )
            for row in rows
        }

    async def _fetch(
        self, query: str, tally: str, span: Span, part: str | None, *arguments: object
    ) -> list[Record]:
        rows = await self._connection.fetch(
            SQL[query], self._tenant_id, tally, *span, self._actors, part, *arguments, MOST_ROWS + 1
        )
        if len(rows) > MOST_ROWS:
            raise InputError(
                f"there are more than {MOST_ROWS} rows of {tally}: ask for fewer days, or for a group", "days"
            )
        return rows


def _state(row: Record) -> tuple[TallyKey, State]:
    key = TallyKey(row["tenant_id"], row["tally"], row["bucket"], row["actor"], tuple(row["parts"]))
    return key, State(
        row["count"],
        tuple(int(each) for each in row["sums"]),
        tuple(row["greatest"]),
        Moment(row["first_at"], row["first_id"]),
        Moment(row["last_at"], row["last_id"]),
        orjson.loads(row["said"]),
    )


def _total(row: Record) -> Total:
    sums = tuple(int(each) for each in row["sums"] if each is not None)
    return Total(row["count"], row["actors"], row["entities"], sums, row["first_at"], row["last_at"])
