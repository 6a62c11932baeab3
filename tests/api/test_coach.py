"""The coach's overview over a real server: who may see it, what it says, and that nothing that was said ever gets in."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import jsonschema
import pytest

from streamgauge.domains.coach.declarations import EVENT_NAMES
from streamgauge.domains.coach.prices import Price, Prices
from tests.api.server import Api, open_api
from tests.integration.engine import Plain

ZONES = {"berlin": "Europe/Berlin", "york": "America/New_York"}
HOUR = 3_600_000_000
ADA, BOB, CY = [bytes([1, number]) * 8 + b"\1" for number in (1, 2, 3)]
PRICES = Prices("EUR", {"small": Price(2_500_000, 10_000_000), "large": Price(30_000_001, 0)})
NOW = time.time_ns() // 1_000
OURS = [["is", "event.name", list(EVENT_NAMES)]]


def event(name: str, hours: float, actor: bytes | None, tenant: str = "berlin", **properties: Any) -> Plain:
    """Something that happened so many hours ago."""
    named = {key.replace("__", "."): value for key, value in properties.items()}
    shard = 0 if actor is None else actor[1] % 4
    plain = {
        "name": name,
        "at": NOW - int(hours * HOUR),
        "tenant": tenant,
        "properties": named,
        "shard": shard,
    }
    return plain if actor is None else {**plain, "actor": actor}


def message(
    hours: float, actor: bytes | None, model: str, us: int, put_in: int, out: int, tenant: str = "berlin"
) -> Plain:
    told = {"gen_ai__request__model": model, "duration": us}
    tokens = {"gen_ai__usage__input_tokens": put_in, "gen_ai__usage__output_tokens": out}
    return event("message.exchanged", hours, actor, tenant, **told, **tokens)


TOLD = [
    *(event("conversation.started", hours, actor) for hours, actor in ((1, ADA), (30, ADA), (60, BOB), (100, None))),
    *(event("conversation.ended", hours, ADA, resolved=good) for hours, good in ((0.5, True), (29, False), (59, True))),
    event("conversation.escalated", 29.5, ADA),
    *(event("feedback.rated", hours, BOB, rating=rating) for hours, rating in ((0.4, 5), (28, 4), (29, 1))),
    message(0.9, ADA, "small", 400_000, 100, 200),
    message(0.8, ADA, "small", 900_000, 51, 200),
    message(29.9, BOB, "large", 2_000_000, 7, 1_000),
    message(800, CY, "small", 5, 10_000, 10_000),
    message(1, CY, "york's own", 77, 1, 1, "york"),
    event("conversation.started", 1, CY, "york"),
    event("xp.earned", 1, CY, xp=5),
]  # fmt: skip
BERLIN = [
    each
    for each in TOLD
    if each["tenant"] == "berlin" and each["at"] > NOW - 700 * HOUR and each["name"] in EVENT_NAMES
]


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(redis_url, database_url, tmp_path, ZONES, max_lateness_days=60) as opened:
        opened.app.state.coach_prices = PRICES
        await opened.engine.publish(TOLD, 4)
        await opened.engine.drain()
        yield opened


async def overview(api: Api, key: str, query: str = "") -> dict[str, Any]:
    reply = await api.get(f"coach/overview{query}", key)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    schema = api.app.openapi()
    documented = schema["paths"]["/api/v1/coach/overview"]["get"]["responses"]["200"]["content"][
        "application/json"
    ]
    for each in (found, documented["example"]):
        jsonschema.validate(each, {**documented["schema"], "components": schema["components"]})
    return found


async def asked(api: Api, key: str, found: dict[str, Any], *metrics: str, **more: Any) -> list[Any]:
    """The rows that `query` answers for the dates of an overview."""
    dates = [found["trend"][0]["date"], found["trend"][-1]["date"]]
    reply = await api.post("query", key, {"metrics": metrics, "date_range": dates, **more})
    assert reply.status_code == 200, reply.text
    results: list[Any] = reply.json()["results"]
    return results


async def one(api: Api, key: str, found: dict[str, Any], *metrics: str, **more: Any) -> list[Any]:
    (row,) = await asked(api, key, found, *metrics, **more)
    return list(row["metrics"])


def status(reply: httpx.Response) -> int:
    return reply.status_code


async def test_the_overview_says_what_happened_and_what_query_says(api: Api) -> None:
    key = await api.key("berlin", "read")
    found = await overview(api, key)
    names = Counter(each["name"] for each in BERLIN)
    assert (found["days"], len(found["trend"]), found["time_zone"]) == (30, 30, "Europe/Berlin")
    assert [found[f"conversations_{what}"] for what in ("started", "ended", "resolved", "escalated")] == [
        names["conversation.started"],
        names["conversation.ended"],
        2,
        1,
    ]
    assert (found["resolution_rate"], found["escalation_rate"]) == (0.666667, 0.25)
    assert (found["messages"], found["active_users"], found["active_users_are"]) == (3, 2, "distinct")
    assert found["ratings"] == {
        "count": 3, "mean": 3.333, "distribution": {"1": 1, "2": 0, "3": 0, "4": 1, "5": 1},
    }  # fmt: skip
    assert [found["latency"][each] for each in ("p50", "p99")] == pytest.approx([900, 2_000], rel=0.008)
    assert found["tokens"] == {"input": 158, "output": 1_400}
    # 151 * 2.5 + 400 * 10 and 7 * 30.000001 micro-euros: 4377.5 and 210.000007.
    assert [(each["model"], each["messages"], each["cost"]) for each in found["models"]] == [
        ("small", 2, 4_378), ("large", 1, 210),
    ]  # fmt: skip
    assert (found["cost"], found["currency"], found["models_total"]) == (4_588, "EUR", 2)

    latencies = [f"p{percent}_coach_latency" for percent in (50, 95, 99)]
    tokens = ["coach_input_tokens", "coach_output_tokens"]
    totals = await one(
        api,
        key,
        found,
        "coach_messages",
        *latencies,
        *tokens,
        "coach_endings",
        "coach_ratings",
        "avg_coach_rating",
    )
    assert totals == [
        found["messages"], *found["latency"].values(), *found["tokens"].values(), found["conversations_ended"],
        found["ratings"]["count"], found["ratings"]["mean"],
    ]  # fmt: skip
    assert await one(api, key, found, "actors", filters=OURS) == [found["active_users"]]
    by_name = {
        row["dimensions"][0]: row["metrics"][0]
        for row in await asked(api, key, found, "events", dimensions=["event.name"], filters=OURS)
    }
    assert by_name == names
    rows = await asked(
        api, key, found, "coach_messages", *latencies, *tokens, dimensions=["gen_ai.request.model"]
    )
    assert [(row["dimensions"][0], *row["metrics"]) for row in rows] == [
        (each["model"], each["messages"], *each["latency"].values(), *each["tokens"].values())
        for each in found["models"]
    ]
    rows = await asked(
        api,
        key,
        found,
        "coach_messages",
        "coach_endings",
        "avg_coach_rating",
        *tokens,
        dimensions=["time:day"],
    )
    assert [(row["dimensions"][0][:10], *row["metrics"]) for row in rows] == [
        (
            day["date"],
            day["messages"],
            day["conversations_ended"],
            day["mean_rating"],
            *day["tokens"].values(),
        )
        for day in found["trend"]
    ]
    rows = await asked(api, key, found, "actors", dimensions=["time:day"], filters=OURS)
    assert [row["metrics"][0] for row in rows] == [day["active_users"] for day in found["trend"]]
    assert sum(day["conversations_escalated"] for day in found["trend"]) == 1

    longer = await overview(api, key, "?days=365")
    assert (longer["days"], longer["messages"], longer["active_users"]) == (365, 4, 3)
    admin = await api.key("berlin", "admin")
    before = await overview(api, admin, "?days=1&now=2020-01-01T00:00:00Z")
    assert (before["messages"], before["cost"], before["trend"][0]["date"]) == (0, 0, "2020-01-01")
    earliest = await overview(api, admin, "?days=365&now=1970-01-01T00:00:00Z")
    assert earliest["days"] == 1


async def test_it_is_told_to_who_may_see_the_tenant_and_again_only_when_it_changes(api: Api) -> None:
    seen: dict[str, str | None] = {
        "analyst": await api.key("berlin", "read"),
        "admin": await api.key("berlin", "admin"),
        "admin of york": await api.key("york", "admin"),
    }
    hidden = {
        "member": (await api.key("berlin", "read", role="member", actor=ADA), 403),
        "limited analyst": (await api.key("berlin", "read", groups=["5b"]), 403),
        "writer": (await api.key("berlin", "write"), 403),
        "owner": (await api.key(None, "platform"), 403),
        "nobody": (None, 401),
    }
    for name, (key, expected) in hidden.items():
        assert status(await api.get("coach/overview", key)) == expected, name
    replies = {name: await api.get("coach/overview?days=2", key) for name, key in seen.items()}
    assert replies["analyst"].content == replies["admin"].content
    assert "york" not in replies["admin"].text
    york = replies["admin of york"].json()
    assert [each["model"] for each in york["models"]] == ["york's own"]
    assert (york["cost"], york["models"][0]["cost"], york["conversations_started"]) == (None, None, 1)

    tag = {"if-none-match": replies["admin"].headers["etag"]}
    path, key = "coach/overview?days=2", seen["admin"]
    assert status(await api.get(path, key, **tag)) == 304
    assert status(await api.get("coach/overview?days=3", key, **tag)) == 200
    api.app.state.coach_prices = Prices()
    free = await api.get(path, key, **tag)
    assert (free.status_code, free.json()["cost"], free.json()["currency"]) == (200, None, None)
    api.app.state.coach_prices = PRICES
    await api.engine.publish([event("feedback.rated", 0.1, ADA, rating=1)])
    await api.engine.drain()
    await asyncio.sleep(0.11)  # a version is remembered for a tenth of a second
    assert status(await api.get(path, key, **tag)) == 200

    for query, field in (
        ("days=0", "days"), ("days=366", "days"), ("days=ten", "days"), ("days=1&days=2", "days"), ("actor=x", "actor"),
        ("now=yesterday", "now"),
    ):  # fmt: skip
        reply = await api.get(f"coach/overview?{query}", key)
        assert (reply.status_code, reply.json()["field"]) == (400, field), query
    assert status(await api.get("coach/overview?now=2020-01-01T00:00:00Z", seen["analyst"])) == 403


async def test_what_was_said_is_not_taken_from_anybody(api: Api) -> None:
    key = await api.key("berlin", "read", "write")
    secret = "I am failing maths"
    said = dict.fromkeys(("message", "content", "text", "prompt", "gen_ai.input.messages"), secret)
    for name in EVENT_NAMES:
        for path in ("events", "events/track"):
            reply = await api.post(path, key, {"name": name, "properties": {"conversation.id": "c9", **said}})
            (result,) = reply.json()["results"]
            assert (result["status"], sorted(result["dropped_properties"])) == ("accepted", sorted(said))
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("feedback.rated", {"rating": secret}),
        ("feedback.rated", {"rating": 6}),
        ("conversation.ended", {"resolved": secret}),
        ("message.exchanged", {"duration": -1}),
        ("message.exchanged", {"gen_ai.usage.output_tokens": 10_000_001}),
    ]
    for name, properties in wrong:
        reply = await api.post("events", key, {"name": name, "properties": properties})
        (result,) = reply.json()["results"]
        assert (result["status"], result["reason"]) == ("rejected", "invalid_property")
        assert secret not in reply.text
    entries = [await api.engine.redis.xrange(each) async for each in api.engine.redis.scan_iter("*events")]
    assert "feedback.rated" in repr(entries)
    assert "maths" not in repr(entries)
    await api.engine.drain()
    admin = await api.key("berlin", "admin")
    for path in ("events?limit=100", "realtime", "coach/overview", "dead-letters"):
        reply = await api.get(path, admin)
        assert reply.status_code == 200, (path, reply.text)
        assert secret not in reply.text
    listed = (await api.get("events?limit=100&name=feedback.rated", admin)).json()["events"]
    assert len(listed) == 3 + 2
