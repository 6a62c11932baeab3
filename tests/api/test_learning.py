"""Learning over the API: who is told of whom, that PostgreSQL says what memory says, and what admins declare of courses."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamgauge.domains.learning import courses as catalogue
from streamgauge.domains.learning.content import content
from streamgauge.domains.learning.courses import Assignment, Course, load_courses
from streamgauge.domains.learning.heatmap import heatmap
from streamgauge.domains.learning.overview import overview
from streamgauge.domains.learning.weekly_xp import weekly_xp
from streamgauge.entities import stored
from streamgauge.entities.tallies import Span
from streamgauge_workers import erased_rows
from tests.api.server import Api, open_api
from tests.integration.engine import Plain, event_of
from tests.unit.domains.learning import learning_events
from tests.unit.domains.learning.learning_events import PEOPLE, some_events
from tests.unit.entities.folded import Folded, folded

ZONES = {"berlin": "Europe/Berlin", "kolkata": "Asia/Kolkata"}
ADA, BOB, CEM, DAN, _ = PEOPLE
UNKNOWN = bytes([1]) + bytes([255]) * 16
ROUTES = ("overview", "heatmap", "weekly-xp", "content")
DECLARED = {"name": "Art", "subject": "arts", "lessons": ["a", "b"], "assignments": [{"id": "essay", "due_at": None}]}  # fmt: skip


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A server of two tenants, in the first of which Ada and Bob are in 7b, which Dan manages, and Cem is in 8c."""
    async with open_api(redis_url, database_url, tmp_path, ZONES) as opened:
        await opened.engine.connection.execute(
            "INSERT INTO groups (tenant_id, group_id) SELECT 1, unnest(ARRAY['7b', '8c'])"
        )
        await opened.engine.connection.executemany(
            "INSERT INTO group_members (tenant_id, group_id, actor, manager) VALUES (1, $1, $2, $3)",
            [("7b", ADA, False), ("7b", BOB, False), ("7b", DAN, True), ("8c", CEM, False)],
        )
        yield opened


def lately(seed: int, tenant: str) -> list[Plain]:
    """Events of a tenant within the days in which they are accepted."""
    moved = (int(time.time()) - learning_events.NOW - 2 * 86_400 - 60) * 1_000_000
    return [
        {
            "name": each.name, "at": each.occurred_at + moved, "tenant": tenant, "actor": each.actor, "key": each.key,
            "properties": dict(each.properties), "shard": number % 4,
        }
        for number, each in enumerate(some_events(seed, 90, days=5))
    ]  # fmt: skip


async def filled(api: Api) -> dict[str, Folded]:
    """Rows of both tenants in PostgreSQL, and the same in memory."""
    found = {}
    for seed, (tenant, zone) in enumerate(ZONES.items()):
        events = lately(seed, tenant)
        await api.engine.publish(events)
        found[tenant] = folded(map(event_of, events), zone)
    await api.engine.drain()
    assert await api.engine.connection.fetchval("SELECT count(*) FROM dead_letters") == 0
    return found


async def expected(
    rows: Folded, report: str, who: Sequence[bytes] | None, members: Sequence[bytes] | None, today: date
) -> Any:
    """What the pure report makes of rows in memory."""
    calendar, tallies = rows.calendar, rows.of(who)
    one = who is not None and len(who) == 1
    declared = {"art": Course("art", "Art", "arts", ("a", "b"), (Assignment("essay", None),))}
    days = 7 if report == "weekly-xp" else 30
    span = Span(calendar.day_start(today - timedelta(days - 1)), calendar.day_start(today + timedelta(1)))
    made: Any
    match report:
        case "overview":
            made = await overview(tallies, declared, span, calendar, one=one, members=members)
        case "heatmap":
            made = await heatmap(tallies, span, calendar)
        case "weekly-xp":
            made = await weekly_xp(tallies, span, calendar, one=one)
        case _:
            made = await content(tallies, declared, span, calendar, 20)
    return orjson.loads(orjson.dumps(made))


async def test_everybody_is_told_of_those_they_may_see_and_of_others_as_of_nobody(api: Api) -> None:
    rows = await filled(api)
    admin = await api.key("berlin", "admin")
    for tenant, key in (("berlin", admin), ("kolkata", await api.key("kolkata", "admin"))):
        reply = await api.ask("PUT", "learning/courses/art", key, json=DECLARED)
        assert reply.status_code == 200, (tenant, reply.text)
    keys = {
        "ada": await api.key("berlin", "read", role="member", actor=ADA),
        "dan": await api.key("berlin", "read", role="member", actor=DAN),
        "limited": await api.key("berlin", "read", groups=["7b"]),
        "nobody": await api.key("berlin", "read", groups=[]),
        "analyst": await api.key("berlin", "read"),
        "admin": admin,
        "other": await api.key("kolkata", "admin"),
    }
    ada, bob, cem = (f"actor={each.hex()}" for each in (ADA, BOB, CEM))
    # Who asks, with what: about whom they are told, and who is in the group asked for. Managers are not of those who learn in it.
    told: list[tuple[str, str, list[bytes] | None, list[bytes] | None]] = [
        ("ada", "", [ADA], None),
        ("ada", ada, [ADA], None),
        ("ada", "group=7b", [ADA], [ADA]),
        ("dan", "", [DAN], None),
        ("dan", ada, None, []),
        ("ada", bob, None, []),
        ("ada", cem, None, []),
        ("limited", "", [ADA, BOB, DAN], None),
        ("limited", bob, [BOB], None),
        ("limited", "group=7b", [ADA, BOB], [ADA, BOB]),
        ("limited", cem, None, []),
        ("nobody", "", [], None),
        ("nobody", ada, None, []),
        ("analyst", "group=8c", [CEM], [CEM]),
        ("admin", "", None, None),
        ("admin", cem, [CEM], None),
        ("admin", f"{bob}&group=7b", [BOB], [BOB]),
        ("other", "", None, None),
    ]
    for report in ROUTES:
        unknown = await api.get(f"learning/{report}?actor={UNKNOWN.hex()}", keys["admin"])
        assert unknown.status_code == 404
        for name, asked, who, members in told:
            if report == "weekly-xp" and "group" in asked:
                continue
            tenant = "kolkata" if name == "other" else "berlin"
            reply = await api.get(f"learning/{report}?{asked}", keys[name])
            if who is None and members == []:
                assert (reply.status_code, reply.content) == (404, unknown.content), (report, name, asked)
                continue
            assert reply.status_code == 200, (report, name, asked, reply.text)
            today = rows[tenant].calendar.date_of(int(time.time()))
            assert reply.json() == await expected(rows[tenant], report, who, members, today), (
                report,
                name,
                asked,
            )
            again = await api.get(
                f"learning/{report}?{asked}", keys[name], **{"if-none-match": reply.headers["etag"]}
            )
            assert (again.status_code, again.content) == (304, b"")
    whole = (await api.get("learning/overview", keys["admin"])).json()
    assert whole["learners"]["active"] == 4
    assert whole["activity"]["sessions"] > 3
    # Of another day, for admins alone.
    past = "now=2020-01-02T12:00:00Z"
    assert (await api.get(f"learning/heatmap?{past}", keys["admin"])).json()["events"] == 0
    assert (await api.get(f"learning/heatmap?{past}", keys["analyst"])).status_code == 403
    # Groups that are not there and those one may not know of are one.
    for name, group in (("ada", "8c"), ("limited", "8c"), ("nobody", "7b"), ("other", "7b")):
        for report in ("overview", "heatmap", "content"):
            hidden = await api.get(f"learning/{report}?group={group}", keys[name])
            nowhere = await api.get(f"learning/{report}?group=nowhere", keys[name])
            assert (hidden.status_code, hidden.content) == (404, nowhere.content)
    # Reading about others is written down, reading about oneself is not.
    logged = [
        json.loads(row["entry"])
        for row in await api.engine.connection.fetch("SELECT entry FROM audit_log WHERE tenant_id = 1")
    ]
    reads = [each for each in logged if each["action"] == "learning.read"]
    assert {each["role"] for each in reads} == {"analyst", "admin"}
    assert {each["detail"]["report"] for each in reads} == set(ROUTES)


async def test_what_cannot_be_asked_is_refused_by_field_and_never_breaks(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(api)
    key = await api.key("berlin", "admin")
    for path, field in (
        ("overview?days=0", "days"),
        ("overview?days=366", "days"),
        ("heatmap?days=many", "days"),
        ("heatmap?days=1&days=2", "days"),
        ("content?limit=1000000000", "limit"),
        ("content?limit=0", "limit"),
        ("content?group=a%00b", "group"),
        (f"content?group={'x' * 101}", "group"),
        ("weekly-xp?days=7", "days"),
        ("weekly-xp?group=7b", "group"),
        (f"overview?actor={'a' * 201}", "actor"),
        ("overview?timeframe=decade", "timeframe"),
        ("courses?limit=101", "limit"),
        ("courses?after=%00", "after"),
        ("courses/a%00b", "id"),
        (f"courses/{'x' * 201}", "id"),
    ):
        reply = await api.get(f"learning/{path}", key)
        assert (reply.status_code, reply.json().get("field")) == (400, field), (path, reply.text)
        assert reply.headers["content-type"] == "application/problem+json"
    for actor in ("x", "00" + ADA.hex()[2:], ADA.hex()[:-1] + "g"):
        assert (await api.get(f"learning/overview?actor={actor}", key)).status_code == 404
    monkeypatch.setattr(stored, "MOST_ROWS", 3)
    reply = await api.get("learning/content", key)
    assert (reply.status_code, reply.json()["field"]) == (400, "days")
    assert "ask for fewer days, or for a group" in reply.json()["detail"]


async def test_courses_are_declared_once_read_by_everybody_and_written_down(api: Api) -> None:
    connection = api.engine.connection
    admin, analyst = await api.key("berlin", "admin"), await api.key("berlin", "read")
    member = await api.key("berlin", "read", role="member", actor=ADA)
    theirs = await api.key("kolkata", "admin")
    given: dict[str, Any] = {
        "name": "Biology 7",
        "subject": "biology",
        "lessons": ["cells", "plants", "https://school.example/x?y=1"],
        "assignments": [{"id": "essay", "due_at": "2026-12-01T23:59:59.25+01:00"}, {"id": "model"}],
    }
    shown = {
        "id": "biology-7",
        **given,
        "assignments": [
            {"id": "essay", "due_at": "2026-12-01T22:59:59.250000Z"},
            {"id": "model", "due_at": None},
        ],
    }
    first = await api.ask("PUT", "learning/courses/biology-7", admin, json=given)
    assert (first.status_code, first.json()) == (200, shown), first.text
    row = await connection.fetchval("SELECT xmin::text FROM courses")
    assert (await api.ask("PUT", "learning/courses/biology-7", admin, json=given)).json() == shown
    assert await connection.fetchval("SELECT xmin::text FROM courses") == row
    for key in (admin, analyst, member):
        assert (await api.get("learning/courses/biology-7", key)).json() == shown
        assert (await api.get("learning/courses", key)).json() == {"courses": [shown], "next": None}
    assert await load_courses(connection, 1) == {
        "biology-7": Course(
            "biology-7", "Biology 7", "biology", tuple(given["lessons"]),
            (Assignment("essay", 1_796_165_999_250_000), Assignment("model", None)),
        )
    }  # fmt: skip
    for key in (analyst, member):
        refused = await api.ask("PUT", "learning/courses/biology-7", key, json={})
        assert refused.status_code == 403
    # Another tenant's is nowhere, and may have the same id.
    assert (await api.get("learning/courses", theirs)).json()["courses"] == []
    unknown = await api.get("learning/courses/nowhere", theirs)
    hidden = await api.get("learning/courses/biology-7", theirs)
    assert (hidden.status_code, hidden.content) == (404, unknown.content)
    own = await api.ask("PUT", "learning/courses/biology-7", theirs, json={"name": "Theirs"})
    assert own.json()["name"] == "Theirs"
    # What is not given is not declared, which is not the same as declared to be empty.
    empty = await api.ask("PUT", "learning/courses/empty", admin, json={"lessons": [], "assignments": []})
    assert empty.json() == {"id": "empty", "name": None, "subject": None, "lessons": [], "assignments": []}
    bare = await api.ask("PUT", "learning/courses/biology-7", admin, json={})
    assert bare.json() == {"id": "biology-7", **dict.fromkeys(("name", "subject", "lessons", "assignments"))}
    assert (await api.get("learning/courses/biology-7", member)).json() == bare.json()
    # Ids may be addresses; pages are in the order of code points.
    for name in ("https:%2F%2Fschool.example%2Fcourses%2F1", "Zoo", "ä"):
        assert (await api.ask("PUT", f"learning/courses/{name}", admin, json={})).status_code == 200
    listed, after = [], ""
    while True:
        page = (await api.get(f"learning/courses?limit=2{after}", member)).json()
        listed += [each["id"] for each in page["courses"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert listed == ["Zoo", "biology-7", "empty", "https://school.example/courses/1", "ä"]
    assert (await api.get(f"learning/courses/{listed[3]}", member)).json()["id"] == listed[3]
    # Nor is that left to row-level security alone: to this connection it shows every tenant.
    assert list(await load_courses(connection, 2)) == ["biology-7"]
    assert list(await load_courses(connection, 1)) == listed
    logged = [
        json.loads(each["entry"])
        for each in await connection.fetch(
            "SELECT entry FROM audit_log WHERE tenant_id = 1 ORDER BY sequence"
        )
    ]
    puts = [each for each in logged if each["action"] == "courses.put"]
    assert [each["detail"]["changed"] for each in puts] == [True, False, *[True] * 5]
    assert (puts[0]["resource"], puts[0]["detail"]["lessons"]) == ("/learning/courses/biology-7", 3)
    # A tenant that is deleted takes them along.
    [table] = [each for each in await erased_rows.tables(connection) if each.name == "courses"]
    assert (table.root, table.sharded) == ("courses", False)


async def test_courses_that_cannot_be_are_refused_and_nothing_is_changed(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = await api.key("berlin", "admin")
    before = (await api.ask("PUT", "learning/courses/art", admin, json=DECLARED)).json()
    instant = {"id": "e", "due_at": "2026-12-01"}
    bodies: list[tuple[Any, str]] = [
        ({"title": "Art"}, "title"),
        ({"name": 7}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\u0000"}, "name"),
        ({"subject": "a\nb"}, "subject"),
        ({"lessons": "a"}, "lessons"),
        ({"lessons": [""]}, "lessons.0"),
        ({"lessons": ["a", "x" * 201]}, "lessons.1"),
        ({"lessons": ["a\u0000"]}, "lessons"),
        ({"lessons": ["a", "b", "a"]}, "lessons"),
        ({"lessons": [str(number) for number in range(1_001)]}, "lessons"),
        ({"assignments": [{"id": "e"}, {"id": "e"}]}, "assignments"),
        ({"assignments": [{"id": str(number)} for number in range(1_001)]}, "assignments"),
        ({"assignments": [{"due_at": None}]}, "assignments.0.id"),
        ({"assignments": [{"id": "d"}, instant]}, "assignments.1.due_at"),
        ({"assignments": [{**instant, "due_at": 5}]}, "assignments.0.due_at"),
        ({"assignments": [{**instant, "due_at": "2200-01-01T00:00:00Z"}]}, "assignments.0.due_at"),
        ([], "body"),
    ]
    for body, field in bodies:
        reply = await api.ask("PUT", "learning/courses/art", admin, json=body)
        assert (reply.status_code, reply.json().get("field")) == (400, field), (body, reply.text)
    assert (await api.ask("PUT", "learning/courses/art", admin, content=b"x")).status_code == 415
    monkeypatch.setattr(catalogue, "MOST_COURSES", 2)
    monkeypatch.setattr(catalogue, "MOST_PARTS", 5)
    assert (
        await api.ask("PUT", "learning/courses/b", admin, json={"lessons": ["1", "2"]})
    ).status_code == 200
    for course, lessons, field in (("c", [], "id"), ("b", ["1", "2", "3", "4"], "lessons")):
        reply = await api.ask("PUT", f"learning/courses/{course}", admin, json={"lessons": lessons})
        assert (reply.status_code, reply.json()["field"]) == (400, field), reply.text
    assert (await api.get("learning/courses/art", admin)).json() == before
    assert (await api.get("learning/courses/b", admin)).json()["lessons"] == ["1", "2"]
