"""What a host must not notice of the middleware, also where it is there twice or something of ours is broken."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Message, Receive, Scope, Send

from streamgauge.capture.context import current
from streamgauge.capture.middleware import SIGN_OFF_SECONDS, StreamgaugeMiddleware
from streamgauge.capture.pending import Ticket
from streamgauge.errors import InputError
from tests.unit.asgi import (
    App,
    Recorder,
    ask,
    body,
    ignore,
    raw,
    school,
    scope_of,
    start,
    watched,
)

# Nested and side by side


async def test_an_application_instrumented_twice_is_counted_once() -> None:
    recorder = Recorder()
    once, _ = watched(school(), recorder)
    twice, _ = watched(once, recorder)
    await ask(twice, "/lessons/7")
    assert len(recorder.events) == 1


async def test_a_mounted_application_instrumented_too_is_counted_once_by_the_outer() -> None:
    recorder = Recorder()
    inner, _ = watched(school(), recorder, actor="inner")
    outer, _ = watched(Starlette(routes=[Mount("/shop", inner)]), recorder, actor="outer")
    await ask(outer, "/shop/lessons/7")
    assert recorder.event.actor == "outer"
    assert recorder.route == "/shop/lessons/{id}"


async def test_what_the_outer_excludes_the_inner_does_not_count() -> None:
    recorder = Recorder()
    inner, _ = watched(school(), recorder)
    outer, _ = watched(Starlette(routes=[Mount("/shop", inner)]), recorder, exclude=["/shop"])
    await ask(outer, "/shop/lessons/7")
    assert recorder.events == []


async def test_two_gauges_both_count() -> None:
    inner, one = watched(school())
    outer, other = watched(inner)
    await ask(outer, "/lessons/7")
    assert one.route == other.route == "/lessons/{id}"


async def test_several_applications_in_a_process_do_not_meet() -> None:
    apps = [watched(school(), actor=str(number)) for number in range(5)]
    await asyncio.gather(*(ask(app, "/lessons/7") for app, _ in apps for _ in range(3)))
    assert [[event.actor for event in recorder.events] for _, recorder in apps] == [
        [str(number)] * 3 for number in range(5)
    ]


# What is left alone


async def test_websockets_pass_untouched() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((dict(scope), receive, send, current.get()))

    inside, recorder = watched(app)
    await inside({"type": "websocket", "path": "/ws"}, inside, ignore)
    assert seen == [({"type": "websocket", "path": "/ws"}, inside, ignore, None)]
    assert recorder.events == []


async def test_an_unknown_scope_passes_untouched() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    inside, _ = watched(app)
    scope = {"type": "http3.something"}
    await inside(scope, inside, ignore)
    assert seen == [(scope, inside, ignore)]


async def lifespan(app: App, sent: list[Message]) -> None:
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan", "state": {}}, receive, send)


async def test_lifespan_messages_stay_and_what_waits_is_sent_before_the_last() -> None:
    sent: list[Message] = []
    order: list[int] = []

    class Slow(Recorder):
        def sign_off(self, timeout: float) -> bool:
            order.append(len(sent))
            return super().sign_off(timeout)

    app, recorder = watched(school(), Slow())
    await lifespan(app, sent)
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    assert order == [1]
    assert recorder.signed_off == [SIGN_OFF_SECONDS]


async def test_a_failed_shutdown_sends_what_waits_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.shutdown.failed", "message": "broken"})

    sent: list[Message] = []
    inside, recorder = watched(app)
    await lifespan(inside, sent)
    assert sent == [{"type": "lifespan.shutdown.failed", "message": "broken"}]
    assert recorder.signed_off == [SIGN_OFF_SECONDS]


async def test_a_sign_off_that_fails_does_not_keep_the_host_from_ending() -> None:
    class Broken(Recorder):
        def sign_off(self, timeout: float) -> bool:
            raise OSError("no thread")

    sent: list[Message] = []
    app, recorder = watched(school(), Broken())
    await lifespan(app, sent)
    assert sent[-1] == {"type": "lifespan.shutdown.complete"}
    assert recorder.troubles == ["sign_off_failed"]


RESPONSES: dict[str, list[Message]] = {
    "chunks": [start(404, x_a="1"), body(b"1", more=True), body(b"", more=True), body(b"2")],
    "no body": [start(), {"type": "http.response.body"}],
    "file": [start(), {"type": "http.response.pathsend", "path": "/srv/a"}],
    "debug": [{"type": "http.response.debug", "info": {}}, start(), body()],
    "trailers": [start(), body(b"1"), {"type": "http.response.trailers", "headers": []}],
}


@pytest.mark.parametrize("messages", RESPONSES.values(), ids=RESPONSES)
async def test_the_response_is_the_same_message_by_message(messages: list[Message]) -> None:
    app = raw(*messages)
    inside, recorder = watched(app)
    assert (await ask(inside)).messages == (await ask(app)).messages
    assert recorder.troubles == []
    assert len(recorder.events) == 1


# What is wrong with us


class Refusing(Recorder):
    def offer(self, pending: object) -> Ticket:
        raise RuntimeError("full")


async def test_a_gauge_that_raises_does_not_reach_the_host() -> None:
    app, recorder = watched(school(), Refusing())
    assert (await ask(app, "/lessons/7")).body == b"hello"
    assert recorder.troubles == ["middleware_failed"]


async def test_a_gauge_that_raises_does_not_replace_the_hosts_exception() -> None:
    app, recorder = watched(raw(failure=KeyError("x")), Refusing())
    with pytest.raises(KeyError):
        await ask(app)
    assert recorder.troubles == ["middleware_failed"]


@pytest.mark.parametrize("missing", ["headers", "path", "method", "client", "root_path", "state"])
async def test_a_server_that_leaves_something_out_does_no_harm(missing: str) -> None:
    scope = scope_of("/")
    del scope[missing]
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    app, recorder = watched(raw(start(), body(b"ok")))
    await app(scope, None, send)
    assert sent == [start(), body(b"ok")]
    assert current.get() is None
    assert recorder.troubles == (["middleware_failed"] if missing in ("headers", "path", "method") else [])


@pytest.mark.parametrize("wrong", [{"exclude": ["health"]}, {"anonymous_paths": "/login"}])
def test_wrong_paths_are_refused_when_the_application_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        StreamgaugeMiddleware(raw(), Recorder(), **wrong)


def test_a_host_without_starlette_needs_none() -> None:
    program = """
import asyncio, sys
from types import SimpleNamespace
from streamgauge.capture.middleware import StreamgaugeMiddleware
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
async def send(message): pass
events = []
gauge = SimpleNamespace(enabled=True, identity=SimpleNamespace(tenant=None, actor="ada", session=None), offer=events.append,
                        settings=SimpleNamespace(tenant="default"), trouble=sys.exit, sign_off=None)
scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
asyncio.run(StreamgaugeMiddleware(app, gauge)(scope, None, send))
assert [event.actor for event in events] == ["ada"]
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    root = Path(__file__).resolve().parents[2] / "app"
    shown = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(root), "PATH": ""},
    )
    assert not {"starlette", "fastapi", "anyio"} & set(shown.stdout.split())


def test_a_websocket_of_an_instrumented_application_works_and_is_not_counted() -> None:
    app = FastAPI()
    recorder = Recorder()
    app.add_middleware(StreamgaugeMiddleware, gauge=recorder, actor=lambda request: "ada")

    @app.websocket("/echo/{name}")
    async def echo(websocket: WebSocket, name: str) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(f"{name}: {text}")

    with TestClient(app) as client, client.websocket_connect("/echo/ada") as websocket:
        for text in ("one", "two"):
            websocket.send_text(text)
            assert websocket.receive_text() == f"ada: {text}"
    assert recorder.events == []
    assert recorder.signed_off == [SIGN_OFF_SECONDS]
