"""Statements over HTTP: what means an event becomes one, what does not is told, each by itself."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from streamgauge.entities.stored import StoredTallies
from streamgauge.errors import ServerError
from streamgauge.redis_stream import RedisStream
from tests.api.server import Api, bearer, open_api

ADL = "http://adlnet.gov/expapi/"


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(redis_url, database_url, tmp_path, {"school": "UTC", "other": "UTC"}) as opened:
        yield opened


def statement(number: int, verb: str = "experienced", actor: str = "ada", **more: Any) -> dict[str, Any]:
    return {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "actor": {"account": {"homePage": "https://school.example", "name": actor}},
        "verb": {"id": f"{ADL}verbs/{verb}", "display": {"en": "SECRET"}},
        "object": {"id": f"https://school.example/{verb}/{number}"},
        **more,
    }


def voiding(number: int, target: int) -> dict[str, Any]:
    ref = {"objectType": "StatementRef", "id": statement(target)["id"]}
    return statement(number, "voided", object=ref)


async def send(api: Api, key: str | None, body: Any, **headers: str) -> httpx.Response:
    return await api.post("xapi/statements", key, body, **{"X-Experience-API-Version": "1.0.3", **headers})


async def test_statements_become_events_each_by_itself_and_once(api: Api) -> None:
    key = await api.key("school", "write")
    now = datetime.now(UTC)
    course = {"id": "c", "definition": {"type": f"{ADL}activities/course"}}
    cases: list[tuple[Any, str, str | None, str | None]] = [
        (statement(1, context={"contextActivities": {"grouping": [course]}}), "accepted", None, None),
        (statement(2, "passed", result={"score": {"raw": 8, "max": 10}, "response": "SECRET"}), "accepted", None, None),
        (statement(3, "terminated", result={"duration": "PT1H"}), "accepted", None, None),
        (statement(4), "voided", None, None),
        (voiding(5, 4), "accepted", None, None),
        (voiding(6, 999), "rejected", "cannot_void", "object.id"),
        (statement(7, "liked"), "rejected", "unmapped_verb", "verb.id"),
        (statement(8, "passed", result={"score": {"raw": 11, "max": 10}}), "rejected", "invalid_result", "result.score.raw"),
        (statement(9, timestamp=(now - timedelta(days=8)).isoformat()), "rejected", "late", "timestamp"),
        (statement(10, timestamp=(now + timedelta(hours=1)).isoformat()), "rejected", "future", "timestamp"),
        (statement(11, timestamp="yesterday"), "rejected", "invalid_time", "timestamp"),
        (statement(12, actor="x" * 513), "rejected", "invalid_actor", "actor.account"),
        ({**statement(13), "id": "thirteen"}, "rejected", "invalid_statement", "id"),
        ("text", "rejected", "invalid_statement", "statement"),
        (statement(14, object={"id": "x" * 3000}), "rejected", "invalid_property", "statement"),
        (statement(15, "passed", result={"score": {"raw": 3}}), "accepted", None, None),
    ]  # fmt: skip
    reply = await send(api, key, [each for each, *_ in cases])
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-experience-api-version"] == "1.0.3"
    told = reply.json()
    assert [(each["status"], each.get("reason"), each.get("field")) for each in told["results"]] == [
        tuple(expected) for _, *expected in cases
    ]
    assert (told["accepted"], told["voided"], told["rejected"]) == (5, 1, 10)
    assert told["ids"] == [each.get("id") for each in told["results"]]
    assert told["ids"][:3] == [each["id"] for each, *_ in cases[:3]]
    assert told["ids"][12:14] == [None, None]
    assert told["results"][-1]["dropped_properties"] == ["result.score"]
    assert [place for place, each in enumerate(told["results"]) if "event_id" in each] == [0, 1, 2, 15]
    # The same ones again have the same ids, and count once.
    again = await send(api, key, [each for each, *_ in cases[:3]])
    assert [each["event_id"] for each in again.json()["results"]] == [
        each["event_id"] for each in told["results"][:3]
    ]
    # One without an id is given one.
    alone = await send(api, key, {name: each for name, each in statement(16).items() if name != "id"})
    assert len(alone.json()["ids"][0]) == 36
    async with api.engine.working():
        await api.engine.drain()
    rows = await api.engine.connection.fetch(
        "SELECT outcome, sum(events)::int AS n FROM outcome_ledger GROUP BY 1"
    )
    assert {row["outcome"]: row["n"] for row in rows} == {"applied": 5, "repeated_key": 3}
    tenant_id = await api.engine.connection.fetchval("SELECT tenant_id FROM tenants WHERE name = 'school'")
    tallies = StoredTallies(api.engine.connection, tenant_id, None)
    (attempts,) = (await tallies.totals("learning.attempts", ["actor"])).items()
    assert attempts[0].actor == api.app.state.pseudonym_of("school", "ada")
    assert (attempts[1].count, attempts[1].sums) == (2, (8, 10))
    (whole,) = (await tallies.totals("learning.activity")).values()
    assert whole.sums[0] == 3_600_000_000
    materials = await tallies.states("learning.materials", part="https://school.example/experienced/1")
    assert [state.said["course.id"] for state in materials.values()] == ["c"]


async def test_whose_statements_a_key_may_send(api: Api) -> None:
    own = api.app.state.pseudonym_of("school", "ada")
    both = [statement(1), statement(2, actor="bob")]

    async def told(key: str) -> list[tuple[str, str | None]]:
        results = (await send(api, key, both)).json()["results"]
        return [(each["status"], each.get("reason")) for each in results]

    refused = ("rejected", "invalid_identity")
    assert await told(await api.key("school", "write")) == [("accepted", None)] * 2
    assert await told(await api.key("school", "write", actor=own)) == [("accepted", None), refused]
    # The same account name is somebody else in another tenant.
    assert await told(await api.key("other", "write", actor=own)) == [refused] * 2
    assert await told(await api.key("school", "write", source="browser")) == [refused] * 2
    for key, status in (
        (None, 401), (await api.key("school", "read"), 403), (await api.key("school", "admin"), 403), (await api.key(None, "platform"), 403),
    ):  # fmt: skip
        assert (await send(api, key, both)).status_code == status


async def test_what_is_no_request_of_xapi_is_refused_as_a_whole(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await api.key("school", "write")
    one = statement(1)
    for version, status in (
        ("1.0", 200), ("1.0.0", 200), ("2.0.0", 200), ("2.0", 200), ("0.95", 400), ("1.1.0", 400), ("3.0", 400), ("1.0.3 ,1.0.3", 400),
    ):  # fmt: skip
        reply = await send(api, key, one, **{"X-Experience-API-Version": version})
        assert reply.status_code == status, (version, reply.text)
        assert status == 200 or reply.json()["field"] == "X-Experience-API-Version"
    missing = await api.post("xapi/statements", key, one)
    assert (missing.status_code, missing.json()["field"]) == (400, "X-Experience-API-Version")
    for body in ([], [one] * 501, 7, "text"):
        reply = await send(api, key, body)
        assert (reply.status_code, reply.json()["field"]) == (400, "body"), body
    assert (await send(api, key, [one] * 500)).status_code == 200
    deep: Any = one
    for _ in range(20):
        deep = {"context": deep}
    assert (await send(api, key, deep)).status_code == 400
    reply = await api.client.post(
        "/api/v1/xapi/statements", content=json.dumps(one),
        headers={**bearer(key), "X-Experience-API-Version": "1.0.3", "content-type": "multipart/mixed; boundary=x"},
    )  # fmt: skip
    assert reply.status_code == 415
    stored = [await api.engine.redis.xrange(each) async for each in api.engine.redis.scan_iter("*events")]
    assert b"SECRET" not in repr(stored).encode()
    assert b"ada" not in repr(stored).encode()

    async def deaf(*_: Any) -> None:
        raise ServerError("no answer in time")

    monkeypatch.setattr(RedisStream, "append", deaf)
    reply = await send(api, key, one)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
