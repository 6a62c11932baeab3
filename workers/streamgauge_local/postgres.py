"""A local PostgreSQL over one directory, reached by a socket only."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from streamgauge.errors import ServerError
from streamgauge_local import binaries, identity, logs
from streamgauge_local.binaries import Candidate, Program
from streamgauge_local.process import Process, end_leftovers

USER = DATABASE = "streamgauge"
#: Room a new cluster takes, with its first write-ahead segments, in bytes.
ROOM_NEEDED = 128 * 1024 * 1024
# Immediate shutdown: a fast one writes a checkpoint first, which may take longer than the five seconds we
# promise.
_DEATH = signal.SIGQUIT
_INITDB_SECONDS, _START_SECONDS = 120.0, 300.0
# For a small machine shared with other programs. Committed means on disk here.
_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "50",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "checkpoint_completion_target": "0.9",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
}
# For tests: nothing survives a loss of power, and nothing has to.
_EPHEMERAL_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class LocalPostgres:
    """One PostgreSQL server; `start` makes the cluster and the database `streamgauge` when there are none.

    Args:
        data_dir: directory of the cluster; made when missing.
        socket_dir: short-lived directory for the socket; made when missing, with a short path.
        log: file its messages are appended to.
        ephemeral: give up durability for speed. For tests.
        candidates: programs to try; by default those of `binaries.postgres_candidates`.
        identities: who to run as, in order; by default `identity.identities_for(data_dir)`.
    """

    def __init__(
        self,
        data_dir: Path,
        socket_dir: Path,
        log: Path,
        *,
        ephemeral: bool = False,
        candidates: Iterable[Candidate] | None = None,
        identities: Iterable[str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._new_dir = data_dir.with_name(data_dir.name + ".new")
        self._socket_dir = socket_dir
        self._log = log
        self._ephemeral = ephemeral
        self._candidates = None if candidates is None else tuple(candidates)
        self._identities = list(identity.identities_for(data_dir) if identities is None else identities)
        self._process: Process | None = None
        self.description = ""

    def url(self, database: str = DATABASE) -> str:
        """The address of a database in it."""
        return f"postgresql://{USER}@/{database}?host={quote(str(self._socket_dir), safe='')}"

    async def start(self) -> None:
        """Start and wait until it answers.

        Raises:
            ServerError: no program works, the data are of another major version, or the directory cannot be
                used.
        """
        made_by = self._made_by()
        await self._end_predecessor()
        others: list[Program] = []
        failures: list[tuple[Candidate, str]] = []
        # Looked for at every start: what is installed may have changed meanwhile.
        for candidate in binaries.postgres_candidates() if self._candidates is None else self._candidates:
            for who in self._identities:
                try:
                    program = binaries.probe_postgres(candidate, who)
                    if made_by is not None and program.major != made_by:
                        others.append(program)
                        break
                    await self._start_with(program, who)
                except ServerError as error:
                    failures.append(
                        (candidate, f"as {identity.describe(who)}: {self._explain(candidate, who, error)}")
                    )
                    continue
                self.description = f"PostgreSQL {program.version} ({program.origin})"
                return
        if others and made_by is not None:
            raise self._other_version(made_by, others, failures)
        raise binaries.nothing_works("PostgreSQL", failures)

    async def stop(self) -> None:
        """Stop with a checkpoint, so that the next start is quick; harder when that takes long."""
        if self._process is not None:
            await self._process.stop((signal.SIGINT, 20.0), (signal.SIGQUIT, 6.0))
            self._process = None

    def failure(self) -> str | None:
        """How it ended, when it did without being asked; None while it runs."""
        return None if self._process is None else self._process.ending("PostgreSQL")

    async def _start_with(self, program: Program, who: str) -> None:
        self._prepare_socket_dir(who)
        if self._made_by() is None:
            await self._initdb(program, who)
        elif identity.is_another_user(who):
            identity.give_to(self.data_dir, who)
        if identity.is_another_user(who):
            # The other user has to pass through; what is private in there is closed itself.
            self.data_dir.parent.chmod(0o711)
        logs.rotate(self._log)
        settings = {**_SETTINGS, **(_EPHEMERAL_SETTINGS if self._ephemeral else {})}
        settings["unix_socket_directories"] = str(self._socket_dir)
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(program.path), "-D", str(self.data_dir), *arguments]
        self._process = Process("postgres", command, self._log, death_signal=_DEATH, identity=who)
        try:
            await self._wait_until_ready(self._process)
            await self._create_database()
        except BaseException:
            await self.stop()
            raise

    async def _initdb(self, program: Program, who: str) -> None:
        """Make the cluster beside its place and move it there whole: half of one is never taken for data."""
        free = shutil.disk_usage(self.data_dir.parent).free
        if free < ROOM_NEEDED:
            raise ServerError(
                f"the disk of {self.data_dir.parent} has {free >> 20} MiB free and a new PostgreSQL needs "
                f"{ROOM_NEEDED >> 20}: free some, or give another --data-dir"
            )
        shutil.rmtree(self._new_dir, ignore_errors=True)
        self._new_dir.mkdir(mode=0o700)
        if identity.is_another_user(who):
            self.data_dir.parent.chmod(0o711)
            identity.give_to(self._new_dir, who)
        options = ["-A", "trust", "-U", USER, "--encoding=UTF8", "--locale=C"]
        if self._ephemeral:
            options.append("--no-sync")
        initdb = str(program.path.parent / "initdb")
        process = Process("initdb", [initdb, "-D", str(self._new_dir), *options], self._log, identity=who)
        try:
            ended = await process.wait(_INITDB_SECONDS)
        finally:
            await process.stop()
        if not ended or process.exit_code != 0:
            shutil.rmtree(self._new_dir, ignore_errors=True)
            raise ServerError(f"initdb failed (exit code {process.exit_code}):\n{process.output(5)}")
        self._new_dir.rename(self.data_dir)

    async def _wait_until_ready(self, process: Process) -> None:
        """Until postmaster.pid, which names our process, says so in its eighth line (PostgreSQL >= 10)."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._says_ready(process.pid):
            if process.exit_code is not None:
                raise ServerError(f"it ended at once (exit code {process.exit_code}):\n{process.output(5)}")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"it was not ready after {_START_SECONDS:.0f} seconds:\n{process.output(5)}"
                )
            await asyncio.sleep(0.01)

    def _says_ready(self, pid: int) -> bool:
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    async def _create_database(self) -> None:
        # Slow to import, and of no use to a program that only asks for addresses.
        import asyncpg

        connection = await asyncpg.connect(self.url("postgres"))
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()

    async def _end_predecessor(self) -> None:
        try:
            await end_leftovers(self._new_dir)
            await end_leftovers(self.data_dir)
        except TimeoutError as error:
            raise ServerError(f"A PostgreSQL of an earlier run does not end: {error}") from error
        # No server works in there, so the number in it belongs to nobody or to a stranger, and PostgreSQL
        # would refuse to start if a process of ours happened to have that number now.
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _made_by(self) -> int | None:
        """The major version that made the data; None when there are none."""
        try:
            return int((self.data_dir / "PG_VERSION").read_text().strip())
        except FileNotFoundError:
            return None
        except PermissionError as error:
            self._refuse(error)

    def _refuse(self, error: OSError) -> NoReturn:
        raise ServerError(
            f"The PostgreSQL data in {self.data_dir} belong to another user ({error.strerror}): "
            "run as that user, or give another --data-dir"
        ) from error

    def _prepare_socket_dir(self, who: str) -> None:
        self._socket_dir.mkdir(mode=0o700, exist_ok=True)
        if identity.is_another_user(who):
            self._socket_dir.parent.chmod(0o711)
            identity.give_to(self._socket_dir, who)
        elif os.geteuid() == 0:
            os.chown(self._socket_dir, 0, 0)

    def _explain(self, candidate: Candidate, who: str, error: ServerError) -> str:
        for path, what in ((candidate.path, "the program"), (self.data_dir, "the data directory")):
            if closed := identity.closed_directory(path, who):
                return f"{what} {path} is out of its reach, because {closed} is closed to others"
        if "No space left on device" in str(error):
            return f"the disk of {self.data_dir} is full: free some, or give another --data-dir"
        return str(error)

    def _other_version(
        self, made_by: int, others: list[Program], failures: list[tuple[Candidate, str]]
    ) -> ServerError:
        found = ", ".join(f"{program.version} ({program.origin})" for program in others)
        tried = "".join(f"\n  {candidate.origin}: {reason}" for candidate, reason in failures)
        return ServerError(
            f"The data in {self.data_dir} were made by PostgreSQL {made_by}, "
            f"and the servers found here are {found}.{tried}\n"
            f"To fix it: install PostgreSQL {made_by} (apt-get install postgresql-{made_by}), "
            f"or give another --data-dir, or move the data with pg_dump of version {made_by}."
        )
