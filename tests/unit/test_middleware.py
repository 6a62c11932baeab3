"""What the middleware records of a request, and which requests it records."""

import contextlib
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Scope, Send

from streamgauge.capture.context import current
from streamgauge.domains.web.declarations import EVENT_TYPES
from tests.unit.asgi import (
    Clock,
    Recorder,
    ask,
    body,
    hello,
    ignore,
    raw,
    school,
    scope_of,
    start,
    watched,
)

# What is recorded


async def test_a_request_is_one_event_with_everything_declared() -> None:
    app, recorder = watched(
        school(), tenant="school", actor="ada", session="s1", clock=lambda: 1_700_000_000_123_456_789
    )
    await ask(app, "/lessons/7?q=secret", "POST", body=b"12345")
    event = recorder.event
    assert event.name == "http.request"
    assert event.occurred_at == 1_700_000_000_123_456
    assert (event.tenant, event.actor, event.session, event.group) == ("school", "ada", "s1", None)
    assert (event.source, event.device, event.key, event.visitor) == ("server", None, None, None)
    duration = event.properties["duration"]
    assert isinstance(duration, int)
    assert duration >= 0
    assert event.properties == {
        "http.route": "/lessons/{id}",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "duration": duration,
        "http.response.body.size": 5,
        "http.request.body.size": 0,  # the endpoint did not read it
        "authenticated": True,
    }


async def test_every_property_is_declared_and_of_its_type() -> None:
    app, recorder = watched(raw(start(), failure=ValueError("secret")))
    with pytest.raises(ValueError, match="secret"):
        await ask(app)
    declared = EVENT_TYPES[0].properties
    for name, value in recorder.event.properties.items():
        assert type(value) is declared[name].type


async def test_enumerations_of_the_host_are_recorded_as_plain_values() -> None:
    class Name(StrEnum):
        PATH = "/lessons"
        SCHOOL = "north"

    routes = [Route(Name.PATH, lambda request: Response(status_code=HTTPStatus.CREATED))]
    app, recorder = watched(Starlette(routes=routes), tenant=Name.SCHOOL, actor=Name.SCHOOL)
    await ask(app, "/lessons")
    event = recorder.event
    assert (event.properties["http.response.status_code"], event.properties["http.route"]) == (
        201,
        "/lessons",
    )
    assert {type(value) for value in event.properties.values()} == {int, str, bool}
    assert type(event.tenant) is type(event.actor) is str


async def test_a_request_began_when_it_came() -> None:
    clock = Clock()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        clock.wait(50)
        await send(start())
        await send(body())

    inside, recorder = watched(app, clock=clock, timer=Clock())
    await ask(inside)
    assert recorder.event.occurred_at == 10**9


async def test_a_stream_is_timed_to_its_last_byte() -> None:
    clock = Clock()

    async def chunks() -> Any:
        for _ in range(3):
            clock.wait(10)
            yield b"0123456789"
        clock.wait(4)

    async def afterwards() -> None:
        clock.wait(1000)

    async def stream(request: Request) -> Response:
        return StreamingResponse(chunks(), background=BackgroundTask(afterwards))

    app, recorder = watched(school(Route("/stream", stream)), timer=clock)
    answer = await ask(app, "/stream")
    assert len([each for each in answer.messages if each["type"] == "http.response.body"]) == 4
    assert recorder.event.properties["duration"] == 34_000
    assert recorder.event.properties["http.response.body.size"] == 30


async def test_a_slow_client_is_part_of_the_duration() -> None:
    clock = Clock()
    app, recorder = watched(raw(start(), body(b"x" * 100)), timer=clock)

    async def send(message: Message) -> None:
        clock.wait(20)

    await app(scope_of("/"), None, send)
    assert recorder.event.properties["duration"] == 40_000


async def test_a_question_about_the_actor_is_no_part_of_the_duration() -> None:
    clock = Clock()

    async def actor(request: Request) -> str:
        clock.wait(500)
        return "ada"

    for app in (raw(start(), body()), raw(start()), raw(failure=KeyError("x"))):
        inside, recorder = watched(app, timer=clock, actor=actor)
        with contextlib.suppress(KeyError):
            await ask(inside)
        assert recorder.event.properties["duration"] == 0
        assert recorder.event.actor == "ada"


async def test_bytes_that_the_application_reads_are_counted() -> None:
    async def read(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    app, recorder = watched(school(Route("/read", read, methods=["POST"])))
    parts = iter([b"123", b"4567", b""])

    async def receive() -> Message:
        part = next(parts)
        return {"type": "http.request", "body": part, "more_body": part != b""}

    async def send(message: Message) -> None: ...

    await app(scope_of("/read", "POST"), receive, send)
    assert recorder.event.properties["http.request.body.size"] == 7


@pytest.mark.parametrize("claimed", ["5", "999999999999", "-1", "x"])
async def test_a_claimed_length_is_not_believed(claimed: str) -> None:
    app, recorder = watched(school())
    await ask(app, "/lessons/7", "POST", body=b"12345", headers=[("content-length", claimed)])
    assert recorder.event.properties["http.request.body.size"] == 0


async def test_an_answer_to_head_has_no_bytes() -> None:
    app, recorder = watched(school())
    await ask(app, "/lessons/7", "HEAD")
    assert recorder.event.properties["http.response.body.size"] == 0
    assert recorder.event.properties["http.request.method"] == "HEAD"


async def test_a_file_that_the_server_sends_has_its_declared_bytes() -> None:
    app, recorder = watched(
        raw(start(content_length="4321"), {"type": "http.response.pathsend", "path": "/srv/a.zip"})
    )
    await ask(app)
    assert recorder.event.properties["http.response.body.size"] == 4321


@pytest.mark.parametrize("method", ["BREW", "get", "", "X" * 1000])
async def test_an_unknown_method_is_other(method: str) -> None:
    app, recorder = watched(school(), exclude=())
    await ask(app, "/lessons/7", method)
    assert recorder.event.properties["http.request.method"] == "_OTHER"


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_device_is_recorded_where_wanted(wanted: bool) -> None:
    app, recorder = watched(school(), device=wanted)
    await ask(app, "/lessons/7")
    assert recorder.event.device == ("desktop" if wanted else None)


# What is not counted


@pytest.mark.parametrize(
    ("path", "method"),
    [("/health", "GET"), ("/metrics", "GET"), ("/static/a.css", "GET"), ("/lessons/7", "OPTIONS")],
)
async def test_excluded_requests_are_answered_and_not_counted(path: str, method: str) -> None:
    asked: list[Request] = []
    app, recorder = watched(school(Route("/health", hello)), actor=asked.append)
    answer = await ask(app, path, method)
    assert answer.status > 0
    assert recorder.events == []
    assert asked == []


async def test_a_given_list_replaces_the_usual_one() -> None:
    app, recorder = watched(school(Route("/health", hello)), exclude=["/lessons"])
    await ask(app, "/lessons/7")
    assert recorder.events == []
    await ask(app, "/health")
    assert recorder.route == "/health"


async def test_exclusions_are_paths_of_the_application() -> None:
    app, recorder = watched(school(Route("/health", hello)))
    await ask(app, "/health", root_path="/behind/proxy")
    assert recorder.events == []


async def test_exclusions_of_a_mounted_application_are_its_own_paths() -> None:
    inner, recorder = watched(school(Route("/health", hello)))
    await ask(Starlette(routes=[Mount("/shop", inner)]), "/shop/health")
    assert recorder.events == []


async def test_what_is_tracked_in_an_excluded_request_is_still_of_its_actor() -> None:
    seen: list[str | None] = []

    async def endpoint(request: Request) -> Response:
        context = current.get()
        seen.append(context.actor() if context else None)
        return PlainTextResponse("ok")

    app, recorder = watched(
        school(Route("/quiet", endpoint)), exclude=["/quiet"], actor=lambda request: "ada"
    )
    await ask(app, "/quiet")
    assert seen == ["ada"]
    assert recorder.events == []


async def test_a_disabled_gauge_leaves_everything_as_it_is() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((dict(scope), receive, send))

    inside, recorder = watched(app, Recorder(enabled=False))
    for kind in ("http", "lifespan", "websocket"):
        scope = {"type": kind}
        await inside(scope, inside, ignore)
        assert seen.pop() == ({"type": kind}, inside, ignore)
    assert recorder.events == []
