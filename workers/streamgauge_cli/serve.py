"""`streamgauge serve`: the API server."""

import asyncio
import contextlib
import dataclasses
import socket
from functools import partial
from typing import Annotated

import typer
import uvicorn

from streamgauge import logs
from streamgauge.errors import ServerError
from streamgauge.server import create_server
from streamgauge_cli import session
from streamgauge_cli.listening import listen, stop_signals
from streamgauge_cli.waiting import Waiting
from streamgauge_migrations import require_current

GRACE = 10  # seconds that requests get to end


async def serve(
    port: Annotated[int | None, typer.Option(help="Port to listen on. (default: 8400)")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. (default: 127.0.0.1)")] = None,
) -> None:
    """Serve the API and the dashboard, and take events, until Ctrl-C or SIGTERM.

    /health/live and /health/ready tell how it is, /metrics is for Prometheus. It waits for PostgreSQL when that is away.
    """
    settings = session.settings(port=port, host=host)
    logs.configure(settings.log_level)
    stopping, waiting = Stopping(), Waiting()
    with (
        listen(settings.host, settings.port, "--port") as listener,
        stop_signals(stopping.gracefully, stopping.at_once),
        contextlib.suppress(asyncio.CancelledError),
    ):
        async with contextlib.AsyncExitStack() as stack:
            endpoints = await waiting.until_there(
                lambda: stack.enter_async_context(session.servers(settings)),
                partial(_telling, listener, waiting),
            )
            known = dataclasses.replace(
                settings, redis_url=endpoints.redis_url, database_url=endpoints.database_url
            )
            await stopping.serve(
                Server(
                    uvicorn.Config(
                        create_server(known, require_current),
                        log_config=None,
                        access_log=False,
                        server_header=False,
                        # Who is believed is said by STREAMGAUGE_TRUSTED_PROXIES alone.
                        proxy_headers=False,
                        lifespan="on",
                        timeout_graceful_shutdown=GRACE,
                    )
                ),
                listener,
            )


def _telling(listener: socket.socket, waiting: Waiting) -> contextlib.AbstractContextManager[object]:
    """Answers in the server's place that it is not ready, and why."""
    from prometheus_client import CollectorRegistry

    from streamgauge_workers.endpoint import Endpoint

    loop = asyncio.get_running_loop()
    return Endpoint(listener.dup(), loop, lambda: waiting.reason, CollectorRegistry())


class Server(uvicorn.Server):
    """uvicorn without its handling of signals, which are ours: it would raise each of them again after its end."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]  # a generator there
        """Leave signals alone."""
        return contextlib.nullcontext()


class Stopping:
    """What a signal does: before the server runs it ends the task, then it ends the server."""

    def __init__(self) -> None:
        self.task = asyncio.current_task()
        self.server: Server | None = None

    async def serve(self, server: Server, listener: socket.socket) -> None:
        """Run a server until it is stopped. Raises ServerError when it does not start."""
        self.server = server
        await server.serve(sockets=[listener])
        if not server.started:
            raise ServerError("the server did not start: its log says why")

    def gracefully(self) -> None:
        """Let requests end."""
        if self.server is not None:
            self.server.should_exit = True
        elif self.task is not None:
            self.task.cancel()

    def at_once(self) -> None:
        """Let nothing end."""
        if self.server is not None:
            self.server.force_exit = self.server.should_exit = True
