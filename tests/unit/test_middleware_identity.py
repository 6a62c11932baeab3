"""Who a request is recorded as, and what the host's code inherits while it runs."""

import asyncio
from typing import Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from streamgauge.capture.context import current
from streamgauge.capture.middleware import StreamgaugeMiddleware
from streamgauge.settings import Settings
from tests.unit.asgi import (
    BROWSER,
    Identity,
    Recorder,
    ask,
    ignore,
    raw,
    school,
    scope_of,
    watched,
)

GOOGLEBOT = ("user-agent", "Mozilla/5.0 (compatible; Googlebot/2.1)")


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


async def test_state_is_seen_where_the_server_brings_none_and_middleware_copies_the_scope() -> None:
    async def endpoint(request: Request) -> Response:
        request.state.user = "ada"
        return PlainTextResponse("ok")

    inner = school(Route("/", endpoint))

    async def copying(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(dict(scope), receive, send)

    app, recorder = watched(copying, actor=lambda request: request.state.user)
    scope = scope_of("/")
    del scope["state"]
    await app(scope, None, ignore)
    assert recorder.event.actor == "ada"


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


@pytest.mark.parametrize("client", [None, ("", 0)])
async def test_without_an_address_there_is_no_visitor(client: tuple[str, int] | None) -> None:
    app, recorder = watched(school())
    await ask(app, "/lessons/7", client=client)
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
