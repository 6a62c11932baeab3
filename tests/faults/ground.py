"""Servers and processes of the fault tests: all of them are ours, tied to us, and may be killed."""

import asyncio
import itertools
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from streamgauge.errors import ServerError
from streamgauge_local import binaries
from streamgauge_local.postgres import LocalPostgres
from streamgauge_local.process import Process
from streamgauge_migrations import migrate
from tests.integration.program import clean_environment

ROOT = Path(__file__).resolve().parents[2]
POSTGRES_SOCKET = ".s.PGSQL.5432"
PATIENCE = 60.0  # seconds; only a failure takes so long
_OWNER, _TEMPLATE = "owner", "faults_template"


class Ground:
    """One PostgreSQL with a migrated template, and a directory; Redis servers and processes come with each run."""

    def __init__(self, directory: Path, keep: Path | None = None) -> None:
        """`keep`: where logs and ledgers are left for people."""
        self.directory, self.keep = directory, keep
        self.sockets = directory / "s"
        self.sockets.mkdir()
        # It is killed, the machine is not: what it has written survives without fsync.
        self.postgres = LocalPostgres(
            directory / "postgres", self.sockets / "p", directory / "postgres.log", ephemeral=True
        )
        self._numbers = itertools.count(1)

    async def start(self) -> None:
        """Start PostgreSQL and make the template."""
        await self.postgres.start()
        await self.execute(
            f"CREATE ROLE {_OWNER} LOGIN NOSUPERUSER NOBYPASSRLS CREATEROLE",
            f"CREATE DATABASE {_TEMPLATE} OWNER {_OWNER}",
        )
        await migrate(self.database_url(_TEMPLATE))

    def database_url(self, name: str, host: Path | None = None) -> str:
        """A database's address for its owner, for whom row-level security holds; `host`: a proxy's directory instead."""
        url = urlsplit(self.postgres.url(name))._replace(netloc=f"{_OWNER}@")
        return (url if host is None else url._replace(query=f"host={quote(str(host), safe='')}")).geturl()

    async def make_database(self) -> str:
        """The name of a new migrated database."""
        name = f"fault_{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} OWNER {_OWNER} STRATEGY file_copy")
        return name

    async def drop_database(self, name: str) -> None:
        """Drop it, whoever uses it."""
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def make_directory(self) -> Path:
        """A new directory, with a path short enough for sockets."""
        made = self.directory / str(next(self._numbers))
        made.mkdir()
        return made

    @property
    def postgres_pid(self) -> int | None:
        """PostgreSQL's first process; None while it is down."""
        process = self.postgres._process  # the class tells nobody, rightly
        return None if process is None or process.exit_code is not None else process.pid

    async def crash_postgres(self) -> None:
        """Stop PostgreSQL at once, as a crash does, and start it again."""
        await self.lose_postgres()
        await self.postgres.start()

    async def lose_postgres(self) -> None:
        """Stop PostgreSQL at once, and leave it so."""
        process = self.postgres._process  # as above
        assert process is not None
        process.send(signal.SIGQUIT)
        assert await process.wait(PATIENCE), "PostgreSQL does not end"

    async def stop(self) -> None:
        """Stop PostgreSQL."""
        await self.postgres.stop()

    async def execute(self, *statements: str) -> None:
        """Statements of the cluster's own user, each by itself."""
        connection = await asyncpg.connect(self.postgres.url("postgres"))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def open_ground(keep: Path | None = None) -> AsyncIterator[Ground]:
    """A ground in a temporary directory, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sgf-", dir="/tmp") as directory:
        ground = Ground(Path(directory), keep)
        try:
            await ground.start()
            yield ground
        finally:
            await ground.stop()


class RedisServer:
    """A Valkey or Redis of one run, with settings of its own."""

    def __init__(self, directory: Path, name: str = "redis", **settings: str) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        # A path, unlike a port, stays ours while the server is down.
        self.socket = directory / f"{name}.sock"
        self.settings = {"port": "0", "bind": "127.0.0.1", "save": "", "appendonly": "yes", "appendfsync": "always",
                         "maxmemory-policy": "noeviction", "enable-debug-command": "local",
                         **{key.replace("_", "-"): value for key, value in settings.items()}}  # fmt: skip
        self._log = directory / f"{name}.log"
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"unix://{self.socket}"

    @property
    def process(self) -> Process:
        """The running server."""
        assert self._process is not None
        return self._process

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self._process is not None and self._process.exit_code is None

    def client(self) -> "Redis":
        """A plain client, to do harm with; without retries of its own."""
        return Redis.from_url(self.url, protocol=2, retry=Retry(NoBackoff(), 0))

    async def start(self) -> Self:
        """Start, and wait until it has loaded its data."""
        options = {**self.settings, "dir": str(self.directory), "unixsocket": str(self.socket)}
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = Process("valkey", [str(_redis_program()), *arguments], self._log)
        await until(self._answers, "Redis answers", self._process)
        return self

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it with a signal."""
        if self._process is not None:
            self._process.send(number)
            ended = await self._process.wait(PATIENCE)
            await self._process.stop()
            self._process = None
            assert ended, "Redis does not end"

    async def _answers(self) -> bool:
        async with self.client() as client:
            try:
                return bool(await client.ping())
            except (RedisError, OSError):
                return False


def _redis_program() -> Path:
    for candidate in binaries.valkey_candidates():
        with suppress(ServerError):
            return binaries.probe_valkey(candidate).path
    raise ServerError("neither Valkey nor Redis was found")


class Child:
    """A program of ours in a process of its own."""

    def __init__(self, name: str, log: Path, module: str, *arguments: str, **environment: str) -> None:
        self.name = name
        self.log = log
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        self.process = Process(
            name,
            [sys.executable, "-P", "-m", module, *arguments],
            log,
            environment={
                **clean_environment(),
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                **environment,
            },
        )

    @property
    def output(self) -> str:
        """Everything it wrote."""
        return self.log.read_text("utf-8", "replace")

    def said(self, what: str) -> int:
        """How often it wrote a text."""
        return self.output.count(what)

    async def ended(self, seconds: float = PATIENCE) -> int | None:
        """Wait for its end at most so long; its exit code, None while it runs."""
        await self.process.wait(seconds)
        return self.process.exit_code

    async def kill(self) -> None:
        """kill -9, whatever state it is in."""
        self.process.send(signal.SIGKILL)
        await self.process.wait(PATIENCE)

    async def terminate(self, seconds: float = PATIENCE) -> int | None:
        """Ask for its end; its exit code, None if it did not end in time."""
        self.process.send(signal.SIGTERM)
        return await self.ended(seconds)


async def until(
    condition: object, what: str, process: Process | None = None, seconds: float = PATIENCE
) -> None:
    """Wait for an asynchronous condition. Raises AssertionError in the end, or when a process ends first."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():  # type: ignore[operator]  # any function of nothing that can be awaited
        if process is not None and process.exit_code is not None:
            raise AssertionError(f"it ended before {what}:\n{process.output()}")
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"waited {seconds:.0f} seconds in vain until {what}")
        await asyncio.sleep(0.02)
