"""People: lists, profiles, sessions and single events, against a recount of the events that were published."""

import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import httpx2 as httpx
import jsonschema
import orjson
import pytest

from streamgauge.access import audit
from streamgauge.directory.directory import MemoryDirectory
from streamgauge.directory.remote import DirectoryError
from streamgauge.people import cursors
from streamgauge.people.desk import people_of, pseudonyms_of
from tests.api.server import Api, open_api
from tests.integration.engine import DAY, HOUR, Plain

ZONES = {"delhi": "Asia/Kolkata", "york": "America/New_York"}
MINE, ZONE = "delhi", ZoneInfo(ZONES["delhi"])
MINUTE = HOUR // 60
GAP = 30 * MINUTE
PEOPLE = [bytes([1]) + bytes([each]) * 16 for each in range(1, 13)]
VISITORS = [bytes([0]) + bytes([each]) * 16 for each in range(1, 4)]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def make(seed: int, count: int, days: int = 5) -> list[Plain]:
    """Events of people, visitors and nobody of two tenants, some in sessions, in the order of their times."""
    chosen, now, made = random.Random(seed), int(time.time() * 1_000_000), []
    for _ in range(count):
        actor = chosen.choice([None, *PEOPLE, *PEOPLE, *VISITORS])
        request = chosen.random() < 0.8
        event: Plain = {
            "name": "http.request" if request else chosen.choice(["lesson.read", "draft.sent"]),
            "at": now - chosen.randrange(days * DAY),
            "tenant": chosen.choice([MINE, MINE, "york"]),
            "properties": {},
            "shard": chosen.randrange(4) if actor is None else actor[1] % 4,
        }
        if actor is not None:
            event["actor"] = actor
            if chosen.random() < 0.3:
                # Of one person and day: a session's events are not all within half an hour.
                event["session"] = f"01{actor.hex()[2:10]}{event['at'] // DAY % 3:024x}"
        if request:
            event["properties"] = {
                "http.route": f"/{chosen.randrange(5)}",
                "http.response.status_code": chosen.choice([200, 200, 404, 500, 503]),
                "duration": chosen.randrange(100_000),
            }
            if chosen.random() < 0.2:
                del event["properties"]["duration"]
        elif chosen.random() < 0.5:
            event["properties"] = {"duration": chosen.randrange(1_000), "undeclared": "secret"}
        made.append(event)
    return sorted(made, key=lambda each: each["at"])


def failed(event: Plain) -> bool:
    return bool(
        event["properties"].get("http.response.status_code", 0) >= 500 and event["name"] == "http.request"
    )


def of(events: Iterable[Plain], actor: bytes) -> list[Plain]:
    return [each for each in events if each["tenant"] == MINE and each.get("actor") == actor]


def shown_at(microseconds: int) -> str:
    return (EPOCH + timedelta(microseconds=microseconds)).isoformat().replace("+00:00", "Z")


def hour_of(event: Plain) -> datetime:
    at = datetime.fromtimestamp(event["at"] / 1_000_000, ZONE)
    return at.replace(minute=0, second=0, microsecond=0)


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A server of two tenants without events."""
    async with open_api(redis_url, database_url, tmp_path, ZONES) as opened:
        yield opened


async def fill(api: Api, events: Sequence[Plain], size: int = 20) -> list[str]:
    """Publish; the names of the events of the tenant, newest first, as the log's order has it."""
    sent = await api.engine.publish(events, size)
    await api.engine.drain()
    places = []
    for shard in range(4):
        numbered = [
            (batch.lane, batch.first + row) for at, batch in sent if at == shard for row in range(batch.n)
        ]
        own = [event for event in events if event["shard"] == shard]
        for event, (lane, number) in zip(own, numbered, strict=True):
            event["place"] = event["at"], shard, lane, number
    for event in events:
        if event["tenant"] == MINE:
            places.append(event["place"])
    return [f"{shard}-{lane.hex()}-{number}" for _, shard, lane, number in sorted(places, reverse=True)]


async def answer(api: Api, path: str, key: str, **parameters: object) -> dict[str, Any]:
    told = {name.rstrip("_"): str(value) for name, value in parameters.items() if value is not None}
    reply = await api.client.get(f"/api/v1/{path}", params=told, headers={"authorization": f"Bearer {key}"})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def pages(api: Api, path: str, key: str, noun: str, **parameters: object) -> list[Any]:
    """All rows of all pages."""
    rows: list[Any] = []
    cursor, asked = None, 0
    while True:
        found = await answer(api, path, key, **parameters, cursor=cursor)
        rows += found[noun]
        cursor, asked = found["next_cursor"], asked + 1
        if cursor is None:
            return rows
        assert asked < 2_000, "it does not come to an end"


async def group(api: Api, name: str, members: Mapping[bytes, bool]) -> None:
    """A group of the tenant with members, managers being True."""
    connection = api.engine.connection
    tenant = await connection.fetchval("SELECT tenant_id FROM tenants WHERE name = $1", MINE)
    await connection.execute(
        "INSERT INTO groups (tenant_id, group_id, name, kind) VALUES ($1, $2, $3, 'class')", tenant, name, f"Class {name}"
    )  # fmt: skip
    for actor, manager in members.items():
        await connection.execute(
            "INSERT INTO group_members VALUES ($1, $2, $3, $4)", tenant, name, actor, manager
        )


async def test_every_page_of_events_together_is_every_event_once_while_more_arrive(api: Api) -> None:
    events = make(1, 500)
    names = await fill(api, events)
    key = await api.key(MINE, "admin")
    rows: list[Any] = []
    cursor, asked = None, 0
    while True:
        page = await answer(api, "events", key, limit=37, cursor=cursor)
        rows += page["events"]
        cursor, asked = page["next_cursor"], asked + 1
        assert page["complete"]
        if cursor is None:
            break
        if asked < 3:
            await fill(api, [{**each, "at": int(time.time() * 1_000_000)} for each in make(asked, 20)])
    assert [each["id"] for each in rows] == names
    by_id = {
        f"{shard}-{lane.hex()}-{number}": each
        for each in events
        for _, shard, lane, number in [each["place"]]
    }
    for row in rows:
        event = by_id[row["id"]]
        actor = event.get("actor")
        assert row["occurred_at"] == shown_at(event["at"])
        assert (row["name"], row["session"]) == (event["name"], event.get("session"))
        assert row["failed"] == failed(event)
        assert (None if row["actor"] is None else row["actor"]["id"]) == (
            None if actor is None else actor.hex()
        )
        # What is not declared is not shown.
        assert row["properties"] == (event["properties"] if event["name"] == "http.request" else {})


async def test_events_are_narrowed_by_name_actor_session_and_time(api: Api) -> None:
    events = make(2, 400)
    await fill(api, events)
    key = await api.key(MINE, "admin")
    mine = [each for each in events if each["tenant"] == MINE]
    session = next(each["session"] for each in mine if "session" in each)
    middle = sorted(each["at"] for each in mine)[len(mine) // 2]
    day = datetime.fromtimestamp(middle / 1_000_000, ZONE).date().isoformat()
    cases: list[tuple[dict[str, object], list[Plain]]] = [
        ({"name": "draft.sent"}, [each for each in mine if each["name"] == "draft.sent"]),
        ({"actor": PEOPLE[3].hex()}, of(events, PEOPLE[3])),
        ({"session": session}, [each for each in mine if each.get("session") == session]),
        ({"from_": shown_at(middle)}, [each for each in mine if each["at"] >= middle]),
        ({"to": shown_at(middle)}, [each for each in mine if each["at"] < middle]),
        ({"from_": "1970-01-01", "to": "2099-12-31"}, mine),
        ({"from_": day, "to": day}, [each for each in mine if hour_of(each).date().isoformat() == day]),
        (
            {"actor": PEOPLE[4].hex(), "name": "http.request", "to": shown_at(middle)},
            [
                each
                for each in of(events, PEOPLE[4])
                if each["at"] < middle and each["name"] == "http.request"
            ],
        ),
    ]
    for parameters, expected in cases:
        assert expected, parameters
        found = await pages(api, "events", key, "events", limit=13, **parameters)
        ordered = sorted((each["place"] for each in expected), reverse=True)
        assert [each["id"] for each in found] == [f"{s}-{lane.hex()}-{n}" for _, s, lane, n in ordered], (
            parameters
        )


async def test_what_one_request_may_read_is_bounded_and_the_cursor_goes_on(api: Api) -> None:
    events = make(3, 300)
    names = await fill(api, events, size=5)
    key = await api.key(MINE, "admin")
    people = people_of(api.app)
    for bound in ({"events": 60}, {"content": 8_000}):
        with patch.object(people, "bounds", bound):
            first = await answer(api, "events", key, limit=100)
            assert (first["complete"], 0 < len(first["events"]) < 100) == (False, True), bound
            found = await pages(api, "events", key, "events", limit=100)
            assert [each["id"] for each in found] == names
    with patch.object(people, "bounds", {"entries": 12}):
        first = await answer(api, "events", key, limit=100)
        assert not first["complete"]
        assert 0 < len(first["events"]) < 100
        found = await pages(api, "events", key, "events", limit=100)
        actor = PEOPLE[2]
        profile = await answer(api, f"actors/{actor.hex()}", key)
        sessions = await pages(api, f"actors/{actor.hex()}/sessions", key, "sessions", limit=100)
    assert [each["id"] for each in found] == names
    assert not profile["complete"]
    since = [each for each in of(events, actor) if shown_at(each["at"]) >= profile["covers_from"]]
    assert 0 < len(since) <= profile["events"] < len(of(events, actor))
    assert sum(each["events"] for each in sessions) == len(of(events, actor))


async def test_repeated_and_refused_events_are_not_shown(api: Api) -> None:
    now, key = int(time.time() * 1_000_000), bytes(16)
    base: Plain = {
        "name": "http.request", "tenant": MINE, "properties": {}, "actor": PEOPLE[0], "shard": PEOPLE[0][1] % 4,
    }  # fmt: skip
    events = [
        {**base, "at": now - MINUTE, "key": key},
        {**base, "at": now - MINUTE, "key": key},
        {**base, "at": now - 30 * DAY},
        {**base, "at": now - 2 * MINUTE},
    ]
    names = await fill(api, events)
    reader = await api.key(MINE, "admin")
    found = await pages(api, "events", reader, "events")
    # Of the two with the same key the first in the stream counts: the second is shown first of the four.
    assert [each["id"] for each in found] == names[1:3]
    assert (await answer(api, f"actors/{PEOPLE[0].hex()}", reader))["events"] == 2


async def test_totals_of_an_actor_are_those_of_its_events(api: Api) -> None:
    events = make(4, 500)
    await fill(api, events, size=50)
    key = await api.key(MINE, "read")
    for actor in PEOPLE:
        own = of(events, actor)
        found = await answer(api, f"actors/{actor.hex()}", key, days=30)
        assert found["complete"]
        assert {each["name"]: each["events"] for each in found["by_event"]} == Counter(e["name"] for e in own)
        assert {each["name"]: each["errors"] for each in found["by_event"] if each["errors"]} == Counter(
            each["name"] for each in own if failed(each)
        )
        durations = [each["properties"]["duration"] for each in own if "duration" in each["properties"]]
        assert found["average_duration"] == pytest.approx(sum(durations) / len(durations) / 1000, abs=0.0005)
        assert (found["events"], found["errors"]) == (len(own), sum(map(failed, own)))
        assert found["first_seen"] == shown_at(min(each["at"] for each in own))
        assert found["last_active"] == shown_at(max(each["at"] for each in own))
    today = datetime.now(ZONE).date()
    later = [each for each in of(events, PEOPLE[0]) if hour_of(each).date() >= today - timedelta(1)]
    found = await answer(api, f"actors/{PEOPLE[0].hex()}", key, days=2)
    assert found["events"] == len(later)


def counted_sessions(events: Sequence[Plain]) -> list[tuple[str | None, int, int, int, int, int]]:
    """Sessions, found the slow way: events are joined until nothing changes."""
    parts = [[each] for each in events]

    def belong(one: Plain, other: Plain) -> bool:
        if one.get("session") or other.get("session"):
            return bool(one.get("session") == other.get("session"))
        return bool(abs(one["at"] - other["at"]) <= GAP)

    changed = True
    while changed:
        changed = False
        for first in range(len(parts)):
            for second in range(first + 1, len(parts)):
                if any(belong(a, b) for a in parts[first] for b in parts[second]):
                    parts[first] += parts.pop(second)
                    changed = True
                    break
            if changed:
                break
    rows = []
    for part in parts:
        at = [each["at"] for each in part]
        seen = {each["properties"]["http.route"] for each in part if "http.route" in each["properties"]}
        rows.append((part[0].get("session"), min(at), max(at), len(part), sum(map(failed, part)), len(seen)))
    return sorted(rows, key=lambda row: (row[1], row[0] or ""), reverse=True)


async def test_sessions_are_those_of_a_recount_over_all_pages(api: Api) -> None:
    events = make(6, 900, days=2)
    await fill(api, events)
    key = await api.key(MINE, "admin")
    for actor in PEOPLE[:3]:
        rows = await pages(api, f"actors/{actor.hex()}/sessions", key, "sessions", limit=5)
        assert len(rows) > 5
        assert [
            (each["id"], each["start"], each["end"], each["events"], each["errors"], each["routes"])
            for each in rows
        ] == [
            (name, shown_at(start), shown_at(end), count, errors, routes)
            for name, start, end, count, errors, routes in counted_sessions(of(events, actor))
        ]
        assert not any(each["cut"] for each in rows)


async def test_actors_are_listed_by_the_hour_of_their_last_activity_and_visitors_are_not(api: Api) -> None:
    events = make(7, 150, days=9 // 2)
    await fill(api, events)
    await group(api, "5b", {PEOPLE[0]: False, PEOPLE[1]: False, PEOPLE[2]: True})
    await group(api, "6a", {PEOPLE[2]: False, PEOPLE[3]: True})
    key = await api.key(MINE, "admin")
    ids = {
        bytes(row["pseudonym"]): row["actor_id"]
        for row in await api.engine.connection.fetch(
            "SELECT pseudonym, actor_id FROM actors JOIN tenants USING (tenant_id) WHERE name = $1", MINE
        )
    }

    def expected(
        chosen: Iterable[bytes], name: str | None = None, since: datetime | None = None
    ) -> list[Any]:
        last = {}
        for actor in chosen:
            hours = [hour_of(each) for each in of(events, actor) if name in (None, each["name"])]
            if hours and (since is None or max(hours) >= since):
                last[actor] = max(hours)
        ordered = sorted(last, key=lambda actor: (-last[actor].timestamp(), ids[actor]))
        return [(actor.hex(), last[actor].isoformat()) for actor in ordered]

    this_hour = datetime.now(ZONE).replace(minute=0, second=0, microsecond=0)
    cases: list[tuple[dict[str, object], list[Any]]] = [
        ({}, expected(PEOPLE)),
        ({"event": "draft.sent"}, expected(PEOPLE, "draft.sent")),
        ({"active_within": "12h"}, expected(PEOPLE, since=this_hour - timedelta(hours=11))),
        ({"active_within": "1d"}, expected(PEOPLE, since=this_hour.replace(hour=0))),
        ({"group": "5b"}, expected(PEOPLE[:3])),
        ({"role": "manager"}, expected(PEOPLE[2:4])),
        ({"role": "member"}, expected(PEOPLE[:3])),
        ({"group": "5b", "role": "manager"}, expected(PEOPLE[2:3])),
        ({"group": "nowhere"}, []),
    ]
    for parameters, rows in cases:
        found = await pages(api, "actors", key, "actors", limit=2, **parameters)
        assert [(each["id"], each["last_active"]) for each in found] == rows, parameters
    third = next(
        each
        for each in found_all(await answer(api, "actors", key, limit=100))
        if each["id"] == PEOPLE[2].hex()
    )
    assert [each["id"] for each in third["groups"]] == ["6a"]
    assert third["manages"] == [{"id": "5b", "name": "Class 5b", "kind": "class", "members": 2}]
    assert re.fullmatch("user_[0-9a-f]{6}", third["name"])


def found_all(answered: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = answered["actors"]
    return rows


async def refusals(api: Api, key: str, ids: Iterable[str]) -> set[tuple[int, bytes]]:
    """Every answer to questions about these ids."""
    found = set()
    for each in ids:
        for path in (f"actors/{each}", f"actors/{each}/sessions", f"events?actor={each}"):
            reply = await api.get(path, key)
            found.add((reply.status_code, reply.content))
    return found


async def test_a_member_sees_itself_and_nobody_else_not_even_that_they_are_there(api: Api) -> None:
    events = make(8, 300)
    await fill(api, events)
    await group(api, "5b", {PEOPLE[0]: False, PEOPLE[1]: False})
    key = await api.key(MINE, "read", role="member", actor=PEOPLE[0])
    own = of(events, PEOPLE[0])
    assert [each["id"] for each in found_all(await answer(api, "actors", key))] == [PEOPLE[0].hex()]
    for narrowed, seen in (
        ({"group": "5b"}, [PEOPLE[0].hex()]),
        ({"role": "member"}, [PEOPLE[0].hex()]),
        ({"role": "manager"}, []),
    ):
        assert [each["id"] for each in found_all(await answer(api, "actors", key, **narrowed))] == seen
    assert (await answer(api, f"actors/{PEOPLE[0].hex()}", key))["events"] == len(own)
    assert len(await pages(api, "events", key, "events", limit=10)) == len(own)
    strangers = [
        PEOPLE[1].hex(),
        "01" + "f" * 32,
        VISITORS[0].hex(),
        "x" * 34,
        PEOPLE[0].hex()[:-2],
        "A" * 34,
    ]
    (refused,) = await refusals(api, key, strangers)
    assert (refused[0], orjson.loads(refused[1])["detail"]) == (404, "there is no such actor")
    admin = await api.key(MINE, "admin")
    assert await refusals(api, admin, ["01" + "f" * 32, VISITORS[0].hex()]) == {refused}
    # Somebody who never did anything is told so, and not that they do not exist.
    new = await api.key(MINE, "read", role="member", actor=bytes([1]) + b"n" * 16)
    assert (await answer(api, f"actors/{'01' + b'n'.hex() * 16}", new))["events"] == 0
    assert (await answer(api, "events", new))["events"] == []


async def test_an_analyst_of_some_groups_sees_their_members_and_only_their_events(api: Api) -> None:
    events = make(9, 400)
    await fill(api, events)
    await group(api, "5b", {PEOPLE[0]: False, PEOPLE[1]: True})
    await group(api, "6a", {PEOPLE[0]: False, PEOPLE[2]: False})
    key = await api.key(MINE, "read", role="analyst", groups=["5b"])
    listed = found_all(await answer(api, "actors", key))
    assert {each["id"] for each in listed} == {PEOPLE[0].hex(), PEOPLE[1].hex()}
    # Of other groups it does not learn who is in them.
    assert {each["id"] for row in listed for each in row["groups"] + row["manages"]} == {"5b"}
    assert found_all(await answer(api, "actors", key, group="6a")) == []
    assert found_all(await answer(api, "actors", key, group="6a", role="member")) == []
    expected = [*of(events, PEOPLE[0]), *of(events, PEOPLE[1])]
    found = await pages(api, "events", key, "events", limit=50)
    assert Counter(each["actor"]["id"] for each in found) == Counter(e["actor"].hex() for e in expected)
    assert len(await refusals(api, key, [PEOPLE[2].hex(), "01" + "f" * 32])) == 1
    assert (await answer(api, f"actors/{PEOPLE[1].hex()}", key))["events"] == len(of(events, PEOPLE[1]))
    empty = await api.key(MINE, "read", role="analyst", groups=["nowhere"])
    assert (await answer(api, "events", empty))["events"] == []
    assert found_all(await answer(api, "actors", empty)) == []


class FailingDirectory:
    """Never answers as it should."""

    async def names(self, tenant: str, pseudonyms: Sequence[bytes]) -> Mapping[bytes, str]:
        raise DirectoryError("it is away")

    async def search(self, tenant: str, q: str, limit: int) -> Sequence[str]:
        raise DirectoryError("it is away")


async def search(api: Api, key: str, body: object) -> httpx.Response:
    return await api.post("actors/search", key, body)


async def test_people_are_found_by_external_identifiers_and_names_which_nothing_keeps(api: Api) -> None:
    made = pseudonyms_of(api.engine.settings)
    ada, grace, outside = (made(MINE, each) for each in ("ada-1815", "grace-1906", "alan-1912"))
    now = int(time.time() * 1_000_000)
    events: list[Plain] = [
        {"name": "http.request", "at": now - MINUTE, "tenant": MINE, "properties": {}, "actor": actor, "shard": actor[1] % 4}
        for actor in (ada, grace)
    ]  # fmt: skip
    await fill(api, events)
    await group(api, "5b", {ada: False})
    people = people_of(api.app)
    people.directory = MemoryDirectory(
        made, {MINE: {"ada-1815": "Ada L.", "grace-1906": "Grace H.", "alan-1912": "Alan T."}}
    )
    admin, limited = await api.key(MINE, "admin"), await api.key(MINE, "read", role="analyst", groups=["5b"])

    async def ids(key: str, body: object) -> list[str]:
        reply = await search(api, key, body)
        assert reply.status_code == 200, reply.text
        return [each["id"] for each in reply.json()["actors"]]

    assert await ids(admin, {"external_id": "ada-1815"}) == [ada.hex()]
    assert await ids(admin, {"external_id": "Ada-1815"}) == []
    assert await ids(admin, {"external_id": "alan-1912"}) == []  # nothing is known of him here
    assert await ids(admin, {"q": "a"}) == [ada.hex(), grace.hex()]
    assert await ids(limited, {"q": "a"}) == [ada.hex()]
    assert await ids(limited, {"external_id": "grace-1906"}) == []
    hidden = await search(api, limited, {"external_id": "grace-1906"})
    assert hidden.content == (await search(api, limited, {"external_id": "nobody"})).content
    assert {each["name"] for each in found_all(await answer(api, "actors", admin))} == {"Ada L.", "Grace H."}
    wrongs: tuple[Any, ...] = (
        {},
        {"q": "a", "external_id": "b"},
        {"q": ""},
        {"q": "x" * 201},
        {"id": 1},
        [],
        "q",
    )
    for wrong in wrongs:
        reply = await search(api, admin, wrong)
        assert reply.status_code == 400, wrong
    assert outside.hex() not in (await search(api, admin, {"q": "Alan"})).text
    with patch.object(people, "directory", FailingDirectory()):
        names = {each["name"] for each in found_all(await answer(api, "actors", admin))}
        assert len(names) == 2
        assert all(re.fullmatch("user_[0-9a-f]{6}", name) for name in names)
        reply = await search(api, admin, {"q": "ada"})
        assert (reply.status_code, "ada" in reply.text) == (503, False)
    told = (await api.client.get("/metrics")).text
    assert 'streamgauge_directory_failures_total{call="names"} 1.0' in told
    assert 'streamgauge_directory_failures_total{call="search"} 1.0' in told
    tables = await api.engine.connection.fetch("SELECT entry FROM audit_log")
    written = "\n".join(row["entry"] for row in tables)
    assert written.count("people.search") >= 8
    for secret in ("ada-1815", "grace-1906", "alan-1912", "Alan", "Grace", "Ada L."):
        assert secret not in written


async def test_every_reading_of_people_is_in_the_audit_log_and_nothing_is_read_where_it_cannot_be(
    api: Api,
) -> None:
    events = make(10, 60)
    await fill(api, events)
    key, actor = await api.key(MINE, "admin"), PEOPLE[0].hex()
    for path in ("actors?group=5b", f"actors/{actor}", f"actors/{actor}/sessions", f"events?actor={actor}"):
        assert (await api.get(path, key)).status_code == 200
    rows = await api.engine.connection.fetch("SELECT entry FROM audit_log ORDER BY sequence")
    entries = [orjson.loads(row["entry"]) for row in rows][-4:]
    assert [(each["action"], each["resource"]) for each in entries] == [
        ("people.list", "/api/v1/actors"),
        ("people.read", f"/api/v1/actors/{actor}"),
        ("people.read", f"/api/v1/actors/{actor}/sessions"),
        ("events.read", "/api/v1/events"),
    ]
    assert entries[0]["detail"]["group"] == "5b"
    assert entries[3]["detail"]["actor"] == actor
    async with api.engine.connection.transaction(isolation="repeatable_read"):
        assert all(chain.broken_at is None for chain in await audit.check(api.engine.connection))
    await api.engine.connection.execute("REVOKE INSERT ON audit_log FROM streamgauge_api")
    for path in ("actors", f"actors/{actor}", f"actors/{actor}/sessions", "events"):
        assert (await api.get(path, key)).status_code == 503, path


async def test_a_damaged_entry_is_left_out_and_told(api: Api) -> None:
    events = make(11, 200)
    await fill(api, events)
    key = await api.key(MINE, "admin")
    gone = await api.engine.connection.fetchrow(
        "UPDATE event_log SET digest = decode(repeat('00', 16), 'hex') WHERE ctid = (SELECT ctid FROM event_log WHERE shard = 1 LIMIT 1)"
        " RETURNING lane, first, n"
    )
    assert gone is not None
    rest = await pages(api, "events", key, "events", limit=100)
    lost = [each for each in events if each["tenant"] == MINE and each["place"][2] == gone["lane"] and gone["first"] <= each["place"][3] < gone["first"] + gone["n"]]  # fmt: skip
    assert lost
    assert len(rest) == len([each for each in events if each["tenant"] == MINE]) - len(lost)
    actor = next(each["actor"] for each in lost if each.get("actor") in PEOPLE)
    profile = await answer(api, f"actors/{actor.hex()}", key)
    assert profile["damaged_entries"] == 1
    assert not profile["complete"]
    kept = [each for each in of(events, actor) if shown_at(each["at"]) >= profile["covers_from"]]
    assert not [each for each in kept if each in lost]


async def test_what_cannot_be_asked_is_refused_by_name(api: Api) -> None:
    key, actor = await api.key(MINE, "admin"), PEOPLE[0].hex()
    await fill(api, make(12, 30))
    for path, field in (
        ("actors?active_within=7w", "active_within"),
        ("actors?active_within=366d", "active_within"),
        ("actors?limit=101", "limit"),
        ("actors?cursor=abc", "cursor"),
        ("actors?role=owner", "role"),
        ("actors?page=2", "page"),
        (f"actors/{actor}?days=366", "days"),
        (f"actors/{actor}/sessions?cursor=W10", "cursor"),
        ("events?from=yesterday", "from"),
        ("events?to=2026-02-30", "to"),
        ("events?from=2026-02-02&to=2026-02-01", "from"),
        ("events?limit=0", "limit"),
        ("events?limit=1&limit=2", "limit"),
        ("events?name=%00", "name"),
        ("events?session=a%00", "session"),
        ("actors?event=%00", "event"),
        ("actors?group=%00", "group"),
    ):
        reply = await api.get(path, key)
        assert (reply.status_code, reply.json().get("field")) == (400, field), path
    cursor = (await answer(api, "events", key, limit=1))["next_cursor"]
    assert cursor is not None
    reply = await api.get(f"events?limit=1&name=draft.sent&cursor={cursor}", key)
    assert (reply.status_code, reply.json()["field"]) == (400, "cursor")
    # Made by somebody who knows how: no position of ours.
    nothing = {"active_within": "30d", "event": None, "group": None, "role": None}
    everything = {"from": None, "to": None, "name": None, "actor": None, "session": None}
    for path, question, positions in (
        ("actors", ["actors", nothing], [(-1, 0), (0, -1), (0, 2**31), (2**61, 2**61)]),
        (f"actors/{actor}/sessions", ["sessions", actor, 30], [(0, 2**61, 0, ""), (-1, 5, 0, ""), (5, 5, 0, ""), (2**60, 2**61, 0, "")]),
        ("events", ["events", everything], [(-1, 0, "", 0), (2**61, 0, "", 0), (5, 0, "x", 0)]),
    ):  # fmt: skip
        for position in positions:
            forged = cursors.encode(question, position)
            reply = await api.get(f"{path}?cursor={forged}", key)
            assert (reply.status_code, reply.json().get("field")) == (400, "cursor"), (path, position)
    for name in ("a" * 200, "'; DROP TABLE actors; --", "\u202e", "%F0%9F"):
        assert (await api.get(f"events?name={name}", key)).status_code == 200


async def test_entries_that_reach_over_days_and_names_beyond_the_limit_hide_nothing(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with open_api(redis_url, database_url, tmp_path, ZONES, cardinality_limit=1) as api:
        events = make(13, 300)
        random.Random(1).shuffle(events)
        names = await fill(api, events, size=15)
        key = await api.key(MINE, "admin")
        found = await pages(api, "events", key, "events", limit=11)
        assert [each["id"] for each in found] == names
        assert await api.engine.connection.fetchval(
            "SELECT count(*) FROM series WHERE dimensions = '{(other)}'"
        )
        for name in ("http.request", "lesson.read", "draft.sent"):
            rows = await pages(api, "events", key, "events", limit=50, name=name)
            assert len(rows) == len(
                [each for each in events if each["tenant"] == MINE and each["name"] == name]
            )
        profile = await answer(api, f"actors/{PEOPLE[5].hex()}", key)
        assert (profile["complete"], profile["events"]) == (True, len(of(events, PEOPLE[5])))
        # Within the bounds of one request it gets on, however far its entries reach.
        with patch.object(people_of(api.app), "bounds", {"events": 40}):
            found = await pages(api, "events", key, "events", limit=100)
        assert [each["id"] for each in found] == names


async def test_the_document_tells_what_is_asked_and_answered(api: Api) -> None:
    await fill(api, make(14, 80))
    await group(api, "5b", {PEOPLE[0]: False, PEOPLE[1]: True})
    key = await api.key(MINE, "admin")
    document = api.app.openapi()
    replies = {
        ("/api/v1/actors", "get"): await api.get("actors", key),
        ("/api/v1/actors/{id}", "get"): await api.get(f"actors/{PEOPLE[0].hex()}", key),
        ("/api/v1/actors/{id}/sessions", "get"): await api.get(f"actors/{PEOPLE[0].hex()}/sessions", key),
        ("/api/v1/actors/search", "post"): await search(api, key, {"q": "nobody"}),
        ("/api/v1/events", "get"): await api.get("events", key),
    }
    for (path, method), reply in replies.items():
        operation = document["paths"][path][method]
        assert len(operation["summary"]) > 10
        assert len(operation["description"]) > 40
        assert operation["security"] == [{"key": []}]
        expected = {"400", "401", "403", "503"} | (
            {"404"} if "{id}" in path or path.endswith("events") else set()
        )
        assert expected <= operation["responses"].keys()
        assert "422" not in operation["responses"]
        content = operation["responses"]["200"]["content"]["application/json"]
        validator = jsonschema.Draft202012Validator(
            {**content["schema"], "components": document["components"]}
        )
        assert reply.status_code == 200, reply.text
        validator.validate(reply.json())
        validator.validate(content["example"])
        for parameter in operation.get("parameters", []):
            about = path, parameter["name"]
            assert len(parameter["description"]) > 8, about
            schema = parameter["schema"]
            limited = {"maxLength", "maximum", "enum"}
            assert all(
                limited & set(each) or each["type"] == "null" for each in schema.get("anyOf", [schema])
            ), about
    for method, wrong in (("GET", "actors/search"),):
        # A word where an id is expected is no actor, whatever other routes are called.
        assert (await api.ask(method, wrong, key)).status_code in (404, 405)
