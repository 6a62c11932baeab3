"""A worker for as long as a command runs: the ones that are there, or one of our own in this process."""

import asyncio
import time
from types import TracebackType
from typing import Self

import structlog

from streamgauge import logs
from streamgauge.database import Connection, Pool
from streamgauge.settings import Settings
from streamgauge.stream import StreamPort
from streamgauge_imports.queries import SQL
from streamgauge_workers.worker import Worker, open_worker


class Attendance:
    """Sees to it that somebody applies what is sent."""

    def __init__(self, settings: Settings, redis_url: str, database_url: str, connection: Connection) -> None:
        self._settings = settings
        self._urls = redis_url, database_url
        self._connection = connection
        self._looked_at = float("-inf")
        self._own: tuple[Worker, Pool, StreamPort] | None = None
        self._task: asyncio.Task[None] | None = None

    async def ensure(self) -> None:
        """Start a worker unless one has been heard of within a lease's time. Cheap to call often.

        Raises what our own worker raised, should it have ended.
        """
        if self._task is not None:
            if self._task.done():
                self._task.result()
            return
        if time.monotonic() - self._looked_at < self._settings.lease_seconds:
            return
        self._looked_at = time.monotonic()
        if not await self._connection.fetchval(SQL["workers_present"], float(self._settings.lease_seconds)):
            await self._start()

    async def _start(self) -> None:
        if not structlog.is_configured():
            # To standard error: standard output is for the command's result.
            logs.configure("warning")
        self._own = await open_worker(self._settings, *self._urls)
        self._task = asyncio.create_task(self._own[0].run(), name="worker")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own is None or self._task is None:
            return
        worker, pool, stream = self._own
        worker.stop()
        # Its failure was raised by `ensure`, or comes too late to matter.
        await asyncio.gather(self._task, return_exceptions=True)
        await stream.aclose()
        await pool.close()
