"""Servers held by another process, as tests see them."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from streamgauge_local.process import servers_in

SUPERVISOR = Path(__file__).with_name("supervisor.py")
PATIENCE_SECONDS = 30.0


class Held:
    """A supervisor in a process of its own; leaving the context ends it, whatever happened."""

    def __init__(
        self,
        data_dir: Path,
        role: str = "up",
        *,
        program: tuple[str, ...] = (sys.executable,),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [*program, str(SUPERVISOR), role, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**without_given_servers(), **(environment or {})},
        )
        self.told: dict[str, str] = {}

    def wait(self) -> dict[str, str]:
        """Wait until its servers are there; where they are."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self.told = json.loads(line)
        return self.told

    def end(self) -> int:
        """Ask it to end, and wait until it has."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_SECONDS)

    def refusal(self) -> str:
        """What it says when it ends without getting servers."""
        assert self.process.stderr is not None
        assert self.process.wait(PATIENCE_SECONDS) == 1
        return self.process.stderr.read()

    def servers(self) -> list[int]:
        """The processes of its servers."""
        return servers_of(self.data_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None and not stream.closed:
                stream.close()
        self.process.kill()
        self.process.wait()
        until_gone(self.data_dir)
        remove_sockets(self.data_dir)


def servers_of(data_dir: Path) -> list[int]:
    """The server processes of a data directory."""
    return [*servers_in(data_dir / "postgres"), *servers_in(data_dir / "valkey")]


def until_gone(data_dir: Path, seconds: float = PATIENCE_SECONDS) -> bool:
    """Wait until no server of the data directory is left; whether that happened in time."""
    deadline = time.monotonic() + seconds
    while servers_of(data_dir):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def remove_sockets(data_dir: Path) -> None:
    """Remove the sockets of a killed owner, which only the next start over the same data would do."""
    published = data_dir / "endpoints.json"
    if published.exists():
        shutil.rmtree(json.loads(published.read_text())["socket_dir"], ignore_errors=True)


def without_given_servers() -> dict[str, str]:
    """Our environment without addresses of servers."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in {"DATABASE_URL", "REDIS_URL", "REDIS_HOST"} and not name.startswith("STREAMGAUGE_")
    }


def family(pid: int) -> list[int]:
    """A process and everything it started that still has a parent, by number."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += parents.get(member, [])
    return found


def until_dead(pids: list[int], seconds: float) -> list[int]:
    """Wait until none of the processes runs; those that still do after so many seconds."""
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if _runs(pid)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return left


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def free_port() -> int:
    """A port nobody listens on, with the two above it."""
    while True:
        with socket.socket() as first, socket.socket() as second, socket.socket() as third:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
                third.bind(("127.0.0.1", port + 2))
            except (OSError, OverflowError):
                continue
            return port
