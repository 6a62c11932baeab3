"""What can go wrong with the servers of an installation, and how it ends."""

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from redis.asyncio import Redis

from benchmarks.installation import Installation
from streamgauge_local.process import servers_in


class Fault(NamedTuple):
    """Something that goes wrong, and its end."""

    name: str
    begin: Callable[[], Awaitable[None]]
    end: Callable[[], Awaitable[None]]


def faults(installation: Installation) -> list[Fault]:
    """All of them, the first being none."""
    valkey, postgres = installation.valkey, installation.postgres

    async def nothing() -> None:
        return

    async def kill() -> None:
        send(valkey.data_dir, signal.SIGKILL)

    async def start_again() -> None:
        await valkey.stop()
        await valkey.start()

    async def hang() -> None:
        send(valkey.data_dir, signal.SIGSTOP)

    async def go_on() -> None:
        send(valkey.data_dir, signal.SIGCONT)

    async def fill() -> None:
        await allow(1)

    async def make_room() -> None:
        await allow(0)

    async def allow(most_bytes: int) -> None:
        async with Redis.from_url(valkey.url()) as client:
            await client.config_set("maxmemory", most_bytes)

    return [
        Fault("none", nothing, nothing),
        Fault("Redis stopped", kill, start_again),
        Fault("Redis hung", hang, go_on),
        Fault("Redis full", fill, make_room),
        Fault("PostgreSQL stopped", postgres.stop, postgres.start),
    ]


def send(data_dir: Path, number: signal.Signals) -> None:
    """Send a signal to the server that works in this directory, which is the installation's own."""
    for process in servers_in(data_dir):
        os.kill(process, number)
