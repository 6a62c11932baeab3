"""Who a request is about, asked early and late."""

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from starlette.requests import Request

from streamgauge.capture.context import RequestContext, current
from tests.unit.asgi import Recorder, scope_of


def context(recorder: Recorder | None = None, **known: Any) -> RequestContext:
    return RequestContext(recorder or Recorder(), scope_of("/"), **known)


async def settle(asked: RequestContext) -> None:
    waiting = asked.settle()
    if waiting is not None:
        await waiting


async def slow(request: Request) -> str:
    await asyncio.sleep(0)
    return "ada"


class Object:
    async def __call__(self, request: Request) -> str:
        return "ada"


def nobody(request: Request) -> None:
    return None


def failing(request: Request) -> str:
    raise ValueError("ada's password")


def test_constants_are_known_at_once() -> None:
    asked = context(tenant="school", actor="ada", session="s1")
    assert (asked.tenant(), asked.actor(), asked.session()) == ("school", "ada", "s1")
    assert asked.settle() is None
    assert (asked.tenant(), asked.actor(), asked.session()) == ("school", "ada", "s1")


def test_nothing_given_is_nothing_known() -> None:
    asked = context()
    assert (asked.tenant(), asked.actor(), asked.session()) == (None, None, None)


def test_a_function_sees_the_request_and_is_asked_once_it_knows() -> None:
    seen: list[Request] = []

    def actor(request: Request) -> str:
        seen.append(request)
        return "ada"

    asked = context(actor=actor)
    assert asked.actor() == asked.actor() == "ada"
    assert [request.url.path for request in seen] == ["/"]


def test_one_that_does_not_know_yet_is_asked_again() -> None:
    scope = scope_of("/")
    asked = RequestContext(Recorder(), scope, actor=lambda request: getattr(request.state, "user", None))
    assert asked.actor() is None
    scope["state"]["user"] = "ada"
    assert asked.actor() == "ada"


@pytest.mark.parametrize(
    "function",
    [slow, Object(), lambda request: slow(request), functools.partial(slow)],
    ids=["async", "object", "lambda", "partial"],
)
async def test_an_async_function_is_known_once_it_was_awaited(function: Callable[[Any], Any]) -> None:
    recorder = Recorder()
    asked = context(recorder, actor=function)
    assert asked.actor() is None  # nothing can be awaited here, and nothing warns of it
    await settle(asked)
    assert asked.actor() == "ada"
    assert recorder.troubles == []


@pytest.mark.parametrize("outcome", ["nobody", "failure", "async failure"])
async def test_after_settling_nobody_is_asked_again(outcome: str) -> None:
    calls: list[str] = []

    async def fail() -> str:
        raise ValueError(outcome)

    def actor(request: Request) -> Any:
        calls.append("asked")
        if outcome == "failure":
            raise ValueError(outcome)
        return fail() if outcome == "async failure" else None

    asked = context(actor=actor)
    await settle(asked)
    await settle(asked)
    assert asked.actor() is None
    assert calls == ["asked"]


@pytest.mark.parametrize("fact", ["tenant", "actor", "session"])
async def test_a_function_that_raises_knows_nobody_and_is_counted_once(fact: str) -> None:
    recorder = Recorder()
    asked = context(recorder, **{fact: failing})
    assert getattr(asked, fact)() is None
    assert getattr(asked, fact)() is None
    await settle(asked)
    assert getattr(asked, fact)() is None
    assert recorder.troubles == [f"{fact}_failed"]


async def test_an_async_function_that_raises_is_counted_too() -> None:
    async def actor(request: Request) -> str:
        raise ValueError("ada's password")

    recorder = Recorder()
    asked = context(recorder, actor=actor, session="s1")
    await settle(asked)
    assert asked.actor() is None
    assert asked.session() == "s1"
    assert recorder.troubles == ["actor_failed"]


async def test_one_failure_does_not_keep_the_others_from_being_asked() -> None:
    recorder = Recorder()
    asked = context(recorder, actor=failing, tenant=slow, session=lambda request: "s1")
    await settle(asked)
    assert (asked.tenant(), asked.actor(), asked.session()) == ("ada", None, "s1")


@pytest.mark.parametrize(
    ("answer", "known"),
    [("ada", "ada"), (7, "7"), (0, "0"), (UUID(int=7), str(UUID(int=7))), ("", None), (None, None)],
)
async def test_what_identifies_is_a_text(answer: object, known: str | None) -> None:
    recorder = Recorder()
    early, late = (context(recorder, actor=lambda request: answer) for _ in range(2))
    await settle(late)
    assert early.actor() == late.actor() == known
    assert recorder.troubles == []


@pytest.mark.parametrize("answer", [True, b"ada", 1.5, object(), ["ada"]])
async def test_what_does_not_identify_is_a_failure(answer: object) -> None:
    recorder = Recorder()
    early, late = (context(recorder, actor=lambda request: answer) for _ in range(2))
    await settle(late)
    assert early.actor() is late.actor() is None
    assert recorder.troubles == ["actor_failed", "actor_failed"]


def test_a_function_that_asks_for_what_it_is_to_tell_is_told_nobody() -> None:
    recorder = Recorder()
    found: list[str | None] = []

    def actor(request: Request) -> str:
        found.append(asked.actor())  # as `track` inside it would
        return "ada"

    asked = context(recorder, actor=actor)
    assert asked.actor() == "ada"
    assert found == [None]
    assert recorder.troubles == []


def test_another_thread_may_ask_at_the_same_time() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def actor(request: Request) -> str:
        inside.set()
        assert go_on.wait(30)
        return "ada"

    asked = context(actor=actor)
    found: list[str | None] = []
    threads = [threading.Thread(target=lambda: found.append(asked.actor())) for _ in range(2)]
    threads[0].start()
    assert inside.wait(30)
    inside.clear()
    threads[1].start()
    assert inside.wait(30)  # it was not told nobody
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert found == ["ada", "ada"]


def test_outside_of_requests_there_is_no_context() -> None:
    assert current.get() is None
