"""How long entries waited: from their append, which their ids tell, to the commit that applied them, which PostgreSQL notes exactly."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

from streamgauge.database import Connection
from streamgauge.entry import BEGINNING, Batch
from streamgauge.redis_stream import RedisStream
from tests.faults.ground import Ground
from tests.faults.load import SHARDS, STREAMS

_MOST_READ = 10_000  # entries at once
_COMMITS = """
SELECT lane, first, n, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 * 1000 AS committed,
       ARRAY(SELECT name FROM tenants t WHERE t.tenant_id = ANY (e.tenants)) AS tenants
FROM event_log e"""


class Passage(NamedTuple):
    """An entry's way through a stream. Moments are Unix milliseconds of this machine's clock, whoever read it."""

    stream: int
    tenants: frozenset[str]
    events: int
    appended: float
    committed: float

    @property
    def lag(self) -> float:
        """Milliseconds from append to commit."""
        return self.committed - self.appended


Window = tuple[float, float]


def within(passages: Iterable[Passage], windows: Iterable[Window]) -> list[Passage]:
    """Those that were appended in one of some spans of time."""
    spans = list(windows)
    return [each for each in passages if any(begin <= each.appended < end for begin, end in spans)]


async def passages(redis_url: str, connection: Connection) -> list[Passage]:
    """All entries that are applied, and still in their streams. PostgreSQL has to note moments of commits: see `noting_commits`."""
    appended: dict[tuple[bytes, int], tuple[int, int]] = {}
    stream = RedisStream(redis_url, "streamgauge", 0, SHARDS)
    try:
        for number in range(STREAMS):
            for lane, first, at in await _batches(stream, number):
                # Sent twice: the first has been waiting for longer.
                appended.setdefault((lane, first), (number, at))
    finally:
        await stream.aclose()
    return [
        Passage(place[0], frozenset(row["tenants"]), row["n"], place[1], row["committed"])
        for row in await connection.fetch(_COMMITS)
        if (place := appended.get((row["lane"], row["first"]))) is not None
    ]


async def _batches(stream: RedisStream, number: int) -> list[tuple[bytes, int, int]]:
    """Lane, first number and moment of every batch in a stream."""
    found: list[tuple[bytes, int, int]] = []
    reader, after = await stream.open_reader(number), BEGINNING
    try:
        while entries := (await reader.read(after, _MOST_READ, 1)).entries:
            found += [
                (record.lane, record.first, at.milliseconds)
                for at, record in entries
                if isinstance(record, Batch)
            ]
            after = entries[-1][0]
    finally:
        await reader.aclose()
    return found


@asynccontextmanager
async def noting_commits(ground: Ground) -> AsyncIterator[None]:
    """PostgreSQL, started again, notes when each transaction was committed; connections to it are gone."""
    await ground.execute("ALTER SYSTEM SET track_commit_timestamp = on")
    await ground.postgres.stop()
    await ground.postgres.start()
    try:
        yield
    finally:
        # It goes on until the next start, and harms nobody.
        await ground.execute("ALTER SYSTEM RESET track_commit_timestamp")
