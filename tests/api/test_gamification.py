"""Gamification over the API: against the events that were published, and who may see what of whom."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2 as httpx

from streamgauge.catalogue import CATALOGUE
from streamgauge.domains.gamification.supportive import INSIGHTS
from streamgauge.read.api.realtime import handle
from streamgauge.summaries.boards import Board, Points, Season
from tests.api.server import Api, open_api
from tests.integration.engine import DAY, Plain

#: Where it is not about to be tomorrow: what is today must stay so while the test runs.
SAFE = next(zone for zone in ("Asia/Kolkata", "Asia/Tokyo") if datetime.now(ZoneInfo(zone)).hour != 23)
ZONES = {"delhi": SAFE, "york": "America/New_York"}
MINE, ZONE = "delhi", ZoneInfo(SAFE)
PEOPLE = [bytes([1]) + bytes([each]) * 16 for each in range(1, 31)]
ADA, BOB, CLEO = PEOPLE[0], PEOPLE[14], PEOPLE[29]
CLASS = PEOPLE[:16]
BOARD = "gamification/leaderboard"
#: A season that tests run in, and one that nobody took part in.
SEASONS = Board(
    "quests",
    (Points("xp.earned", "xp", 2),),
    (
        Season("long", date(2020, 1, 1), date(2099, 12, 31)),
        Season("old", date(2001, 1, 1), date(2001, 1, 31)),
    ),
)
OWN = CATALOGUE.extended(SEASONS)


def make(seed: int, count: int) -> list[Plain]:
    """Events of the last 40 days, of people of two tenants. Everybody has some; Cleo has none at all in the tenant."""
    chosen, now, made = random.Random(seed), int(time.time() * 1_000_000), []
    for number in range(count):
        actor = PEOPLE[number % 29]
        name = chosen.choice(
            ["xp.earned", "xp.earned", "learning_session.ended", "quiz.attempted", "segment.added"]
        )
        points = name in ("xp.earned", "learning_session.ended")
        made.append(
            {
                "name": name,
                "at": now - chosen.randrange(40 * DAY),
                "tenant": MINE if chosen.random() < 0.9 else "york",
                "actor": actor,
                "properties": {"xp": chosen.choice([0, 10, 10, 50, 200])} if points else {},
                "shard": actor[1] % 4,
            }
        )
    return made


def local(event: Plain) -> date:
    return datetime.fromtimestamp(event["at"] / 1_000_000, ZONE).date()


def scores(events: Sequence[Plain], since: date) -> list[tuple[bytes, int]]:
    """The tenant's order, by adding up and sorting."""
    found: Counter[bytes] = Counter()
    for event in events:
        if event["tenant"] == MINE and "xp" in event["properties"] and local(event) >= since:
            found[event["actor"]] += event["properties"]["xp"]
    return sorted(found.items(), key=lambda each: (-each[1], each[0]))


def streak(events: Sequence[Plain], actor: bytes, today: date) -> int:
    """Active days in a row up to today or yesterday, freezes apart."""
    days = {
        local(each)
        for each in events
        if (each["tenant"], each["actor"]) == (MINE, actor) and each["name"] != "xp.earned"
    }
    day = today if today in days else today - timedelta(1)
    length = 0
    while day in days:
        length, day = length + 1, day - timedelta(1)
    return length


async def ask(api: Api, path: str, key: str, status: int = 200, **parameters: object) -> Any:
    told = {name: str(value) for name, value in parameters.items()}
    reply: httpx.Response = await api.client.get(
        f"/api/v1/{path}", params=told, headers={"authorization": f"Bearer {key}"}
    )
    assert reply.status_code == status, reply.text
    return reply.json()


async def test_gamification_is_what_the_events_say_and_everybody_sees_what_they_may(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with open_api(redis_url, database_url, tmp_path, ZONES, catalogue=OWN) as api:
        api.app.state.catalogue = OWN
        events = make(1, 600)
        # Ada was active on every one of the last days, whatever else happened.
        midnight = int(datetime.now(ZONE).replace(hour=0, minute=0, second=1).timestamp() * 1_000_000)
        events += [
            {
                "name": "quiz.attempted", "at": midnight - day * DAY, "tenant": MINE, "actor": ADA, "properties": {}, "shard": ADA[1] % 4,
            }
            for day in range(5)
        ]  # fmt: skip
        # Nobody else may send what is as old as this.
        lanes = {shard: api.engine.lane(shard) for shard in range(4)}
        for lane in lanes.values():
            await api.engine.trust(lane)
        await api.engine.publish(events, lanes=lanes)
        await api.engine.drain()
        await group(api, "5b", CLASS)
        await group(api, "6a", PEOPLE[14:20])
        today = datetime.now(ZONE).date()
        await progress_is_what_the_events_say(api, events, today)
        await boards_are_what_sorting_gives(api, events, today)
        await everybody_sees_what_they_may(api, events)
        await supportive_boards_show_ten(api, events)
        await seasons_have_boards(api, events)
        await what_cannot_be_answered_is_told(api)
        # Nothing is kept for points beside what the pipeline keeps and checks.
        assert (await api.engine.verified()).differences == []


async def group(api: Api, name: str, members: Sequence[bytes]) -> None:
    connection = api.engine.connection
    tenant = await connection.fetchval("SELECT tenant_id FROM tenants WHERE name = $1", MINE)
    await connection.execute(
        "INSERT INTO groups (tenant_id, group_id, name, kind) VALUES ($1, $2, $2, 'class')", tenant, name
    )
    rows = [(tenant, name, actor, False) for actor in members]
    await connection.executemany("INSERT INTO group_members VALUES ($1, $2, $3, $4)", rows)


async def progress_is_what_the_events_say(api: Api, events: Sequence[Plain], today: date) -> None:
    for actor in (ADA, BOB):
        own = [each for each in events if (each["tenant"], each["actor"]) == (MINE, actor)]
        key = await api.key(MINE, "read", role="member", actor=actor)
        found = await ask(api, "gamification/progress", key, days=10)
        total = sum(each["properties"].get("xp", 0) for each in own)
        assert (found["id"], found["xp"]) == (actor.hex(), total)
        level = found["level"]["level"]
        assert 50 * level * (level - 1) + found["level"]["xp_into"] == total
        assert found["level"]["xp_into"] + found["level"]["xp_to_next"] == 100 * level
        dates = [today - timedelta(9 - each) for each in range(10)]
        assert found["trend"] == [
            {
                "date": day.isoformat(),
                "xp": sum(each["properties"].get("xp", 0) for each in own if local(each) == day),
            }
            for day in dates
        ]
        awards = {each["name"]: each for each in found["achievements"]}
        quizzes = sorted(each["at"] for each in own if each["name"] == "quiz.attempted")
        first = datetime.fromtimestamp(quizzes[0] // 1_000_000, ZoneInfo("UTC"))
        assert awards["first-quiz"]["awarded_at"] == first.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert awards["ten-assignments"]["awarded_at"] is None
        running = 0
        for each in sorted(own, key=lambda each: each["at"]):
            running += each["properties"].get("xp", 0)
            if running >= 1_000:
                at = datetime.fromtimestamp(each["at"] // 1_000_000, ZoneInfo("UTC"))
                assert awards["xp-1000"]["awarded_at"] == at.strftime("%Y-%m-%dT%H:%M:%SZ")
                break
        assert awards["xp-1000"]["reached"] == min(total, 1_000)
        assert found["streak"]["current"] >= streak(events, actor, today)
    assert streak(events, ADA, today) >= 5


async def boards_are_what_sorting_gives(api: Api, events: Sequence[Plain], today: date) -> None:
    key, actor = await api.key(MINE, "read", role="member", actor=BOB), BOB
    for timeframe, since in (
        ("day", today), ("week", today - timedelta(today.weekday())), ("month", today.replace(day=1)), ("all", date.min),
    ):  # fmt: skip
        order = scores(events, since)
        found = await ask(api, BOARD, key, timeframe=timeframe, limit=7)
        assert [(each["rank"], each["score"]) for each in found["entries"]] == [
            (rank, score) for rank, (_, score) in enumerate(order[:7], 1)
        ]
        assert found["participants"] == len(order)
        assert found["starts"] == (None if timeframe == "all" else since.isoformat())
        place = next((at for at, (each, _) in enumerate(order) if each == actor), None)
        if place is None:
            assert found["you"] is None
            continue
        assert (found["you"]["rank"], found["you"]["score"]) == (place + 1, order[place][1])
        named = [str(handle(each.hex())) for each, _ in order]
        assert [each["name"] for each in found["you"]["above"]] == named[max(place - 2, 0) : place]
        assert [each["name"] for each in found["you"]["below"]] == named[place + 1 : place + 3]
    assert (await ask(api, BOARD, key))["timeframe"] == "week"
    # Of its members alone, in an order of their own.
    among = [each for each in scores(events, date.min) if each[0] in CLASS]
    found = await ask(api, BOARD, key, timeframe="all", group="5b", limit=100)
    assert [each["score"] for each in found["entries"]] == [score for _, score in among]
    assert found["participants"] == len(among) == len(CLASS)
    assert [each["name"] == "You" for each in found["entries"]] == [each == BOB for each, _ in among]


async def everybody_sees_what_they_may(api: Api, events: Sequence[Plain]) -> None:
    everybody = {each.hex() for each, _ in scores(events, date.min)}
    bob = await api.key(MINE, "read", role="member", actor=BOB)
    teacher = await api.key(MINE, "read", role="analyst", groups=["5b"])
    admin = await api.key(MINE, "admin")
    elsewhere = await api.key("york", "read", role="member", actor=ADA)
    for key, visible in (
        (bob, {BOB.hex()}),
        (teacher, {each.hex() for each in CLASS}),
        (admin, everybody),
        (await api.key(MINE, "read"), everybody),
    ):
        found = await ask(api, BOARD, key, timeframe="all", limit=100)
        assert len(found["entries"]) == len(everybody) == 29
        assert {each["id"] for each in found["entries"]} - {None} == visible
        if found["you"] is not None:
            near = [*found["you"]["above"], *found["you"]["below"]]
            assert {each["id"] for each in near} == {None}
        assert [each["is_you"] for each in found["entries"]].count(True) == (key == bob)
        supportive = await ask(api, BOARD, key, timeframe="all", supportive=True)
        assert {each["id"] for each in supportive["entries"]} - {None} <= visible
    # Another tenant has a board of its own.
    theirs = Counter[bytes]()
    for each in events:
        if each["tenant"] == "york" and "xp" in each["properties"]:
            theirs[each["actor"]] += each["properties"]["xp"]
    found = await ask(api, BOARD, elsewhere, timeframe="all", limit=100)
    assert [each["score"] for each in found["entries"]] == sorted(theirs.values(), reverse=True)
    # Groups are for who is in them, progress is one's own, or of whom one may see; there is no telling what is not from what may not be.
    for key, name in (
        (bob, "7z"),
        (await api.key(MINE, "read", role="member", actor=ADA), "6a"),
        (teacher, "6a"),
        (elsewhere, "5b"),
    ):
        hidden = await ask(api, BOARD, key, 404, group=name)
        assert hidden["detail"] == "there is no such group"
    for key, seen, hidden_actor in ((teacher, ADA, CLEO), (teacher, BOB, PEOPLE[20]), (bob, BOB, ADA)):
        assert (await ask(api, "gamification/progress", key, actor=seen.hex()))["id"] == seen.hex()
        refused = await ask(api, "gamification/progress", key, 404, actor=hidden_actor.hex())
        assert refused == await ask(api, "gamification/progress", key, 404, actor="01" + "77" * 16)
    assert (await ask(api, "gamification/progress", admin, actor=ADA.hex()))["xp"] > 0
    nobody = await api.key(MINE, "read", role="member", actor=CLEO)
    empty = await ask(api, "gamification/progress", nobody)
    assert (empty["xp"], empty["level"]["level"], empty["streak"]["longest"]) == (0, 1, 0)
    assert (await ask(api, BOARD, nobody, timeframe="all"))["you"] is None


async def supportive_boards_show_ten(api: Api, events: Sequence[Plain]) -> None:
    order = scores(events, date.min)
    texts = {text for _, choice in INSIGHTS for text in choice}
    for actor in (order[0][0], order[20][0]):
        key = await api.key(MINE, "read", role="member", actor=actor)
        found = await ask(api, BOARD, key, timeframe="all", supportive=True)
        assert set(found) == {
            "metric", "timeframe", "season", "starts", "supportive", "message", "entries", "you",
        }  # fmt: skip
        assert [each["score"] for each in found["entries"]] == [score for _, score in order[:10]]
        assert all(
            set(each) == {"rank", "name", "score", "is_you", "id", "insight"} for each in found["entries"]
        )
        assert set(found["you"]) == {"name", "score", "insight"}
        assert {each["insight"] for each in [*found["entries"], found["you"]]} <= texts
        refused = await ask(api, BOARD, key, 400, supportive=True, limit=11)
        assert (refused["field"], refused["detail"]) == (
            "limit", "limit is 11: a supportive board shows at most 10",
        )  # fmt: skip


async def seasons_have_boards(api: Api, events: Sequence[Plain]) -> None:
    found: Counter[bytes] = Counter()
    for each in events:
        if each["tenant"] == MINE and each["name"] == "xp.earned":
            found[each["actor"]] += 2 * each["properties"]["xp"]
    key = await api.key(MINE, "read", role="member", actor=ADA)
    season = await ask(api, BOARD, key, metric="quests", season="long", limit=100)
    assert [each["score"] for each in season["entries"]] == sorted(found.values(), reverse=True)
    assert (season["timeframe"], season["season"], season["starts"]) == ("season", "long", "2020-01-01")
    assert (await ask(api, BOARD, key, metric="quests", season="old"))["participants"] == 0


async def what_cannot_be_answered_is_told(api: Api) -> None:
    key = await api.key(MINE, "read", role="member", actor=ADA)
    for parameters, field, told in (
        ({"metric": "fame"}, "metric", "there are quests, xp"),
        ({"metric": "quests", "season": "spring"}, "season", "there are long, old"),
        ({"season": "long"}, "season", "there are none"),
        ({"metric": "quests", "season": "long", "timeframe": "week"}, "season", "leave one of them out"),
        ({"timeframe": "decade"}, "timeframe", "week"),
        ({"limit": 10**9}, "limit", "100"),
        ({"limit": 0}, "limit", "1"),
        ({"group": "a\0"}, "group", "U+0000"),
        ({"metric": "a\0"}, "metric", "no board"),
        ({"metrics": "xp"}, "metrics", "metrics"),
    ):
        refused = await ask(api, BOARD, key, 400, **parameters)
        assert refused["field"] == field
        assert told in refused["detail"]
    for days in (0, 366):
        assert (await ask(api, "gamification/progress", key, 400, days=days))["field"] == "days"
    admin = await api.key(MINE, "admin")
    assert (await ask(api, "gamification/progress", admin, 400))["field"] == "actor"
    # Equal reports are equal bytes, and are not sent twice.
    first = await api.get(BOARD, key)
    again = await api.get(BOARD, key, **{"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
