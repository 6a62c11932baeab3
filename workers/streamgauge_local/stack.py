"""Both local servers over one data directory, and the one way commands get at servers: `open_stack`."""

import asyncio
import contextlib
import dataclasses
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Literal, Self

from streamgauge.errors import ServerError
from streamgauge.settings import Settings
from streamgauge_local.ownership import Ownership, Record, prepare_directory
from streamgauge_local.postgres import LocalPostgres
from streamgauge_local.valkey import LocalValkey

Role = Literal["command", "up"]
Prepare = Callable[[str], Awaitable[object]]
_SOCKET_PREFIX = "sg-"
# sockaddr_un holds 104 bytes on macOS and 108 on Linux; the longest name below is
# /postgres/.s.PGSQL.5432.lock
_LONGEST_TEMPORARY = 104 - len("/sg-xxxxxxxx/postgres/.s.PGSQL.5432.lock") - 1


@dataclasses.dataclass(frozen=True)
class Endpoints:
    """Where the servers are.

    `source` says whether the addresses were given, belong to servers another process runs, or to servers
    started for us (when at least one of them was). `database_is_ours` says that this process started
    PostgreSQL, and so answers for its schema.
    """

    redis_url: str
    database_url: str
    source: Literal["given", "running", "started"]
    details: str
    database_is_ours: bool = False
    stack: "Stack | None" = None


class Stack:
    """A PostgreSQL and a Valkey, or one of them, over a data directory.

    It takes no lock: use `open_stack` for a directory that others may use too.

    Args:
        data_dir: existing directory; the servers' data go below it.
        ephemeral: give up durability for speed. For tests.
        postgres, valkey: which to run.
    """

    def __init__(
        self, data_dir: Path, *, ephemeral: bool = False, postgres: bool = True, valkey: bool = True
    ) -> None:
        # PostgreSQL runs in "/", so nothing here may be relative.
        directory = data_dir.resolve()
        self.socket_dir = _make_socket_dir()
        logs = directory / "logs"
        self._postgres = (
            LocalPostgres(
                directory / "postgres",
                self.socket_dir / "postgres",
                logs / "postgres.log",
                ephemeral=ephemeral,
            )
            if postgres
            else None
        )
        self._valkey = (
            LocalValkey(directory / "valkey", self.socket_dir, logs / "valkey.log", ephemeral=ephemeral)
            if valkey
            else None
        )

    @property
    def redis_url(self) -> str:
        """The address of our Valkey; empty when we run none."""
        return self._valkey.url() if self._valkey else ""

    @property
    def database_url(self) -> str:
        """The address of the database in our PostgreSQL; empty when we run none."""
        return self._postgres.url() if self._postgres else ""

    @property
    def details(self) -> str:
        """Versions and origins of the servers, for people."""
        return ", ".join(server.description for server in self._servers())

    def database_url_of(self, database: str) -> str:
        """The address of another database in our PostgreSQL."""
        if self._postgres is None:
            raise ServerError("This stack runs no PostgreSQL")
        return self._postgres.url(database)

    async def start(self) -> None:
        """Start both and wait until they answer; nothing is left running when one fails.

        Raises:
            ServerError: says which failed, why, and what to change.
        """
        starts = [asyncio.ensure_future(server.start()) for server in self._servers()]
        try:
            # All of them to their end: a server that is half up cannot be stopped.
            outcomes = await asyncio.gather(*starts, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop Valkey, then PostgreSQL, and remove the sockets' directory."""
        try:
            for server in reversed(self._servers()):
                await server.stop()
        finally:
            shutil.rmtree(self.socket_dir, ignore_errors=True)

    def failure(self) -> str | None:
        """What to tell people when a server has ended without being asked; None while all run."""
        return next((failure for server in self._servers() if (failure := server.failure())), None)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _servers(self) -> list[LocalPostgres | LocalValkey]:
        return [server for server in (self._postgres, self._valkey) if server is not None]


@contextlib.asynccontextmanager
async def open_stack(
    settings: Settings, role: Role, prepare: Prepare | None = None
) -> AsyncIterator[Endpoints]:
    """Servers for the time of the context: the given ones, those of a running `up`, or ones we start.

    Args:
        settings: given addresses win; for a missing one a local server is used.
        role: "up" insists on running the servers itself and stops them at the end whoever uses them; a
            "command" uses those of another process when there are any, and otherwise keeps its own running
            while other commands use them.
        prepare: called with the database's address, before others see it, when PostgreSQL was started here:
            the migrations.

    Raises:
        SettingsError: the data directory cannot be used.
        ServerError: a server cannot be started, or the data directory is in use.
    """
    if settings.redis_url and settings.database_url:
        yield Endpoints(settings.redis_url, settings.database_url, "given", "given addresses")
        return
    with Ownership(prepare_directory(settings.data_dir)) as ownership:
        if role == "up":
            await ownership.own()
        elif record := await ownership.own_or_join():
            yield _joined(settings, record)
            return
        async with _owned(settings, role, ownership, prepare) as endpoints:
            yield endpoints


@contextlib.asynccontextmanager
async def _owned(
    settings: Settings, role: Role, ownership: Ownership, prepare: Prepare | None
) -> AsyncIterator[Endpoints]:
    left = ownership.left_behind()
    ownership.withdraw()
    stack = Stack(
        ownership.directory, postgres=settings.database_url is None, valkey=settings.redis_url is None
    )
    record = Record(os.getpid(), role, str(stack.socket_dir))
    ownership.publish(record)
    try:
        await stack.start()
        # Only now: the servers using these sockets have ended.
        _remove_left_sockets(left)
        endpoints = Endpoints(
            settings.redis_url or stack.redis_url,
            settings.database_url or stack.database_url,
            "started",
            stack.details,
            database_is_ours=settings.database_url is None,
            stack=stack,
        )
        if prepare is not None and endpoints.database_is_ours:
            await prepare(endpoints.database_url)
        ownership.publish(
            dataclasses.replace(
                record,
                ready=True,
                redis_url=stack.redis_url,
                database_url=stack.database_url,
                details=stack.details,
            )
        )
        yield endpoints
        if role == "command":
            await ownership.wait_for_users()
    finally:
        ownership.withdraw()
        await stack.stop()


def _joined(settings: Settings, record: Record) -> Endpoints:
    for given, theirs, name, variable in (
        (settings.redis_url, record.redis_url, "Valkey", "STREAMGAUGE_REDIS_URL"),
        (settings.database_url, record.database_url, "PostgreSQL", "STREAMGAUGE_DATABASE_URL"),
    ):
        if not given and not theirs:
            raise ServerError(
                f"Process {record.pid} runs the servers of this data directory, but no {name}, "
                f"because it was given one: set {variable} as it has it"
            )
    return Endpoints(
        settings.redis_url or record.redis_url,
        settings.database_url or record.database_url,
        "running",
        record.details,
    )


def _make_socket_dir() -> Path:
    """A new directory, closed to others, whose path is short enough for sockets."""
    usual = tempfile.gettempdir()
    # A private directory is made in it.
    parent = usual if len(os.fsencode(usual)) <= _LONGEST_TEMPORARY else "/tmp"  # noqa: S108  # nosec B108
    return Path(tempfile.mkdtemp(prefix=_SOCKET_PREFIX, dir=parent))


def _remove_left_sockets(left: Record | None) -> None:
    """Remove the directory of an owner that was killed, if it is what it seems to be."""
    if left is None:
        return
    path = Path(left.socket_dir)
    with contextlib.suppress(OSError):
        status = path.lstat()
        if (
            path.name.startswith(_SOCKET_PREFIX)
            and stat.S_ISDIR(status.st_mode)
            and status.st_uid == os.geteuid()
        ):
            shutil.rmtree(path)
