"""Boards in PostgreSQL. A rank is found without counting everybody who is ahead: levels tell how many have clearly more, and only
those of about the same score are counted one by one."""

from typing import Final

from streamgauge.database import Connection
from streamgauge.entities.standings import Frame, MemoryStandings, Rank, Score, Standings
from streamgauge.entities.stored import SQL
from streamgauge.errors import InputError
from streamgauge.summaries.histogram import bounds, bucket_of

MOST_MEMBERS: Final = 10_000  # of a group that is ranked by itself


class StoredStandings:
    """The boards of one tenant, of all its actors."""

    def __init__(self, connection: Connection, tenant_id: int) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def best(self, frame: Frame, limit: int) -> list[Score]:
        rows = await self._connection.fetch(SQL["best"], self._tenant_id, *frame, None, limit)
        return [Score(*row) for row in rows]

    async def participants(self, frame: Frame) -> int:
        return sum((await self._levels(frame)).values())

    async def rank(self, frame: Frame, actor: bytes) -> Rank | None:
        score = await self._connection.fetchval(SQL["score"], self._tenant_id, *frame, actor)
        if score is None:
            return None
        levels, own = await self._levels(frame), bucket_of(score)
        higher = sum(participants for level, participants in levels.items() if level > own)
        # Only scores of the actor's own level are left to be compared.
        ahead = await self._connection.fetchval(
            SQL["ahead"], self._tenant_id, *frame, score, actor, bounds(own)[1]
        )
        return Rank(higher + ahead + 1, sum(levels.values()), score)

    async def above(self, frame: Frame, of: Score, limit: int) -> list[Score]:
        return await self._near("above", frame, of, limit)

    async def below(self, frame: Frame, of: Score, limit: int) -> list[Score]:
        return await self._near("below", frame, of, limit)

    async def _near(self, query: str, frame: Frame, of: Score, limit: int) -> list[Score]:
        rows = await self._connection.fetch(SQL[query], self._tenant_id, *frame, of.score, of.actor, limit)
        return [Score(*row) for row in rows]

    async def _levels(self, frame: Frame) -> dict[int, int]:
        rows = await self._connection.fetch(SQL["levels"], self._tenant_id, *frame)
        return {row["level"]: row["participants"] for row in rows}


async def standings_of(
    connection: Connection, tenant_id: int, frame: Frame, actors: frozenset[bytes] | None
) -> Standings:
    """The boards among these actors (None: everybody). Raises InputError for a group that is too large to be ranked by itself."""
    if actors is None:
        return StoredStandings(connection, tenant_id)
    rows = await connection.fetch(SQL["best"], tenant_id, *frame, sorted(actors), MOST_MEMBERS + 1)
    if len(rows) > MOST_MEMBERS:
        raise InputError(f"the group has more than {MOST_MEMBERS} participants: leave the group out", "group")
    return MemoryStandings({frame: {row["actor"]: row["score"] for row in rows}})
