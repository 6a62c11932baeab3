"""A real Chromium, and a real server behind it."""

import asyncio
import shutil
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from streamgauge.access.store import create
from streamgauge.database import open_connection
from streamgauge_imports.tenants import require_tenant
from tests.integration.program import Program, free_port, given

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def browser(served: "Served") -> Iterator[Browser]:
    """Chromium, once the server is there: while Playwright runs, nothing else may run a loop in this thread."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("there is no Chromium here, and it could not be installed: apt-get install chromium")
    with sync_playwright() as playwright:
        # Without its sandbox, which needs rights that containers do not give; it only sees our own pages.
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@dataclass
class Served:
    """A running server and worker, and how to get at them."""

    address: str
    database_url: str
    environment: dict[str, str]
    folder: Path

    def key(self, tenant: str, *scopes: str) -> str:
        """A new key, of a tenant that is made when it is not there."""

        async def make() -> str:
            connection = await open_connection(self.database_url)
            try:
                await require_tenant(connection, tenant, None)
                return (await create(connection, tenant, scopes)).text
            finally:
                await connection.close()

        return _apart(make())


@pytest.fixture
def served(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Served]:
    """The API server and a worker as processes."""
    port, worker_port = free_port(), free_port()
    environment = given(
        redis_url,
        database_url,
        STREAMGAUGE_DATA_DIR=str(tmp_path / "data"),
        STREAMGAUGE_PORT=str(port),
        STREAMGAUGE_WORKER_PORT=str(worker_port),
    )
    with (
        Program("serve", log=tmp_path / "serve.log", **environment) as server,
        Program("worker", log=tmp_path / "worker.log", **environment),
    ):
        server.until_ready(port)
        yield Served(f"http://127.0.0.1:{port}", database_url, environment, tmp_path)


@dataclass
class Visit:
    """A page, and everything it complained about or asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def visit(
    browser: Browser, url: str, *, dark: bool = False, width: int = 1280, height: int = 900
) -> Iterator[Visit]:
    """Open a page in a context of its own."""
    context: BrowserContext = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    try:
        seen = Visit(context.new_page())
        seen.page.on(
            "console",
            lambda said: seen.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("request", lambda request: seen.asked.append(f"{request.method} {request.url}"))
        seen.page.goto(url)
        yield seen
    finally:
        context.close()


def _apart(coroutine: Coroutine[object, object, str]) -> str:
    """Run a coroutine in a thread of its own: Playwright keeps a loop running in this one."""
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(coroutine)))
    thread.start()
    thread.join()
    return found[0]
