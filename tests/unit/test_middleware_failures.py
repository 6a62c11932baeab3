"""What the middleware records of requests that fail, are cancelled or are left by their client."""

import asyncio
import contextlib
import gc
import weakref

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from streamgauge.capture.middleware import StreamgaugeMiddleware
from tests.unit.asgi import (
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


async def test_an_exception_is_500_by_its_class_and_goes_on_untouched() -> None:
    class Broken(Exception):
        pass

    failure = Broken("ada@school.example")
    app, recorder = watched(raw(failure=failure))
    with pytest.raises(Broken) as raised:
        await ask(app)
    assert raised.value is failure
    assert failure.__context__ is None
    assert raised.traceback[-1].name == "app"
    properties = recorder.event.properties
    assert properties["http.response.status_code"] == 500
    assert str(properties["error.type"]).endswith("Broken")
    assert "ada@" not in str(recorder.events)


async def test_an_exception_of_a_real_endpoint_is_500() -> None:
    app = FastAPI()
    recorder = Recorder()
    app.add_middleware(StreamgaugeMiddleware, gauge=recorder)

    @app.get("/divide/{by}")
    def divide(by: int) -> float:
        return 1 / by

    with pytest.raises(ZeroDivisionError):
        await ask(app, "/divide/0")
    assert recorder.event.properties["http.response.status_code"] == 500
    assert recorder.event.properties["error.type"] == "ZeroDivisionError"
    assert recorder.route == "/divide/{by}"


async def test_an_exception_after_the_start_keeps_the_status() -> None:
    app, recorder = watched(raw(start(206), body(b"123", more=True), failure=OSError("gone")))
    with pytest.raises(OSError, match="gone"):
        await ask(app)
    properties = recorder.event.properties
    assert properties["http.response.status_code"] == 206
    assert properties["error.type"] == "OSError"
    assert properties["http.response.body.size"] == 3


async def test_an_exception_that_the_host_handles_is_none() -> None:
    app = FastAPI()
    recorder = Recorder()
    app.add_middleware(StreamgaugeMiddleware, gauge=recorder)
    app.add_exception_handler(KeyError, lambda request, error: Response(status_code=409))

    @app.get("/")
    def home() -> None:
        raise KeyError("x")

    await ask(app, "/")
    assert recorder.event.properties["http.response.status_code"] == 409
    assert "error.type" not in recorder.event.properties


async def test_an_exception_leaves_nothing_behind() -> None:
    class Broken(Exception):
        pass

    failures = [Broken()]
    seen = weakref.ref(failures[0])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise failures.pop()

    inside, _ = watched(app)
    gc.collect()
    gc.disable()  # nothing may wait for it
    try:
        with contextlib.suppress(Broken):
            await inside(scope_of("/"), None, ignore)
        assert seen() is None
    finally:
        gc.enable()


async def test_a_cancelled_request_is_499_and_stays_cancelled() -> None:
    async def forever(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(3600)

    app, recorder = watched(forever, actor=lambda request: "ada")
    task = asyncio.create_task(ask(app))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.event.properties["http.response.status_code"] == 499
    assert recorder.event.properties["error.type"] == "CancelledError"
    assert recorder.event.actor == "ada"


async def test_a_cancelled_request_is_not_held_up_by_an_async_question() -> None:
    asked: list[str] = []

    async def forever(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(3600)

    async def actor(request: Request) -> str:
        asked.append("begun")
        return "ada"

    app, recorder = watched(forever, actor=actor)
    task = asyncio.create_task(ask(app))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asked == []
    assert recorder.event.actor is None


async def test_a_request_cancelled_while_we_ask_is_counted() -> None:
    async def actor(request: Request) -> str:
        await asyncio.sleep(3600)
        return "ada"

    app, recorder = watched(school(), actor=actor)
    task = asyncio.create_task(ask(app, "/lessons/7"))
    while not task.done() and not recorder.events:
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.event.properties["http.response.status_code"] == 200


async def test_a_client_that_went_away_before_the_answer_is_499() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.disconnect"

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None: ...

    inside, recorder = watched(app)
    await inside(scope_of("/"), receive, send)
    assert recorder.event.properties["http.response.status_code"] == 499
    assert "error.type" not in recorder.event.properties


async def test_a_client_that_went_away_in_the_middle_is_counted_with_what_was_sent() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"12345", more=True))
        assert (await receive())["type"] == "http.disconnect"

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None: ...

    inside, recorder = watched(app)
    await inside(scope_of("/"), receive, send)
    assert recorder.event.properties["http.response.status_code"] == 200
    assert recorder.event.properties["http.response.body.size"] == 5


async def test_a_chunk_that_the_server_refuses_is_not_counted() -> None:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    inside, recorder = watched(raw(start(), body(b"12345")))
    with pytest.raises(OSError, match="gone"):
        await inside(scope_of("/"), None, send)
    assert recorder.event.properties["http.response.body.size"] == 0


async def test_an_application_that_does_not_answer_is_500() -> None:
    app, recorder = watched(raw())
    await ask(app)
    assert recorder.event.properties["http.response.status_code"] == 500
