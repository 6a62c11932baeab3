"""What `streamgauge up` looks after: the server, the worker and the example, as children of this process."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from streamgauge.errors import ServerError
from streamgauge.settings import Settings
from streamgauge_cli import demo
from streamgauge_cli.address import base_url, is_ready
from streamgauge_local import logs
from streamgauge_local.ownership import prepare_directory
from streamgauge_local.process import Process
from streamgauge_local.stack import Endpoints

_READY_SECONDS, _DEMO_READY_SECONDS = 60.0, 15.0
_STOP_SECONDS = 15.0
_ROTATE_SECONDS, _LOOK_SECONDS = 60.0, 0.2


class Supervisor:
    """The server, the worker and the example as children, and what happens when one of them, or a local server, ends."""

    def __init__(
        self, settings: Settings, endpoints: Endpoints, keys: Mapping[str, str], with_demo: bool
    ) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._keys = keys
        self._with_demo = with_demo
        self._logs = prepare_directory(settings.data_dir) / "logs"
        self._children: list[Process] = []
        self._school: Process | None = None
        self._directory = demo.directory(settings) if with_demo and not settings.directory_url else {}

    async def run(self, began: float) -> None:
        """Start all, say where they are, and stay until cancelled; `began` is when the user asked.

        Raises:
            ServerError: the server, the worker or a local server ended by itself. Everything else is stopped.
        """
        try:
            self._children = [self._child("serve"), self._child("worker")]
            if self._with_demo:
                self._school = self._start_school()
            await self._until_ready()
            await self._announce(began)
            rotated = time.monotonic()
            while True:
                self._check()
                if time.monotonic() - rotated > _ROTATE_SECONDS:
                    rotated = time.monotonic()
                    for log in self._logs.glob("*.log"):
                        logs.rotate(log)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            # The example first: it sends what it holds on its way out.
            for child in (*filter(None, [self._school]), *self._children):
                await child.stop((signal.SIGTERM, _STOP_SECONDS))

    def _child(self, name: str) -> Process:
        command = [sys.executable, "-P", "-m", "streamgauge_cli.main", name]
        # By the kernel's kill when we are killed: all can be, and nothing is left of us to insist.
        return Process(name, command, self._log(name), environment=self._environment())

    def _start_school(self) -> Process:
        environment = demo.environment(self._environment())
        return Process("example", demo.command(self._settings), self._log("example"), environment=environment)

    def _log(self, name: str) -> Path:
        log = self._logs / f"{name}.log"
        logs.rotate(log)
        return log

    def _environment(self) -> dict[str, str]:
        settings = self._settings
        return {
            **os.environ,
            "STREAMGAUGE_REDIS_URL": self._endpoints.redis_url,
            "STREAMGAUGE_DATABASE_URL": self._endpoints.database_url,
            # They run in "/": nothing may be relative to where we were called.
            "STREAMGAUGE_DATA_DIR": str(settings.data_dir.absolute()),
            "STREAMGAUGE_KEYRING": str(settings.keyring.absolute()),
            "STREAMGAUGE_HOST": settings.host,
            "STREAMGAUGE_PORT": str(settings.port),
            "STREAMGAUGE_WORKER_PORT": str(settings.worker_port),
            "PYTHONUNBUFFERED": "1",
            **self._directory,
        }

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not await is_ready(self._settings.host, self._settings.port):
            self._check()
            if time.monotonic() > deadline:
                output = self._children[0].output()
                raise ServerError(f"The server was not ready after {_READY_SECONDS:.0f} seconds:\n{output}")
            await asyncio.sleep(0.05)

    def _check(self) -> None:
        stack = self._endpoints.stack
        # A local server first: when one ends, the children end because of it.
        if stack is not None and (failure := stack.failure()):
            raise ServerError(failure)
        for child in self._children:
            if child.exit_code is not None:
                how = f"`streamgauge {child.name}` ended with exit code {child.exit_code}"
                raise ServerError(f"{how}; everything else was stopped. Its last lines:\n{child.output()}")
        if self._school is not None and self._school.exit_code is not None:
            how = f"The example school ended with exit code {self._school.exit_code}; its log says why"
            print(f"streamgauge: {how}. Everything else goes on.", file=sys.stderr, flush=True)
            self._school = None

    async def _announce(self, began: float) -> None:
        settings = self._settings
        say(
            f"Streamgauge is at {self._dashboard(settings.tenant)}  (your application: tenant {settings.tenant})"
        )
        if self._school is not None and await self._is_school_ready():
            school = base_url(demo.host_of(settings), demo.port_of(settings))
            dashboard = self._dashboard(demo.TENANT)
            say(f"Example school  {school}  its dashboard: {dashboard}  (tenant {demo.TENANT}, demo traffic)")
        if settings.redis_url is None:
            say(f"Your application finds it with STREAMGAUGE_DATA_DIR={settings.data_dir.absolute()}")
        details = f"{self._endpoints.details}. Logs in {self._logs}"
        say(f"Ready in {time.monotonic() - began:.1f} s. {details}. Ctrl-C stops it.")

    def _dashboard(self, tenant: str) -> str:
        """The page's address with the tenant's key, which browsers keep to themselves: it is behind the `#`."""
        return f"{base_url(self._settings.host, self._settings.port)}/#key={self._keys[tenant]}"

    async def _is_school_ready(self) -> bool:
        where = demo.host_of(self._settings), demo.port_of(self._settings)
        deadline = time.monotonic() + _DEMO_READY_SECONDS
        while self._school is not None and time.monotonic() < deadline:
            if await is_ready(*where):
                return True
            self._check()
            await asyncio.sleep(0.05)
        return False


def say(line: str) -> None:
    """Tell the user, now."""
    print(line, flush=True)
