"""Collaboration over HTTP: who sees what of drafts and users, boards, events with a key, and what cannot be asked."""

import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx2 as httpx
import jsonschema
import pytest

from tests.api.server import Api, open_api
from tests.integration.engine import Plain, event_of
from tests.unit.domains.collaboration import drafting as oracle

ZONES = {"berlin": "Europe/Berlin", "york": "America/New_York"}
HOUR = 3_600_000_000
ADA, BOB, CY, DAN, EVE = PEOPLE = [bytes([1, number]) * 8 + b"\1" for number in range(5, 0, -1)]
STRANGER = b"\1" + b"s" * 16
NOW = int(time.time())


def event(name: str, hours: float, actor: bytes | None, draft: str, **more: Any) -> Plain:
    """Something that happened so many hours ago."""
    given = {key: more.pop(key).hex() for key in ("to",) if key in more}
    plain = {
        "name": name, "at": NOW * 1_000_000 - int(hours * HOUR), "tenant": "berlin",
        "properties": {"draft.id": draft, **given}, "shard": 0 if actor is None else actor[1] % 4, **more,
    }  # fmt: skip
    return plain if actor is None else {**plain, "actor": actor}


#: Ada, Bob and Cy write "fable": Bob gets the ring only. Cy and Dan write "öde no. 1". Eve reads both, and passes a ring on.
TOLD = [
    event("draft.created", 100, ADA, "fable"),
    event("segment.added", 99, ADA, "fable"),
    event("ring.passed", 98, ADA, "fable", to=CY),
    event("segment.added", 97, CY, "fable"),
    event("segment.added", 74, CY, "fable"),
    event("ring.passed", 73, EVE, "fable", to=BOB),
    event("ring.passed", 50, BOB, "fable", to=CY),
    event("draft.viewed", 49, None, "fable"),
    event("draft.viewed", 48, EVE, "fable"),
    event("draft.shared", 47, EVE, "fable"),
    event("draft.created", 30, CY, "öde no. 1"),
    event("ring.passed", 29, CY, "öde no. 1", to=DAN),
    event("segment.added", 28, DAN, "öde no. 1"),
    event("draft.published", 20, EVE, "öde no. 1"),
    event("draft.created", 9, STRANGER, "elsewhere", tenant="york"),
]
OF_BERLIN = [event_of(each) for each in TOLD if each["tenant"] == "berlin"]


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A server with the drafts above, and three classes: Ada and Bob (and Eve, who manages it), Cy, Ada and Cy."""
    async with open_api(redis_url, database_url, tmp_path, ZONES) as opened:
        await opened.engine.publish(TOLD, 3)
        await opened.engine.drain()
        connection = opened.engine.connection
        classes = {
            "5b": {ADA: False, BOB: False, EVE: True},
            "6a": {CY: False},
            "7c": {ADA: False, CY: False},
        }
        for group, members in classes.items():
            tenant = await connection.fetchval("SELECT tenant_id FROM tenants WHERE name = 'berlin'")
            await connection.execute(
                "INSERT INTO groups (tenant_id, group_id) VALUES ($1, $2)", tenant, group
            )
            for actor, manager in members.items():
                await connection.execute(
                    "INSERT INTO group_members VALUES ($1, $2, $3, $4)", tenant, group, actor, manager
                )
        yield opened


async def keys(api: Api) -> dict[str, str]:
    """A key of everybody, by what it is."""
    members = zip(("Ada", "Bob", "Cy", "Dan", "Eve"), PEOPLE, strict=True)
    return {
        **{name: await api.key("berlin", "read", role="member", actor=actor) for name, actor in members},
        "analyst of 5b": await api.key("berlin", "read", role="analyst", groups=["5b"]),
        "analyst of 6a": await api.key("berlin", "read", role="analyst", groups=["6a"]),
        "analyst": await api.key("berlin", "read"),
        "admin": await api.key("berlin", "admin"),
        "admin of york": await api.key("york", "admin"),
    }


async def ask(api: Api, path: str, key: str, **parameters: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    told: Mapping[str, Any] = {name: str(value) for name, value in parameters.items()}
    return await api.client.get(f"/api/v1/collaboration/{path}", params=told, headers=headers)


async def answer(api: Api, path: str, key: str, **parameters: object) -> dict[str, Any]:
    reply = await ask(api, path, key, **parameters)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    schema = api.app.openapi()
    route = path.split("/")[0] + ("/{id}" if "/" in path else "")
    answers = schema["paths"][f"/api/v1/collaboration/{route}"]["get"]["responses"]["200"]
    content = answers["content"]["application/json"]
    for each in (found, content["example"]):
        jsonschema.validate(each, {**content["schema"], "components": schema["components"]})
    return found


def shown(hours: float) -> str:
    at = datetime.fromtimestamp(NOW - int(hours * 3_600), UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_drafts_and_users_are_told_of_to_who_may_see_them_and_else_as_if_there_were_none(
    api: Api,
) -> None:
    held = await keys(api)
    fable, ode, nothing = "drafts/fable", f"drafts/{quote('öde no. 1')}", "drafts/nothing"
    everybody = {"analyst", "admin"}
    sight = {
        fable: everybody | {"Ada", "Bob", "Cy", "analyst of 5b", "analyst of 6a"},
        ode: everybody | {"Cy", "Dan", "analyst of 6a"},
        nothing: set(),
        "drafts/elsewhere": {"admin of york"},
        f"users/{ADA.hex()}": everybody | {"Ada", "analyst of 5b"},
        f"users/{CY.hex()}": everybody | {"Cy", "analyst of 6a"},
        f"users/{EVE.hex()}": everybody | {"Eve", "analyst of 5b"},
        f"users/{STRANGER.hex()}": {"admin of york"},
        "users/ada": set(),
    }
    refused = {(name, path.split("/")[0]): set[bytes]() for name, path in product(held, sight)}
    for (name, key), (path, seers) in product(held.items(), sight.items()):
        reply = await ask(api, path, key)
        assert reply.status_code == (200 if name in seers else 404), (name, path, reply.text)
        if name not in seers:
            refused[name, path.split("/")[0]].add(reply.content)
    assert {kind: len(set().union(*(told for (_, each), told in refused.items() if each == kind))) for kind in ("drafts", "users")} == {
        "drafts": 1, "users": 1,
    }  # fmt: skip

    found = await answer(api, fable, held["Cy"])
    assert found.pop("holder")["id"] == CY.hex()
    common = {
        "id": "fable", "views": 2, "shares": 1, "segments": 3, "contributors": 2, "ring_passes": 3, "held": True,
        "last_activity": shown(47), "published": False, "published_at": None,
    }  # fmt: skip
    assert found == common
    # Who has it is somebody else's affair, of whom Ada may not know; that somebody has it is not.
    for name, seen in (("Ada", False), ("analyst of 5b", False), ("analyst of 6a", True), ("admin", True)):
        found = await answer(api, fable, held[name])
        assert (found.pop("holder") is not None, found) == (seen, common)
    found = await answer(api, ode, held["Dan"])
    assert (found["id"], found["held"], found["holder"]) == ("öde no. 1", False, None)
    assert (found["published"], found["published_at"]) == (True, shown(20))

    as_of = datetime.fromtimestamp(NOW, UTC).isoformat()
    for actor in PEOPLE:
        found = await answer(api, f"users/{actor.hex()}", held["admin"], now=as_of)
        holds = oracle.holds(OF_BERLIN, actor, NOW)
        assert found == {
            "id": actor.hex(),
            "name": found["name"],
            "drafts_created": len(oracle.created(OF_BERLIN, actor)),
            "drafts_contributed": len(oracle.contributions(OF_BERLIN, actor)),
            "segments": sum(each.actor == actor for each in oracle.named(OF_BERLIN, "segment.added")),
            "rings_held": oracle.rings(OF_BERLIN, actor),
            "mean_hold_time": oracle.mean([length for length, _ in holds]),
            "open_holds": sum(is_open for _, is_open in holds),
            "complete": True,
        }
    found = await answer(api, f"users/{CY.hex()}", held["admin"], now=as_of)
    assert (found["rings_held"], found["open_holds"]) == (2, 1)
    assert found["mean_hold_time"] == (25 + 50) * 3_600 / 2
    dan = await answer(api, f"users/{DAN.hex()}", held["Dan"])
    assert (dan["mean_hold_time"], dan["open_holds"]) == (9 * 3_600, 0)


async def test_boards_are_those_of_the_raw_events_and_show_ids_only_of_who_may_be_seen(api: Api) -> None:
    held = await keys(api)
    formulas = {"collaboration": oracle.collaboration, "consistency": oracle.consistency}
    for metric, formula in formulas.items():
        scores = {actor: formula(OF_BERLIN, actor) for actor in PEOPLE}
        order = sorted(filter(scores.get, scores), key=lambda actor: (-scores[actor], actor))
        found = await answer(api, "leaderboard", held["admin"], metric=metric)
        assert [(each["rank"], each["id"], each["score"]) for each in found["entries"]] == [
            (rank, actor.hex(), scores[actor]) for rank, actor in enumerate(order, 1)
        ]
        assert (found["participants"], found["you"]) == (len(order), None)

        top = await answer(api, "leaderboard", held["Cy"], metric=metric, limit=1)
        (first,) = top["entries"]
        assert (first["id"], first["name"]) == (
            (CY.hex(), "You") if order[0] == CY else (None, first["name"])
        )
        assert top["you"] == {
            "rank": order.index(CY) + 1, "id": CY.hex(), "name": "You", "score": scores[CY],
        }  # fmt: skip
        limited = await answer(api, "leaderboard", held["analyst of 5b"], metric=metric)
        assert [each["id"] for each in limited["entries"]] == [
            actor.hex() if actor in (ADA, BOB, EVE) else None for actor in order
        ]
        for name in ("Ada", "analyst of 5b", "admin"):
            group = await answer(api, "leaderboard", held[name], metric=metric, group="5b")
            own = [actor for actor in order if actor in (ADA, BOB)]
            assert [each["score"] for each in group["entries"]] == [scores[actor] for actor in own]
            seen = [actor for actor in own if name != "Ada" or actor == ADA]
            assert [each["id"] for each in group["entries"] if each["id"]] == [each.hex() for each in seen]
            assert (group["participants"], group["group"]) == (len(own), "5b")
        # A member is told of the whole group's, yet not who they are.
        together = await answer(api, "leaderboard", held["Ada"], metric=metric, group="7c")
        own = [actor for actor in order if actor in (ADA, CY)]
        assert [(each["id"], each["score"]) for each in together["entries"]] == [
            (ADA.hex() if actor == ADA else None, scores[actor]) for actor in own
        ]
    assert (await answer(api, "leaderboard", held["Eve"]))["you"] is None
    replies = [
        await ask(api, "leaderboard", held[name], group=group)
        for name, group in (("Ada", "6a"), ("Ada", "9z"), ("analyst of 5b", "6a"), ("admin", "9z"))
    ]
    assert {each.status_code for each in replies} == {404}
    assert len({each.content for each in replies}) == 1

    as_of = datetime.fromtimestamp(NOW, UTC).isoformat()
    today = datetime.fromtimestamp(NOW, ZoneInfo("Europe/Berlin")).date()
    found = await answer(api, "leaderboard", held["admin"], metric="momentum", now=as_of)
    expected = {actor.hex(): 0.0 for actor in PEOPLE}
    weights = {"draft.created": 5, "segment.added": 1}
    for each in OF_BERLIN:
        if each.name in weights and each.actor is not None:
            at = datetime.fromtimestamp(each.occurred_at / 1_000_000, ZoneInfo("Europe/Berlin"))
            expected[each.actor.hex()] += weights[each.name] * 2 ** (-(today - at.date()).days / 7)
    assert {each["id"]: each["score"] for each in found["entries"]} == {
        actor: pytest.approx(score, abs=0.0006) for actor, score in expected.items() if score
    }
    ordered = [each["score"] for each in found["entries"]]
    assert ordered == sorted(ordered, reverse=True)
    # Days before the first event are no error, nor is a time before them all.
    for days, participants in ((365, 3), (None, 3)):
        given = {} if days is None else {"days": days}
        found = await answer(api, "leaderboard", held["admin"], metric="momentum", **given)
        assert found["participants"] == participants
        earlier = await answer(api, "leaderboard", held["admin"], now="1970-02-01T00:00:00Z", **given)
        assert earlier["entries"] == []
    tag = (await ask(api, "leaderboard", held["admin"])).headers["etag"]
    again = await api.get("collaboration/leaderboard", held["admin"], **{"if-none-match": tag})
    assert again.status_code == 304


async def test_a_repeated_key_counts_once_and_what_cannot_be_asked_is_refused_with_the_field(
    api: Api,
) -> None:
    held = await keys(api)
    before = (await api.get("ledger", held["admin"])).json()["total"]
    path, admin = f"users/{DAN.hex()}", held["admin"]
    known = await answer(api, path, admin)
    again = event("segment.added", 1, DAN, "fable", key=b"k" * 16)
    passed = event("ring.passed", 0.5, DAN, "fable", to=DAN, key=b"p" * 16)
    await api.engine.publish([again, passed, again], 1)
    await api.engine.publish([passed, again, {**passed, "at": passed["at"] + 5}], 2)
    await api.engine.drain()
    found = await answer(api, path, admin)
    gained = {name: found[name] - known[name] for name in ("segments", "rings_held", "drafts_contributed")}
    assert gained == {"segments": 1, "rings_held": 1, "drafts_contributed": 1}
    assert (await answer(api, "drafts/fable", admin))["ring_passes"] == 4
    after = (await api.get("ledger", admin)).json()["total"]
    assert {name: after[name] - before[name] for name in ("processed", "applied", "repeated_key")} == {
        "processed": 6, "applied": 2, "repeated_key": 4,
    }  # fmt: skip
    assert after["balanced"]

    wrong: list[tuple[str, str]] = [
        ("leaderboard?metric=speed", "metric"),
        ("leaderboard?limit=1000000000", "limit"),
        ("leaderboard?limit=0", "limit"),
        ("leaderboard?days=366", "days"),
        ("leaderboard?days=0", "days"),
        ("leaderboard?days=a", "days"),
        (f"leaderboard?group={'g' * 101}", "group"),
        ("leaderboard?group=%00", "group"),
        ("leaderboard?timeframe=decade", "timeframe"),
        ("leaderboard?metric=momentum&metric=momentum", "metric"),
        ("leaderboard?now=yesterday", "now"),
        (f"drafts/{'d' * 513}", "id"),
        ("drafts/a%00b", "id"),
        (f"users/{'a' * 201}", "id"),
    ]
    for asked, field in wrong:
        reply = await api.get(f"collaboration/{asked}", admin)
        assert (reply.status_code, reply.json()["field"]) == (400, field), (asked, reply.text)
        assert field in reply.json()["detail"]
    unknown = [f"drafts/{'d' * 512}", "drafts/a%2Fb", "drafts/%F0%9F%90%9D", "drafts/%FF", "users/%00"]
    for asked in unknown:
        assert (await api.get(f"collaboration/{asked}", admin)).status_code == 404, asked
    reply = await ask(api, path, held["Dan"], now="2026-01-01T00:00:00Z")
    assert (reply.status_code, reply.json()["field"]) == (403, "now")
