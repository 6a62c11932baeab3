"""A local Valkey (or Redis) over one directory, reached by a socket only."""

import asyncio
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from streamgauge.errors import ServerError
from streamgauge_local import binaries, logs
from streamgauge_local.binaries import Candidate, Program
from streamgauge_local.process import Process, end_leftovers

# It flushes its append-only file and leaves.
_DEATH = signal.SIGTERM
_START_SECONDS = 120.0


class LocalValkey:
    """One Valkey server. With `ephemeral` nothing is written to disk.

    Args:
        data_dir: directory of the append-only file; made when missing.
        socket_dir: short-lived directory of the socket, with a short path. It must exist.
        log: file its messages are appended to.
        candidates: programs to try; by default those of `binaries.valkey_candidates`.
    """

    def __init__(
        self,
        data_dir: Path,
        socket_dir: Path,
        log: Path,
        *,
        ephemeral: bool = False,
        candidates: Iterable[Candidate] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._socket = socket_dir / "valkey.sock"
        self._log = log
        self._ephemeral = ephemeral
        self._candidates = None if candidates is None else tuple(candidates)
        self._process: Process | None = None
        self.description = ""

    def url(self) -> str:
        """The address of its database 0."""
        return f"unix://{quote(str(self._socket))}?db=0"

    async def start(self) -> None:
        """Start and wait until it has loaded its data and answers.

        Raises:
            ServerError: no program works or the directory cannot be used.
        """
        try:
            await end_leftovers(self.data_dir)
        except TimeoutError as error:
            raise ServerError(f"A Valkey of an earlier run does not end: {error}") from error
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        failures: list[tuple[Candidate, str]] = []
        # Looked for at every start: what is installed may have changed meanwhile.
        for candidate in binaries.valkey_candidates() if self._candidates is None else self._candidates:
            try:
                program = binaries.probe_valkey(candidate)
                await self._start_with(program)
            except ServerError as error:
                failures.append((candidate, self._explain(error)))
                continue
            name = "Valkey" if "valkey" in program.path.name else "Redis"
            self.description = f"{name} {program.version} ({program.origin})"
            return
        raise binaries.nothing_works("Valkey or Redis", failures)

    async def stop(self) -> None:
        """Stop after flushing what is written."""
        if self._process is not None:
            await self._process.stop((signal.SIGTERM, 15.0))
            self._process = None

    def failure(self) -> str | None:
        """How it ended, when it did without being asked; None while it runs."""
        return None if self._process is None else self._process.ending("Valkey")

    async def _start_with(self, program: Program) -> None:
        logs.rotate(self._log)
        command = [str(program.path), *self._options()]
        self._process = Process("valkey", command, self._log, death_signal=_DEATH)
        try:
            await self._wait_until_ready(self._process)
        except BaseException:
            await self.stop()
            raise

    def _options(self) -> list[str]:
        # A stream must refuse a write when memory is full, never throw events away: noeviction.
        settings = {
            "port": "0",
            "bind": "127.0.0.1",
            "unixsocket": str(self._socket),
            "unixsocketperm": "600",
            "dir": str(self.data_dir),
            "save": "",
            "appendonly": "no" if self._ephemeral else "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": "",
        }
        return [part for name, value in settings.items() for part in (f"--{name}", value)]

    async def _wait_until_ready(self, process: Process) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if process.exit_code is not None:
                raise ServerError(f"it ended at once (exit code {process.exit_code}):\n{process.output(5)}")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"it was not ready after {_START_SECONDS:.0f} seconds:\n{process.output(5)}"
                )
            await asyncio.sleep(0.01)

    def _answers(self) -> bool:
        """Whether PING is answered by PONG: while it loads its data, it answers with an error.

        Blocks for a moment at most.
        """
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(0.5)
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def _explain(self, error: ServerError) -> str:
        if "No space left on device" in str(error):
            return f"the disk of {self.data_dir} is full: free some, or give another --data-dir"
        return str(error)
