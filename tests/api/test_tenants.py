"""Tenants and groups over the API: who may do what, and that doing it twice is doing it once."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamgauge.access import audit
from tests.api.server import Api, open_api
from tests.integration.engine import generate

ZONES = {"berlin": "Europe/Berlin", "kolkata": "Asia/Kolkata"}
CSV = {"content-type": "text/csv"}


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A server with two tenants."""
    async with open_api(redis_url, database_url, tmp_path, ZONES) as opened:
        yield opened


async def ok(api: Api, method: str, path: str, key: str, status: int = 200, **more: Any) -> Any:
    reply = await api.ask(method, path, key, **more)
    assert reply.status_code == status, reply.text
    return reply.json() if reply.content else None


async def entries(api: Api, tenant: str | None) -> list[dict[str, Any]]:
    """What the audit log holds of a tenant, or of the platform."""
    rows = await api.engine.connection.fetch(
        "SELECT entry FROM audit_log WHERE tenant_id = coalesce((SELECT tenant_id FROM tenants WHERE name = $1), 0) ORDER BY sequence",
        tenant,
    )
    return [json.loads(row["entry"]) for row in rows]


async def test_an_owner_makes_changes_suspends_and_deletes_tenants(api: Api) -> None:
    owner = await api.key(None, "platform")
    made = await ok(
        api, "POST", "tenants", owner, 201,
        json={"id": "lima", "name": "Colegio Lima", "time_zone": "America/Lima", "retention_days": 60},
    )  # fmt: skip
    assert (made["id"], made["name"], made["time_zone"], made["status"]) == (
        "lima", "Colegio Lima", "America/Lima", "active",
    )  # fmt: skip
    assert (await api.ask("POST", "tenants", owner, json={"id": "lima"})).status_code == 409
    listed = await ok(api, "GET", "tenants", owner)
    assert [each["id"] for each in listed["tenants"]] == ["berlin", "kolkata", "lima"]
    first = await ok(api, "GET", "tenants?limit=2", owner)
    assert ([each["id"] for each in first["tenants"]], first["next"]) == (["berlin", "kolkata"], "kolkata")
    rest = await ok(api, "GET", "tenants?limit=2&after=kolkata", owner)
    assert ([each["id"] for each in rest["tenants"]], rest["next"]) == (["lima"], None)

    reading, sending = await api.key("lima", "read"), await api.key("lima", "write")
    assert (await api.get("summary", reading)).status_code == 200
    changed = await ok(
        api,
        "PATCH",
        "tenants/lima",
        owner,
        json={"status": "suspended", "budgets": {"requests_per_minute": 9}},
    )
    assert (changed["status"], changed["budgets"], changed["name"]) == (
        "suspended", {"requests_per_minute": 9}, "Colegio Lima",
    )  # fmt: skip
    api.app.state.callers = None  # what is remembered for four seconds
    for reply in (
        await api.get("summary", reading),
        await api.post("events", sending, {"name": "http.request"}),
    ):
        assert (reply.status_code, "suspended" in reply.json()["detail"]) == (403, True)
    await ok(api, "PATCH", "tenants/lima", owner, json={"status": "active"})
    api.app.state.callers = None
    assert (await api.get("summary", reading)).status_code == 200

    receipt = await ok(api, "DELETE", "tenants/lima", owner, 202)
    assert (receipt["tenant"], receipt["deleted_at"]) == ("lima", None)
    assert await ok(api, "DELETE", "tenants/lima", owner, 202) == receipt
    assert await ok(api, "GET", f"deletions/{receipt['receipt_id']}", owner) == receipt
    api.app.state.callers = None
    assert (await api.get("summary", reading)).status_code == 401
    assert [each["action"] for each in await entries(api, None)] == [
        "tenants.create", "tenants.change", "tenants.change", "tenants.delete", "tenants.delete",
    ]  # fmt: skip
    assert {chain.broken_at for chain in await audit.check(api.engine.connection)} == {None}


async def test_an_admin_sees_and_describes_their_own_tenant_alone(api: Api) -> None:
    admin = await api.key("berlin", "read", "admin")
    listed = await ok(api, "GET", "tenants", admin)
    assert [each["id"] for each in listed["tenants"]] == ["berlin"]
    changed = await ok(
        api,
        "PATCH",
        "tenants/berlin",
        admin,
        json={"name": "Schule", "policies": {"people": False}, "retention_days": None},
    )
    assert (changed["name"], changed["policies"]) == ("Schule", {"people": False})
    for field, value in (("status", "suspended"), ("budgets", {"requests_per_minute": None})):
        refused = await api.ask("PATCH", "tenants/berlin", admin, json={field: value})
        assert (refused.status_code, refused.json()["field"]) == (403, field)
    others = [await api.ask("GET", f"tenants/{name}", admin) for name in ("kolkata", "atlantis")]
    assert [reply.status_code for reply in others] == [404, 404]
    assert others[0].content == others[1].content
    changes = [
        await api.ask("PATCH", f"tenants/{name}", admin, json={"name": "x"})
        for name in ("kolkata", "atlantis")
    ]
    assert [(reply.status_code, reply.content) for reply in changes] == [(404, others[0].content)] * 2
    for method, path, more in (("POST", "tenants", {"json": {"id": "x"}}), ("DELETE", "tenants/berlin", {})):
        assert (await api.ask(method, path, admin, **more)).status_code == 403
    assert await entries(api, None) == []


async def test_a_tenants_budget_is_shared_by_its_credentials_and_nobody_elses(api: Api) -> None:
    owner, other = await api.key(None, "platform"), await api.key("kolkata", "read")
    keys = [await api.key("berlin", "read") for _ in range(2)]
    await ok(api, "PATCH", "tenants/berlin", owner, json={"budgets": {"requests_per_minute": 6}})
    statuses = [(await api.get("catalogue", keys[number % 2])).status_code for number in range(12)]
    assert statuses[:6] == [200] * 6
    assert statuses.count(429) >= 5
    refused = await api.get("catalogue", keys[0])
    assert "budget" in refused.json()["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert (await api.get("catalogue", other)).status_code == 200


async def test_a_tenants_policy_closes_the_rows_about_people_to_all_but_themselves(api: Api) -> None:
    me = api.app.state.pseudonym_of("berlin", "ann")
    admin = await api.key("berlin", "read", "admin")
    member = await api.key("berlin", "read", role="member", actor=me)
    assert (await api.get("actors", admin)).status_code == 200
    await ok(api, "PATCH", "tenants/berlin", admin, json={"policies": {"people": False}})
    api.app.state.callers = None
    assert (await api.get("actors", admin)).status_code == 403
    assert (await api.get("actors", member)).status_code == 200


async def test_a_new_time_zone_holds_from_an_hour_that_no_event_can_have_been_counted_in(api: Api) -> None:
    admin = await api.key("berlin", "read", "admin")
    await api.engine.publish(generate(5, 200, ("berlin",)))
    await api.engine.drain()
    for zone in ("Asia/Tokyo", "America/New_York"):
        changed = await ok(api, "PATCH", "tenants/berlin", admin, json={"time_zone": zone})
        assert (changed["time_zone"], changed["next_time_zone"]["time_zone"]) == ("Europe/Berlin", zone)
    ahead = await api.engine.connection.fetchval(
        "SELECT array_agg(extract(epoch FROM effective_from - now())::int) FROM tenant_time_zones z JOIN tenants USING (tenant_id) "
        "WHERE name = 'berlin' AND effective_from > now()"
    )
    assert len(ahead) == 1
    assert 590 <= ahead[0] <= 4_200
    assert (await ok(api, "GET", "summary", admin))["time_zone"] == "Europe/Berlin"
    refused = await api.ask("PATCH", "tenants/berlin", admin, json={"time_zone": "Mars/Olympus"})
    assert (refused.status_code, refused.json()["field"]) == (400, "zone")


async def test_groups_are_set_as_a_whole_and_twice_is_once(api: Api) -> None:
    admin = await api.key("berlin", "admin")
    content = {
        "name": "Class 7b",
        "kind": "class",
        "members": ["ann", "bob", "ann"],
        "managers": ["teacher", "bob"],
    }
    first = await ok(api, "PUT", "tenants/berlin/groups/7b", admin, json=content)
    assert first == {"groups": 1, "added": 3, "changed": 0, "removed": 0}
    again = await ok(api, "PUT", "tenants/berlin/groups/7b", admin, json=content)
    assert again == {"groups": 1, "added": 0, "changed": 0, "removed": 0}
    shown = await ok(api, "GET", "tenants/berlin/groups/7b", admin)
    assert (shown["name"], shown["members"], shown["managers"]) == ("Class 7b", 1, 2)
    lines = "group,actor,role\n7b,ann,manager\n7b,cleo,\n8a,ann,member\n9c,,\n"
    reply = await api.client.put(
        "/api/v1/tenants/berlin/groups", content=lines, headers={**CSV, "authorization": f"Bearer {admin}"}
    )
    assert reply.json() == {"groups": 3, "added": 2, "changed": 1, "removed": 2}
    listed = await ok(api, "GET", "tenants/berlin/groups?limit=2", admin)
    assert ([(each["id"], each["members"], each["managers"]) for each in listed["groups"]], listed["next"]) == (
        [("7b", 1, 1), ("8a", 1, 0)], "8a",
    )  # fmt: skip
    assert (await api.ask("DELETE", "tenants/berlin/groups/8a", admin)).status_code == 204
    assert (await api.ask("DELETE", "tenants/berlin/groups/8a", admin)).status_code == 404
    logged = await entries(api, "berlin")
    assert [each["action"] for each in logged] == ["groups.put", "groups.put", "groups.put", "groups.remove"]
    kept = json.dumps(logged) + str(await api.engine.connection.fetch("SELECT * FROM group_members"))
    assert not any(name in kept for name in ("ann", "bob", "cleo", "teacher"))


async def test_somebody_is_the_same_in_a_group_and_in_their_events(api: Api) -> None:
    admin = await api.key("berlin", "admin")
    await ok(api, "PUT", "tenants/berlin/groups/7b", admin, json={"members": ["ann"]})
    in_group = await api.engine.connection.fetchval("SELECT actor FROM group_members")
    assert bytes(in_group) == api.app.state.pseudonym_of("berlin", "ann")
    assert bytes(in_group) != api.app.state.pseudonym_of("kolkata", "ann")


@pytest.mark.parametrize(
    ("content", "type_", "status", "field"),
    [
        ("group,actor\n7b", "text/csv", 400, "body"),
        ("group,actor\n7b,ann,x", "text/csv", 400, "body"),
        ("group,actor,salary\n7b,ann,1", "text/csv", 400, "body"),
        ("group,actor,role\n7b,ann,king", "text/csv", 400, "role"),
        ("group,actor\n" + "x" * 101 + ",ann", "text/csv", 400, "group"),
        ("group,actor\n", "text/csv", 400, "body"),
        (b"group,actor\n7b,\xff", "text/csv", 400, "body"),
        ('group,actor\n7b,"ann', "text/csv", 400, "body"),
        (json.dumps({"groups": [{"id": "7b"}, {"id": "7b"}]}), "application/json", 400, "groups"),
        (json.dumps({"groups": [{"id": "7b", "members": [""]}]}), "application/json", 400, "members"),
        (json.dumps({"groups": [{"id": "7b", "boss": 1}]}), "application/json", 400, "groups.0.boss"),
        (json.dumps({"groups": []}), "application/json", 400, "groups"),
        ("{}", "application/xml", 415, None),
    ],
)
async def test_groups_that_cannot_be_are_refused_whole(
    api: Api, content: str | bytes, type_: str, status: int, field: str | None
) -> None:
    admin = await api.key("berlin", "admin")
    reply = await api.client.put(
        "/api/v1/tenants/berlin/groups",
        content=content,
        headers={"content-type": type_, "authorization": f"Bearer {admin}"},
    )
    assert (reply.status_code, reply.json().get("field")) == (status, field), reply.text
    assert await api.engine.connection.fetchval("SELECT count(*) FROM groups") == 0
    assert await entries(api, "berlin") == []


async def test_a_tenant_has_a_bounded_number_of_groups(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamgauge.tenants.groups.MOST_GROUPS", 2)
    admin = await api.key("berlin", "admin")
    for group in ("a", "b", "b"):
        await ok(api, "PUT", f"tenants/berlin/groups/{group}", admin, json={})
    refused = await api.ask("PUT", "tenants/berlin/groups/c", admin, json={})
    assert (refused.status_code, refused.json()["field"]) == (400, "groups")


async def test_groups_of_another_tenant_are_as_unknown_as_those_of_none(api: Api) -> None:
    admin, theirs = await api.key("berlin", "admin"), await api.key("kolkata", "admin")
    await ok(api, "PUT", "tenants/kolkata/groups/7b", theirs, json={"members": ["ann"]})
    for method, path in (
        ("GET", "groups"),
        ("GET", "groups/7b"),
        ("DELETE", "groups/7b"),
        ("PUT", "groups/7b"),
    ):
        more: dict[str, Any] = {"json": {}} if method == "PUT" else {}
        replies = [
            await api.ask(method, f"tenants/{name}/{path}", admin, **more) for name in ("kolkata", "atlantis")
        ]
        assert [reply.status_code for reply in replies] == [404, 404]
        assert replies[0].content == replies[1].content
    assert (await ok(api, "GET", "tenants/kolkata/groups/7b", theirs))["members"] == 1
