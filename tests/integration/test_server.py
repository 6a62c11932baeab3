"""The API server: health, metrics, errors, starting and stopping."""

import asyncio
import http.client
import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2 as httpx
import pytest
import redis
from fastapi import FastAPI
from fastapi.routing import APIRouter
from prometheus_client.parser import text_string_to_metric_families

from streamgauge.capture.publisher import Publisher
from streamgauge.errors import InputError, SettingsError
from streamgauge.read.server import create_app
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge_migrations import require_current
from tests.integration.program import Program, fetch, free_port, given

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
NOWHERE = "redis://:very-secret@127.0.0.1:1/0"


@pytest.fixture
async def app(redis_url: str, database_url: str) -> AsyncIterator[FastAPI]:
    """The application, its connections open."""
    created = create_app(Settings(redis_url=redis_url, database_url=database_url), require_current)
    async with created.router.lifespan_context(created):
        yield created


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Asks the application without a network."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://streamgauge") as opened:
        yield opened


async def execute(database_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_server_with_both_servers_and_the_right_schema_is_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).status_code == 200
    reply = await client.get("/health/ready")
    assert (reply.status_code, reply.json()) == (200, {"status": "ready"})


async def test_without_redis_it_is_live_and_says_that_redis_is_missing_without_its_password(
    database_url: str,
) -> None:
    app = create_app(Settings(redis_url=NOWHERE, database_url=database_url), require_current)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/health/live")).status_code == 200
        reply = await client.get("/health/ready")
    assert reply.status_code == 503
    assert reply.headers["content-type"] == "application/problem+json"
    assert list(reply.json()["missing"]) == ["redis"]
    assert "very-secret" not in reply.text


async def test_an_evicting_redis_is_named_with_what_to_change(
    client: httpx.AsyncClient, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        try:
            reply = await client.get("/health/ready")
        finally:
            admin.config_set("maxmemory-policy", "noeviction")
    assert reply.status_code == 503
    assert "CONFIG SET maxmemory-policy noeviction" in reply.json()["missing"]["redis"]


async def test_a_database_at_another_version_is_named_as_the_schema(
    client: httpx.AsyncClient, database_url: str
) -> None:
    await execute(database_url, "INSERT INTO schema_migrations VALUES ('9999_tomorrow', 'x')")
    reply = await client.get("/health/ready")
    assert (reply.status_code, list(reply.json()["missing"])) == (503, ["schema"])
    assert "9999_tomorrow" in reply.json()["detail"]


async def test_when_the_database_goes_away_readiness_says_so_and_comes_back_with_it(
    client: httpx.AsyncClient, database_url: str, stack: Any
) -> None:
    name = database_url.rpartition("/")[2].partition("?")[0]
    admin = await asyncpg.connect(stack.database_url_of("postgres"))
    try:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        # A backend ends some time after it was told to, and nothing tells when.
        while (reply := await client.get("/health/ready")).status_code == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert list(reply.json()["missing"]) == ["postgresql"], reply.text
        assert (await client.get("/metrics")).status_code == 200
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    finally:
        await admin.close()
    assert (await client.get("/health/ready")).status_code == 200


async def test_metrics_tell_the_ledger_the_lag_the_dead_letters_and_the_losses(
    client: httpx.AsyncClient, redis_url: str, database_url: str
) -> None:
    stream = RedisStream(redis_url, "streamgauge", 0, 4)
    entry_id = await Publisher(stream, lambda: 1).publish(1, b"payload", 3)
    await stream.aclose()
    await execute(
        database_url,
        "INSERT INTO shards (shard, generation, number) SELECT n, 0, n FROM generate_series(0, 3) n",
        f"UPDATE shards SET position_ms = {entry_id.milliseconds + 1}, applied_at = now() WHERE shard = 0",
        "INSERT INTO outcome_ledger VALUES (0, 1, '2025-01-01', 'applied', '', 5), (1, 1, '2025-01-01', 'applied', '', 2),"
        " (1, 1, '2025-01-01', 'rejected', 'invalid_value', 4)",
        "INSERT INTO dead_letters (shard, content_id, reason, events) VALUES (0, 'a', 'late', 1), (0, 'b', 'late', 1)",
        # 10 announced, 0-2 and 5-6 and 12 are there: 3, 4, 7, 8, 9 are not.
        "INSERT INTO lanes VALUES (0, decode(repeat('ab', 16), 'hex'), '{[0,3),[5,7),[12,13)}', 10, false, 1, 1, false, false, 0)",
        "INSERT INTO lanes VALUES (0, decode(repeat('cd', 16), 'hex'), '{}', 10, false, 1, 1, true, false, 0)",
        "INSERT INTO forgotten_lanes VALUES (0, 'x', 1, 9, 7)",
    )
    await asyncio.sleep(0.05)
    found = samples((await client.get("/metrics")).text)
    ledger = "streamgauge_ledger_events_total"
    assert found[ledger, (("outcome", "applied"), ("reason", ""))] == 7
    assert found[ledger, (("outcome", "rejected"), ("reason", "invalid_value"))] == 4
    assert found["streamgauge_dead_letters", (("reason", "late"),)] == 2
    assert found["streamgauge_lost_events", (("lanes", "known"),)] == 5
    assert found["streamgauge_lost_events", (("lanes", "forgotten"),)] == 7
    lag = {shard: found["streamgauge_shard_lag_seconds", (("shard", str(shard)),)] for shard in range(4)}
    assert lag[1] >= 0.05
    assert (lag[0], lag[2], lag[3]) == (0, 0, 0)
    assert found["streamgauge_source_up", (("source", "database"),)] == 1
    assert found["streamgauge_source_up", (("source", "streams"),)] == 1
    assert found["streamgauge_pool_connections_limit", ()] == 8
    assert found["process_resident_memory_bytes", ()] > 0


async def test_the_database_is_asked_once_for_scrapes_that_follow_each_other(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    original = app.state.pipeline._ask_database

    async def counted(state: object) -> None:
        looks.append(state)
        await original(state)

    monkeypatch.setattr(app.state.pipeline, "_ask_database", counted)
    await asyncio.gather(*(client.get("/metrics") for _ in range(5)))
    assert len(looks) == 1
    monkeypatch.setattr("streamgauge.read.pipeline.FRESH", 0.0)
    await client.get("/metrics")
    assert len(looks) == 2


async def test_requests_are_counted_by_the_whole_template_of_their_route(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    router = APIRouter(prefix="/users")

    @router.get("/{user}")
    async def user(user: int) -> int:
        return user

    app.include_router(router, prefix="/v1")
    for path in ("/v1/users/17", "/v1/users/18", "/v1/users/none", "/secret-path"):
        await client.get(path)
    await client.head("/v1/users/19")
    await client.request("BREW", "/v1/users/17")
    text = (await client.get("/metrics")).text
    found = samples(text)

    def count(route: str, method: str, status: str) -> float:
        labels = (("method", method), ("route", route), ("status", status))
        return found["streamgauge_http_requests_total", labels]

    assert count("/v1/users/{user}", "GET", "200") == 2
    assert count("/v1/users/{user}", "GET", "400") == 1
    assert count("/v1/users/{user}", "HEAD", "200") == 1
    assert count("(unmatched)", "GET", "404") == 1
    assert count("/v1/users/{user}", "OTHER", "405") == 1
    assert found[
        "streamgauge_http_request_seconds_count", (("method", "GET"), ("route", "/v1/users/{user}"))
    ] == (3)
    assert "secret-path" not in text


async def test_every_error_is_a_problem_detail_with_safe_headers_and_without_the_values_given(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    @app.get("/number/{number}")
    async def number(number: int) -> int:
        raise InputError("number is 3: give another", "number")

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the password is hunter2")

    expected = {"/nowhere": 404, "/number/private": 400, "/number/3": 400, "/broken": 500}
    for path, status in expected.items():
        reply = await client.get(path)
        assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
        body = reply.json()
        assert body["status"] == status
        assert {"type", "title", "detail"} <= body.keys()
        assert "private" not in reply.text
        assert "hunter2" not in reply.text
        assert reply.headers["x-content-type-options"] == "nosniff", path
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert (await client.get("/number/3")).json()["field"] == "number"
    reply = await client.post("/health/live")
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET")


def test_without_addresses_there_is_no_server() -> None:
    with pytest.raises(SettingsError, match="addresses"):
        create_app(Settings(), require_current)


def test_serve_answers_and_ends_cleanly_on_sigterm_and_on_sigint(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        port = free_port()
        with Program(
            "serve", "--port", str(port), log=tmp_path / "log", **given(redis_url, database_url)
        ) as program:
            program.until_ready(port)
            assert "server" not in fetch(port, "/health/live").headers
            program.signal(number)
            assert program.ended() == 0, program.output
            assert {line["level"] for line in program.lines()} == {"info"}


def test_head_leaves_the_connection_fit_for_the_next_request(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    port = free_port()
    with Program(
        "serve", "--port", str(port), log=tmp_path / "log", **given(redis_url, database_url)
    ) as program:
        program.until_ready(port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for path in ("/", "/health/live", "/api/v1/summary"):
            connection.request("HEAD", path)
            head = connection.getresponse()
            assert head.read() == b""
            connection.request("GET", path)
            got = connection.getresponse()
            assert (head.status, head.headers["content-length"]) == (got.status, str(len(got.read())))
        connection.close()
        assert program.stop() == 0
        assert {line["level"] for line in program.lines()} == {"info"}


def test_a_request_under_way_is_answered_before_the_server_ends(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    port = free_port()
    with Program(
        "serve", "--port", str(port), log=tmp_path / "log", **given(redis_url, database_url)
    ) as program:
        program.until_ready(port)
        with redis.Redis.from_url(redis_url) as admin, socket.create_connection(("127.0.0.1", port)) as held:
            admin.client_pause(1_500, all=True)
            held.sendall(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            time.sleep(0.3)
            program.signal(signal.SIGTERM)
            reply = b"".join(iter(lambda: held.recv(65_536), b""))
        assert reply.startswith(b"HTTP/1.1 200"), reply
        assert program.ended() == 0


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_taken_port_is_a_clear_error(
    command: str, redis_url: str, database_url: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Program(
            command, "--port", str(port), log=tmp_path / "log", **given(redis_url, database_url)
        ) as program:
            assert program.ended() == 1
            assert re.fullmatch(
                rf"streamgauge: cannot listen on port {port} of 127.0.0.1: it is taken.*\n", program.output
            )


def test_a_database_that_was_not_migrated_is_a_clear_error(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    asyncio.run(execute(database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public"))
    port = free_port()
    with Program(
        "serve", "--port", str(port), log=tmp_path / "log", **given(redis_url, database_url)
    ) as program:
        assert program.ended() == 1
        assert "run `streamgauge migrate`" in program.output
        assert "Traceback" not in program.output


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://x"
    )
