"""The worker process: leases shards, runs a loop for each, stops cleanly."""

import asyncio

import structlog

from streamgauge.catalogue import CATALOGUE, load_catalogue
from streamgauge.database import Pool, open_pool
from streamgauge.logs import redacted
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge.stream import StreamPort
from streamgauge.summaries.rollups import Catalogue
from streamgauge_workers import metrics
from streamgauge_workers.erasure import Erasure
from streamgauge_workers.installation import WORKERS, agree
from streamgauge_workers.leases import Leases
from streamgauge_workers.queries import SQL
from streamgauge_workers.shard_worker import ShardWorker
from streamgauge_workers.tenants import Tenants

GENERATION = 0
PATIENCE = 90.0  # seconds for one statement; more than a lock may be waited for

log = structlog.get_logger(__name__)


class Worker:
    """Applies the shards it holds leases of, until `stop` is called."""

    def __init__(
        self, stream: StreamPort, pool: Pool, settings: Settings, catalogue: Catalogue = CATALOGUE
    ) -> None:
        self.stream = stream
        self.pool = pool
        self.settings = settings
        self.catalogue = catalogue
        self.tenants = Tenants()
        self.leases = Leases(settings.lease_seconds)
        self.tasks: dict[int, tuple[ShardWorker, asyncio.Task[None]]] = {}
        self.leaving: set[asyncio.Task[None]] = set()
        self.stopping_shards: set[int] = set()
        self.stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish the batches under way, give the shards back, return from `run`. Calling it twice is fine."""
        self.stopping.set()

    async def run(self) -> None:
        """Work until stopped. Raises ServerError when a server cannot keep the contract."""
        await self.stream.check_server()
        async with self.pool.acquire() as connection:
            await agree(connection, self.settings, WORKERS)
            for shard in range(self.stream.shards):
                await connection.execute(SQL["shard_create"], shard, self.stream.generation, shard)
            await connection.execute(SQL["workers_forget"])
        log.info("worker started", worker=str(self.leases.worker_id), shards=self.stream.shards)
        erasure = asyncio.create_task(
            Erasure(self.pool, self.settings, self.stopping).run(), name="deletions"
        )
        try:
            while not self.stopping.is_set():
                await self._turn()
                try:
                    await asyncio.wait_for(self.stopping.wait(), self.settings.lease_seconds / 4)
                except TimeoutError:
                    continue
        finally:
            self.stopping.set()
            await erasure
            await self._leave()

    async def _turn(self) -> None:
        try:
            async with self.pool.acquire(timeout=self.settings.lease_seconds) as connection:
                wanted = await self.leases.turn(connection)
        except Exception as error:  # noqa: BLE001 - the next turn tries again
            # Leases that run out are taken by others; the token keeps this worker's late commits out.
            log.warning("leases not renewed", error=type(error).__name__, detail=redacted(str(error)))
            return
        for shard in sorted((self.leases.held - wanted) & self.tasks.keys() - self.stopping_shards):
            self.stopping_shards.add(shard)
            # Beside the next turns: a batch that waits must not keep the other leases from being renewed.
            leaving = asyncio.create_task(self._stop_shard(shard), name=f"leave shard {shard}")
            self.leaving.add(leaving)
            leaving.add_done_callback(self.leaving.discard)
        for shard in sorted(wanted - self.tasks.keys()):
            worker = ShardWorker(shard, self.stream, self.pool, self.tenants, self.catalogue, self.settings)
            self.tasks[shard] = worker, asyncio.create_task(worker.run(), name=f"shard {shard}")
            log.info("shard taken", shard=shard)
        self.leases.held = wanted
        metrics.SHARDS.set(len(wanted))

    async def _stop_shard(self, shard: int) -> None:
        worker, task = self.tasks[shard]
        worker.stopping.set()
        await task
        try:
            async with self.pool.acquire() as connection:
                await self.leases.release(connection, shard)
        except Exception as error:  # noqa: BLE001 - it runs out by itself
            log.warning("lease not given back", shard=shard, error=type(error).__name__)
        del self.tasks[shard]
        self.stopping_shards.discard(shard)
        log.info("shard given back", shard=shard)

    async def _leave(self) -> None:
        for worker, _ in self.tasks.values():
            worker.stopping.set()
        await asyncio.gather(*[task for _, task in self.tasks.values()], *self.leaving)
        self.tasks = {}
        try:
            async with asyncio.timeout(self.settings.lease_seconds), self.pool.acquire() as connection:
                await self.leases.leave(connection)
        except Exception as error:  # noqa: BLE001 - they run out by themselves
            log.warning("leases not given back", error=type(error).__name__)
        log.info("worker stopped")


async def open_worker(
    settings: Settings, redis_url: str, database_url: str
) -> tuple[Worker, Pool, StreamPort]:
    """A worker with its connections, which the caller closes after `run`."""
    # A commit may be lost in a crash of PostgreSQL, together with its position: the stream holds both still (rule P8).
    pool = await open_pool(
        database_url, 2 * settings.shards + 2, PATIENCE, synchronous_commit="off", lock_timeout="60s"
    )
    stream = RedisStream(redis_url, settings.stream_prefix, GENERATION, settings.shards)
    return Worker(stream, pool, settings, load_catalogue(settings)), pool, stream
