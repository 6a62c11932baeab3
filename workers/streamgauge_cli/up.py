"""`streamgauge up`: local servers, schema, API and worker under one roof, until Ctrl-C."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from streamgauge.errors import ServerError, SettingsError
from streamgauge.settings import Settings
from streamgauge_cli import session
from streamgauge_local import logs
from streamgauge_local.ownership import prepare_directory
from streamgauge_local.process import Process
from streamgauge_local.stack import Endpoints, open_stack

_READY_SECONDS = 60.0
_STOP_SECONDS = 15.0
_ROTATE_SECONDS, _LOOK_SECONDS = 60.0, 0.2
# How this machine reaches a server that listens on all addresses.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def up(
    port: Annotated[
        int | None, typer.Option(help="Port of the API and the dashboard. (default: 8400)")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. (default: 127.0.0.1)")] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Directory of local servers, keys and logs. (default: .streamgauge)"),
    ] = None,
) -> None:
    """Start everything: servers, schema, API, dashboard and worker. Ctrl-C stops it.

    Given servers (STREAMGAUGE_REDIS_URL, STREAMGAUGE_DATABASE_URL) are used; the others are
    started from the data directory. What the parts write goes to the folder `logs` in it.
    """
    began = time.monotonic()
    settings = session.settings(port=port, host=host, data_dir=data_dir)
    for number, advice in (
        (settings.port, "--port"),
        (settings.worker_port, "STREAMGAUGE_WORKER_PORT, or --port: the worker's follows it"),
    ):
        check_port(settings.host, number, advice)
    with _cancelled_by_signals(), contextlib.suppress(asyncio.CancelledError):
        from streamgauge_migrations import migrate

        async with open_stack(settings, "up") as endpoints:
            await migrate(endpoints.database_url)
            await Supervisor(settings, endpoints).run(began)


class Supervisor:
    """The server and the worker as children, and what happens when one of them, or a local server, ends."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._logs = prepare_directory(settings.data_dir) / "logs"
        self._children: list[Process] = []

    async def run(self, began: float) -> None:
        """Start both, say where they are, and stay until cancelled; `began` is when the user asked.

        Raises:
            ServerError: a child or a local server ended by itself. Everything else is stopped.
        """
        try:
            self._children = [self._child("serve"), self._child("worker")]
            await self._until_ready()
            self._announce(time.monotonic() - began)
            rotated = time.monotonic()
            while True:
                self._check()
                if time.monotonic() - rotated > _ROTATE_SECONDS:
                    rotated = time.monotonic()
                    for log in self._logs.glob("*.log"):
                        logs.rotate(log)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for child in self._children:
                await child.stop((signal.SIGTERM, _STOP_SECONDS))

    def _child(self, name: str) -> Process:
        log = self._logs / f"{name}.log"
        logs.rotate(log)
        command = [sys.executable, "-P", "-m", "streamgauge_cli.main", name]
        # By the kernel's kill when we are killed: both can be, and nothing is left of us to insist.
        return Process(name, command, log, environment=self._environment())

    def _environment(self) -> dict[str, str]:
        settings = self._settings
        return {
            **os.environ,
            "STREAMGAUGE_REDIS_URL": self._endpoints.redis_url,
            "STREAMGAUGE_DATABASE_URL": self._endpoints.database_url,
            # They run in "/": nothing may be relative to where we were called.
            "STREAMGAUGE_DATA_DIR": str(settings.data_dir.absolute()),
            "STREAMGAUGE_KEYRING": str(settings.keyring.absolute()),
            "STREAMGAUGE_HOST": settings.host,
            "STREAMGAUGE_PORT": str(settings.port),
            "STREAMGAUGE_WORKER_PORT": str(settings.worker_port),
            "PYTHONUNBUFFERED": "1",
        }

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not await is_ready(self._settings.host, self._settings.port):
            self._check()
            if time.monotonic() > deadline:
                output = self._children[0].output()
                raise ServerError(f"The server was not ready after {_READY_SECONDS:.0f} seconds:\n{output}")
            await asyncio.sleep(0.05)

    def _check(self) -> None:
        stack = self._endpoints.stack
        # A local server first: when one ends, the children end because of it.
        if stack is not None and (failure := stack.failure()):
            raise ServerError(failure)
        for child in self._children:
            if child.exit_code is not None:
                how = f"`streamgauge {child.name}` ended with exit code {child.exit_code}"
                raise ServerError(f"{how}; everything else was stopped. Its last lines:\n{child.output()}")

    def _announce(self, seconds: float) -> None:
        print(f"Streamgauge is at {base_url(self._settings.host, self._settings.port)}", flush=True)
        print(
            f"Ready in {seconds:.1f} s. {self._endpoints.details}. Logs in {self._logs}. Ctrl-C stops it.",
            flush=True,
        )


def base_url(host: str, port: int) -> str:
    """Where a browser on this machine finds the server."""
    reachable = _LOOPBACK.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def check_port(host: str, port: int, advice: str) -> None:
    """Raise SettingsError when a port cannot be listened on; `advice` is how to choose another."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.create_server(address[:2], family=family):
            return
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(f"Port {port} of {host} is taken: choose another with {advice}") from error
        reason = error.strerror or str(error)
        raise SettingsError(
            f"Cannot listen on port {port} of {host} ({reason}): choose another with {advice}"
        ) from error


async def is_ready(host: str, port: int) -> bool:
    """Whether the server answers `/health/ready` with 200."""
    reachable = _LOOPBACK.get(host, host)
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(reachable, port)
            try:
                writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split()[1:2] == [b"200"]


@contextlib.contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """Signals that ask for the end cancel the calling task, which stops what it started on its way out.

    A second one cancels the waiting there too: what is being stopped is then killed.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:
        raise RuntimeError("call it in a task")
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
