"""`streamgauge up`: local servers, schema, API, worker and the example school under one roof, until Ctrl-C."""

import asyncio
import contextlib
import errno
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from streamgauge.errors import SettingsError
from streamgauge_cli import demo, session
from streamgauge_cli.supervisor import Supervisor
from streamgauge_local.credentials import local_keys
from streamgauge_local.ownership import prepare_directory
from streamgauge_local.stack import open_stack
from streamgauge_migrations import migrate

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
    with_demo: Annotated[
        bool,
        typer.Option(
            "--demo/--no-demo",
            help="Start the example school, with demo traffic of a tenant of its own, on the port above the API's.",
        ),
    ] = True,
) -> None:
    """Start everything: servers, schema, API, dashboard, worker and an example. Ctrl-C stops it.

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
    with_demo = with_demo and demo.is_there()
    if with_demo:
        check_port(demo.host_of(settings), demo.port_of(settings), demo.ADVICE)
    with _cancelled_by_signals(), contextlib.suppress(asyncio.CancelledError):
        async with open_stack(settings, "up") as endpoints:
            await migrate(endpoints.database_url)
            tenants = [settings.tenant, *([demo.TENANT] if with_demo else [])]
            keys = await keys_to_read(endpoints.database_url, settings.data_dir, tenants)
            await Supervisor(settings, endpoints, keys, with_demo).run(began)


async def keys_to_read(database_url: str, data_dir: Path, tenants: Iterable[str]) -> dict[str, str]:
    """A key for each tenant's dashboard. Makes tenants that are missing: before anybody can send events of theirs."""
    directory = prepare_directory(data_dir)
    return {tenant: (await local_keys(database_url, directory, tenant)).read for tenant in tenants}


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
