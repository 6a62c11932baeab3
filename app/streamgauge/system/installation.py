"""A look at the whole installation beside its pipeline: PostgreSQL, Redis, and what waits in the streams.

What does not answer, or not in time, is None with a reason: a report of the rest is better than none.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

import asyncpg

from streamgauge.access.tenancy import platform_transaction
from streamgauge.database import Pool
from streamgauge.errors import ServerError
from streamgauge.logs import redacted
from streamgauge.read.pipeline import Pipeline, PipelineState
from streamgauge.redis_connections import translated
from streamgauge.redis_nodes import RedisNodes
from streamgauge.sql import named_queries
from streamgauge.stream import Backlog

FRESH: Final = 5.0  # seconds for which a look is good enough for the next caller too
PATIENCE: Final = 3.0  # seconds for each part

SQL = named_queries("streamgauge.system")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DatabaseSeen:
    """PostgreSQL. `bytes`: of this database, None where its size may not be asked for."""

    version: str
    bytes: int | None
    connections_used: int
    connections_allowed: int
    hour: datetime  #: the last full UTC hour
    processed: int  #: events of all tenants in it


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one Redis server, or of one primary of a cluster, in bytes. `limit_bytes` is null where it has no limit."""

    used_bytes: int
    limit_bytes: int | None


@dataclass(slots=True)
class InstallationState:
    """One look. `reasons` says of each part that is None why it is."""

    pipeline: PipelineState
    database: DatabaseSeen | None = None
    memory: tuple[Memory, ...] | None = None
    #: By shard.
    backlogs: dict[int, Backlog] | None = None
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def redis_answers(self) -> bool:
        """Whether Redis did, to either question."""
        return self.pipeline.streams or self.memory is not None


class Installation:
    """Looks at most every FRESH seconds, however many ask."""

    def __init__(self, pool: Pool, pipeline: Pipeline, redis_url: str) -> None:
        self.pool = pool
        self.pipeline = pipeline
        self.nodes = RedisNodes(redis_url, PATIENCE)
        self.state = InstallationState(PipelineState())
        self.looked_at = float("-inf")
        self.looking = asyncio.Lock()

    async def look(self) -> InstallationState:
        """The state, asked for anew unless the last answer is fresh. Never raises for a server that is away."""
        async with self.looking:
            if time.monotonic() - self.looked_at >= FRESH:
                state = InstallationState(PipelineState())
                # At the same time: a server that hangs costs one wait, not one for each question.
                state.pipeline, state.database, state.memory = await asyncio.gather(
                    self.pipeline.look(),
                    self._try(state, "database", self._database),
                    self._try(state, "redis", self._memory),
                )
                state.backlogs = await self._try(state, "queue", lambda: self._backlogs(state.pipeline))
                self.state, self.looked_at = state, time.monotonic()
        return self.state

    async def aclose(self) -> None:
        """Close its connections to Redis."""
        await self.nodes.aclose()

    async def _try(self, state: InstallationState, part: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await ask()
        except TimeoutError:
            state.reasons[part] = f"no answer within {PATIENCE:.0f} seconds"
        except (ServerError, asyncpg.PostgresError) as error:
            state.reasons[part] = redacted(str(error))
        return None

    async def _database(self) -> DatabaseSeen:
        async with platform_transaction(self.pool) as connection:
            server = await connection.fetchrow(SQL["database"])
            processed = await connection.fetchrow(SQL["processed"])
        assert server is not None  # noqa: S101 - a query without FROM has one row
        assert processed is not None  # noqa: S101 - as above
        return DatabaseSeen(*server, *processed)

    async def _memory(self) -> tuple[Memory, ...]:
        async with translated("ask"):
            found = [await self._info(each) for each in await self.nodes.primaries()]
        return tuple(found)

    async def _info(self, address: Any) -> Memory:
        info = await self.nodes.client(address).info("memory")
        return Memory(int(info["used_memory"]), int(info.get("maxmemory", 0)) or None)

    async def _backlogs(self, pipeline: PipelineState) -> dict[int, Backlog]:
        if not pipeline.database:
            raise ServerError("how far the streams are read is not known: PostgreSQL does not answer")
        if pipeline.positions and not pipeline.streams:
            raise ServerError("the streams cannot be looked at: Redis does not answer")
        found = {}
        for shard, (generation, number, position) in pipeline.positions.items():
            # The pipeline has looked at all of them, and so opened those of every generation.
            found[shard] = await self.pipeline.streams[generation].backlog(number, position)
        return found
