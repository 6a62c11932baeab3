"""Tenants apart, twice over: by row-level security, and by what each query asks for itself."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

import httpx2 as httpx
import pytest

from streamgauge.read import rows
from streamgauge.read.connections import lent_platform, lent_snapshot
from streamgauge.server import create_server
from streamgauge_migrations import require_current
from tests.api.server import Api, bearer, open_api
from tests.integration.engine import DAY, Plain

ZONES = {"mine": "UTC", "theirs": "UTC"}
LIMIT = 10  # values of a dimension and day
#: What a tenant can be asked, so that every query of the read API is used.
PATHS = (
    "summary?hours=200",
    "dashboard",
    "aggregate?metrics=events,actors,requests,visitors,p95_duration&date_range=all",
    "timeseries?metrics=requests,visitors&date_range=7d&interval=day",
    "breakdown?dimension=http.route&metrics=requests,visitors&date_range=7d&limit=100",
    "breakdown?dimension=url.path&metrics=requests&date_range=7d",
    "breakdown?dimension=http.route&metrics=requests&date_range=7d&filters=%5B%5B%22is%22,%22http.route%22,%5B%22/mine/1%22%5D%5D%5D",
    "realtime",
    "ledger",
)


def visits(tenant: str, routes: int, days_ago: int) -> list[Plain]:
    """Requests of a day, each for a route and of an actor of its own; some of them with a path."""
    at = time.time_ns() // 1_000 - days_ago * DAY - 1_000_000
    return [
        {
            "name": "http.request",
            "at": at - number,
            "tenant": tenant,
            "actor": bytes([1]) + bytes([number + 1]) * 16,
            "shard": number % 4,
            "properties": {"http.route": f"/{tenant}/{number}", "http.response.status_code": 200, "duration": number}
            | ({"url.path": f"/{tenant}"} if number % 3 else {}),
        }
        for number in range(routes)
    ]  # fmt: skip


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """Two tenants: both have a day with too many routes, and theirs has more of everything beside."""
    async with open_api(redis_url, database_url, tmp_path, ZONES, cardinality_limit=LIMIT) as opened:
        await opened.engine.publish(
            [
                *visits("mine", 14, 2),
                *visits("mine", 5, 1),
                *visits("mine", 3, 0),
                *visits("theirs", 40, 2),
                *visits("theirs", 60, 1),
                *visits("theirs", 9, 0),
                *visits("theirs", 9, 5),
            ]
        )
        await opened.engine.drain()
        await opened.engine.connection.execute(
            """INSERT INTO verifications SELECT tenant_id, now(), 0, '2000-01-01', '2100-01-01', '{}', 3 FROM tenants WHERE name = 'theirs';
            INSERT INTO outcome_ledger SELECT 0, tenant_id, date_trunc('hour', now()), 'rejected', 'x', 7 FROM tenants WHERE name = 'theirs'"""
        )
        yield opened


@asynccontextmanager
async def unprotected(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """The same server as the tables' owner, to whom row-level security shows every tenant."""
    app = create_server(api.app.state.settings, require_current)
    with patch("streamgauge.read.server.API_ROLE", None):
        async with app.router.lifespan_context(app):
            seen = await app.state.pool.fetchval("SELECT count(DISTINCT tenant_id) FROM series")
            assert seen == 2
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://streamgauge") as client:
                yield client


async def test_no_answer_relies_on_row_level_security_alone(api: Api) -> None:
    key = await api.key("mine", "read")
    async with unprotected(api) as client:
        for path in PATHS:
            for _ in range(3):
                protected = await api.get(path, key)
                assert protected.status_code == 200, protected.text
                found = await client.get(f"/api/v1/{path}", headers=bearer(key))
                if found.headers["etag"] == protected.headers["etag"]:
                    break  # else the clock passed a point of its grid between the two
            assert found.json() == protected.json(), path
            assert b"theirs" not in found.content, path
            assert found.headers["etag"] == protected.headers["etag"], path
        question = {"metrics": ["events", "actors"], "date_range": "all", "dimensions": ["event.name"]}
        asked = await client.post("/api/v1/query", json=question, headers=bearer(key))
        assert asked.json()["results"] == [{"dimensions": ["http.request"], "metrics": [22, 14]}]
    crowded = (await api.get(PATHS[4], key)).json()
    assert "(other)" in [row["dimensions"][0] for row in crowded["results"]]


async def test_a_connection_sees_one_tenant_reads_only_and_remembers_nothing(api: Api) -> None:
    pool = api.app.state.pool
    connection = api.engine.connection
    tenants = {
        row["name"]: row["tenant_id"] for row in await connection.fetch("SELECT name, tenant_id FROM tenants")
    }
    for tenant_id in tenants.values():
        async with lent_snapshot(pool, tenant_id) as lent:
            seen = await lent.fetch("SELECT DISTINCT tenant_id FROM series")
            assert [row["tenant_id"] for row in seen] == [tenant_id]
            assert await lent.fetchval("SHOW transaction_read_only") == "on"
            assert await lent.fetchval("SHOW transaction_isolation") == "repeatable read"
    async with lent_platform(pool) as lent:
        assert await lent.fetchval("SELECT count(*) FROM tenants") == len(tenants)
        assert await lent.fetchval("SHOW transaction_read_only") == "on"
    # Whoever forgets to say which tenant sees none.
    assert await pool.fetchval("SELECT count(*) FROM series") == 0
    assert await pool.fetchval("SELECT count(*) FROM tenants") == 0


async def test_of_too_many_rows_no_more_are_fetched_than_show_that(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await api.key("mine", "read")
    path = "breakdown?dimension=http.route&metrics=requests,visitors&date_range=7d"
    monkeypatch.setattr(rows, "MOST_CELLS", 3)
    reply = await api.get(path, key)
    assert (reply.status_code, reply.json()["field"]) == (400, "dimension")
    fetched: list[int] = []
    monkeypatch.setattr(rows, "_check_size", lambda found: fetched.append(len(found)))
    assert (await api.get(path, key)).status_code == 200
    assert fetched == [4, 4]  # measures and members: one above what is allowed
