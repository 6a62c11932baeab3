"""Who may do what: every route there is against every kind of credential. A route that is missing here fails."""

import itertools
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.api.server import Api, open_api
from tests.integration.engine import generate

ZONES = {"berlin": "Europe/Berlin", "kolkata": "Asia/Kolkata"}
ACTOR = bytes([1]) + bytes(16)
RECEIPT = "7b6bbcae-a644-4b55-a04d-bebe6e6a71fd"


class Holder(NamedTuple):
    """A kind of key, as it is made."""

    tenant: str | None
    scopes: tuple[str, ...]
    more: dict[str, Any]


HOLDERS: dict[str, Holder] = {
    "member": Holder("berlin", ("read",), {"role": "member", "actor": ACTOR}),
    "analyst": Holder("berlin", ("read",), {}),
    "limited analyst": Holder("berlin", ("read",), {"groups": ["7b"]}),
    "reader and writer": Holder("berlin", ("read", "write"), {}),
    "admin": Holder("berlin", ("admin",), {}),
    "writer": Holder("berlin", ("write",), {}),
    "browser": Holder("berlin", ("write",), {"source": "browser"}),
    "owner": Holder(None, ("platform",), {}),
}


#: Who may do what each route does. Nobody else may.
READERS = frozenset({"analyst", "admin", "reader and writer"})
PEOPLE = READERS | {"member", "limited analyst"}
WRITERS = frozenset({"writer", "reader and writer", "browser"})
ADMINS, OWNERS = frozenset({"admin"}), frozenset({"owner"})
ROUTES: dict[str, frozenset[str]] = {
    "POST /api/v1/events": WRITERS,
    "POST /api/v1/events/track": WRITERS,
    "POST /api/v1/query": READERS,
    "GET /api/v1/aggregate": READERS,
    "GET /api/v1/breakdown": READERS,
    "GET /api/v1/catalogue": READERS,
    "GET /api/v1/dashboard": READERS,
    "GET /api/v1/ledger": READERS,
    "GET /api/v1/openapi.json": frozenset(HOLDERS),
    "GET /api/v1/pipeline": READERS,
    "GET /api/v1/realtime": READERS,
    "GET /api/v1/summary": READERS,
    "GET /api/v1/timeseries": READERS,
    "GET /api/v1/actors": PEOPLE,
    "POST /api/v1/actors/search": PEOPLE,
    "GET /api/v1/actors/{id}": PEOPLE,
    "GET /api/v1/actors/{id}/sessions": PEOPLE,
    "GET /api/v1/events": PEOPLE,
    "GET /api/v1/collaboration/drafts/{id}": PEOPLE,
    "GET /api/v1/collaboration/users/{id}": PEOPLE,
    "GET /api/v1/collaboration/leaderboard": PEOPLE,
    "GET /api/v1/gamification/progress": PEOPLE,
    "GET /api/v1/gamification/leaderboard": PEOPLE,
    "GET /api/v1/learning/progress": PEOPLE,
    "GET /api/v1/learning/mastery": PEOPLE,
    "GET /api/v1/learning/students": PEOPLE,
    "GET /api/v1/learning/dashboard": PEOPLE,
    "GET /api/v1/learning/summary": PEOPLE,
    "GET /api/v1/learning/courses": PEOPLE,
    "GET /api/v1/learning/courses/{id}": PEOPLE,
    "GET /api/v1/learning/overview": PEOPLE,
    "GET /api/v1/learning/heatmap": PEOPLE,
    "GET /api/v1/learning/weekly-xp": PEOPLE,
    "GET /api/v1/learning/content": PEOPLE,
    "PUT /api/v1/learning/courses/{id}": ADMINS,
    "GET /api/v1/coach/overview": READERS,
    "GET /api/v1/system/metrics": ADMINS | OWNERS,
    "POST /api/v1/xapi/statements": WRITERS,
    "GET /api/v1/tenants": ADMINS | OWNERS,
    "POST /api/v1/tenants": OWNERS,
    "GET /api/v1/tenants/{tenant}": ADMINS | OWNERS,
    "PATCH /api/v1/tenants/{tenant}": ADMINS | OWNERS,
    "DELETE /api/v1/tenants/{tenant}": OWNERS,
    "GET /api/v1/deletions/{receipt}": OWNERS,
    "GET /api/v1/dead-letters": ADMINS | OWNERS,
    "GET /api/v1/dead-letters/{id}": ADMINS | OWNERS,
    "POST /api/v1/dead-letters/{id}/replay": ADMINS | OWNERS,
    "POST /api/v1/dead-letters/{id}/discard": ADMINS | OWNERS,
    "POST /api/v1/dead-letters/replay": ADMINS | OWNERS,
    "POST /api/v1/dead-letters/discard": ADMINS | OWNERS,
    "GET /api/v1/tenants/{tenant}/groups": ADMINS,
    "PUT /api/v1/tenants/{tenant}/groups": ADMINS,
    "GET /api/v1/tenants/{tenant}/groups/{group}": ADMINS,
    "PUT /api/v1/tenants/{tenant}/groups/{group}": ADMINS,
    "DELETE /api/v1/tenants/{tenant}/groups/{group}": ADMINS,
}
#: Without anybody's data: whether the server is well, its metrics, and the page, which asks the routes above.
PUBLIC = re.compile(r"/|/health/(live|ready)|/metrics|/dashboard/.*|/assets/.*|/favicon\.ico")


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A server with two tenants that have events and a group each."""
    async with open_api(redis_url, database_url, tmp_path, ZONES, address_refusals=1_000_000) as opened:
        await opened.engine.publish(generate(5, 60, tuple(ZONES)))
        await opened.engine.drain()
        await opened.engine.connection.execute(
            "INSERT INTO groups (tenant_id, group_id) SELECT tenant_id, '7b' FROM tenants"
        )
        yield opened


def operations(api: Api) -> set[str]:
    """Every operation of the document, and every route that is not in it."""
    found = {
        f"{method.upper()} {path}"
        for path, methods in api.app.openapi()["paths"].items()
        for method in methods
    }
    for route in unfolded(api.app.routes):
        # A name that may hold slashes is written without its kind in the document.
        path = route.path.replace(":path}", "}")
        found |= {f"{method} {path}" for method in (route.methods or {"GET"}) - {"HEAD"}}
    return found


def unfolded(routes: Iterable[Any]) -> Iterator[Any]:
    """Routes, with those of included routers in their place and under their whole path."""
    for route in routes:
        inner = getattr(route, "effective_route_contexts", None)
        if inner is None:
            yield route
        else:
            yield from inner()


def filled(operation: str, tenant: str = "berlin", **names: str) -> tuple[str, str]:
    """Method and path below /api/v1, with names in their places."""
    method, path = operation.split(" ")
    for name, value in (
        {"tenant": tenant, "group": "7b", "receipt": RECEIPT, "id": ACTOR.hex()} | names
    ).items():
        path = path.replace("{" + name + "}", value)
    return method, path.removeprefix("/api/v1/")


def body(operation: str) -> dict[str, Any]:
    """Something that the route takes without changing what the others need."""
    if operation.startswith("POST /api/v1/events"):
        return {"json": {"name": "http.request"}}
    if operation.endswith("/groups") and operation.startswith("PUT"):
        return {"json": {"groups": [{"id": "7b"}]}}
    return {"json": {}} if operation.split(" ")[0] in ("POST", "PUT", "PATCH") else {}


async def test_no_route_is_missing_from_the_matrix(api: Api) -> None:
    inside = {each for each in operations(api) if each.split(" ")[1].startswith("/api/")}
    assert inside == set(ROUTES)
    outside = {each.split(" ")[1] for each in operations(api) - inside}
    assert [path for path in outside if path and not PUBLIC.fullmatch(path)] == []


async def test_nobody_gets_in_without_a_usable_credential_and_all_are_told_the_same(api: Api) -> None:
    revoked, expired = [await api.key("berlin", "admin", "read", "write") for _ in range(2)]
    connection = api.engine.connection
    await connection.execute(
        "UPDATE access_keys SET revoked_at = now() WHERE key_id = $1", revoked.split("_")[1]
    )
    await connection.execute(
        "UPDATE access_keys SET expires_at = now() - $2::interval WHERE key_id = $1",
        expired.split("_")[1],
        timedelta(seconds=1),
    )
    good = await api.key("berlin", "admin", "read", "write")
    wrong = good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB")
    unusable = [
        None,
        "x",
        "sg_x_y",
        f"sg_{'0' * 12}_{'A' * 43}",
        wrong,
        revoked,
        expired,
        good + "A",
        "eyJhbGciOiJub25lIn0.e30.",
    ]
    for operation in ROUTES:
        method, path = filled(operation)
        replies = [await api.ask(method, path, key, **body(operation)) for key in unusable]
        told = {
            (reply.status_code, reply.content, reply.headers.get("www-authenticate")) for reply in replies
        }
        assert [(status, header) for status, _, header in told] == [(401, "Bearer")], operation


async def test_every_kind_of_key_may_do_what_it_is_for_and_nothing_else(api: Api) -> None:
    keys = {
        name: await api.key(holder.tenant, *holder.scopes, **holder.more) for name, holder in HOLDERS.items()
    }
    leaks = []
    for (operation, allowed), (name, key) in itertools.product(ROUTES.items(), keys.items()):
        if operation.startswith("DELETE /api/v1/tenants/{tenant}") and name in allowed:
            continue  # the others still need it; below
        method, path = filled(operation)
        reply = await api.ask(method, path, key, **body(operation))
        if name in allowed:
            assert reply.status_code not in (401, 403), (operation, name, reply.text)
            assert reply.status_code < 500, (operation, name, reply.text)
        elif reply.status_code != 403:
            leaks.append((operation, name, reply.status_code))
    assert leaks == []
    for operation, name in (
        ("DELETE /api/v1/tenants/{tenant}/groups/{group}", "admin"),
        ("DELETE /api/v1/tenants/{tenant}", "owner"),
    ):
        method, path = filled(operation)
        assert (await api.ask(method, path, keys[name])).status_code in (202, 204)


async def test_what_is_another_tenants_is_answered_as_what_is_nowhere(api: Api) -> None:
    key = await api.key("berlin", "admin", "read")
    compared = 0
    for operation, allowed in ROUTES.items():
        if "{tenant}" not in operation or "admin" not in allowed:
            continue
        replies = []
        for tenant in ("kolkata", "atlantis"):
            method, path = filled(operation, tenant)
            replies.append(await api.ask(method, path, key, **body(operation)))
        assert [reply.status_code for reply in replies] == [404, 404], operation
        assert replies[0].content == replies[1].content, operation
        headers = [dict(reply.headers) for reply in replies]
        for each in headers:
            each.pop("ratelimit")  # it counts the requests
        assert headers[0] == headers[1], operation
        compared += 1
    assert compared == 7
    groups = await api.engine.connection.fetch(
        "SELECT tenants.name FROM groups JOIN tenants USING (tenant_id) ORDER BY 1"
    )
    assert len(groups) == 2


async def test_another_persons_data_are_answered_as_nobodys(api: Api) -> None:
    connection = api.engine.connection
    rows = await connection.fetch(
        "SELECT pseudonym, name FROM actors JOIN tenants USING (tenant_id) WHERE get_byte(pseudonym, 0) > 0 ORDER BY 1"
    )
    mine, other = [bytes(row["pseudonym"]) for row in rows if row["name"] == "berlin"][:2]
    foreign = next(bytes(row["pseudonym"]) for row in rows if row["name"] == "kolkata")
    await connection.execute(
        "INSERT INTO group_members (tenant_id, group_id, actor) SELECT tenant_id, '7b', $1 FROM tenants WHERE name = 'berlin'",
        mine,
    )
    keys = {
        "member": await api.key("berlin", "read", role="member", actor=mine),
        "limited analyst": await api.key("berlin", "read", groups=["7b"]),
        "analyst of no group": await api.key("berlin", "read", groups=[]),
        "admin": await api.key("berlin", "admin"),
    }
    unknown = bytes([1]) + bytes([255]) * 16
    seen = {}
    for path in ("actors/{}", "actors/{}/sessions"):
        for name, key in keys.items():
            replies = {
                who: await api.get(path.format(who.hex()), key) for who in (mine, other, foreign, unknown)
            }
            seen[name] = [replies[who].status_code for who in (mine, other, foreign)]
            hidden = [reply for reply in replies.values() if reply.status_code != 200]
            assert {(reply.status_code, reply.content) for reply in hidden} == {
                (404, replies[unknown].content)
            }, (path, name)
        assert seen == {
            "member": [200, 404, 404], "limited analyst": [200, 404, 404], "analyst of no group": [404, 404, 404],
            "admin": [200, 200, 404],
        }  # fmt: skip
    for name, key in keys.items():
        listed = [each["id"] for each in (await api.get("actors?limit=100", key)).json()["actors"]]
        events = await api.get("events?limit=100", key)
        assert events.status_code == 200, events.text
        told = events.text
        if name == "admin":
            assert {mine.hex(), other.hex()} <= set(listed)
            assert len(events.json()["events"]) > 20
        else:
            assert set(listed) <= {mine.hex()}
            assert other.hex() not in told
        assert foreign.hex() not in [*listed, told]


async def test_a_suspended_tenants_credentials_open_nothing(api: Api) -> None:
    keys = [
        await api.key(holder.tenant, *holder.scopes, **holder.more)
        for holder in HOLDERS.values()
        if holder.tenant
    ]
    await api.engine.connection.execute("UPDATE tenants SET status = 'suspended' WHERE name = 'berlin'")
    for operation in ROUTES:
        method, path = filled(operation)
        for key in keys:
            assert (await api.ask(method, path, key, **body(operation))).status_code == 403, operation
