"""`/api/v1/dead-letters` and `streamgauge dead-letters`: whose they are, what is shown of them, and what becomes of them."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from streamgauge.access import audit
from streamgauge_cli.main import main
from streamgauge_workers import plausibility
from tests.api.server import Api, open_api
from tests.integration.engine import DAY, generate, open_engine
from tests.integration.program import given

ZONES = {"berlin": "Europe/Berlin", "kolkata": "Asia/Kolkata"}


def refused(seed: int, count: int, tenant: str) -> list[dict[str, Any]]:
    """Late events of a tenant."""
    return [{**event, "at": event["at"] - 30 * DAY} for event in generate(seed, count, (tenant,))]


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A server; of each tenant and of none some dead letters."""
    async with open_api(redis_url, database_url, tmp_path, ZONES) as opened:
        engine = opened.engine
        await engine.publish(
            [*refused(1, 5, "berlin"), *refused(2, 3, "kolkata"), *generate(3, 2, ("nobody",))]
        )
        (bad,) = generate(4, 1, ("berlin",))
        await engine.drain()  # or it may not be the newest: it is of another shard
        await engine.publish(
            [{**bad, "name": "http.request", "properties": {"duration": -1, "ratio": float("nan")}}]
        )
        await engine.drain()
        yield opened


async def listed(api: Api, key: str, query: str = "") -> list[dict[str, Any]]:
    reply = await api.get(f"dead-letters{query}", key)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["dead_letters"]
    return found


async def test_an_admin_sees_their_tenants_letters_and_an_owner_those_of_none(api: Api) -> None:
    admin, owner = await api.key("berlin", "admin"), await api.key(None, "platform")
    mine = await listed(api, admin)
    assert {each["tenant"] for each in mine} == {"berlin"}
    assert [each["reason"] for each in mine] == ["invalid_value"] + ["late"] * 5
    assert {(each["tenant"], each["reason"]) for each in await listed(api, owner)} == {
        (None, "unknown_tenant")
    }
    ids = [each["id"] for each in mine]
    assert ids == sorted(ids, reverse=True)
    assert len(await listed(api, admin, "?reason=late&state=open")) == 5
    assert await listed(api, admin, "?state=replayed") == []
    assert await listed(api, admin, "?to=2020-01-01T00:00:00Z") == []
    assert len(await listed(api, admin, "?from=2020-01-01T00:00:00Z")) == 6


async def test_pages_give_every_letter_once_though_others_arrive(api: Api) -> None:
    admin = await api.key("berlin", "admin")
    expected = [each["id"] for each in await listed(api, admin)]
    seen, cursor = [], ""
    while cursor is not None:
        page = (await api.get(f"dead-letters?limit=4{cursor}", admin)).json()
        seen += [each["id"] for each in page["dead_letters"]]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
        await api.engine.publish(refused(50 + len(seen), 1, "berlin"))
        await api.engine.drain()
    assert seen == expected
    wrong = await api.get("dead-letters?reason=late&cursor=" + "x" * 20, admin)
    assert (wrong.status_code, wrong.json()["field"]) == (400, "cursor")


async def test_one_letter_shows_its_event_and_that_it_was_read(api: Api) -> None:
    admin = await api.key("berlin", "admin")
    newest = (await listed(api, admin))[0]
    shown = (await api.get(f"dead-letters/{newest['id']}", admin)).json()
    assert {name: shown[name] for name in newest} == newest
    assert (shown["event"]["tenant"], shown["hidden"]) == ("berlin", False)
    assert shown["event"]["properties"] == {"duration": -1, "ratio": "nan"}
    await api.engine.connection.execute("UPDATE tenants SET policies = '{\"people\": false}'")
    api.app.state.callers = None
    hidden = (await api.get(f"dead-letters/{newest['id']}", admin)).json()
    assert (hidden["event"], hidden["hidden"], hidden["reason"]) == (None, True, "invalid_value")
    assert await actions(api, "berlin") == ["dead_letters.read"] * 2


async def actions(api: Api, tenant: str | None) -> list[str]:
    rows = await api.engine.connection.fetch(
        "SELECT entry FROM audit_log WHERE tenant_id = coalesce((SELECT tenant_id FROM tenants WHERE name = $1), 0) ORDER BY sequence",
        tenant,
    )
    return [json.loads(row["entry"])["action"] for row in rows]


async def test_another_tenants_letter_and_nobodys_are_answered_as_one_that_is_not_there(api: Api) -> None:
    admin, owner = await api.key("berlin", "admin"), await api.key(None, "platform")
    theirs = (await listed(api, await api.key("kolkata", "admin")))[0]["id"]
    nobodys, mine = (await listed(api, owner))[0]["id"], (await listed(api, admin))[0]["id"]
    for method, path in (("GET", ""), ("POST", "/replay"), ("POST", "/discard")):
        for key, ids in ((admin, (theirs, nobodys, 999_999)), (owner, (theirs, mine, 999_999))):
            replies = [await api.ask(method, f"dead-letters/{each}{path}", key) for each in ids]
            assert {(reply.status_code, reply.content) for reply in replies} == {(404, replies[-1].content)}
    for path in ("replay", "discard"):
        reply = await api.post(f"dead-letters/{path}", admin, {"reason": "unknown_tenant"})
        assert reply.json()["letters"] == 0
    rows = await api.engine.connection.fetch("SELECT DISTINCT state, requested_at FROM dead_letters")
    assert [tuple(row) for row in rows] == [("open", None)]


async def test_replays_count_once_and_are_told_when_they_are_done(api: Api) -> None:
    admin = await api.key("berlin", "admin")
    late = [each["id"] for each in await listed(api, admin, "?reason=late")]
    for _ in range(2):
        reply = await api.ask("POST", f"dead-letters/{late[0]}/replay", admin)
        assert (reply.status_code, reply.json()) == (202, {"letters": 1, "events": 1, "unready": {}})
    assert (await listed(api, admin, "?reason=late"))[0]["requested_by"] == admin.split("_")[1]
    assert (await api.post("dead-letters/replay", admin, {"reason": "late", "limit": 3})).json()[
        "letters"
    ] == 3
    assert (await api.post("dead-letters/replay", admin, {"reason": "late"})).json()["letters"] == 5
    await api.engine.drain()
    assert {each["state"] for each in await listed(api, admin, "?reason=late")} == {"replayed"}
    again = await api.ask("POST", f"dead-letters/{late[0]}/replay", admin)
    assert (again.status_code, "replayed already" in again.json()["detail"]) == (409, True)
    assert await api.engine.outcomes() == {
        ("applied", ""): 5, ("dead_lettered", "late"): 8, ("rejected", "unknown_tenant"): 2, ("rejected", "invalid_value"): 1,
    }  # fmt: skip
    assert (await api.engine.verified()).differences == []
    assert await actions(api, "berlin") == ["dead_letters.replay"] * 4


async def test_an_owner_replays_what_was_of_no_tenant_once_that_is_there(api: Api) -> None:
    owner = await api.key(None, "platform")
    reply = await api.post("dead-letters/replay", owner, {"reason": "unknown_tenant"})
    assert reply.json() == {
        "letters": 0, "events": 0, "unready": {"there is no tenant 'nobody': create it, then replay": 2},
    }  # fmt: skip
    assert (await api.post("tenants", owner, {"id": "nobody"})).status_code == 201
    assert (await api.post("dead-letters/replay", owner, {"reason": "unknown_tenant"})).json()["letters"] == 2
    await api.engine.drain()
    assert (await api.engine.outcomes())["applied", ""] == 2
    assert (await api.engine.verified()).differences == []


async def test_discarded_letters_keep_their_counts_and_nothing_else(api: Api) -> None:
    admin = await api.key("berlin", "admin")
    newest = (await listed(api, admin))[0]["id"]
    assert (await api.ask("POST", f"dead-letters/{newest}/discard", admin)).json() == {
        "letters": 1,
        "events": 1,
    }
    assert (await api.ask("POST", f"dead-letters/{newest}/discard", admin)).status_code == 409
    assert (await api.ask("POST", f"dead-letters/{newest}/replay", admin)).status_code == 409
    assert (await api.post("dead-letters/discard", admin, {"reason": "late", "limit": 4})).json()[
        "letters"
    ] == 4
    shown = (await api.get(f"dead-letters/{newest}", admin)).json()
    assert (shown["state"], shown["event"], shown["decided_by"]) == ("discarded", None, admin.split("_")[1])
    assert len(await listed(api, admin, "?state=open")) == 1
    assert (await api.engine.verified()).differences == []
    assert {chain.broken_at for chain in await audit.check(api.engine.connection)} == {None}


@pytest.mark.parametrize(
    "body", [{}, {"reason": "old"}, {"reason": "late", "limit": 1_001}, {"reason": "late", "x": 1}, []]
)
async def test_several_are_chosen_by_a_reason_and_within_a_bound(api: Api, body: Any) -> None:
    admin = await api.key("berlin", "admin")
    for path in ("replay", "discard"):
        assert (await api.post(f"dead-letters/{path}", admin, body)).status_code == 400


async def test_the_server_may_change_what_becomes_of_a_letter_and_not_what_it_counts(api: Api) -> None:
    async with api.app.state.pool.acquire() as connection:
        for column in ("events", "reason", "tenant_id", "content_id"):
            assert not await connection.fetchval(
                "SELECT has_column_privilege('dead_letters', $1, 'UPDATE')", column
            )
        for right in ("INSERT", "DELETE"):
            assert not await connection.fetchval("SELECT has_table_privilege('dead_letters', $1)", right)


def test_the_commands_show_replay_discard_and_allow(
    redis_url: str, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = given(redis_url, database_url, STREAMGAUGE_DATA_DIR=str(tmp_path))

    def run(*arguments: str, code: int = 0) -> str:
        with (
            patch.dict(os.environ, environment),
            patch.object(sys, "argv", ["streamgauge", "dead-letters", *arguments]),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        said = "".join(capsys.readouterr())
        assert (ended.value.code or 0) == code, said
        return said

    async def engine(*events: dict[str, Any], zones: dict[str, str]) -> dict[tuple[str, str], int]:
        async with open_engine(redis_url, database_url, zones) as opened:
            await opened.publish(events)
            await opened.drain()
            if events:
                error = plausibility.ImplausibleError(1, 1_000, {"late": 900})
                await plausibility.Plausibility(1, 50).stop(opened.connection, error)
            assert (await opened.verified()).differences == []
            return await opened.outcomes()

    asyncio.run(
        engine(*refused(1, 3, "berlin"), *refused(2, 2, "kolkata"), *generate(3, 1, ("nobody",)), zones=ZONES)
    )
    said = run("list")
    assert said.count("late  1 events  open") == 5
    assert "(no tenant)  unknown_tenant" in said
    assert "Shard 1 is stopped since" in said
    assert run("list", "--tenant", "kolkata", "--limit", "1").count("late") == 1
    assert "there is no tenant 'x'" in run("list", "--tenant", "x", code=2)
    number = run("list", "--reason", "unknown_tenant").partition(" ")[0]
    assert json.loads(run("show", number))["event"]["tenant"] == "nobody"
    assert "there is no dead letter 99" in run("show", "99", code=2)
    assert "which ones?" in run("replay", code=2)
    assert "give either" in run("replay", number, "--all", code=2)
    dry = run("replay", "--all", "--dry-run")
    assert "5 letters with 5 events would be sent\n1 stay as they are: there is no tenant 'nobody'" in dry
    assert "1 letters with 1 events discarded" in run("discard", number, "--yes")
    assert "shard 0 is not stopped" in run("allow", "0", code=2)
    assert "Shard 1 goes on" in run("allow", "1", "--hours", "2")
    assert (
        "0 letters with 0 events sent; workers count them now\n1 stay as they are: there is no such"
        in run("replay", "99")
    )
    for _ in range(2):
        assert "3 letters with 3 events sent" in run("replay", "--tenant", "berlin")
    assert asyncio.run(engine(zones={}))["applied", ""] == 3
    assert run("list", "--state", "replayed").count("berlin  late  1 events  replayed") == 3
    assert "0 letters" in run("replay", "--tenant", "berlin")
