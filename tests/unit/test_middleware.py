"""One event for each finished request, and nothing else that the host could notice."""

import asyncio
import contextlib
import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Scope, Send

from streamgauge.capture.context import current
from streamgauge.capture.middleware import FLUSH_SECONDS, StreamgaugeMiddleware
from streamgauge.capture.pending import Ticket
from streamgauge.domains.web.declarations import EVENT_TYPES
from streamgauge.errors import InputError
from streamgauge.settings import Settings
from tests.unit.asgi import BROWSER, App, Identity, Recorder, ask, scope_of, watched

GOOGLEBOT = ("user-agent", "Mozilla/5.0 (compatible; Googlebot/2.1)")


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


def raw(*messages: Message, failure: BaseException | None = None) -> App:
    """An application that sends these messages, and then fails."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if failure is not None:
            raise failure

    return app


def start(status: int = 200, **headers: str) -> Message:
    listed = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": listed}


def body(content: bytes = b"", more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


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


# What goes wrong in the application


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


# Who it is from


async def test_functions_are_asked_after_the_response_and_see_its_state() -> None:
    order: list[str] = []

    async def endpoint(request: Request) -> Response:
        request.state.user = "ada"
        request.state.school = "north"
        request.state.session = 7
        order.append("endpoint")
        return PlainTextResponse("ok", background=BackgroundTask(order.append, "background"))

    def actor(request: Request) -> str:
        order.append("actor")
        return str(request.state.user)

    async def tenant(request: Request) -> str:
        order.append("tenant")
        return str(request.state.school)

    app, recorder = watched(
        school(Route("/", endpoint)),
        actor=actor,
        tenant=tenant,
        session=lambda request: request.state.session,
    )
    await ask(app)
    event = recorder.event
    assert (event.actor, event.tenant, event.session) == ("ada", "north", "7")
    assert event.properties["authenticated"] is True
    assert order == ["endpoint", "background", "actor", "tenant"]


async def test_state_is_seen_where_the_server_brings_none() -> None:
    async def endpoint(request: Request) -> Response:
        request.state.user = "ada"
        return PlainTextResponse("ok")

    app, recorder = watched(school(Route("/", endpoint)), actor=lambda request: request.state.user)
    scope = scope_of("/")
    del scope["state"]
    await app(scope, None, ignore)
    assert recorder.event.actor == "ada"


async def ignore(message: Message) -> None:
    """A server's `send` that nobody looks at."""


async def test_the_middlewares_own_identity_goes_before_the_gauges() -> None:
    recorder = Recorder(Identity(tenant="t1", actor="a1", session="s1"))
    app, _ = watched(school(), recorder, actor=lambda request: "a2")
    await ask(app, "/lessons/7")
    event = recorder.event
    assert (event.tenant, event.actor, event.session) == ("t1", "a2", "s1")


async def test_without_a_tenant_the_settings_name_it() -> None:
    recorder = Recorder(settings=Settings(tenant="north"))
    for given in (None, lambda request: None, lambda request: 1 / 0):
        app, _ = watched(school(), recorder, tenant=given)
        await ask(app, "/lessons/7")
    assert [event.tenant for event in recorder.events] == ["north"] * 3


@pytest.mark.parametrize("fact", ["tenant", "actor", "session"])
async def test_what_a_function_raises_never_reaches_the_host(fact: str) -> None:
    def failing(request: Request) -> str:
        raise RuntimeError("ada")

    async def failing_later(request: Request) -> str:
        await asyncio.sleep(0)
        raise RuntimeError("ada")

    for function in (failing, failing_later):
        given: dict[str, Any] = {fact: function}
        app, recorder = watched(school(), **given)
        assert (await ask(app, "/lessons/7")).status == 200
        assert recorder.troubles == [f"{fact}_failed"]
        assert len(recorder.events) == 1


async def test_somebody_without_an_actor_is_a_visitor() -> None:
    app, recorder = watched(school(), actor=lambda request: None)
    await ask(app, "/lessons/7")
    assert recorder.event.visitor == ("192.0.2.7", BROWSER)
    assert recorder.event.actor is None
    assert recorder.event.properties["authenticated"] is False


async def test_somebody_with_an_actor_is_no_visitor() -> None:
    app, recorder = watched(school(), actor="ada")
    await ask(app, "/lessons/7")
    assert recorder.event.visitor is None


@pytest.mark.parametrize("header", [("sec-gpc", "1"), ("dnt", "1")])
async def test_who_asks_not_to_be_known_is_no_visitor(header: tuple[str, str]) -> None:
    app, recorder = watched(school())
    await ask(app, "/lessons/7", headers=[header])
    assert recorder.event.visitor is None
    await ask(app, "/lessons/7", headers=[(header[0], "0")])
    assert recorder.events[1].visitor is not None


async def test_without_an_address_there_is_no_visitor() -> None:
    app, recorder = watched(school())
    await ask(app, "/lessons/7", client=None)
    assert recorder.event.visitor is None


async def test_a_visitors_agent_is_bounded() -> None:
    app, recorder = watched(school())
    await ask(app, "/lessons/7", headers=[("user-agent", "x" * 10_000)])
    assert recorder.event.visitor == ("192.0.2.7", "x" * 300)


async def test_anonymous_paths_ask_nobody_and_make_no_visitor() -> None:
    asked: list[str] = []

    def actor(request: Request) -> str:
        asked.append(request.url.path)
        return "ada"

    app, recorder = watched(school(), actor=actor, session=actor, tenant=lambda request: "north")
    await ask(app, "/login")
    event = recorder.event
    assert asked == []
    assert (event.actor, event.session, event.visitor, event.tenant) == (None, None, None, "north")
    assert event.properties["authenticated"] is False
    assert event.properties["http.route"] == "/login"


@pytest.mark.parametrize("constant", ["ada", lambda request: "ada"])
async def test_anonymous_paths_know_no_actor_while_they_run(constant: Any) -> None:
    seen: list[str | None] = []

    async def endpoint(request: Request) -> Response:
        context = current.get()
        assert context is not None
        seen.append(context.actor())
        return PlainTextResponse("ok")

    app, recorder = watched(
        school(Route("/in", endpoint)), actor=constant, session=constant, anonymous_paths=["/in"]
    )
    await ask(app, "/in")
    assert seen == [None]
    assert (recorder.event.actor, recorder.event.session) == (None, None)


async def test_a_known_bot_is_counted_apart_and_as_nobody() -> None:
    app, recorder = watched(school(), actor="ada", session="s1", device=True)
    await ask(app, "/lessons/7", headers=[GOOGLEBOT])
    event = recorder.event
    assert event.name == "bot.request"
    assert (event.actor, event.session, event.visitor, event.device) == (None, None, None, "bot")
    assert event.properties["http.route"] == "/lessons/{id}"
    assert event.properties["authenticated"] is False


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


# What the host's code inherits


async def test_the_context_is_there_in_the_request_and_gone_after_it() -> None:
    seen: list[object] = []

    async def endpoint(request: Request) -> Response:
        seen.append(current.get())
        return PlainTextResponse("ok")

    app, _ = watched(school(Route("/", endpoint)), actor=lambda request: "ada")
    await ask(app)
    assert seen[0] is not None
    assert current.get() is None


async def test_the_context_is_gone_after_an_exception() -> None:
    app, _ = watched(raw(failure=KeyError("x")))
    with pytest.raises(KeyError):
        await ask(app)
    assert current.get() is None


async def test_fifty_requests_at_once_keep_to_themselves() -> None:
    app = FastAPI()
    recorder = Recorder()
    app.add_middleware(
        StreamgaugeMiddleware, gauge=recorder, actor=lambda request: getattr(request.state, "user", None)
    )
    found: dict[str, list[str | None]] = {}

    def note(user: str) -> None:
        context = current.get()
        found.setdefault(user, []).append(context.actor() if context else "nothing")

    async def log_in(request: Request, user: str) -> str:
        note(user)  # too early: known only from the next line on
        request.state.user = user
        await asyncio.sleep(0.01)
        return user

    @app.get("/async/{user}")
    async def in_the_loop(tasks: BackgroundTasks, user: str = Depends(log_in)) -> None:
        await asyncio.sleep(0)
        note(user)
        tasks.add_task(note, user)

    @app.get("/thread/{user}")
    def in_a_thread(tasks: BackgroundTasks, user: str = Depends(log_in)) -> None:
        note(user)
        tasks.add_task(note, user)

    users = [str(number) for number in range(50)]
    await asyncio.gather(*(ask(app, f"/{('async', 'thread')[int(user) % 2]}/{user}") for user in users))
    assert found == {user: [None, user, user] for user in users}
    assert sorted(str(event.actor) for event in recorder.events) == sorted(users)


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
        def flush(self, timeout: float) -> bool:
            order.append(len(sent))
            return super().flush(timeout)

    app, recorder = watched(school(), Slow())
    await lifespan(app, sent)
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    assert order == [1]
    assert recorder.flushed == [FLUSH_SECONDS]


async def test_a_failed_shutdown_sends_what_waits_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.shutdown.failed", "message": "broken"})

    sent: list[Message] = []
    inside, recorder = watched(app)
    await lifespan(inside, sent)
    assert sent == [{"type": "lifespan.shutdown.failed", "message": "broken"}]
    assert recorder.flushed == [FLUSH_SECONDS]


async def test_a_flush_that_fails_does_not_keep_the_host_from_ending() -> None:
    class Broken(Recorder):
        def flush(self, timeout: float) -> bool:
            raise OSError("no thread")

    sent: list[Message] = []
    app, recorder = watched(school(), Broken())
    await lifespan(app, sent)
    assert sent[-1] == {"type": "lifespan.shutdown.complete"}
    assert recorder.troubles == ["flush_failed"]


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
                        settings=SimpleNamespace(tenant="default"), trouble=sys.exit, flush=None)
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
