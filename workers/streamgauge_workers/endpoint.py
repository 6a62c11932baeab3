"""The worker's own little HTTP server: /metrics, /health/live and /health/ready.

It runs in a thread, so that it answers while a large batch keeps the event loop busy.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from streamgauge_workers import health, metrics
from streamgauge_workers.worker import Worker

#: Seconds until a busy event loop counts as one that does not run.
PATIENCE = 2 * health.PATIENCE + 2.0
SLOWEST_CLIENT = 10.0  # seconds


class Endpoint:
    """Serves from a listening socket while inside `with`; `worker` is set when there is one."""

    def __init__(
        self,
        listener: socket.socket,
        loop: asyncio.AbstractEventLoop,
        waiting_for: Callable[[], str | None] = lambda: None,
        registry: CollectorRegistry = metrics.REGISTRY,
    ) -> None:
        """`waiting_for` says what keeps the worker from starting; `registry` holds metrics told besides the process's."""
        self.worker: Worker | None = None
        self.loop = loop
        self.waiting_for = waiting_for
        self.registry = registry
        self.process = CollectorRegistry()
        ProcessCollector(registry=self.process)
        PlatformCollector(registry=self.process)
        GCCollector(registry=self.process)
        self.server = _Server(listener, self)
        self.thread = threading.Thread(target=self.server.serve_forever, name="endpoint", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(SLOWEST_CLIENT)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, media type and body. Called in threads of the server."""
        if path == "/metrics":
            body = generate_latest(self.registry) + generate_latest(self.process)
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, body
        if path == "/health/live":
            return _json(HTTPStatus.OK, {"status": "live"})
        if path == "/health/ready":
            missing = self._missing()
            if not missing:
                return _json(HTTPStatus.OK, {"status": "ready"})
            detail = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, missing)
        return _problem(HTTPStatus.NOT_FOUND, "there are /metrics, /health/live and /health/ready")

    def _missing(self) -> dict[str, str]:
        if self.worker is None:
            return {"servers": self.waiting_for() or "it is starting"}
        asking = health.missing(self.worker)
        try:
            return asyncio.run_coroutine_threadsafe(asking, self.loop).result(PATIENCE)
        except TimeoutError:
            return {"loops": f"the event loop has not answered for {PATIENCE:.0f} seconds"}
        except RuntimeError:  # the loop is closed
            asking.close()
            return {"worker": "it is stopping"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, endpoint: Endpoint) -> None:
        address = listener.getsockname()
        super().__init__(address[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.endpoint = endpoint


class _Handler(BaseHTTPRequestHandler):
    timeout = SLOWEST_CLIENT
    server: _Server

    def do_GET(self) -> None:
        """Answer."""
        status, media_type, body = self.server.endpoint.answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def version_string(self) -> str:
        """What the header `Server` says."""
        return "streamgauge"

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not logged."""


def _json(status: int, body: dict[str, object]) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(body).encode()


def _problem(
    status: HTTPStatus, detail: str, missing: dict[str, str] | None = None
) -> tuple[int, str, bytes]:
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    more = {"missing": missing} if missing else {}
    return status, "application/problem+json", json.dumps({**body, **more}).encode()
