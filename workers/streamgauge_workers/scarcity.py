"""What the shards of one process do when PostgreSQL gives it fewer connections than they need: they take turns.

A shard works with two connections and keeps them, until another one of the process was refused its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import structlog

from streamgauge.database import Connection, Pool

TURN = 2.0  # seconds that a shard works while others wait
PAUSE = 0.2  # seconds between two tries; whoever had its turn leaves the others several
TOLD_EVERY = 60.0  # seconds

log = structlog.get_logger(__name__)


class Scarcity:
    """Which shards of one process wait for connections."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds that never go back."""
        self.clock = clock
        self.waiting: set[int] = set()
        self.told = float("-inf")

    def is_over(self, since: float) -> bool:
        """Whether a shard that has had its connections since then is to leave them to others."""
        return bool(self.waiting) and self.clock() >= since + TURN

    async def rest(self, stopping: asyncio.Event) -> None:
        """Leave the connections to those who wait, after a turn of one's own."""
        await _sleep(stopping, 3 * PAUSE)

    @asynccontextmanager
    async def pair(
        self, pool: Pool, shard: int, stopping: asyncio.Event
    ) -> AsyncIterator[tuple[Connection, Connection] | None]:
        """Two connections, as soon as they can be had; None when the shard is to stop before that."""
        async with AsyncExitStack() as stack:
            found = None
            try:
                while found is None and not stopping.is_set():
                    found = await self._try(stack, pool, shard)
                    if found is None:
                        await _sleep(stopping, PAUSE)
            finally:
                self.waiting.discard(shard)
            yield found

    async def _try(
        self, stack: AsyncExitStack, pool: Pool, shard: int
    ) -> tuple[Connection, Connection] | None:
        async with AsyncExitStack() as own:
            try:
                one = await own.enter_async_context(pool.acquire())
                two = await own.enter_async_context(pool.acquire())
            except asyncpg.TooManyConnectionsError as error:
                self._refused(shard, error)
                return None
            stack.push_async_exit(own.pop_all())
            return one, two

    def _refused(self, shard: int, error: asyncpg.TooManyConnectionsError) -> None:
        self.waiting.add(shard)
        if self.clock() >= self.told + TOLD_EVERY:
            self.told = self.clock()
            log.warning(
                "PostgreSQL takes no more connections: shards take turns with those there are; raise max_connections or the "
                "role's limit, two for each shard and a few more",
                detail=str(error),
                waiting=sorted(self.waiting),
            )


async def _sleep(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
