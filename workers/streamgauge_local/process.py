"""Processes of ours: starting them tied to us, stopping them, and finding those a predecessor left."""

import asyncio
import errno
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from streamgauge_local import logs, tether

DEATH = signal.SIGKILL
_KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_SERVER_NAMES = frozenset({"postgres", "valkey-server", "redis-server", "initdb"})
_POLL_SECONDS = 0.01


class Process:
    """A running child whose output goes to a log file, ended by the kernel when we end.

    Start it from the main thread: the kernel watches the thread that started it (see `tether`).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        death_signal: signal.Signals = DEATH,
        identity: str = tether.SAME,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        # A session of its own, so that Ctrl-C in the terminal reaches us alone and we stop things in order.
        with logs.open_for_append(log) as output:
            self._process = subprocess.Popen(  # noqa: S603 - servers we found, and ourselves
                tether.command(command, death_signal, identity),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
                env=minimal_environment() if environment is None else dict(environment),
            )

    @property
    def pid(self) -> int:
        """The process's number, the same before and after it became the program."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code once it ended, negative for a signal; None while it runs."""
        return self._process.poll()

    def output(self, lines: int = 15) -> str:
        """The last lines it wrote."""
        return logs.tail(self._log, lines, self._log_start)

    def ending(self, shown: str) -> str | None:
        """What to tell people about the end of what they know as `shown`; None while it runs."""
        if self.exit_code is None:
            return None
        written = self.output()
        hint = ""
        if os.strerror(errno.ENOSPC) in self.output(lines=200):
            hint = (
                f" because the disk of {self._log.parent} is full. What was acknowledged is safe: free some space and start again, "
                "or give --data-dir on another disk"
            )
        return f"{shown} ended with exit code {self.exit_code}{hint}:\n{written}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        self._process.send_signal(number)

    async def wait(self, seconds: float) -> bool:
        """Wait for its end at most so long; whether it has ended."""
        deadline = time.monotonic() + seconds
        while self._process.poll() is None:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    async def stop(self, *steps: tuple[signal.Signals, float]) -> None:
        """Send each signal in turn and give it its seconds, then kill.

        Being cancelled means: kill at once.
        """
        try:
            for number, seconds in steps:
                self.send(number)
                if await self.wait(seconds):
                    return
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()


def minimal_environment() -> dict[str, str]:
    """What a server needs of our environment: PGPORT, PGDATA or a locale of the user's must not reach it."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def servers_in(directory: Path) -> list[int]:
    """Numbers of the server processes working in this data directory: they have changed to it.

    A shell or an editor standing in the directory is not a server and not listed.
    """
    if not Path("/proc/self/cwd").exists():
        return _servers_in_by_arguments(directory)
    target = os.path.realpath(directory)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cwd").readlink() == Path(target) and _name_of(entry) in _SERVER_NAMES:
                found.append(int(entry.name))
        except OSError:
            # It ended meanwhile, or belongs to somebody else and cannot be one of ours.
            continue
    return found


def _name_of(entry: Path) -> str:
    return (entry / "comm").read_text().strip()


def _servers_in_by_arguments(directory: Path) -> list[int]:
    """The same without /proc (macOS): by the directory in the command line.

    Written from the manual, never tried.
    """
    # Fixed arguments, and `ps` is where POSIX says.
    listing = subprocess.run(
        ["/bin/ps", "-axo", "pid=,comm=,args="], capture_output=True, text=True, check=False
    )
    found = []
    for line in listing.stdout.splitlines():
        pid, _, rest = line.strip().partition(" ")
        name = os.path.basename(rest.strip().split(" ")[0])
        if name in _SERVER_NAMES and str(directory) in rest:
            found.append(int(pid))
    return found


async def end_leftovers(directory: Path, patience: float = 5.0, limit: float = 10.0) -> None:
    """Wait for servers that a killed predecessor left in `directory`; kill them after `patience` seconds.

    Call it holding the data directory's lock only: then nobody alive can own them.

    Raises:
        TimeoutError: some are still there after `limit` seconds.
    """
    began = time.monotonic()
    while leftovers := servers_in(directory):
        waited = time.monotonic() - began
        if waited > limit:
            raise TimeoutError(f"processes {leftovers} do not leave {directory}")
        if waited > patience:
            for pid in leftovers:
                _kill(pid)
        await asyncio.sleep(0.05)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
