"""Callers who leave in the middle of something, over a network: no error of ours, and no connection that they keep."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvicorn

from streamgauge_cli.serve import Server
from tests.api.server import Api, open_api

LONG = b'{"metrics":["requests","visitors","p95_duration"],"date_range":"12mo","dimensions":["time:day","http.route"]}'


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(redis_url, database_url, tmp_path, {"here": "UTC"}) as opened:
        yield opened


@pytest.fixture
async def port(api: Api) -> AsyncIterator[int]:
    """Where the server listens, as `streamgauge serve` lets it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            api.app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2
        )
        server = Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        yield int(listener.getsockname()[1])
        server.should_exit = True
        await task


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something; fails when it does not come."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def send_and_leave(port: int, request: bytes, pause: float = 0.0) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    await asyncio.sleep(pause)
    writer.transport.abort()


def requests(api: Api, path: str) -> dict[str, float]:
    """How many requests of a route were answered, by status."""
    return {
        sample.labels["status"]: sample.value
        for family in api.app.state.registry.collect()
        for sample in family.samples
        if sample.name == "streamgauge_http_requests_total" and sample.labels["route"] == f"/api/v1/{path}"
    }


async def test_half_a_body_is_no_error_of_ours(api: Api, port: int, caplog: pytest.LogCaptureFixture) -> None:
    key = await api.key("here", "read", "write")
    for path in ("events", "query"):
        head = f"POST /api/v1/{path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {key}\r\n"
        kind = "Content-Type: application/json\r\n"
        for length in ("Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4\r\n"):
            await send_and_leave(port, f'{head}{kind}{length}{{"na'.encode(), 0.05)
        await until(lambda path=path: sum(requests(api, path).values()) == 2)  # type: ignore[misc]  # bound now, for each path
        assert requests(api, path) == {"400": 2.0}
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_who_leaves_before_the_answer_keeps_no_connection_to_the_database(
    api: Api, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    key = await api.key("here", "read")
    head = f"HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {key}\r\n".encode()
    ask = b"POST /api/v1/query %bContent-Length: %d\r\n\r\n%b" % (head, len(LONG), LONG)
    look = b"GET /api/v1/dashboard %b\r\n" % head
    pool = api.app.state.pool
    for _ in range(5):
        await asyncio.gather(
            *(send_and_leave(port, request, 0.002 * place) for place, request in enumerate([ask, look] * 6))
        )
    await until(lambda: pool.get_idle_size() == pool.get_size())
    assert (await api.get("summary", key)).status_code == 200
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []
