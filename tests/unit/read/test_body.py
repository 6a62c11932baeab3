"""Bodies of requests: bounded in length and in time, however they are sent."""

import asyncio
from collections.abc import AsyncIterator

import httpx2 as httpx
import pytest
from fastapi import FastAPI, HTTPException, Request
from starlette.types import Message

from streamgauge.read import body, problems
from streamgauge.read.body import read_body


def request(messages: AsyncIterator[Message], announced: str | None = None) -> Request:
    async def receive() -> Message:
        return await anext(messages)

    headers = [] if announced is None else [(b"content-length", announced.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def parts(*contents: bytes) -> AsyncIterator[Message]:
    for content in contents:
        yield {"type": "http.request", "body": content, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


async def nothing() -> AsyncIterator[Message]:
    raise AssertionError("it was read")
    yield {}


async def drop_by_drop() -> AsyncIterator[Message]:
    for _ in range(1_000):
        yield {"type": "http.request", "body": b"x", "more_body": True}
        await asyncio.sleep(0.001)
    yield {"type": "http.request", "body": b"", "more_body": False}


async def test_a_body_of_many_parts_is_put_together_up_to_its_limit() -> None:
    assert await read_body(request(parts(b"ab", b"", b"c")), 3, "shorten it") == b"abc"
    assert await read_body(request(parts(b"abc"), "3"), 3, "shorten it") == b"abc"
    with pytest.raises(HTTPException) as refused:
        await read_body(request(parts(b"ab", b"cd")), 3, "shorten it")
    assert (refused.value.status_code, refused.value.detail) == (
        413,
        "the body is longer than 3 bytes: shorten it",
    )


@pytest.mark.parametrize("announced", ["4", "9" * 18, "9" * 5_000])
async def test_a_body_that_is_announced_as_too_long_is_not_read_at_all(announced: str) -> None:
    with pytest.raises(HTTPException) as refused:
        await read_body(request(nothing(), announced), 3, "shorten it")
    assert refused.value.status_code == 413


async def test_a_body_that_trickles_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "PATIENCE", 0.05)
    with pytest.raises(HTTPException) as refused:
        await read_body(request(drop_by_drop()), 10**6, "shorten it")
    assert refused.value.status_code == 408
    # What is still to come of it must not be taken for the next request.
    assert refused.value.headers == {"Connection": "close"}


async def test_a_body_that_ends_with_its_sender_is_no_error_of_ours() -> None:
    app = FastAPI()
    problems.install(app)

    @app.post("/")
    async def take(request: Request) -> int:
        return len(await read_body(request, 100, "shorten it"))

    async def leaves() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b'{"na', "more_body": True}
        yield {"type": "http.disconnect"}

    messages, sent = leaves(), []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
    }

    async def receive() -> Message:
        return await anext(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 400
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        assert (await client.post("/", content=b"abc")).json() == 3
