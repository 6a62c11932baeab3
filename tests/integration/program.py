"""Commands of ours as processes: started, asked over HTTP, ended whatever happened."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE = 60.0  # seconds; only a failure takes so long


class Program:
    """`streamgauge COMMAND ...` in a process of its own; leaving the context kills what still runs."""

    def __init__(self, *arguments: str, log: Path, **environment: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "streamgauge_cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**clean_environment(), **environment},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Everything it has written."""
        return self.log.read_text("utf-8", "replace")

    def lines(self) -> list[dict[str, Any]]:
        """Its log as objects; fails for a line that is not one."""
        return [json.loads(line) for line in self.output.splitlines()]

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something; fails when the process ends first."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"it ended before {what}:\n{self.output}"
            assert time.monotonic() < deadline, f"waited in vain for {what}:\n{self.output}"
            time.sleep(0.02)

    def until_ready(self, port: int) -> None:
        """Wait until /health/ready says so."""
        self.until(lambda: fetch(port, "/health/ready").status == 200, "it was ready")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(PATIENCE)

    def stop(self) -> int:
        """Ask for its end, and wait for it."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()


class Answer:
    """What a server answered; status 0: nothing."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.text = body.decode()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


def fetch(port: int, path: str) -> Answer:
    """GET from a server on this machine."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as reply:
            return Answer(reply.status, dict(reply.headers), reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())
    except OSError:
        return Answer(0, {}, b"")


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """Our environment without settings of ours."""
    ours = {"DATABASE_URL", "REDIS_URL", "REDIS_HOST"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {name: value for name, value in kept.items() if not name.startswith("STREAMGAUGE_")}


def given(redis_url: str, database_url: str, **more: str) -> dict[str, str]:
    """Variables that give both servers."""
    return {"STREAMGAUGE_REDIS_URL": redis_url, "STREAMGAUGE_DATABASE_URL": database_url, **more}
