"""Events over HTTP: what is accepted is kept, what is not is told."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamgauge.capture.host_keys import HostKeys
from streamgauge.entry import Announcement, Record
from streamgauge.errors import ServerError, SettingsError
from streamgauge.ingest import intake
from streamgauge.ingest.body import MOST_BYTES
from streamgauge.redis_stream import RedisStream
from streamgauge.server import create_server
from streamgauge_migrations import require_current
from tests.api.server import Api, bearer, open_api

REQUEST = {
    "name": "http.request",
    "properties": {"http.route": "/jobs/{id}", "http.response.status_code": 200, "duration": 1250},
}


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(redis_url, database_url, tmp_path, {"here": "UTC", "there": "UTC"}) as opened:
        yield opened


async def figures(api: Api) -> dict[str, int]:
    """What became of all events, once the workers have read everything."""
    async with api.engine.working():
        await api.engine.drain()
    rows = await api.engine.connection.fetch(
        "SELECT outcome, sum(events)::int AS events FROM outcome_ledger GROUP BY outcome"
    )
    return {row["outcome"]: row["events"] for row in rows}


async def test_an_accepted_event_is_in_the_stream_before_the_answer_and_then_in_the_tables(api: Api) -> None:
    key = await api.key("here", "write", "read")
    reply = await api.post("events", key, REQUEST)
    assert (reply.status_code, reply.json()["accepted"]) == (202, 1)
    assert sum([await api.engine.stream.length(shard) for shard in range(4)]) == 1
    assert await figures(api) == {"applied": 1}
    assert (await api.post("query", key, {"metrics": ["requests"], "date_range": "day"})).json()["results"][
        0
    ]["metrics"] == [1]


async def test_an_event_sent_twice_with_a_key_has_one_id_and_counts_once(api: Api) -> None:
    key = await api.key("here", "write")
    event = {**REQUEST, "idempotency_key": "job-7"}
    first, second = [(await api.post(path, key, event)).json() for path in ("events", "events/track")]
    assert first == second
    assert await figures(api) == {"applied": 1, "repeated_key": 1}


async def test_a_key_repeats_only_within_its_tenant_name_and_sender(api: Api) -> None:
    people = [bytes([1]) + bytes([number]) * 16 for number in (1, 2)]
    plain = {"name": "http.request", "idempotency_key": "job-7"}
    senders: list[tuple[str, dict[str, Any]]] = [
        *[(await api.key(tenant, "write"), plain) for tenant in ("here", "there")],
        *[(await api.key("here", "write", actor=actor), plain) for actor in people],
        *[(await api.key("here", "write"), {**plain, "session": session}) for session in ("a", "b")],
        (await api.key("here", "write"), {**plain, "name": "bot.request"}),
        (await api.key("here", "write"), {**plain, "idempotency_key": "job-8"}),
    ]

    async def ids() -> list[str]:
        replies = [(await api.post("events", key, event)).json() for key, event in senders]
        return [reply["results"][0]["event_id"] for reply in replies]

    first = await ids()
    assert len(set(first)) == len(senders)
    assert await ids() == first
    # Another key of the same sender, and a session beside an actor, make no difference.
    again = await api.post("events", await api.key("here", "write"), plain)
    assert again.json()["results"][0]["event_id"] == first[0]
    with_session = await api.post("events", senders[2][0], {**plain, "session": "a", "group": "there"})
    assert with_session.json()["results"][0]["event_id"] == first[2]
    assert await figures(api) == {"applied": len(senders), "repeated_key": len(senders) + 2}
    rows = await api.engine.connection.fetch(
        "SELECT name, sum(events)::int AS events FROM outcome_ledger JOIN tenants USING (tenant_id) GROUP BY name"
    )
    assert {row["name"]: row["events"] for row in rows} == {"here": 2 * (len(senders) - 1) + 2, "there": 2}


async def test_every_event_of_a_list_gets_its_own_id_in_its_own_place(api: Api) -> None:
    key = await api.key("here", "write")
    events = [{**REQUEST, "idempotency_key": f"job-{number}"} for number in range(12)]
    alone = [(await api.post("events", key, event)).json()["results"][0]["event_id"] for event in events]
    assert len(set(alone)) == 12
    # A key says which stream, so that a repetition meets its first copy whichever server takes it.
    assert len([shard for shard in range(4) if await api.engine.stream.length(shard)]) > 1
    wrong = {"name": "no.such"}
    together = await api.post("events", key, {"events": [wrong, *events, wrong]})
    assert [each.get("event_id") for each in together.json()["results"]] == [None, *alone, None]
    assert (together.json()["accepted"], together.json()["rejected"]) == (12, 2)


async def test_an_event_whose_answer_was_lost_counts_once_when_it_is_sent_again(api: Api) -> None:
    key = await api.key("here", "write")
    append = RedisStream.append

    async def deaf(*arguments: Any) -> Any:
        await append(*arguments)
        raise ServerError("no answer in time")

    event = {**REQUEST, "idempotency_key": "job-7"}
    with patch.object(RedisStream, "append", deaf):
        reply = await api.post("events", key, event)
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "5"
    assert "idempotency_key" in reply.json()["detail"]
    assert (await api.post("events", key, event)).status_code == 202
    found = await figures(api)
    assert found["applied"] == 1


async def test_each_event_of_a_list_is_judged_by_itself(api: Api) -> None:
    key = await api.key("here", "write")
    now = datetime.now(UTC)
    cases: list[tuple[Any, str | None, str | None]] = [
        (REQUEST, None, None),
        ({"event_type": "http.request"}, None, None),
        ({**REQUEST, "occurred_at": (now - timedelta(days=6)).isoformat()}, None, None),
        ("text", "invalid_event", "event"),
        ({}, "invalid_event", "name"),
        ({"name": "http.request", "event_type": "http.request"}, "invalid_event", "name"),
        ({"name": 7}, "invalid_event", "name"),
        ({"name": "no.such"}, "undeclared_event", "name"),
        ({**REQUEST, "actor": "ada"}, "invalid_event", "actor"),
        ({**REQUEST, "tenant": "there"}, "invalid_event", "tenant"),
        ({**REQUEST, "colour": 1}, "invalid_event", "colour"),
        ({"name": "http.request", "properties": []}, None, None),
        ({"name": "http.request", "properties": [1]}, "invalid_property", "properties"),
        ({"name": "http.request", "properties": {"duration": "fast"}}, "invalid_property", "properties"),
        ({"name": "http.request", "properties": {"duration": 2**60}}, "invalid_property", "properties"),
        (
            {"name": "http.request", "properties": {"http.route": "x" * 3000}},
            "invalid_property",
            "properties",
        ),
        (
            {"name": "http.request", "properties": {f"p{n}": 1 for n in range(65)}},
            "invalid_property",
            "properties",
        ),
        ({**REQUEST, "session": ""}, "invalid_identity", "session"),
        ({**REQUEST, "group": "x" * 513}, "invalid_identity", "group"),
        ({**REQUEST, "idempotency_key": 7}, "invalid_identity", "idempotency_key"),
        ({**REQUEST, "occurred_at": "yesterday"}, "invalid_time", "occurred_at"),
        ({**REQUEST, "occurred_at": "2026-01-01T00:00:00"}, "invalid_time", "occurred_at"),
        ({**REQUEST, "occurred_at": (now - timedelta(days=8)).isoformat()}, "late", "occurred_at"),
        ({**REQUEST, "occurred_at": (now + timedelta(minutes=6)).isoformat()}, "future", "occurred_at"),
    ]
    reply = await api.post("events", key, {"events": [event for event, _, _ in cases]})
    assert reply.status_code == 202
    told = [(each.get("reason"), each.get("field")) for each in reply.json()["results"]]
    assert told == [(reason, field) for _, reason, field in cases]
    good = [each for each in reply.json()["results"] if each["status"] == "accepted"]
    assert len({each["event_id"] for each in good}) == len(good) == reply.json()["accepted"]
    assert await figures(api) == {"applied": len(good)}


async def test_undeclared_properties_are_left_out_and_named(api: Api) -> None:
    key = await api.key("here", "write")
    reply = await api.post(
        "events", key, {"name": "http.request", "properties": {"email": "ada@example.org", "duration": 1}}
    )
    assert reply.json()["results"][0]["dropped_properties"] == ["email"]
    assert b"ada@example.org" not in await everything(api)


async def test_what_the_key_says_wins_and_identifiers_do_not_reach_the_stream(api: Api) -> None:
    actor = bytes([1]) + bytes(range(16))
    key = await api.key("here", "write", actor=actor, source="browser")
    await api.post(
        "events", key, {**REQUEST, "session": "a-session-cookie", "idempotency_key": "a-secret-key"}
    )
    content = await everything(api)
    assert actor in content
    assert b"browser" in content
    assert b"here" in content
    assert b"a-session-cookie" not in content
    assert b"a-secret-key" not in content


async def everything(api: Api) -> bytes:
    """All bytes of all streams."""
    keys = [key async for key in api.engine.redis.scan_iter("*events")]
    return b"".join(
        [
            repr(await api.engine.redis.xrange(key)).encode().decode("unicode_escape").encode("latin-1")
            for key in keys
        ]
    )


async def test_five_hundred_events_at_once_are_the_most(api: Api) -> None:
    key = await api.key("here", "write")
    reply = await api.post("events", key, {"events": [REQUEST] * 500})
    assert reply.json()["accepted"] == 500
    reply = await api.post("events", key, {"events": [REQUEST] * 501})
    assert (reply.status_code, reply.json()["field"]) == (400, "events")
    assert "1 to 500" in reply.json()["detail"]
    assert await figures(api) == {"applied": 500}


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (b"{", 400), (b"[]", 400), (b"7", 400), (b'{"events": []}', 400), (b'{"events": [], "x": 1}', 400)]
)  # fmt: skip
async def test_a_body_that_is_no_event_is_refused_as_a_whole(api: Api, body: bytes, status: int) -> None:
    key = await api.key("here", "write")
    headers = {**bearer(key), "content-type": "application/json"}
    reply = await api.client.post("/api/v1/events", content=body, headers=headers)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"


async def test_json_is_read_plain_or_packed_and_nothing_else(api: Api) -> None:
    key = await api.key("here", "write")
    usual = {**bearer(key), "content-type": "application/json"}
    event = b'{"name":"http.request"}'
    for content, headers, status in (
        (event, {"content-type": "text/plain"}, 415),
        (event, {"content-encoding": "br"}, 415),
        (event, {"content-encoding": "gzip"}, 400),
        (gzip.compress(event), {"content-encoding": "gzip"}, 202),
    ):
        reply = await api.client.post("/api/v1/events", content=content, headers={**usual, **headers})
        assert reply.status_code == status, reply.text


async def test_an_endless_body_is_refused_once_it_is_too_long(api: Api) -> None:
    key = await api.key("here", "write")
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b"x" * 65_536

    headers = {**bearer(key), "content-type": "application/json"}
    reply = await api.client.post("/api/v1/events", content=endless(), headers=headers)
    assert reply.status_code == 413
    assert str(MOST_BYTES) in reply.json()["detail"]
    assert sent <= MOST_BYTES + 3 * 65_536


async def test_without_redis_the_answer_is_503_soon_and_the_server_lives_on(api: Api) -> None:
    key = await api.key("here", "write")

    async def away(*_: Any) -> Any:
        raise ServerError("cannot append to Redis: connection refused")

    began = time.monotonic()
    with patch.object(RedisStream, "append", away):
        reply = await api.post("events", key, REQUEST)
    assert reply.status_code == 503
    assert time.monotonic() - began < 10
    assert (await api.post("events", key, REQUEST)).status_code == 202


async def test_the_lanes_are_announced_and_closed_when_the_server_ends(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with open_api(redis_url, database_url, tmp_path, {"here": "UTC"}) as api:
        key = await api.key("here", "write")
        await asyncio.gather(*(api.post("events", key, {**REQUEST, "session": str(n)}) for n in range(20)))
    async with open_api(redis_url, database_url, tmp_path, {}) as again:
        await figures(again)
        rows = await again.engine.connection.fetch('SELECT closed, "end" FROM lanes')
    assert all(row["closed"] for row in rows)
    assert sum(row["end"] for row in rows) == 20


@pytest.mark.parametrize("ending", ["refusing", "silent"])
async def test_what_was_sent_is_announced_while_the_server_runs_and_whatever_redis_does(
    redis_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(intake, "ANNOUNCE_SECONDS", 0.02)
    monkeypatch.setattr(intake, "GOODBYE_SECONDS", 0.1)
    silent = False
    append, refusals = RedisStream.append, 4  # more than one announcement's attempts
    said: list[Announcement] = []

    async def moody(stream: RedisStream, shard: int, record: Record) -> Any:
        nonlocal refusals
        if isinstance(record, Announcement):
            if silent:
                await asyncio.Event().wait()
            if refusals:
                refusals -= 1
                raise ServerError("connection refused")
            said.append(record)
        return await append(stream, shard, record)

    async def until(end: int, closed: bool) -> None:
        deadline = time.monotonic() + 20
        while not said or (said[-1].end, said[-1].closed) != (end, closed):
            assert time.monotonic() < deadline, said
            await asyncio.sleep(0.01)

    with patch.object(RedisStream, "append", moody):
        async with open_api(redis_url, database_url, tmp_path, {"here": "UTC"}) as api:
            key = await api.key("here", "write")
            for _ in range(3):
                assert (await api.post("events", key, REQUEST)).status_code == 202
            await until(3, closed=False)
            # A lane that nobody used for a day is closed, before a worker forgets it.
            with patch.object(intake, "IDLE_MS", -1):
                await until(3, closed=True)
            # And the server ends without Redis, too.
            refusals, silent = 10**6, ending == "silent"
            assert (await api.post("events", key, REQUEST)).status_code == 202


async def test_what_redis_did_not_confirm_is_sent_again_and_counts_once(api: Api) -> None:
    key = await api.key("here", "write")
    append, unheard = RedisStream.append, 2

    async def deaf_at_first(*arguments: Any) -> Any:
        nonlocal unheard
        found = await append(*arguments)
        if unheard:
            unheard -= 1
            raise ServerError("no answer in time")
        return found

    with patch.object(RedisStream, "append", deaf_at_first):
        reply = await api.post("events", key, {"events": [REQUEST] * 3})
    assert (reply.status_code, reply.json()["accepted"]) == (202, 3)
    assert await figures(api) == {"applied": 3}


async def test_one_application_can_be_started_twice(api: Api) -> None:
    app = create_server(api.app.state.settings, require_current)
    for _ in range(2):
        async with app.router.lifespan_context(app):
            assert app.state.intake


async def test_what_became_of_events_is_counted(api: Api) -> None:
    key = await api.key("here", "write")
    await api.post("events", key, {"events": [REQUEST, REQUEST, {"name": "no.such"}]})
    with patch.object(RedisStream, "append", side_effect=ServerError("connection refused")):
        assert (await api.post("events", key, {"events": [REQUEST, REQUEST]})).status_code == 503
    with patch.object(HostKeys, "tenant", side_effect=SettingsError("/secret/keyring is damaged")):
        refused = await api.post("events", key, REQUEST)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert "keyring" not in refused.text
    counted = {
        (sample.labels["result"], sample.labels["reason"]): sample.value
        for family in api.app.state.registry.collect()
        for sample in family.samples
        if sample.name == "streamgauge_ingest_events_total"
    }
    assert counted == {
        ("accepted", ""): 2,
        ("rejected", "undeclared_event"): 1,
        ("failed", "unavailable"): 3,
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=12), children, max_size=4)
    ),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    ["name", "event_type", "properties", "occurred_at", "session", "group", "idempotency_key", "x"]
)
ITEMS = st.dictionaries(MEMBERS, JSON | st.just("http.request"), max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(body=JSON | ITEMS | st.fixed_dictionaries({"events": st.lists(ITEMS, max_size=4)}))
async def test_whatever_json_is_sent_it_is_judged_and_never_an_error_of_ours(api: Api, body: Any) -> None:
    key = getattr(api, "fuzz_key", None) or await api.key("here", "write")
    api.fuzz_key = key  # type: ignore[attr-defined]  # one key for all examples
    headers = {**bearer(key), "content-type": "application/json"}
    reply = await api.client.post("/api/v1/events", content=json.dumps(body), headers=headers)
    assert reply.status_code in (202, 400)
