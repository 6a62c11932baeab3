"""What the read API refuses, and how it says so: parameters, questions, servers that are away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx2 as httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamgauge import lending
from streamgauge.read import connections, rows
from streamgauge.read.api.asking import Asking
from tests.api.server import Api, bearer, open_api

FOREVER = "9" * 30
LONG = "x" * 70_000


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(redis_url, database_url, tmp_path, {"berlin": "Europe/Berlin"}) as opened:
        yield opened


@pytest.fixture
async def admin(api: Api) -> str:
    """A key that may ask as of another moment."""
    return await api.key("berlin", "admin")


def check_problem(reply: httpx.Response, status: int) -> dict[str, Any]:
    """The reply is problem details with this status; returns them."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = reply.json()
    assert found["status"] == status
    assert found["title"]
    assert "etag" not in reply.headers
    assert reply.headers["cache-control"] == "no-store"
    return found


#: What is asked, which field the refusal names, and what it says of it.
PARAMETERS = [
    ("summary?hours=0", "hours", "greater than or equal to 1"),
    ("summary?hours=-1", "hours", "greater than or equal to 1"),
    ("summary?hours=8761", "hours", "less than or equal to 8760"),
    (f"summary?hours={FOREVER}", "hours", "less than or equal to 8760"),
    (f"summary?hours={'9' * 5000}", "hours", "integer"),
    ("summary?hours=many", "hours", "integer"),
    ("summary?hours=NaN", "hours", "integer"),
    ("summary?hours=1e3", "hours", "integer"),
    ("summary?hours=", "hours", "integer"),
    ("summary?hours=1.5", "hours", "integer"),
    ("summary?hours=1&hours=2", "hours", "given 2 times"),
    ("summary?hour=1", "hour", "did you mean 'hours'"),
    ("summary?tenant=other", "tenant", "known are hours, now"),
    ("dashboard?hours=1", "hours", "known are now"),
    ("catalogue?now=2026-01-01T00:00:00Z", "now", "there are none"),
    ("openapi.json?x=1", "x", "there are none"),
    ("realtime?since=1", "since", "there are none"),
    ("realtime?now=2026-01-01T00:00:00Z", "now", "there are none"),
    ("pipeline?shard=1", "shard", "there are none"),
    ("timeseries?interval=minute", "interval", "'hour', 'day', 'week' or 'month'"),
    ("timeseries?interval=hour&from=2020-01-01&to=2026-01-01", "interval", "up to 400"),
    ("timeseries?metrics=", "metrics", "separated by commas"),
    ("timeseries?metrics=requests,,errors", "metrics", "separated by commas"),
    ("timeseries?metrics=nonsense", "metrics", "unknown metric"),
    ("timeseries?metrics=request", "metrics", "did you mean 'requests'"),
    ("timeseries?metrics=requests%00", "metrics", "u0000"),
    (f"timeseries?metrics={','.join(['requests'] * 21)}", "metrics", "1 to 20"),
    (f"timeseries?metrics={LONG[:2001]}", "metrics", "at most 2000 characters"),
    ("timeseries?date_range=soon", "date_range", "give one of"),
    ("timeseries?date_range=", "date_range", "give one of"),
    ("timeseries?from=2026-01-01", "to", "missing"),
    ("timeseries?to=2026-01-01", "from", "missing"),
    ("timeseries?from=2026-01-02&to=2026-01-01", "from", "must not lie after"),
    ("timeseries?from=1900-01-01&to=2026-01-01", "from", "1970 to 2100"),
    ("timeseries?from=2010-01-01&to=2026-01-01", "from", "3660"),
    ("timeseries?from=2026-02-30&to=2026-03-01", "from", "not in the calendar"),
    ("timeseries?from=2026-01-01T00:10:00Z&to=2026-01-02T00:00:00Z", "from", "does not begin an hour"),
    ("timeseries?from=2026-01-01&to=2026-01-02&date_range=7d", "date_range", "one of the two"),
    ("timeseries?from=2026-01-01&from=2026-01-02&to=2026-01-03", "from", "given 2 times"),
    (f"timeseries?from={LONG[:41]}&to=2026-01-01", "from", "at most 40 characters"),
    ("timeseries?filters={", "filters", "not JSON"),
    ("timeseries?filters=", "filters", "not JSON"),
    ("timeseries?filters=NaN", "filters", "not JSON"),
    ("timeseries?filters=7", "filters", "list of filters"),
    ("timeseries?filters=[[1]]", "filters[0]", "filter"),
    ('timeseries?filters=[["is","http.route",[]]]', "filters[0][2]", "1 to 200 values"),
    ('timeseries?filters=[["is","colour",["red"]]]', "filters", "unknown dimension"),
    (f"timeseries?filters={'[' * 3000}", "filters", "not JSON"),
    ("breakdown?dimension=colour", "dimension", "unknown dimension"),
    ("breakdown?dimension=", "dimension", "separated by commas"),
    ("breakdown?dimension=http.route,http.route", "dimension", "twice"),
    ("breakdown?dimension=event.name&metrics=requests", "dimension", "is not kept by"),
    ("breakdown?limit=0", "limit", "greater than or equal to 1"),
    ("breakdown?limit=10001", "limit", "less than or equal to 10000"),
    ("breakdown?limit=NaN", "limit", "integer"),
    ("breakdown?limit=inf", "limit", "integer"),
    ("breakdown?offset=-1", "offset", "greater than or equal to 0"),
    (f"breakdown?offset={FOREVER}", "offset", "less than or equal to 1000000000"),
    ("breakdown?order=bytes", "order", "not asked for"),
    ("breakdown?order=", "order", "not asked for"),
    ("breakdown?order=requests:sideways", "order", "not asked for"),
    ("breakdown?order_by=requests", "order_by", "did you mean 'order'"),
    ("ledger?from=2026-01-01T00:30:00Z", "from", "beginning of an hour of UTC"),
    ("ledger?to=2026-01-01T00:00:00.5Z", "to", "beginning of an hour of UTC"),
    ("ledger?from=yesterday", "from", "RFC 3339"),
    ("ledger?from=2026-01-01", "from", "RFC 3339"),
    ("ledger?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from", "before"),
    ("ledger?from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "from", "before"),
    ("ledger?from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from", "up to 8784"),
    ("ledger?from=2020-01-01T00:00:00Z", "from", "up to 8784"),
    ("ledger?from=2099-01-01T00:00:00Z", "from", "before"),
    ("aggregate?now=soon", "now", "RFC 3339"),
    ("aggregate?now=2026-01-01", "now", "RFC 3339"),
    ("aggregate?now=9999-01-01T00:00:00Z", "now", "1970 to 2100"),
    ("summary?now=1969-12-31T23:59:59Z", "now", "1970 to 2100"),
    ("summary?=1", "query", "no parameter"),
]


async def test_a_parameter_that_cannot_be_used_is_named_with_what_is_allowed(api: Api, admin: str) -> None:
    for path, field, told in PARAMETERS:
        found = check_problem(await api.get(path, admin), 400)
        assert (path, found["field"]) == (path, field), found
        assert told in found["detail"], path
        assert len(found["detail"]) < 1_500


async def test_every_parameter_is_refused_when_it_is_given_twice(api: Api, admin: str) -> None:
    document = (await api.get("openapi.json", admin)).json()
    tried = 0
    for path, operations in document["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", []):
            if parameter["in"] != "query":
                continue
            value = quote(str(parameter["schema"].get("examples", ["1"])[0]))
            reply = await api.client.get(
                f"{path.format(tenant='berlin', id='01' * 17)}?{parameter['name']}={value}&{parameter['name']}={value}",
                headers=bearer(admin),
            )
            assert check_problem(reply, 400)["field"] == parameter["name"]
            tried += 1
    assert tried > 25


QUESTION = {"metrics": ["requests"], "date_range": "7d"}


QUESTIONS = [
        (b"", "query", "not JSON"),
        (b"{", "query", "not JSON"),
        (b"[]", "query", "JSON object"),
        (b"7", "query", "JSON object"),
        (b'{"metrics": ["requests"], "date_range": "7d", "limit": NaN}', "query", "not JSON"),
        (b"\xff", "query", "not JSON"),
        (b"[" * 5_000, "query", "not JSON"),
        (b"{}", "metrics", "missing"),
        (b'{"metrics": ["requests"]}', "date_range", "missing"),
        (b'{"metrics": ["requests"], "date_range": "7d", "metric": 1}', "metric", "did you mean 'metrics'"),
        (b'{"metrics": ["requests"], "date_range": "7d", "pagination": {"limit": 10001}}', "pagination", "1 to 10000"),
        (b'{"metrics": ["requests"], "date_range": "7d", "pagination": {"limit": -1}}', "pagination", "1 to 10000"),
        (b'{"metrics": ["requests"], "date_range": "7d", "now": 5}', "now", "RFC 3339"),
        (b'{"metrics": ["a\\u0000"], "date_range": "7d"}', "metrics", "u0000"),
]  # fmt: skip


async def test_a_question_that_is_none_is_refused(api: Api, admin: str) -> None:
    for content, field, told in QUESTIONS:
        reply = await api.client.post("/api/v1/query", content=content, headers=bearer(admin))
        found = check_problem(reply, 400)
        assert (content, found["field"]) == (content, field)
        assert told in found["detail"]


async def test_a_long_question_is_refused_before_it_is_read_to_its_end(api: Api) -> None:
    headers = bearer(await api.key("berlin", "read"))
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1_000):
            read += 1
            yield b" " * 10_000

    found = check_problem(await api.client.post("/api/v1/query", content=endless(), headers=headers), 413)
    assert "65536" in found["detail"]


async def test_a_questions_url_has_no_parameters(api: Api) -> None:
    key = await api.key("berlin", "read")
    assert check_problem(await api.post("query?tenant=x", key, QUESTION), 400)["field"] == "tenant"


async def test_a_method_that_is_not_there_is_told_which_is(api: Api) -> None:
    headers = bearer(await api.key("berlin", "read"))
    for method, path, allowed in (
        ("POST", "summary", "GET"),
        ("DELETE", "ledger", "GET"),
        ("GET", "query", "POST"),
    ):
        reply = await api.client.request(method, f"/api/v1/{path}", headers=headers)
        check_problem(reply, 405)
        assert reply.headers["allow"] == allowed


_TEXTS = st.text(max_size=30) | st.sampled_from(
    ["7d", "requests", "http.route", "[]", "-1", "1e400", "null", "\0", "%", "2026-01-01"]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["summary", "timeseries", "breakdown", "aggregate", "ledger", "dashboard", "realtime"]),
    parameters=st.dictionaries(
        st.sampled_from(["hours", "metrics", "date_range", "from", "to", "filters", "interval", "dimension", "order", "limit", "now"])
        | st.text(max_size=8),
        _TEXTS,
        max_size=4,
    ),
)  # fmt: skip
async def test_whatever_is_given_is_answered_or_refused_and_never_breaks_anything(
    api: Api, admin: str, path: str, parameters: dict[str, str]
) -> None:
    reply = await api.client.get(f"/api/v1/{path}", params=parameters, headers=bearer(admin))
    if reply.status_code != 200:
        found = check_problem(reply, 400)
        assert found["field"]
        assert found["detail"]


async def test_when_all_connections_stay_busy_the_answer_is_503_and_says_so(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await api.key("berlin", "read")
    await api.get("catalogue", key)  # so that the key is known
    monkeypatch.setattr(lending, "PATIENCE", 0.05)
    pool = api.app.state.pool
    busy = [await pool.acquire() for _ in range(pool.get_max_size())]
    try:
        for reply in (await api.get("summary", key), await api.post("query", key, QUESTION)):
            found = check_problem(reply, 503)
            assert "no connection to PostgreSQL came free" in found["detail"]
            assert reply.headers["retry-after"] == "1"
        assert (await api.get("catalogue", key)).status_code == 200
    finally:
        for connection in busy:
            await pool.release(connection)
    assert (await api.get("summary", key)).status_code == 200


async def test_a_statement_that_takes_too_long_is_503_and_says_what_to_narrow(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with open_api(redis_url, database_url, tmp_path, {"berlin": "UTC"}, statement_seconds=1) as api:
        await check_statement_seconds(api, database_url)


async def check_statement_seconds(api: Api, database_url: str) -> None:
    key = await api.key("berlin", "read")
    tenant_id = await api.engine.connection.fetchval("SELECT tenant_id FROM tenants")
    async with api.app.state.desk.snapshot(tenant_id) as connection:
        assert await connection.fetchval("SHOW statement_timeout") == "1s"
    locker = await asyncpg.connect(database_url)
    try:
        async with locker.transaction():
            await locker.execute("LOCK TABLE series IN ACCESS EXCLUSIVE MODE")
            for reply in await asyncio.gather(api.get("summary", key), api.post("query", key, QUESTION)):
                assert "narrow date_range" in check_problem(reply, 503)["detail"]
    finally:
        await locker.close()
    assert (await api.get("summary", key)).status_code == 200


async def test_an_answer_of_many_statements_has_a_bound_too(
    api: Api, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await api.key("berlin", "read")
    monkeypatch.setattr(connections, "LONGEST", 0.2)
    locker = await asyncpg.connect(database_url)
    try:
        async with locker.transaction():
            await locker.execute("LOCK TABLE series IN ACCESS EXCLUSIVE MODE")
            assert "shorter time" in check_problem(await api.get("dashboard", key), 503)["detail"]
    finally:
        await locker.close()
    monkeypatch.undo()
    assert (await api.get("dashboard", key)).status_code == 200
    assert api.app.state.pool.get_idle_size() == api.app.state.pool.get_size()


async def test_a_connection_that_breaks_in_the_middle_is_503_and_the_next_answer_is_well(
    api: Api, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await api.key("berlin", "read")
    load = rows.load_tenant

    async def broken(connection: Any, name: str) -> rows.Tenant:
        other = await asyncpg.connect(database_url)
        await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        await other.close()
        return await load(connection, name)

    for module in ("asking", "questions"):
        monkeypatch.setattr(f"streamgauge.read.api.{module}.load_tenant", broken)
    for reply in (await api.get("summary", key), await api.post("query", key, QUESTION)):
        assert "PostgreSQL does not answer" in check_problem(reply, 503)["detail"]
    monkeypatch.undo()
    assert (await api.get("summary", key)).status_code == 200
    assert (await api.post("query", key, QUESTION)).status_code == 200


async def test_a_mistake_in_a_report_is_500_and_its_details_stay_here(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await api.key("berlin", "read")

    async def broken(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(Asking, "respond", broken)
    assert "hunter2" not in str(check_problem(await api.get("summary", key), 500))
