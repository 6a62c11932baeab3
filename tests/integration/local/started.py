"""`streamgauge up` in a process of its own, as tests see it."""

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.integration.local.held import family, free_port, remove_sockets, until_dead, without_given_servers

PATIENCE_SECONDS = 60.0


class Started:
    """A running `streamgauge up`, without the example unless asked for; leaving the context ends it, whatever happened."""

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        environment: dict[str, str] | None = None,
        *,
        demo: bool = False,
    ) -> None:
        self.port = free_port() if port is None else port
        self.url = f"http://127.0.0.1:{self.port}"
        options = ["up", "--port", str(self.port), "--data-dir", str(data_dir)]
        options += [] if demo else ["--no-demo"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamgauge_cli.main", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**without_given_servers(), **(environment or {})},
        )
        self._family: list[int] = []
        self._data_dir = data_dir

    def wait(self) -> str:
        """Wait until it says where it is; what it says."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self._family = family(self.process.pid)
        return line

    def told(self) -> list[str]:
        """Wait until it says that it is ready; everything it says until then."""
        assert self.process.stdout is not None
        lines = [self.wait()]
        while not lines[-1].startswith("Ready"):
            line = self.process.stdout.readline()
            assert line, lines
            lines.append(line)
        self._family = family(self.process.pid)
        return lines

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal and wait for its end; the exit code and what it wrote to standard error."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for its end; the exit code and what it wrote to standard error."""
        _, error = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, error

    def left(self, seconds: float) -> list[int]:
        """Which of its processes still run after so many seconds."""
        return until_dead(self._family, seconds)

    def status(self, path: str) -> int:
        """The status the server answers with."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:  # noqa: S310 - always http
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._family = self._family or family(self.process.pid)
        self.process.kill()
        self.process.communicate()
        assert until_dead(self._family, PATIENCE_SECONDS) == []
        remove_sockets(self._data_dir)
