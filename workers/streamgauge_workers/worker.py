"""The worker process: leases shards, runs a loop for each, stops cleanly."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import asyncpg.pool
import structlog

from streamgauge.catalogue import CATALOGUE, load_catalogue
from streamgauge.database import UNREACHABLE, Pool, open_pool, unreachable
from streamgauge.logs import redacted
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge.stream import StreamPort
from streamgauge.summaries.rollups import Catalogue
from streamgauge_workers import generations, metrics
from streamgauge_workers.erasure import Erasure
from streamgauge_workers.generations import MOST_SHARDS, Shard
from streamgauge_workers.installation import agree
from streamgauge_workers.leases import Leases, session_name
from streamgauge_workers.pacing import Pacing
from streamgauge_workers.queries import SQL
from streamgauge_workers.retention.retention import Retention
from streamgauge_workers.retired_streams import RetiredStreams
from streamgauge_workers.scarcity import Scarcity
from streamgauge_workers.shard_worker import ShardWorker
from streamgauge_workers.tenants import Tenants

PATIENCE = 90.0  # seconds for one statement; more than a lock may be waited for
ABANDONED = "30s"  # far more than anything is computed in within a transaction
#: A shard takes two connections. They are opened as they are needed, and generations may come.
CONNECTIONS = 2 * 2 * MOST_SHARDS + 2

log = structlog.get_logger(__name__)


class Worker:
    """Applies the shards it holds leases of, until `stop` is called."""

    def __init__(
        self,
        stream: StreamPort,
        pool: Pool,
        settings: Settings,
        catalogue: Catalogue = CATALOGUE,
        worker_id: UUID | None = None,
    ) -> None:
        """`worker_id`: the one that the pool's sessions are named after."""
        self.stream = stream
        self.streams = {stream.generation: stream}
        self.pool = pool
        self.settings = settings
        self.catalogue = catalogue
        self.tenants = Tenants()
        self.pacing = Pacing()
        self.scarcity = Scarcity()
        #: For the leases alone: the last thing to be without a connection when PostgreSQL takes no more.
        self.connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | None = None
        self.leases = Leases(settings.lease_seconds, worker_id)
        self.tasks: dict[int, tuple[ShardWorker, asyncio.Task[None]]] = {}
        self.leaving: set[asyncio.Task[None]] = set()
        self.stopping_shards: set[int] = set()
        self.stopping = asyncio.Event()
        self.prepared = False

    def stop(self) -> None:
        """Finish the batches under way, give the shards back, return from `run`. Calling it twice is fine."""
        self.stopping.set()

    async def prepare(self) -> None:
        """Look whether the servers can keep the contract, and agree with the others on the layout; `run` does it if need be.

        Raises UnreachableError when one is away, ServerError or SettingsError when something has to be changed first.
        """
        await self.stream.check_server()
        try:
            async with self.pool.acquire() as connection:
                await agree(connection, self.settings)
                await generations.agree(connection, self.settings)
                await connection.execute(SQL["workers_forget"])
        except UNREACHABLE as error:
            raise unreachable(error) from error
        self.prepared = True

    async def run(self) -> None:
        """Work until stopped. Raises what `prepare` raises."""
        if not self.prepared:
            await self.prepare()
        log.info("worker started", worker=str(self.leases.worker_id), shards=self.stream.shards)
        erasure = asyncio.create_task(
            Erasure(self.pool, self.settings, self.stopping).run(), name="deletions"
        )
        retention = asyncio.create_task(
            Retention(self.pool, self.settings, self.catalogue, self.stopping).run(), name="retention"
        )
        retired = asyncio.create_task(
            RetiredStreams(self.stream, self.pool, self.stopping).run(), name="retired streams"
        )
        try:
            while not self.stopping.is_set():
                await self._turn()
                try:
                    await asyncio.wait_for(self.stopping.wait(), self.leases.pause)
                except TimeoutError:
                    continue
        finally:
            self.stopping.set()
            await asyncio.gather(erasure, retention, retired)
            await self._leave()

    async def _turn(self) -> None:
        try:
            if self.connection is None:
                self.connection = await self.pool.acquire(timeout=self.settings.lease_seconds)
            wanted = await self.leases.turn(self.connection)
        except Exception as error:  # noqa: BLE001 - the next turn tries again
            # Leases that run out are taken by others; the token keeps this worker's late commits out.
            log.warning("leases not renewed", error=type(error).__name__, detail=redacted(str(error)))
            await self._part()
            return
        for shard in sorted((self.leases.held - wanted.keys()) & self.tasks.keys() - self.stopping_shards):
            self.stopping_shards.add(shard)
            # Beside the next turns: a batch that waits must not keep the other leases from being renewed.
            leaving = asyncio.create_task(self._stop_shard(shard), name=f"leave shard {shard}")
            self.leaving.add(leaving)
            leaving.add_done_callback(self.leaving.discard)
        for shard in sorted(wanted - self.tasks.keys()):
            stream, number = self._stream_of(wanted[shard]), wanted[shard].number
            worker = ShardWorker(
                shard, stream, self.pool, self.tenants, self.catalogue, self.settings, number, self.pacing,
                wanted[shard].overflow, self.scarcity,
            )  # fmt: skip
            self.tasks[shard] = worker, asyncio.create_task(worker.run(), name=f"shard {shard}")
            log.info("shard taken", shard=shard)
        self.leases.held = set(wanted)
        metrics.SHARDS.set(len(wanted))

    async def _part(self) -> None:
        """Give the leases' connection back to the pool, which looks whether it is still good."""
        connection, self.connection = self.connection, None
        if connection is not None:
            try:
                await self.pool.release(connection, timeout=self.settings.lease_seconds)
            except Exception as error:  # noqa: BLE001 - the pool has thrown it away
                log.info("connection thrown away", error=type(error).__name__)

    def _stream_of(self, shard: Shard) -> StreamPort:
        if shard.generation not in self.streams:
            opened = self.stream.of_generation(shard.generation, shard.shards)
            self.streams[shard.generation] = opened
        return self.streams[shard.generation]

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
        await self._part()
        for stream in self.streams.values():
            if stream is not self.stream:
                await stream.aclose()
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
    worker_id = uuid4()
    pool = await open_pool(
        database_url,
        CONNECTIONS,
        PATIENCE,
        synchronous_commit="off",
        lock_timeout="60s",
        application_name=session_name(worker_id),
        # Should nobody be left who ends them (see Leases.turn).
        idle_in_transaction_session_timeout=ABANDONED,
    )
    stream = RedisStream(redis_url, settings.stream_prefix, settings.generation, settings.shards)
    return Worker(stream, pool, settings, load_catalogue(settings), worker_id), pool, stream
