"""A server and a gauge for tests of the middleware: ASGI calls without a network, events kept in a list."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streamgauge.capture.context import Known
from streamgauge.capture.middleware import StreamgaugeMiddleware
from streamgauge.capture.pending import ACCEPTED, Pending, Ticket
from streamgauge.domains.web.declarations import ROUTE
from streamgauge.settings import Settings

Messages = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass(frozen=True)
class Identity:
    tenant: Known = None
    actor: Known = None
    session: Known = None


@dataclass(eq=False)
class Recorder:
    """What the middleware needs of a gauge."""

    identity: Identity = Identity()
    enabled: bool = True
    settings: Settings = field(default_factory=Settings)
    events: list[Pending] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    signed_off: list[float] = field(default_factory=list)

    def offer(self, pending: Pending) -> Ticket:
        self.events.append(pending)
        return ACCEPTED

    def trouble(self, what: str) -> None:
        self.troubles.append(what)

    def sign_off(self, timeout: float) -> bool:
        self.signed_off.append(timeout)
        return True

    @property
    def event(self) -> Pending:
        """The only one."""
        (event,) = self.events
        return event

    @property
    def route(self) -> object:
        return self.event.properties[ROUTE]


@dataclass
class Answer:
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    messages: list[Messages] = field(default_factory=list)


def scope_of(
    path: str,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    root_path: str = "",
    client: tuple[str, int] | None = ("192.0.2.7", 50_000),
    **more: Any,
) -> dict[str, Any]:
    """As uvicorn makes it: `path` is what stands in the request, still percent-encoded, without the root path."""
    given = {"host": "school.example", "user-agent": BROWSER, **dict(headers)}
    raw, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": client,
        "scheme": "http",
        "method": method,
        "root_path": root_path,
        "path": root_path + unquote(raw),
        "raw_path": root_path.encode() + raw.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()],
        "state": {},
        **more,
    }


async def ask(app: App, path: str = "/", method: str = "GET", body: bytes = b"", **options: Any) -> Answer:
    """One request; an exception of the application comes through."""
    answer = Answer()
    sent = False

    async def receive() -> Messages:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.sleep(3600)
        raise AssertionError("the client waits")

    async def send(message: Messages) -> None:
        answer.messages.append(message)
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")

    await app(scope_of(path, method, **options), receive, send)
    return answer


def watched(app: App, recorder: Recorder | None = None, **options: Any) -> tuple[App, Recorder]:
    """The application inside the middleware, and the recorder."""
    recorder = recorder or Recorder()
    return StreamgaugeMiddleware(app, recorder, **options), recorder


async def ignore(message: Messages) -> None:
    """A server's `send` that nobody looks at."""


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


def school(*routes: Route) -> Starlette:
    return Starlette(
        routes=[Route("/lessons/{id}", hello, methods=["GET", "POST"]), Route("/login", hello), *routes]
    )


class Clock:
    """A timer that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 10**12

    def __call__(self) -> int:
        return self.now

    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds * 10**6


def raw(*messages: Messages, failure: BaseException | None = None) -> App:
    """An application that sends these messages, and then fails."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        if failure is not None:
            raise failure

    return app


def start(status: int = 200, **headers: str) -> Messages:
    listed = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": listed}


def body(content: bytes = b"", more: bool = False) -> Messages:
    return {"type": "http.response.body", "body": content, "more_body": more}
