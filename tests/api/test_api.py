"""The read API: its figures against independent recounts and against `query`, tenants apart."""

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from structlog.testing import capture_logs

from streamgauge.database import Connection
from streamgauge.read import answer as reading
from streamgauge.read import rows
from streamgauge.read.api.dashboard import PERIODS
from streamgauge.read.api.realtime import handle
from streamgauge.read.api.version import REMEMBERED
from tests.api.server import Api, names, open_api
from tests.integration.engine import Plain, generate
from tests.oracles import event_counts as oracle

ZONES = {"kolkata": "Asia/Kolkata", "berlin": "Europe/Berlin"}
DAY = 86_400
QUARTER = 900


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(redis_url, database_url, tmp_path, ZONES) as opened:
        yield opened


async def filled(api: Api, count: int = 600) -> list[Plain]:
    """Events of both tenants, applied."""
    events = generate(7, count, tuple(ZONES))
    await api.engine.publish(events)
    await api.engine.drain()
    return events


async def body(api: Api, path: str, key: str) -> Any:
    reply = await api.get(path, key)
    assert reply.status_code == 200, reply.text
    return reply.json()


def quantile(values: list[int], percent: int) -> float:
    return sorted(values)[ceil(len(values) * percent / 100) - 1] / 1000


def local_hours(zone: str, now: int, hours: int) -> tuple[int, int]:
    """So many whole local hours up to the one that `now` lies in: the second they begin at, and the one they end at."""
    quarters = range((now - (hours + 3) * 3600) // QUARTER, (now + 3 * 3600) // QUARTER)
    starts = sorted({oracle.hour_start(zone, quarter) for quarter in quarters})
    current = max(place for place, start in enumerate(starts) if start <= now)
    return starts[current - hours + 1], starts[current + 1]


def compare(figures: dict[str, Any], events: list[Plain], zone: str, by_day: bool) -> None:
    """Every figure, counted from the events."""
    errors = sum(map(oracle.failed, events))
    assert (figures["count"], figures["errors"]) == (len(events), errors)
    rate = None if not events else pytest.approx((len(events) - errors) / len(events), abs=1e-6)
    assert figures["success_rate"] == rate
    actors = {
        (oracle.day_start(zone, event["at"] // 1_000_000 // QUARTER) if by_day else 0, event["actor"])
        for event in events
        if "actor" in event
    }
    assert figures["actors"] == len(actors)
    durations = [event["properties"]["duration"] for event in events if "duration" in event["properties"]]
    found = {name: value for name, value in figures.items() if name.endswith("_duration")}
    if not durations:
        assert set(found.values()) == {None}
        return
    assert found.pop("min_duration") == min(durations) / 1000
    assert found.pop("max_duration") == max(durations) / 1000
    assert found.pop("avg_duration") == pytest.approx(sum(durations) / len(durations) / 1000, abs=0.0006)
    for percent in (50, 95, 99):
        expected = quantile(durations, percent)
        assert found.pop(f"p{percent}_duration") == pytest.approx(expected, rel=0.00782, abs=0.0006)
    assert not found


def check_summary(found: dict[str, Any], events: Iterable[Plain], zone: str, now: int, hours: int) -> int:
    """A summary is what a recount of its hours gives; returns how many events it is of."""
    start, end = local_hours(zone, now, hours)
    assert datetime.fromisoformat(found["period_start"]).timestamp() == start
    assert datetime.fromisoformat(found["period_end"]).timestamp() == end
    assert (found["hours"], found["time_zone"]) == (hours, zone)
    inside = [event for event in events if start * 10**6 <= event["at"] < end * 10**6]
    days = {oracle.day_start(zone, quarter) for quarter in range(start // QUARTER, end // QUARTER)}
    salted = any(event.get("actor", b"\1")[0] == 0 for event in inside)
    by_day = found["actors_are"] == "sum_daily_actors"
    assert by_day == (len(days) > 1 and salted)
    by_name: defaultdict[str, list[Plain]] = defaultdict(list)
    for event in inside:
        by_name[event["name"]].append(event)
    assert [(each["name"], each["figures"]["count"]) for each in found["events"]] == sorted(
        ((name, len(group)) for name, group in by_name.items()), key=lambda pair: (-pair[1], pair[0])
    )
    for each in found["events"]:
        compare(each["figures"], by_name[each["name"]], zone, by_day)
    compare(found["total"], inside, zone, by_day)
    return len(inside)


async def test_the_summary_is_what_a_recount_of_its_hours_gives(api: Api) -> None:
    events = await filled(api)
    counted = 0
    for tenant, zone in ZONES.items():
        key = await api.key(tenant, "read")
        own = [event for event in events if event["tenant"] == tenant]
        for hours in (1, 7, 24, 100, 8760):
            found = await body(api, f"summary?hours={hours}", key)
            now = int(time.time())
            if now // QUARTER != (now - 2) // QUARTER:
                continue  # the hour may have changed meanwhile
            counted += check_summary(found, own, zone, now, hours)
    assert counted > 600


@pytest.mark.parametrize(
    ("zone", "around"),
    [
        ("Europe/Berlin", "2026-03-29T01:00:00Z"),  # forward
        ("America/New_York", "2025-11-02T06:00:00Z"),  # back: two hours of the same name
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),  # back by half an hour
        ("America/Havana", "2025-11-02T05:00:00Z"),  # back to midnight
        ("Asia/Kathmandu", "2026-06-01T18:15:00Z"),  # midnight at a quarter past an hour of UTC
    ],
)
async def test_the_summary_is_right_where_clocks_change_and_around_midnight(
    redis_url: str, database_url: str, tmp_path: Path, zone: str, around: str
) -> None:
    chance = random.Random(zone)
    middle = int(datetime.fromisoformat(around).timestamp())
    events = [
        {
            **event,
            "at": chance.randrange((middle - 2 * DAY) * 10**6, (middle + DAY) * 10**6),
            "tenant": "school",
        }
        for event in generate(3, 700)
    ]
    async with open_api(redis_url, database_url, tmp_path, {"school": zone}) as api:
        lanes = {shard: api.engine.lane(shard) for shard in range(4)}
        for lane in lanes.values():
            await api.engine.trust(lane)
        await api.engine.publish(events, 100, lanes)
        await api.engine.drain()
        key = await api.key("school", "admin")
        counted = 0
        for minutes in (-1441, -61, -31, -1, 0, 29, 30, 31, 59, 60, 90, 121, 600):
            now = middle + minutes * 60
            for hours in (1, 3, 24, 30):
                at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                found = await body(api, f"summary?hours={hours}&now={at}", key)
                counted += check_summary(found, events, zone, now, hours)
            days = await body(api, f"timeseries?interval=day&date_range=7d&metrics=events&now={at}", key)
            for row in days["results"]:
                start = int(datetime.fromisoformat(row["dimensions"][0]).timestamp())
                day = [e for e in events if oracle.day_start(zone, e["at"] // 10**6 // QUARTER) == start]
                assert row["metrics"] == [len(day)]
        assert counted > 1000


async def test_every_part_of_the_dashboard_is_what_query_answers(api: Api) -> None:
    await filled(api)
    key = await api.key("berlin", "admin")
    now = (datetime.now(UTC) - timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    reply = await api.get(f"dashboard?now={now}", key)
    found = reply.json()
    assert list(found) == ["last_24_hours", "last_7_days"]
    compared = 0
    for period, questions in PERIODS.items():
        assert list(found[period]) == ["totals", "series", "routes", "events"]
        for part, question in questions.items():
            answer = await api.post("query", key, {**question, "now": now})
            # The very bytes: no number was written another way.
            assert answer.content in reply.content
            assert found[period][part] == answer.json()
            # And what the part says that it was asked has the same results once more.
            again = await api.post("query", key, found[period][part]["query"])
            assert again.json()["results"] == found[period][part]["results"]
            compared += bool(answer.json()["results"])
    assert compared == 8


async def test_the_dashboard_is_one_snapshot_whatever_is_committed_meanwhile(
    api: Api, database_url: str
) -> None:
    await filled(api, 100)
    key = await api.key("berlin", "read")
    before = await body(api, "dashboard", key)
    load = rows.load

    async def load_and_then_another_commits(connection: Connection, *rest: Any) -> rows.Rows:
        found = await load(connection, *rest)
        other = await asyncpg.connect(database_url)
        await other.execute(
            "UPDATE daily_summary SET count = count + 1000; UPDATE hourly_summary SET count = count + 1000; "
            "UPDATE shards SET applied_at = now(), token = gen_random_uuid()"
        )
        await other.close()
        return found

    await api.engine.connection.execute("UPDATE shards SET token = gen_random_uuid()")
    await asyncio.sleep(2 * REMEMBERED)  # until versions are looked up anew
    with patch.object(reading, "load", load_and_then_another_commits):
        found = await body(api, "dashboard", key)
    assert without_now(found) == without_now(before)
    await asyncio.sleep(2 * REMEMBERED)  # until versions are looked up anew
    assert without_now(await body(api, "dashboard", key)) != without_now(before)


def without_now(found: dict[str, Any]) -> str:
    """An answer's results: its `now` may have gone on."""
    return json.dumps(
        [[part["results"], part["meta"]["as_of"]] for each in found.values() for part in each.values()]
    )


async def test_timeseries_breakdown_and_aggregate_answer_with_the_bytes_of_query(api: Api) -> None:
    await filled(api)
    key = await api.key("berlin", "admin")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    only = json.dumps([["is", "http.route", ["/1"]]])
    for path, question in (
        ("timeseries?interval=day&metrics=requests,errors", {"dimensions": ["time:day"], "metrics": ["requests", "errors"], "date_range": "7d"}),
        (f"timeseries?interval=hour&date_range=day&metrics=requests&filters={only}", {"dimensions": ["time:hour"], "metrics": ["requests"], "date_range": "day", "filters": json.loads(only)}),
        ("timeseries?date_range=30d&metrics=events", {"dimensions": ["time"], "metrics": ["events"], "date_range": "30d"}),
        ("aggregate?metrics=visitors&date_range=day", {"metrics": ["visitors"], "date_range": "day"}),
        ("breakdown?metrics=requests&limit=3", {"dimensions": ["http.route"], "metrics": ["requests"], "date_range": "7d", "pagination": {"limit": 3}, "include": {"total_rows": True}}),
        (
            "breakdown?dimension=http.route,http.request.method&metrics=requests,bytes&order=http.route:asc&offset=2&limit=4&date_range=7d",
            {"dimensions": ["http.route", "http.request.method"], "metrics": ["requests", "bytes"], "date_range": "7d", "order_by": [["http.route", "asc"]], "pagination": {"limit": 4, "offset": 2}, "include": {"total_rows": True}},
        ),
        ("breakdown?metrics=requests&order=requests:asc&limit=2", {"dimensions": ["http.route"], "metrics": ["requests"], "date_range": "7d", "order_by": [["requests", "asc"]], "pagination": {"limit": 2}, "include": {"total_rows": True}}),
    ):  # fmt: skip
        reply = await api.get(f"{path}&now={now}", key)
        asked = await api.post("query", key, {**question, "now": now})
        assert (reply.status_code, reply.content) == (200, asked.content), path
        assert reply.json()["results"]


async def test_from_and_to_name_the_range(api: Api) -> None:
    key = await api.key("berlin", "read")
    found = await body(api, "timeseries?from=2026-03-28&to=2026-03-30&interval=hour", key)
    # Berlin's clocks go forward on the 29th.
    assert len(found["results"]) == 24 + 23 + 24
    found = await body(api, "aggregate?from=2026-03-28T10:00:00Z&to=2026-03-28T11:00:00Z", key)
    assert found["query"]["date_range"] == ["2026-03-28T11:00:00+01:00", "2026-03-28T12:00:00+01:00"]


async def test_tenants_never_see_each_others_answers(api: Api) -> None:
    events = await filled(api)
    counts = Counter(event["tenant"] for event in events)
    keys = {tenant: await api.key(tenant, "read") for tenant in ZONES}
    paths = ("summary", "dashboard", "timeseries", "breakdown", "aggregate", "realtime", "ledger")
    tags: defaultdict[str, set[str]] = defaultdict(set)
    for _ in range(2):
        for tenant, key in keys.items():
            found = await body(api, "aggregate?metrics=events&date_range=all", key)
            assert found["results"][0]["metrics"] == [counts[tenant]]
            assert found["query"]["tenant"] == tenant
            assert (await body(api, "realtime", key))["time_zone"] == ZONES[tenant]
            assert (await body(api, "ledger", key))["total"]["processed"] == counts[tenant]
            for path in paths:
                tags[path].add(f"{tenant} {(await api.get(path, key)).headers['etag']}")
    for path, found_tags in tags.items():
        own = {name: {each.split()[1] for each in found_tags if each.startswith(name)} for name in ZONES}
        assert own["kolkata"].isdisjoint(own["berlin"]), path
    # With one tenant's tag the other has nothing yet.
    tag = (await api.get("summary", keys["kolkata"])).headers["etag"]
    assert (await api.get("summary", keys["berlin"], **{"if-none-match": tag})).status_code == 200


async def test_the_tenant_is_the_keys_and_no_other_can_be_asked_about(api: Api) -> None:
    await filled(api, 50)
    key = await api.key("berlin", "read", "admin")
    question = {"metrics": ["events"], "date_range": "day"}
    without = await api.post("query", key, question)
    assert without.json()["query"]["tenant"] == "berlin"
    own = await api.post("query", key, {**question, "tenant": "berlin"})
    assert own.json()["results"] == without.json()["results"]
    for other in ("kolkata", "nobody", "", None, 7, ["berlin"]):
        reply = await api.post("query", key, {**question, "tenant": other})
        assert (reply.status_code, reply.json()["field"]) == (403, "tenant")


async def test_only_admins_ask_as_of_another_moment(api: Api) -> None:
    await filled(api, 50)
    reader, admin = await api.key("berlin", "read"), await api.key("berlin", "admin")
    then = "2020-01-01T00:00:00Z"
    for path in ("summary", "dashboard", "aggregate", "timeseries", "breakdown", "ledger"):
        refused = await api.get(f"{path}?now={then}", reader)
        assert (refused.status_code, refused.json()["field"]) == (403, "now")
        assert (await api.get(f"{path}?now={then}", admin)).status_code == 200
    question = {"metrics": ["events"], "date_range": "day", "now": then}
    refused = await api.post("query", reader, question)
    assert (refused.status_code, refused.json()["field"]) == (403, "now")
    found = await body(api, f"summary?now={then}", admin)
    assert found["period_end"] == "2020-01-01T02:00:00+01:00"
    assert (await api.post("query", admin, question)).json()["query"]["now"] == then


async def test_the_live_view_shows_the_newest_events_and_who_was_there(api: Api) -> None:
    now = int(time.time() * 1e6)
    actors = [bytes([1]) + bytes([number]) * 16 for number in range(1, 8)]
    events: list[Plain] = [
        {
            "name": "http.request", "at": now - number * 1_000_000, "tenant": "berlin", "actor": actors[number % 7],
            "shard": number % 7 % 4, "properties": {"http.route": f"/{number}", "http.response.status_code": 200},
        }
        for number in range(40)
    ]  # fmt: skip
    gone = {"name": "draft.sent", "tenant": "berlin", "shard": 0, "properties": {}}
    events.append({**gone, "at": now - 311_000_000, "actor": bytes([1]) + bytes([99]) * 16})
    # More than in the other tenant, whose dense ids begin at the same number.
    events += [
        {**gone, "at": now, "tenant": "kolkata", "actor": bytes([1]) + bytes([each]) * 16}
        for each in range(100, 120)
    ]
    await api.engine.publish(events)
    await api.engine.drain()
    reply = await api.get("realtime", await api.key("berlin", "read"))
    found = reply.json()
    assert found["actors"] == 7
    assert [each["properties"]["http.route"] for each in found["activities"]] == [f"/{n}" for n in range(10)]
    assert [each["actor"] for each in found["activities"][:7]] == [handle(actor.hex()) for actor in actors]
    assert len({each["actor"] for each in found["activities"]}) == 7
    start, end = (datetime.fromisoformat(found["window"][name]) for name in ("start", "end"))
    assert (end - start).total_seconds() == found["window"]["seconds"] == 300
    local = datetime.now(ZoneInfo("Europe/Berlin"))
    assert found["today"] in (local.date().isoformat(), (local - timedelta(seconds=20)).date().isoformat())
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1e6
    assert found["events_today"] == sum(
        event["tenant"] == "berlin" and event["at"] >= midnight for event in events
    )
    assert all(actor.hex() not in reply.text for actor in actors)


async def test_damaged_parts_of_the_live_view_are_left_out_and_told(api: Api) -> None:
    now = int(time.time() * 1e6)
    events: list[Plain] = [
        {"name": "draft.sent", "at": now // 10**7 * 10**7 + number, "tenant": "berlin", "shard": number % 4, "properties": {}, "actor": bytes([1]) + bytes([number]) * 16}
        for number in range(1, 9)
    ]  # fmt: skip
    await api.engine.publish(events)
    await api.engine.drain()
    key = await api.key("berlin", "read")
    whole = await body(api, "realtime", key)
    assert (whole["actors"], len(whole["activities"]), whole["damaged_parts"]) == (8, 8, 0)
    await api.engine.connection.execute(
        """UPDATE recent_actors SET members = 'nonsense' WHERE shard = 1;
        UPDATE recent_activity SET activities = '{"at": 1}' WHERE shard = 2;
        UPDATE recent_activity SET activities = '[1e400]' WHERE shard = 3;
        UPDATE shards SET token = gen_random_uuid()"""
    )
    await asyncio.sleep(1.2 * REMEMBERED)
    with capture_logs() as logs:
        rest = await body(api, "realtime", key)
    assert (rest["actors"], len(rest["activities"]), rest["damaged_parts"]) == (6, 4, 3)
    assert (rest["events_today"], rest["today"]) == (whole["events_today"], whole["today"])
    assert [(each["event"], each["tenant"], each["parts"]) for each in logs] == [("damaged live view", "berlin", 3)]  # fmt: skip


async def test_time_zones_that_are_unknown_here_are_not_the_callers_mistake(api: Api) -> None:
    key = await api.key("berlin", "read")
    await api.engine.connection.execute("UPDATE tenant_time_zones SET time_zone = 'No/Where'")
    for reply in (
        await api.get("summary", key),
        await api.post("query", key, {"metrics": ["events"], "date_range": "day"}),
    ):
        assert (reply.status_code, reply.headers["content-type"]) == (500, "application/problem+json")
        assert "No/Where" not in reply.text


async def test_bots_and_bodies_of_requests_are_measured_apart(api: Api) -> None:
    now = time.time_ns() // 1_000
    chance = random.Random(4)
    events: list[Plain] = [
        {
            "name": chance.choice(["http.request", "bot.request"]), "at": now - number, "tenant": "berlin", "shard": number % 4,
            "properties": {
                "http.route": f"/{number % 3}", "http.response.status_code": chance.choice([200, 404, 500]),
                "duration": chance.randrange(10**6), "http.response.body.size": chance.randrange(10**5),
                "http.request.body.size": chance.randrange(10**4),
            },
        }
        for number in range(200)
    ]  # fmt: skip
    await api.engine.publish(events)
    await api.engine.drain()
    key = await api.key("berlin", "read")
    people, bots = (
        [each["properties"] for each in events if each["name"] == name]
        for name in ("http.request", "bot.request")
    )
    own = "requests,errors,bytes,request_bytes"
    found = await body(api, f"aggregate?date_range=all&metrics={own}", key)
    assert found["results"][0]["metrics"] == [len(people), *sums(people)]
    of_bots = "bot_requests,bot_errors,bot_bytes,avg_bot_duration"
    found = await body(api, f"breakdown?date_range=all&metrics={of_bots}&dimension=http.route", key)
    for row in found["results"]:
        chosen = [each for each in bots if each["http.route"] == row["dimensions"][0]]
        *counts, mean = row["metrics"]
        assert counts == [len(chosen), *sums(chosen)[:2]]
        expected = sum(each["duration"] for each in chosen) / len(chosen) / 1000
        assert mean == pytest.approx(expected, abs=0.0006)
    assert sum(row["metrics"][0] for row in found["results"]) == len(bots) > 50


def sums(requests: list[dict[str, Any]]) -> list[int]:
    """Errors, and the bytes of responses and of requests."""
    errors = sum(each["http.response.status_code"] >= 500 for each in requests)
    return [
        errors,
        *(sum(each[f"http.{which}.body.size"] for each in requests) for which in ("response", "request")),
    ]


async def test_the_live_view_of_a_tenant_without_events_is_empty(api: Api) -> None:
    found = await body(api, "realtime", await api.key("berlin", "read"))
    assert (found["actors"], found["activities"], found["events_today"], found["as_of"]) == (0, [], 0, None)


async def test_the_pipeline_tells_lag_workers_and_what_producers_dropped(api: Api) -> None:
    await filled(api, 50)
    lane = api.engine.lane(2)
    lane.drops["buffer_full"] = 3
    await api.engine.send(2, lane.announcement())
    await api.engine.connection.execute(
        "INSERT INTO dead_letters (shard, content_id, reason, events) VALUES (0, 'a', 'late', 1), (0, 'b', 'late', 4)"
    )
    await api.engine.connection.execute(
        "INSERT INTO workers VALUES (gen_random_uuid(), 'elsewhere', 7, now() - interval '1 h', now() - interval '1 min')"
    )
    key = await api.key("berlin", "read")
    async with api.engine.working():
        await api.engine.drained()
        found = await body(api, "pipeline", key)
    assert found["scope"] == "installation"
    assert found["answering"] == {"postgresql": True, "redis": True}
    assert [each["shard"] for each in found["shards"]] == [0, 1, 2, 3, 4]
    assert all(each["held"] and each["lag_seconds"] == 0 for each in found["shards"])
    positions = await api.engine.connection.fetch(
        "SELECT position_ms || '-' || position_seq AS at FROM shards ORDER BY shard"
    )
    assert [each["position"] for each in found["shards"]] == [row["at"] for row in positions]
    assert [(each["host"] == "elsewhere", each["live"]) for each in found["workers"]] == [
        (True, False),
        (False, True),
    ]
    assert found["workers_live"] == 1
    assert found["dead_letters"] == {"late": 2}
    assert found["dropped_before_sending"] == {"buffer_full": 3}
    assert found["lost"] == {"known_lanes": 0, "forgotten_lanes": 0}
    assert {"outcome": "applied", "reason": None, "events": 50} in found["outcomes"]


async def test_the_pipelines_lag_grows_while_nobody_works(api: Api) -> None:
    await filled(api, 50)
    await api.engine.publish([event for event in generate(9, 40, tuple(ZONES)) if event["shard"] == 1])
    await api.engine.connection.execute(
        "INSERT INTO leases (shard, worker_id, expires_at) SELECT n, gen_random_uuid(), now() + (2 * n - 1) * interval '9 s' "
        "FROM generate_series(0, 1) n ON CONFLICT (shard) DO UPDATE SET expires_at = excluded.expires_at"
    )
    with patch("streamgauge.read.pipeline.FRESH", 0.0):
        found = await body(api, "pipeline", await api.key("berlin", "read"))
    held = {each["shard"]: each["held"] for each in found["shards"]}
    assert (held[0], held[1]) == (False, True)  # the lease of the first ran out
    lag = {each["shard"]: each["lag_seconds"] for each in found["shards"]}
    assert lag[1] > 0
    assert lag[0] == lag[2] == lag[3] == 0
    assert found["lag_seconds"] == lag[1]
    assert found["workers_live"] == 0


async def test_everything_that_the_catalogue_says_can_be_asked_can_be(api: Api) -> None:
    key = await api.key("berlin", "read")
    found = await body(api, "catalogue", key)
    for metric in found["metrics"]:
        assert metric["description"]
        assert metric["unit"]
        for dimension in metric["dimensions"]:
            question = {"metrics": [metric["name"]], "dimensions": [dimension], "date_range": "day"}
            assert (await api.post("query", key, question)).status_code == 200, question
    for date_range in found["date_ranges"]:
        assert (await api.get(f"aggregate?date_range={date_range}", key)).status_code == 200
    request = next(each for each in found["events"] if each["name"] == "http.request")
    assert request["failed"] == {"property": "http.response.status_code", "at_least": 500, "one_of": []}
    assert all(each["purpose"] for each in (*found["events"], *request["properties"]))
    duration = next(each for each in request["properties"] if each["name"] == "duration")
    assert (duration["type"], duration["unit"]) == ("int", "us")
    limits: dict[str, int] = found["limits"]
    too_many = {"metrics": ["events"] * (limits["metrics"] + 1), "date_range": "day"}
    assert (await api.post("query", key, too_many)).status_code == 400
    assert limits["values_per_dimension_and_day"] == api.engine.settings.cardinality_limit


def test_names_reads_the_first_dimension() -> None:
    assert names([{"dimensions": ["/a", "b"]}]) == ["/a"]
