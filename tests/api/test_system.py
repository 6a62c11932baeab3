"""System metrics over real servers: what a tenant's admin is told and what an owner is, and what is left of it without Redis."""

import math
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from streamgauge.system import installation
from tests.api.server import Api, open_api
from tests.integration.cluster import Node, free_ports, until
from tests.integration.engine import Plain

ZONES = {"berlin": "Europe/Berlin", "york": "America/New_York"}
ACTORS = [bytes([1, number]) * 8 + b"\1" for number in range(4)]


def request(
    tenant: str, route: str, status: int, us: int, actor: int, hours: float = 0, **more: str
) -> Plain:
    told = {
        "http.route": route,
        "http.request.method": "GET",
        "http.response.status_code": status,
        "duration": us,
    }
    return {
        "name": "http.request", "at": time.time_ns() // 1_000 - int(hours * 3_600_000_000), "tenant": tenant, "actor": ACTORS[actor],
        "properties": {**told, **{name.replace("__", "."): value for name, value in more.items()}}, "shard": actor,
    }  # fmt: skip


def events() -> list[Plain]:
    return [
        *(request("berlin", "/lessons/{id}", 200, 10_000, 0, hours) for hours in (0, 0, 1, 30)),
        request("berlin", "/lessons/{id}", 503, 90_000, 1),
        request("berlin", "/quiz", 500, 5_000, 1, error__type="TimeoutError"),
        request("berlin", "/quiz", 200, 5_000, 2, hours=24 * 9),  # too late to be counted
        *(request("york", "/york-only", 500, 1, 3, error__type="YorkError") for _ in range(7)),
    ]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A Redis of the test's own, to be stopped."""
    made = Node(free_ports(1)[0], tmp_path / "redis", in_cluster=False)
    made.folder.mkdir()
    made.start()
    try:
        until(made.answers)
        yield made
    finally:
        made.resume()
        made.kill()
        made.admin.close()


@pytest.fixture
async def api(node: Node, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(node.url, database_url, tmp_path, ZONES) as opened:
        yield opened


async def metrics(api: Api, key: str, query: str = "") -> dict[str, Any]:
    """The answer of a new look, which has to be as the document says."""
    api.app.state.pipeline.looked_at = api.app.state.installation.looked_at = -math.inf
    reply = await api.get(f"system/metrics{query}", key)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    schema = api.app.openapi()
    documented = schema["paths"]["/api/v1/system/metrics"]["get"]["responses"]["200"]["content"][
        "application/json"
    ]
    for each in (found, documented["example"]):
        jsonschema.validate(each, {**documented["schema"], "components": schema["components"]})
    return found


async def test_an_admin_is_told_of_the_tenant_and_an_owner_of_the_installation(api: Api) -> None:
    keys = {
        "berlin": await api.key("berlin", "admin"),
        "york": await api.key("york", "admin"),
        "owner": await api.key(None, "platform"),
    }
    before = await metrics(api, keys["berlin"])
    assert before["unavailable"]["processing.lag_seconds"] == "no worker has looked after a stream yet"
    assert before["tenant"]["requests"] == 0
    assert before["processing"]["redis_answers"]

    sent = events()
    await api.engine.publish(sent, 1)
    async with api.engine.working():
        await api.engine.drained()
        found = await metrics(api, keys["berlin"])
        assert found["processing"] == {
            "postgresql_answers": True, "redis_answers": True, "lag_seconds": 0.0, "shards": 5, "unattended_shards": 0, "workers_live": 1,
        }  # fmt: skip
    whole = found["tenant"]
    assert (found["scope"], found["installation"]) == ("tenant", None)
    assert [(each["route"], each["requests"], each["errors"], each["error_rate"]) for each in whole["routes"]] == [
        ("/lessons/{id}", 4, 1, 0.25), ("/quiz", 1, 1, 1.0),
    ]  # fmt: skip
    assert (whole["requests"], whole["routes_total"], whole["active_users"]) == (5, 2, 2)
    assert whole["errors"] == {
        "count": 2, "rate": 0.4, "statuses": [{"status": "500", "errors": 1}, {"status": "503", "errors": 1}],
        "types": [{"type": "TimeoutError", "requests": 1}],
    }  # fmt: skip
    assert (whole["drops"]["dead_lettered"], whole["drops"]["rejected"]) == ({"late": 1}, {})
    hour = [whole["throughput"][each] for each in ("hour_start", "hour_end")]
    start, end = [datetime.fromisoformat(each).timestamp() * 1_000_000 for each in hour]
    assert end <= time.time() * 1_000_000 < end + 3_600_000_000
    last = [each for each in sent if each["tenant"] == "berlin" and start <= each["at"] < end]
    assert (whole["throughput"]["events"], end - start) == (len(last), 3_600_000_000)
    assert (await metrics(api, keys["berlin"], "?hours=168"))["tenant"]["requests"] == 6
    asked = {
        "metrics": ["requests", "error_rate", "p50_duration", "p95_duration", "p99_duration"], "dimensions": ["http.route"],
        "date_range": [whole["period_start"], whole["period_end"]],
    }  # fmt: skip
    rows = (await api.post("query", keys["berlin"], asked)).json()["results"]
    assert [[*row["dimensions"], *row["metrics"]] for row in rows] == [
        [each["route"], each["requests"], each["error_rate"], *each["latency"].values()]
        for each in whole["routes"]
    ]
    assert "york" not in str(found).lower()
    york = (await metrics(api, keys["york"]))["tenant"]
    assert (york["requests"], york["errors"]["types"], york["drops"]["dead_lettered"]) == (
        7, [{"type": "YorkError", "requests": 7}], {},
    )  # fmt: skip

    told = await metrics(api, keys["owner"])
    assert (told["scope"], told["tenant"], list(told["unavailable"])) == ("installation", None, ["tenant"])
    told_of = told["installation"]
    assert told_of["queue"] == {"entries_at_least": 0, "entries_at_most": 0}
    assert sum(each["events"] for each in told_of["pipeline"]["outcomes"]) == len(sent)
    database = told_of["database"]
    assert database["version"].split(".")[0].isdigit()
    assert database["size_bytes"] > 1_000_000
    assert 1 < database["connections_used"] < database["connections_allowed"]
    (memory,) = told_of["redis"]
    assert memory["used_bytes"] > 100_000
    assert memory["limit_bytes"] is None
    assert "lessons" not in str(told)
    await api.engine.redis.config_set("maxmemory", 50_000_000)
    await api.engine.connection.execute(
        "UPDATE outcome_ledger SET hour = date_trunc('hour', now()) - interval '1 hour'"
    )
    # Two batches for one shard that nobody reads now, the stream of which keeps what was counted; three for another's.
    await api.engine.publish([request("berlin", "/", 200, 1, actor) for actor in (0, 0)], 1, announce=False)
    told = await metrics(api, keys["owner"])
    kept = await api.engine.stream.length(0)
    assert told["installation"]["queue"] == {"entries_at_least": 1, "entries_at_most": kept}
    assert kept > 2
    assert told["installation"]["redis"][0]["limit_bytes"] == 50_000_000
    throughput = told["installation"]["throughput"]
    assert (throughput["events"], throughput["events_per_second"]) == (
        len(sent),
        round(len(sent) / 3_600, 3),
    )
    assert told["processing"]["lag_seconds"] > 0

    refused = {
        "analyst": (await api.key("berlin", "read"), 403),
        "member": (await api.key("berlin", "read", role="member", actor=ACTORS[0]), 403),
        "writer": (await api.key("berlin", "write"), 403),
        "nobody": (None, 401),
    }
    for name, (key, status) in refused.items():
        assert (await api.get("system/metrics", key)).status_code == status, name
    for query in ("hours=0", "hours=169", "hours=day", "hours=1&hours=2", "tenant=york"):
        reply = await api.get(f"system/metrics?{query}", keys["berlin"])
        assert (reply.status_code, reply.json()["field"]) == (400, query.split("=")[0]), query
    reply = await api.get("system/metrics?hours=2", keys["berlin"])
    again = await api.get(
        "system/metrics?hours=2", keys["berlin"], **{"if-none-match": reply.headers["etag"]}
    )
    assert again.status_code == 304


async def test_without_redis_the_rest_is_told_and_afterwards_all_of_it_again(api: Api, node: Node) -> None:
    admin, owner = await api.key("berlin", "admin"), await api.key(None, "platform")
    await api.engine.publish(events(), 3)
    await api.engine.drain()
    well = await metrics(api, admin)
    for trouble, mend in ((node.suspend, node.resume), (node.kill, node.start)):
        trouble()
        found = await metrics(api, admin)
        assert found["tenant"] == well["tenant"]
        assert (found["processing"]["redis_answers"], found["processing"]["postgresql_answers"]) == (
            False,
            True,
        )
        assert (found["processing"]["lag_seconds"], found["processing"]["shards"]) == (None, 5)
        assert found["unavailable"]["processing.lag_seconds"] == "Redis does not answer"
        assert str(node.port) not in str(found)
        told = await metrics(api, owner)
        assert told["installation"]["database"]["size_bytes"] > 0
        assert (told["installation"]["redis"], told["installation"]["queue"]) == (None, None)
        assert {"installation.redis", "installation.queue", "processing.lag_seconds"} <= set(
            told["unavailable"]
        )
        mend()
        until(node.answers)
    told = await metrics(api, owner)
    assert told["unavailable"].keys() == {"tenant"}
    assert told["installation"]["redis"]


async def test_a_part_of_postgresql_that_fails_is_null_with_its_reason(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "SQL", {**installation.SQL, "database": "SELECT 1 / 0"})
    told = await metrics(api, await api.key(None, "platform"))
    assert told["installation"]["database"] is None
    assert told["installation"]["throughput"] is None
    assert told["unavailable"]["installation.database"] == "division by zero"
