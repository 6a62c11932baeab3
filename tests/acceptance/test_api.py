"""The real log, imported by the real command, over the read API: the published figures, and the bytes of `query`."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from streamgauge.access.store import create
from streamgauge.database import open_connection
from streamgauge.server import create_server
from streamgauge.settings import Settings
from streamgauge_migrations import require_current

from ..oracles import access_log
from .test_access_log import DAYS, LOG, STATUSES, VISITORS, Command

RANGE = "from=2015-05-17&to=2015-05-20"


@pytest.fixture
def command(redis_url: str, database_url: str, tmp_path: Path) -> Command:
    found = Command(redis_url, database_url, tmp_path / "data")
    found.imported()
    return found


@pytest.fixture
async def client(command: Command, redis_url: str, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Asks a server over the imported tables, with a key of the log's tenant."""
    connection = await open_connection(database_url)
    key = await create(connection, "apache", ["read", "admin"])
    await connection.close()
    app = create_server(Settings(redis_url=redis_url, database_url=database_url), require_current)
    async with app.router.lifespan_context(app):
        headers = {"authorization": f"Bearer {key.text}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://x/api/v1/", headers=headers
        ) as opened:
            yield opened


async def rows(client: httpx.AsyncClient, path: str) -> dict[str, tuple[Any, ...]]:
    reply = await client.get(path)
    assert reply.status_code == 200, reply.text
    return {
        "".join(row["dimensions"]): tuple(row["metrics"])
        for row in reply.json()["results"]
        if row["metrics"][0]
    }


async def test_the_real_logs_figures_come_out_of_every_route(client: httpx.AsyncClient) -> None:
    recount = access_log.read(LOG)
    metrics = "metrics=requests,visitors,bytes"
    days = await rows(client, f"timeseries?interval=day&{RANGE}&{metrics}")
    assert {day[:10]: found for day, found in days.items()} == DAYS
    hours = await rows(client, f"timeseries?interval=hour&{RANGE}&{metrics}")
    assert {hour[:13].replace("T", " "): found for hour, found in hours.items()} == {
        hour: (counts.requests, counts.visitors, counts.bytes) for hour, counts in recount.hours.items()
    }
    total = await rows(client, f"aggregate?{RANGE}&{metrics},errors")
    requests = sum(STATUSES.values())
    assert total == {"": (requests, VISITORS, recount.total.bytes, STATUSES["500"])}
    paths = await rows(client, f"breakdown?dimension=url.path&{RANGE}&metrics=requests&limit=10000")
    assert paths == {path: (counts.requests,) for path, counts in recount.paths.items()}
    statuses = await rows(client, f"breakdown?dimension=http.response.status_code&{RANGE}&metrics=requests")
    assert statuses == {status: (count,) for status, count in STATUSES.items()}
    summary = (await client.get("summary?hours=8760&now=2015-05-21T00:00:00Z")).json()
    (named,) = summary["events"]
    assert (named["name"], named["figures"]["count"], named["figures"]["errors"]) == (
        "http.request",
        requests,
        3,
    )
    assert (named["figures"]["actors"], summary["actors_are"]) == (VISITORS, "distinct")
    assert summary["total"] == named["figures"]
    ledger = (await client.get("ledger")).json()
    assert (ledger["total"]["applied"], ledger["total"]["balanced"]) == (requests, True)
    # History is nobody's presence.
    realtime = (await client.get("realtime")).json()
    assert (realtime["actors"], realtime["events_today"]) == (0, 0)
    assert realtime["activities"][0]["occurred_at"].startswith("2015-05-20T21:05")


async def test_query_answers_the_bytes_that_the_command_prints(
    client: httpx.AsyncClient, command: Command
) -> None:
    question = {
        "metrics": ["requests", "visitors", "error_rate", "avg_bytes"], "date_range": ["2015-05-17", "2015-05-20"],
        "dimensions": ["time:day", "http.response.status_class"], "now": "2015-06-01T00:00:00Z", "include": {"total_rows": True},
    }  # fmt: skip
    reply = await client.post("query", json=question)
    output, _ = command.run("query", json.dumps({**question, "tenant": "apache"}))
    assert output.encode() == reply.content + b"\n"
    assert len(reply.json()["results"]) > 8
