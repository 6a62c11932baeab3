"""Progress, mastery, students, dashboard and summary over the API: against the events, and who may see what of whom."""

import random
import time
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2 as httpx
import pytest

from streamgauge.domains.learning.courses import Course
from streamgauge.entities import stored
from streamgauge.event import Event
from streamgauge.read.api.realtime import handle
from tests.api.server import Api, bearer, open_api
from tests.integration.engine import DAY, Plain
from tests.unit.domains.learning.learning_events import date_of, event, moment, of
from tests.unit.domains.learning.test_progress import expected, percents, points, taken
from tests.unit.domains.learning.test_summary import last_words, marks, mean

ZONES = {"delhi": "Asia/Kolkata", "york": "America/New_York"}
MINE, ZONE = "delhi", "Asia/Kolkata"
PEOPLE = [bytes([1]) + bytes([each]) * 16 for each in range(1, 10)]
ADA, BOB, QUIET, CLEO = PEOPLE[0], PEOPLE[3], PEOPLE[4], PEOPLE[8]
CLASS = PEOPLE[:5]
UNKNOWN = bytes([1]) + b"\x77" * 16
COURSES = {
    "art": Course("art", "Art", "arts", ("a", "b", "d"), None),
    "biology": Course("biology", None, "nature", None, None),
    "physics": Course("physics", None, "nature", ("p",), None),
}
NAMES = (
    "lesson.progressed", "lesson.progressed", "quiz.attempted", "learning_session.ended", "course.enrolled", "material.viewed",
    "assignment.submitted", "xp.earned",
)  # fmt: skip


def some_events(seed: int, count: int) -> list[Event]:
    """Events of the last 40 days; Quiet has none of the last ten. Chess is not declared, and only Cleo takes it."""
    chosen, now, made = random.Random(seed), int(time.time() * 1_000_000), []
    for number in range(1, count):
        actor, name = PEOPLE[number % len(PEOPLE)], NAMES[number % len(NAMES)]
        course = chosen.choice(["art", "biology"] + ["chess"] * (actor == CLEO))
        most = chosen.choice([3, 10])
        given: dict[str, dict[str, Any]] = {
            "lesson.progressed": {
                "lesson__id": chosen.choice("abc"),
                "percent": chosen.choice([0, 40, 100, 100]),
            },
            "quiz.attempted": {"quiz__id": "q", "score": chosen.randrange(most + 1), "max_score": most},
            "learning_session.ended": {"duration": chosen.randrange(10**9), "xp": chosen.randrange(50)},
            "material.viewed": {"material__id": "film", "views": 1},
            "assignment.submitted": {"assignment__id": chosen.choice(["essay", "model"])},
            "xp.earned": {"xp": chosen.randrange(100)},
        }
        if name != "xp.earned":
            given.setdefault(name, {})["course__id"] = course
        days = chosen.choice([1, 7, 40]) if actor != QUIET else 30
        at = now - (10 * DAY if actor == QUIET else 0) - chosen.randrange(days * DAY)
        made.append(event(number, name, at, actor, **given[name]))
    return made


def plain(each: Event, tenant: str = MINE) -> Plain:
    assert each.actor is not None
    return {
        "name": each.name, "at": each.occurred_at, "tenant": tenant, "actor": each.actor, "properties": dict(each.properties),
        "key": each.key, "shard": each.actor[1] % 4,
    }  # fmt: skip


async def ask(api: Api, path: str, key: str, status: int = 200, **parameters: object) -> Any:
    told = {name.rstrip("_"): str(value) for name, value in parameters.items()}
    reply: httpx.Response = await api.client.get(f"/api/v1/learning/{path}", params=told, headers=bearer(key))
    assert reply.status_code == status, reply.text
    return reply.json()


def shown(events: Sequence[Event], people: Collection[bytes], only: Collection[str] | None = None) -> Any:
    """Progress by direct computation, as an answer has it."""
    found = expected(events, COURSES, people, only)
    return {
        "percent": found.percent,
        "basis": found.basis,
        "completed": found.completed,
        "total": found.total,
    }


class Keys:
    """Of everybody who asks."""

    def __init__(self, **keys: str) -> None:
        self.bob, self.ada, self.teacher = keys["bob"], keys["ada"], keys["teacher"]
        self.admin, self.elsewhere = keys["admin"], keys["elsewhere"]


async def test_reports_are_what_the_events_say_and_everybody_sees_what_they_may(
    redis_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_api(redis_url, database_url, tmp_path, ZONES) as api:
        events = some_events(1, 500)
        # Late, and older than what was said before: it changes nothing.
        last = max(of(last_words(events, [BOB])), key=moment)
        told = {key.replace(".", "__"): last.properties[key] for key in ("course.id", "lesson.id")}
        late = event(90_000, last.name, last.occurred_at - 1, BOB, percent=1, **told)
        lanes = {shard: api.engine.lane(shard) for shard in range(4)}
        for lane in lanes.values():
            await api.engine.trust(lane)
        await api.engine.publish([plain(each) for each in events] + [plain(events[0], "york")], lanes=lanes)
        await api.engine.publish([plain(late)], lanes=lanes)
        await api.engine.drain()
        await group(api, "5b", CLASS)
        await group(api, "6a", PEOPLE[5:])
        keys = Keys(
            bob=await api.key(MINE, "read", role="member", actor=BOB),
            ada=await api.key(MINE, "read", role="member", actor=ADA),
            teacher=await api.key(MINE, "read", role="analyst", groups=["5b"]),
            admin=await api.key(MINE, "admin"),
            elsewhere=await api.key("york", "admin"),
        )
        await declare(api, keys.admin)
        await progress_is_what_was_said_last(api, keys, events)
        await others_are_not_there(api, keys)
        await subjects_hold_what_they_should(api, keys, events)
        await learners_come_in_pages(api, keys, events)
        events = [*events, late]
        await the_dashboard_is_of_its_days(api, keys, events)
        await summaries_are_of_their_dates(api, keys, events)
        await what_cannot_be_answered_is_told(api, keys)
        monkeypatch.setattr(stored, "MOST_ROWS", 8)
        await too_many_rows_are_refused_or_left_out(api, keys)


async def group(api: Api, name: str, members: Sequence[bytes]) -> None:
    connection = api.engine.connection
    tenant = await connection.fetchval("SELECT tenant_id FROM tenants WHERE name = $1", MINE)
    await connection.execute(
        "INSERT INTO groups (tenant_id, group_id, name, kind) VALUES ($1, $2, $2, 'class')", tenant, name
    )
    rows = [(tenant, name, actor, False) for actor in members]
    await connection.executemany("INSERT INTO group_members VALUES ($1, $2, $3, $4)", rows)


async def declare(api: Api, admin: str) -> None:
    for course in COURSES.values():
        body = {"name": course.name, "subject": course.subject, "lessons": course.lessons}
        reply = await api.ask("PUT", f"learning/courses/{course.id}", admin, json=body)
        assert reply.status_code == 200, reply.text


async def progress_is_what_was_said_last(api: Api, keys: Keys, events: Sequence[Event]) -> None:
    order = sorted(PEOPLE, key=lambda each: (-points(events, [each]), each))
    for key, actor in ((keys.bob, BOB), (keys.ada, ADA)):
        found = await ask(api, "progress", key)
        assert (found["actor"], found["people"], found["learners"]) == (actor.hex(), [], 1)
        assert found["progress"] == shown(events, [actor])
        assert (found["xp"], found["rank"]) == (points(events, [actor]), order.index(actor) + 1)
        assert found["participants"] == len(PEOPLE)
        own = sorted(course for _, course in taken(events, [actor]))
        assert [each["id"] for each in found["courses"]] == own
        for each in found["courses"]:
            assert each["progress"] == shown(events, [actor], [each["id"]])
        for other in (keys.teacher, keys.admin):
            assert await ask(api, "progress", other, actor=actor.hex()) == found
    narrow = await ask(api, "progress", keys.bob, course="art")
    assert narrow["progress"] == shown(events, [BOB], ["art"])
    of_class = await ask(api, "progress", keys.teacher, group="5b", limit=2)
    assert of_class["progress"] == shown(events, CLASS)
    assert (of_class["learners"], of_class["xp"], of_class["rank"]) == (5, points(events, CLASS), None)
    assert of_class["people"] == [
        {
            "id": actor.hex(),
            "name": str(handle(actor.hex())),
            "courses": len(taken(events, [actor])),
            "progress": shown(events, [actor]),
            "xp": points(events, [actor]),
        }
        for actor in CLASS[:2]
    ]
    everybody = await ask(api, "progress", keys.admin)
    assert (everybody["learners"], everybody["progress"]) == (9, shown(events, PEOPLE))
    # Who sees a class alone is told of it when asking for everybody.
    seen = await ask(api, "progress", keys.teacher)
    assert {**seen, "group": "5b", "people": []} == {**of_class, "people": []}
    assert [each["id"] for each in seen["people"]] == [each.hex() for each in CLASS]
    among = await ask(api, "progress", keys.bob, group="5b")
    assert [each["id"] for each in among["people"]] == [BOB.hex()]
    assert among["progress"] == shown(events, [BOB])


async def others_are_not_there(api: Api, keys: Keys) -> None:
    for path in ("progress", "mastery"):
        for key, actor in ((keys.bob, ADA), (keys.teacher, CLEO), (keys.elsewhere, BOB)):
            hidden = await ask(api, path, key, 404, actor=actor.hex())
            assert hidden == await ask(api, path, key, 404, actor=UNKNOWN.hex())
    for path in ("progress", "mastery", "students", "dashboard", "summary"):
        for key in (keys.bob, keys.teacher, keys.elsewhere):
            hidden = await ask(api, path, key, 404, group="6a")
            assert hidden == await ask(api, path, key, 404, group="none")
    # A course that others take, and one that nobody takes, are the same to who takes neither; declared ones everybody knows.
    for key in (keys.bob, keys.teacher):
        hidden = await ask(api, "progress", key, 404, course="chess")
        assert hidden == await ask(api, "progress", key, 404, course="alchemy")
    assert (await ask(api, "progress", keys.admin, course="chess"))["learners"] == 1
    nobody = await ask(api, "progress", keys.bob, course="physics")
    assert nobody["progress"] == {"percent": None, "basis": None, "completed": 0, "total": None}
    assert (nobody["learners"], nobody["courses"]) == (0, [])


async def subjects_hold_what_they_should(api: Api, keys: Keys, events: Sequence[Event]) -> None:
    for key, people in ((keys.bob, [BOB]), (keys.teacher, CLASS), (keys.admin, PEOPLE)):
        found = await ask(api, "mastery", key)
        subjects = {each["subject"]: each for each in found["subjects"]}
        assert list(subjects) == ["arts", "nature", *([None] if CLEO in people else [])]
        assert subjects["arts"]["progress"] == shown(events, people, ["art"])
        assert subjects["nature"]["progress"] == shown(events, people, ["biology", "physics"])
        takers = [actor for actor, course in taken(events, people) if course == "art"]
        done = [each for each in takers if set(percents(events, COURSES, each, "art")[0]) == {100}]
        assert (subjects["arts"]["topics"], subjects["arts"]["topics_completed"]) == (len(takers), len(done))
        arts = [
            each for each in of(events, "quiz.attempted", who=people) if each.properties["course.id"] == "art"
        ]
        assert subjects["arts"]["evidence"]["quiz_attempts"] == len(arts)
        assert found["left_out"] == []


async def learners_come_in_pages(api: Api, keys: Keys, events: Sequence[Event]) -> None:
    since = (datetime.now(ZoneInfo(ZONE)).date() - timedelta(6)).isoformat()
    for key, people in ((keys.bob, [BOB]), (keys.teacher, CLASS), (keys.admin, PEOPLE)):
        pages: list[dict[str, Any]] = []
        more: dict[str, Any] = {}
        while True:
            found = await ask(api, "students", key, limit=2, **more)
            pages += found["students"]
            assert (found["total"], found["rule"]["since"]) == (len(people), since)
            if found["next_cursor"] is None:
                break
            more = {"cursor": found["next_cursor"]}
        assert [each["id"] for each in pages] == [each.hex() for each in people]
        assert [each["progress"] for each in pages] == [shown(events, [each]) for each in people]
        quiet = [QUIET.hex()] if QUIET in people else []
        assert [each["id"] for each in pages if each["at_risk"]] == quiet
        assert found["at_risk"] == len(quiet)
        at_risk = await ask(api, "students", key, at_risk="true")
        assert [each["id"] for each in at_risk["students"]] == quiet
    last = max(each.occurred_at for each in of(events, who=[QUIET]))
    assert at_risk["students"][0]["last_seen"] == time.strftime(
        "%Y-%m-%dT%H:%M:%SZ", time.gmtime(last // 1_000_000)
    )
    cursor = (await ask(api, "students", keys.admin, limit=2))["next_cursor"]
    for wrong in ({"cursor": "x"}, {"cursor": cursor, "at_risk": "true"}, {"cursor": cursor, "group": "5b"}):
        assert (await ask(api, "students", keys.admin, 400, **wrong))["field"] == "cursor"


async def the_dashboard_is_of_its_days(api: Api, keys: Keys, events: Sequence[Event]) -> None:
    today = datetime.now(ZoneInfo(ZONE)).date()
    for range, days in (("day", 1), ("week", 7), ("month", 30), ("year", 365)):
        first = today - timedelta(days - 1)
        for key, people in ((keys.bob, [BOB]), (keys.teacher, CLASS), (keys.admin, PEOPLE)):
            found = await ask(api, "dashboard", key, range=range)
            whole = figures(events, people, first, today)
            assert (found["first"], found["last"]) == (first.isoformat(), today.isoformat())
            assert (found["active_users"], found["activities"]) == (
                whole["active_users"],
                whole["activities"],
            )
            assert (found["completion"], found["quiz_average"]) == (
                whole["lessons"],
                whole["quiz_average"],
            )
            earned: Counter[bytes | None] = Counter()
            for each in of(events, "xp.earned", "learning_session.ended", who=people):
                if date_of(each, ZONE) >= first:
                    earned[each.actor] += int(each.properties["xp"])
            order = sorted((+earned).items(), key=lambda each: (-each[1], each[0]))[:5]
            assert [(each["id"], each["xp"]) for each in found["top_performers"]] == [
                (actor.hex(), xp) for actor, xp in order if actor is not None
            ]
            done = [
                each
                for each in sorted(last_words(events, people), key=moment, reverse=True)
                if each.properties["percent"] == 100 and date_of(each, ZONE) >= first
            ]
            assert [(each["id"], each["lesson"]) for each in found["recent_completions"]] == [
                (each.actor.hex(), each.properties["lesson.id"]) for each in done[:10] if each.actor
            ]
            named = [*found["top_performers"], *found["recent_completions"]]
            assert all(each["name"] == str(handle(each["id"])) for each in named)
    assert (await ask(api, "dashboard", keys.bob))["range"] == "week"


def figures(events: Sequence[Event], people: Collection[bytes], first: date, last: date) -> dict[str, Any]:
    """A summary's figures by direct computation."""

    def named(*names: str) -> list[Event]:
        return [each for each in of(events, *names, who=people) if first <= date_of(each, ZONE) <= last]

    lessons = [each for each in last_words(events, people) if first <= date_of(each, ZONE) <= last]
    said = [int(each.properties["percent"]) for each in lessons]
    average = round(sum(said) / len(said), 3) if said else None
    return {
        "active_users": len({each.actor for each in named()}),
        "activities": len(named()),
        "enrolments": len(named("course.enrolled")),
        "sessions": len(named("learning_session.ended")),
        "xp": sum(int(each.properties["xp"]) for each in named("xp.earned", "learning_session.ended")),
        "materials_viewed": len(named("material.viewed")),
        "lesson_updates": len(named("lesson.progressed")),
        "lessons": {"count": len(said), "completed": said.count(100), "average": average},
        "quiz_attempts": len(named("quiz.attempted")),
        "quiz_average": mean(marks(named("quiz.attempted"))),
        "submissions": len(named("assignment.submitted")),
    }


async def summaries_are_of_their_dates(api: Api, keys: Keys, events: Sequence[Event]) -> None:
    today = datetime.now(ZoneInfo(ZONE)).date()
    for ago, days in ((39, 40), (20, 12), (0, 1)):
        first = today - timedelta(ago)
        last = first + timedelta(days - 1)
        for key, people in ((keys.ada, [ADA]), (keys.teacher, CLASS), (keys.admin, PEOPLE)):
            found = await ask(api, "summary", key, from_=first, to=last)
            whole = figures(events, people, first, last)
            assert {name: found[name] for name in whole} == whole
            assert (found["first"], found["last"]) == (first.isoformat(), last.isoformat())
    of_class = await ask(api, "summary", keys.admin, group="5b")
    assert of_class == {**await ask(api, "summary", keys.teacher), "group": "5b"}
    assert of_class["first"] == (today - timedelta(29)).isoformat()
    key = keys.bob
    first_reply = await api.get("learning/summary", key)
    again = await api.get("learning/summary", key, **{"if-none-match": first_reply.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def what_cannot_be_answered_is_told(api: Api, keys: Keys) -> None:
    for path, parameters, field, told in (
        ("dashboard", {"range": "decade"}, "range", "year"),
        ("progress", {"limit": 10**9}, "limit", "100"),
        ("students", {"limit": 10**9}, "limit", "100"),
        ("students", {"limit": 0}, "limit", "1"),
        ("students", {"at_risk": "perhaps"}, "at_risk", ""),
        ("progress", {"course": "a\0"}, "course", "U+0000"),
        ("progress", {"course": "a" * 201}, "course", "200"),
        ("mastery", {"group": "a\0"}, "group", "U+0000"),
        ("summary", {"from_": "2020-01-01", "to": "2021-01-01"}, "from", "up to 366"),
        ("summary", {"from_": "2026-02-30"}, "from", "give a date"),
        ("summary", {"to": "2026-02-0\0"}, "to", "U+0000"),
        ("summary", {"range": "week"}, "range", "no parameter"),
        ("mastery", {"days": 3}, "days", "no parameter"),
    ):
        refused = await ask(api, path, keys.bob, 400, **parameters)
        assert refused["field"] == field
        assert told in refused["detail"]


async def too_many_rows_are_refused_or_left_out(api: Api, keys: Keys) -> None:
    for path in ("progress", "students", "mastery"):
        refused = await ask(api, path, keys.admin, 400)
        assert refused["field"] == "group"
        assert refused["detail"].endswith("ask for a group")
    found = await ask(api, "dashboard", keys.admin, range="year")
    assert found["left_out"] == ["completion", "quiz_average", "top_performers", "recent_completions"]
    assert found["active_users"] == len(PEOPLE)
    assert (await ask(api, "summary", keys.bob))["activities"] > 0
