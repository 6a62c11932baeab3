"""Events that need what only an async function knows: they wait for the end of their request, and not for ever."""

import asyncio
import threading
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streamgauge.capture.context import MOST_HELD, RequestContext, current
from streamgauge.capture.middleware import StreamgaugeMiddleware
from streamgauge.testing import RecordingGauge, recording_gauge

from .asgi import ask, school
from .sending import LESSON

NAME = LESSON.name


async def known(request: Request) -> str | None:
    """An application's look-up, which takes a moment."""
    await asyncio.sleep(0)
    user: str | None = getattr(request.state, "user", None)
    return user


def gauge_of(**options: Any) -> RecordingGauge:
    return recording_gauge(event_types=[LESSON], **options)


def of(gauge: RecordingGauge) -> list[tuple[str | None, object]]:
    return [(each.actor, each.properties.get("percent")) for each in gauge.pending if each.name == NAME]


def serving(gauge: RecordingGauge, endpoint: Any, **options: Any) -> Any:
    return StreamgaugeMiddleware(school(Route("/", endpoint)), gauge, **options)


async def test_what_is_tracked_inside_a_request_is_of_the_actor_an_async_function_knows() -> None:
    gauge = gauge_of(actor=known)

    async def endpoint(request: Request) -> Response:
        request.state.user = "ada"
        assert gauge.track(NAME, percent=1)
        await asyncio.to_thread(gauge.track, NAME, percent=2)
        return PlainTextResponse("ok", background=BackgroundTask(gauge.track, NAME, percent=3))

    await ask(serving(gauge, endpoint))
    assert of(gauge) == [("ada", 1), ("ada", 2), ("ada", 3)]
    assert [each.name for each in gauge.pending] == [NAME, NAME, NAME, "http.request"]
    assert gauge.status()["troubles"] == {}


async def test_functions_of_fastapi_in_threads_are_of_them_too() -> None:
    gauge = gauge_of(actor=known)
    app = FastAPI()

    @app.get("/")
    def endpoint(request: Request) -> None:
        request.state.user = "ada"
        gauge.track(NAME, percent=1)

    gauge.instrument(app)
    await ask(app)
    assert of(gauge) == [("ada", 1)]


async def test_an_event_happened_when_it_was_tracked_and_is_what_was_tracked() -> None:
    gauge = gauge_of(actor=known, session="s1")
    moments: list[int] = []

    async def endpoint(request: Request) -> Response:
        request.state.user = "ada"
        gauge.track(NAME, percent=1, group="4b", idempotency_key="k", unheard=1)
        gauge.track(NAME, occurred_at=5)
        moments.extend(each.occurred_at for each in gauge.pending)
        await asyncio.sleep(0.05)
        return PlainTextResponse("ok")

    await ask(serving(gauge, endpoint))
    one, two, request = gauge.pending
    assert (one.group, one.key, one.session, one.properties) == ("4b", "k", "s1", {"percent": 1})
    assert two.occurred_at == 5
    assert 0 <= one.occurred_at - request.occurred_at < 50_000  # it began before, and waited behind
    assert gauge.status()["stripped"] == {f"{NAME}.unheard": 1}
    assert moments == []


@pytest.mark.parametrize("given", ["actor", "constant"])
async def test_an_event_that_needs_nothing_of_an_async_function_does_not_wait(given: str) -> None:
    gauge = gauge_of(actor=known if given == "actor" else "ada", tenant=None if given == "actor" else known)
    seen: list[object] = []

    async def endpoint(request: Request) -> Response:
        gauge.track(NAME)  # it asks, and waits
        if given == "actor":
            gauge.track(NAME, actor="eve")
        else:
            gauge.track(NAME, tenant="north")
        seen.extend((each.actor, each.tenant) for each in gauge.pending)
        return PlainTextResponse("ok")

    await ask(serving(gauge, endpoint))
    assert seen == [("eve", "default") if given == "actor" else ("ada", "north")]


async def test_who_is_nobody_in_the_end_is_nobody() -> None:
    gauge = gauge_of(actor=known)

    async def endpoint(request: Request) -> Response:
        gauge.track(NAME, percent=1)
        return PlainTextResponse("ok")

    await ask(serving(gauge, endpoint))
    assert of(gauge) == [(None, 1)]
    assert gauge.status()["troubles"] == {}


async def test_an_event_of_a_request_that_is_not_counted_does_not_wait_for_ever() -> None:
    gauge = gauge_of(actor=known)

    async def endpoint(request: Request) -> Response:
        request.state.user = "ada"
        gauge.track(NAME, percent=1)
        return PlainTextResponse("ok")

    await ask(serving(gauge, endpoint, exclude=["/"]))
    assert of(gauge) == [("ada", 1)]
    assert [each.name for each in gauge.pending] == [NAME]


async def test_an_exception_of_the_application_does_not_lose_them() -> None:
    gauge = gauge_of(actor=known)

    async def endpoint(request: Request) -> Response:
        request.state.user = "ada"
        gauge.track(NAME, percent=1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await ask(serving(gauge, endpoint))
    assert of(gauge) == [("ada", 1)]


async def test_a_function_that_fails_does_not_lose_them() -> None:
    async def failing(request: Request) -> str:
        await asyncio.sleep(0)
        raise RuntimeError("no database")

    gauge = gauge_of(actor=failing)

    async def endpoint(request: Request) -> Response:
        gauge.track(NAME, percent=1)
        return PlainTextResponse("ok")

    await ask(serving(gauge, endpoint))
    assert of(gauge) == [(None, 1)]
    assert gauge.status()["troubles"] == {"actor_failed": 1}


@pytest.mark.parametrize("when", ["in the endpoint", "while asking"])
async def test_a_cancelled_request_does_not_lose_them(when: str) -> None:
    reached = asyncio.Event()

    async def slow(request: Request) -> str:
        reached.set()
        await asyncio.sleep(3_600)
        raise AssertionError

    gauge = gauge_of(actor=slow)

    async def endpoint(request: Request) -> Response:
        gauge.track(NAME, percent=1)
        if when == "in the endpoint":
            reached.set()
            await asyncio.sleep(3_600)
        return PlainTextResponse("ok")

    asking = asyncio.create_task(ask(serving(gauge, endpoint)))
    await reached.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert of(gauge) == [(None, 1)]
    assert gauge.status()["troubles"] == ({"not_settled": 1} if when == "in the endpoint" else {})


async def test_no_more_than_so_many_wait_and_the_others_go_without() -> None:
    gauge = gauge_of(actor=known)

    async def endpoint(request: Request) -> Response:
        request.state.user = "ada"
        for number in range(MOST_HELD + 3):
            assert gauge.track(NAME, percent=number)
        return PlainTextResponse("ok")

    await ask(serving(gauge, endpoint))
    assert len(of(gauge)) == MOST_HELD + 3
    assert [percent for actor, percent in of(gauge) if actor is None] == [
        MOST_HELD,
        MOST_HELD + 1,
        MOST_HELD + 2,
    ]
    assert gauge.status()["troubles"] == {"too_many_held": 3}


async def test_what_becomes_of_them_is_counted_when_they_are_let_go() -> None:
    gauge = gauge_of(actor=known, capture_percent=0)

    async def endpoint(request: Request) -> Response:
        request.state.user = "ada"
        assert gauge.track(NAME)
        assert not gauge.track(NAME, percent="many")
        assert gauge.drops == {"invalid_property": 1}
        return PlainTextResponse("ok")

    await ask(serving(gauge, endpoint, exclude=["/"]))
    assert gauge.drops == {"invalid_property": 1, "sampled_out": 1}


async def test_threads_that_track_while_a_request_ends_lose_nothing_and_repeat_nothing() -> None:
    for _ in range(20):
        gauge = gauge_of()
        context = RequestContext(gauge, {"type": "http"}, actor=known)

        def work(first: int, gauge: RecordingGauge = gauge, context: RequestContext = context) -> None:
            current.set(context)
            for number in range(first, first + 20):
                gauge.track(NAME, percent=number)

        threads = [threading.Thread(target=work, args=(number * 20,)) for number in range(4)]
        for thread in threads:
            thread.start()
        context.release()
        for thread in threads:
            thread.join()
        assert sorted(int(str(percent)) for _, percent in of(gauge)) == list(range(80))
    assert current.get() is None


def test_an_event_that_is_held_at_the_very_moment_of_letting_go_is_let_go_too() -> None:
    gauge = gauge_of()
    context = RequestContext(gauge, {"type": "http"}, actor=known)

    class Late(list[Any]):
        def append(self, event: Any) -> None:
            context.release()
            super().append(event)

    context._held = Late()
    token = current.set(context)
    try:
        gauge.track(NAME, percent=1)
    finally:
        current.reset(token)
    assert of(gauge) == [(None, 1)]


async def test_a_function_that_need_not_wait_any_more_lets_them_go_at_once() -> None:
    def sometimes(request: Request) -> Any:
        return getattr(request.state, "user", None) or known(request)

    gauge = gauge_of(actor=sometimes)

    async def endpoint(request: Request) -> Response:
        gauge.track(NAME, percent=1)
        request.state.user = "ada"
        return PlainTextResponse("ok")

    await ask(serving(gauge, endpoint))
    assert of(gauge) == [("ada", 1)]
