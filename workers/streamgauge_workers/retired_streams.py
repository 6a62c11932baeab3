"""Looks whether somebody still sends to a generation that was retired: a spool that came late, or a host that nobody restarted.

Nothing of it is lost while its streams hold it, and nobody counts it until the generation is reopened.
"""

import asyncio

import structlog

from streamgauge.database import Pool
from streamgauge.logs import redacted
from streamgauge.stream import StreamPort
from streamgauge_workers import metrics
from streamgauge_workers.queries import SQL

EVERY = 60.0  # seconds

log = structlog.get_logger(__name__)


class RetiredStreams:
    """One worker's look at them; every worker tells the same."""

    def __init__(self, stream: StreamPort, pool: Pool, stopping: asyncio.Event) -> None:
        self.stream = stream
        self.pool = pool
        self.stopping = stopping
        #: Entries by generation, at the last look.
        self.found: dict[int, int] = {}

    async def run(self) -> None:
        """Look now and then, until stopped. Raises nothing but cancellation."""
        while not self.stopping.is_set():
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - there is a next time
                log.info("retired streams not looked at", detail=redacted(str(error) or type(error).__name__))
            try:
                await asyncio.wait_for(self.stopping.wait(), EVERY)
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Count their entries, and say so when there are more than before. Raises what the servers raise."""
        async with self.pool.acquire() as connection:
            rows = await connection.fetch(SQL["generations_retired"])
        numbers: dict[int, list[int]] = {}
        for row in rows:
            numbers.setdefault(row["generation"], []).append(row["number"])
        for gone in self.found.keys() - numbers.keys():  # it was reopened
            del self.found[gone]
            metrics.RETIRED_ENTRIES.remove(str(gone))
        for generation, shards in numbers.items():
            entries = await self._count(generation, shards)
            metrics.RETIRED_ENTRIES.labels(str(generation)).set(entries)
            if entries > self.found.get(generation, 0):
                log.warning(
                    "somebody sends to a generation that is retired, and nobody counts it: run `streamgauge shards reopen "
                    f"{generation}`, and restart the senders with the newest generation",
                    generation=generation,
                    entries=entries,
                )
            self.found[generation] = entries

    async def _count(self, generation: int, shards: list[int]) -> int:
        stream = self.stream.of_generation(generation, len(shards))
        try:
            return sum([await stream.length(shard) for shard in shards])
        finally:
            await stream.aclose()
