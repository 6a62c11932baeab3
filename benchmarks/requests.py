"""Requests to an ASGI application in this process: no network, no server, no client. The same ones for everybody.

20 routes, each with a path parameter; 1,000 clients with 8 user agents, in turn. Of two applications:

    lean: Starlette with endpoints that are plain ASGI. Nearly all that happens in it is the middleware's.
    FastAPI: nested routers and functions. What the middleware does to the processor's caches, and they to it, is felt.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

ROUTES, CLIENTS, DIFFERENT = 20, 1_000, 2_000
BODY = b'{"id":7,"title":"Vectors","done":true}'
_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36"
)


class Bare:
    """The least a middleware can do: nothing. What every other one's costs are counted from."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self.app(scope, receive, send)


class Ready:
    """An endpoint that has its answer ready. An object, since Starlette takes functions for those with a request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        headers = [(b"content-length", str(len(BODY)).encode()), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})


def lean() -> Starlette:
    """A new application without any middleware."""
    return Starlette(routes=[Route(f"/api/v1/things{number}/{{thing}}", Ready()) for number in range(ROUTES)])


def usual() -> FastAPI:
    """A new application without any middleware. Answers are ready: serialisation is not what is measured."""
    inner = APIRouter(prefix="/api/v1")
    for number in range(ROUTES):
        inner.add_api_route(f"/things{number}/{{thing}}", _answer, methods=["GET"])
    outer = APIRouter()
    outer.include_router(inner)
    app = FastAPI(openapi_url=None)
    app.include_router(outer)
    return app


def scopes(seed: int = 1) -> list[Scope]:
    """`DIFFERENT` requests, always the same."""
    chance = random.Random(seed)
    agents = [_AGENT.format(140 + number).encode() for number in range(8)]
    return [
        {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http",
            "method": "GET", "path": (path := f"/api/v1/things{chance.randrange(ROUTES)}/{chance.randrange(10_000)}"),
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "server": ("127.0.0.1", 8000),
            "client": (f"192.0.{client % 4}.{client % 251}", 40_000 + client),
            "headers": [
                (b"host", b"school.example"), (b"user-agent", agents[client % 8]), (b"accept", b"*/*"),
                (b"accept-encoding", b"gzip, deflate, br"), (b"connection", b"keep-alive"),
            ],
            "state": {"user": f"user-{client}"},
        }
        for client in (chance.randrange(CLIENTS) for _ in range(DIFFERENT))
    ]  # fmt: skip


class Driver:
    """Answers requests one after another, as a server would ask for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, app: Starlette) -> None:
        self._loop = loop
        self._app = app
        self._scopes = scopes()
        self.statuses: set[int] = set()

    def __call__(self, count: int) -> None:
        """Answer so many."""
        self._loop.run_until_complete(self._run(count))

    async def _run(self, count: int) -> None:
        app, different, body = (
            self._app,
            self._scopes,
            {"type": "http.request", "body": b"", "more_body": False},
        )
        statuses = self.statuses

        async def receive() -> MutableMapping[str, Any]:
            return body

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.add(message["status"])

        for number in range(count):
            scope = different[number % DIFFERENT]
            # The application fills the scope and the state, so each request has its own.
            await app({**scope, "state": dict(scope["state"])}, receive, send)


async def _answer(thing: str) -> Response:
    return Response(BODY, media_type="application/json")


#: How to make each, by name.
APPLICATIONS: Mapping[str, Callable[[], Starlette]] = {"lean": lean, "FastAPI": usual}
