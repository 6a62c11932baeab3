"""`streamgauge worker`: from the streams into the tables."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

import typer

from streamgauge import logs
from streamgauge.database import Pool
from streamgauge.settings import Settings
from streamgauge.stream import StreamPort
from streamgauge_cli import session
from streamgauge_cli.listening import listen, stop_signals
from streamgauge_cli.waiting import Waiting
from streamgauge_workers.endpoint import Endpoint
from streamgauge_workers.worker import Worker, open_worker

CLOSING = 5.0  # seconds that connections get to end


async def worker(
    port: Annotated[
        int | None,
        typer.Option(help="Port for /metrics and /health. 0 means none. (default: the server's + 2)"),
    ] = None,
) -> None:
    """Read the streams and write the summaries, until Ctrl-C or SIGTERM.

    A stop waits for the batch under way; a second one does not. Run as many workers as you like: they
    share the shards, and take over those of one that is gone. It waits for servers that are away.
    """
    settings = session.settings(worker_port=port or None)
    logs.configure(settings.log_level)
    stopping, waiting = Stopping(), Waiting()
    async with contextlib.AsyncExitStack() as stack:
        endpoint = None
        if port != 0:
            listener = stack.enter_context(
                listen(settings.host, settings.worker_port, "--port or STREAMGAUGE_WORKER_PORT")
            )
            endpoint = Endpoint(listener, asyncio.get_running_loop(), lambda: waiting.reason)
        stack.enter_context(stop_signals(stopping.gracefully, stopping.at_once))
        stack.enter_context(contextlib.suppress(asyncio.CancelledError))
        if endpoint is not None:
            stack.enter_context(endpoint)
        servers = await waiting.until_there(lambda: stack.enter_async_context(session.servers(settings)))
        opening = partial(_opened, settings, servers.redis_url, servers.database_url)
        running = await waiting.until_there(lambda: stack.enter_async_context(opening()))
        await waiting.until_there(running.prepare)
        if endpoint is not None:
            endpoint.worker = running
        await stopping.run(running)


class Stopping:
    """What a signal does: before the worker runs it ends the task, then it stops the worker."""

    def __init__(self) -> None:
        self.task = asyncio.current_task()
        self.worker: Worker | None = None

    async def run(self, worker: Worker) -> None:
        """Run a worker until it is stopped."""
        self.worker = worker
        await worker.run()

    def gracefully(self) -> None:
        """Finish the batches under way."""
        if self.worker is not None:
            self.worker.stop()
        elif self.task is not None:
            self.task.cancel()

    def at_once(self) -> None:
        """Leave the batches under way to whoever comes next: their transactions are rolled back."""
        for _, task in self.worker.tasks.values() if self.worker else ():
            task.cancel()
        if self.task is not None:
            self.task.cancel()


@contextlib.asynccontextmanager
async def _opened(settings: Settings, redis_url: str, database_url: str) -> AsyncIterator[Worker]:
    running, pool, stream = await open_worker(settings, redis_url, database_url)
    try:
        yield running
    finally:
        await _close(pool, stream)


async def _close(pool: Pool, stream: StreamPort) -> None:
    try:
        async with asyncio.timeout(CLOSING):
            await pool.close()
    except TimeoutError:
        pool.terminate()
    await stream.aclose()
