"""A whole installation of a benchmark's own, over a temporary directory: Valkey, PostgreSQL, and processes of ours beside them.

Everything ends with the context, whatever happened, and with this process, however that ends.
"""

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx2

from benchmarks.patience import until
from streamgauge_imports.tenants import require_tenant
from streamgauge_local import binaries
from streamgauge_local.postgres import LocalPostgres
from streamgauge_local.process import Process
from streamgauge_local.valkey import LocalValkey
from streamgauge_migrations import migrate

ROOT = Path(__file__).resolve().parent.parent
TENANT = "default"  # whose events an application's are when nobody says otherwise


class Installation:
    """Use it as a context: the servers run, the schema is there, and so are the tenants."""

    def __init__(
        self,
        *,
        tenants: Sequence[str] = (TENANT,),
        ephemeral: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`variables` are further ones of our processes; `ephemeral` gives up PostgreSQL's durability for speed: for tests. Valkey must survive being killed."""
        self._tenants = tenants
        self._variables = variables or {}
        self.directory = Path(tempfile.mkdtemp(prefix="streamgauge-bench-"))
        # Sockets' paths must be short.
        self._sockets = Path(tempfile.mkdtemp(prefix="sg-"))
        logs = self.directory / "logs"
        # Lists, because benchmarks start them again.
        self.valkey = LocalValkey(
            self.directory / "valkey",
            self._sockets,
            logs / "valkey.log",
            candidates=list(binaries.valkey_candidates()),
        )
        self.postgres = LocalPostgres(
            self.directory / "postgres",
            self._sockets / "postgres",
            logs / "postgres.log",
            ephemeral=ephemeral,
            candidates=list(binaries.postgres_candidates()),
        )
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            self._open.callback(shutil.rmtree, self.directory, ignore_errors=True)
            self._open.callback(shutil.rmtree, self._sockets, ignore_errors=True)
            for server in (self.postgres, self.valkey):
                self._open.push_async_callback(server.stop)
                await server.start()
            await migrate(self.postgres.url())
            async with self.database() as connection:
                for tenant in self._tenants:
                    await require_tenant(connection, tenant, None)
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    @property
    def environment(self) -> dict[str, str]:
        """Variables of our processes: the servers' addresses, and nothing of the caller's settings."""
        ours = ("STREAMGAUGE_", "REDIS_", "DATABASE_URL")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {
            **kept,
            "STREAMGAUGE_REDIS_URL": self.valkey.url(),
            "STREAMGAUGE_DATABASE_URL": self.postgres.url(),
            "STREAMGAUGE_DATA_DIR": str(self.directory),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            **self._variables,
        }

    @property
    def details(self) -> str:
        """Versions and origins of the servers, for people."""
        return f"{self.postgres.description}, {self.valkey.description}"

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        """A connection of our own."""
        connection = await asyncpg.connect(self.postgres.url())
        try:
            yield connection
        finally:
            await connection.close()

    def run(self, name: str, *arguments: str) -> Process:
        """Start Python with these arguments, to be ended with the installation."""
        command = [sys.executable, "-P", *arguments]
        process = Process(
            name, command, self.directory / "logs" / f"{name}.log", environment=self.environment
        )
        self._open.push_async_callback(process.stop, (signal.SIGINT, 10.0))
        return process

    async def run_worker(self) -> Process:
        """Start a worker, and wait until it holds all shards."""
        worker = self.run("worker", "-m", "streamgauge_cli.main", "worker", "--port", "0")
        async with self.database() as connection:

            async def leased() -> bool:
                held = "SELECT count(*) > 0 AND count(*) = (SELECT count(*) FROM shards) FROM leases"
                return bool(await connection.fetchval(held))

            await self.until(leased, "the worker reads all streams", worker)
        return worker

    async def run_server(self) -> tuple[Process, str]:
        """Start the API server, and wait until it is ready; the process, and its address."""
        port = free_port()
        server = self.run("server", "-m", "streamgauge_cli.main", "serve", "--port", str(port))
        await self.until_answered(f"http://127.0.0.1:{port}/health/ready", server)
        return server, f"http://127.0.0.1:{port}"

    async def until_answered(self, url: str, process: Process) -> None:
        """Wait until a process answers with 200."""
        async with httpx2.AsyncClient(timeout=5.0) as client:

            async def answered() -> bool:
                try:
                    return (await client.get(url)).status_code == 200
                except httpx2.TransportError:
                    return False

            await self.until(answered, f"{url} answers", process)

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, process: Process) -> None:
        """Wait for something that a process does. Ends the benchmark when it ends first, or takes too long."""

        async def met() -> bool:
            if process.exit_code is not None:
                raise SystemExit(f"{process.name} ended before: {what}\n{process.output(30)}")
            return await condition()

        try:
            await until(met, what)
        except TimeoutError as error:
            raise SystemExit(f"{error}\n{process.output(30)}") from error


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
