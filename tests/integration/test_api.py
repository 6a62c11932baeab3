"""The read API: figures against an independent recount, limits by name, unchanged polls, tenants apart."""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.read.api import asking
from streamgauge.read.api.dashboard import PERIODS, questions
from streamgauge.read.api.kept_answers import KeptAnswers
from streamgauge.read.api.ledger import entered
from streamgauge.read.api.realtime import handle, window
from streamgauge.read.api.summary import last_hours
from streamgauge.read.rows import snapshot
from streamgauge.summaries.calendar import Calendar
from tests.integration.api import Api, names, open_api
from tests.integration.engine import Plain, generate

ZONES = {"kolkata": "Asia/Kolkata", "berlin": "Europe/Berlin"}


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


async def test_the_summary_is_what_a_recount_of_its_hours_gives(api: Api) -> None:
    events = await filled(api)
    key = await api.key("kolkata", "read")
    for hours in (1, 24, 100):
        found = await body(api, f"summary?hours={hours}", key)
        start, end = (datetime.fromisoformat(found[name]) for name in ("period_start", "period_end"))
        assert end - start == timedelta(hours=hours)
        assert start.utcoffset() == timedelta(hours=5, minutes=30)
        assert end - timedelta(hours=1) <= datetime.now(UTC) < end
        by_name: defaultdict[str, list[Plain]] = defaultdict(list)
        for event in events:
            at = datetime.fromtimestamp(event["at"] / 1e6, UTC)
            if event["tenant"] == "kolkata" and start <= at < end:
                by_name[event["name"]].append(event)
        assert [(each["name"], each["figures"]["count"]) for each in found["events"]] == sorted(
            ((name, len(group)) for name, group in by_name.items()), key=lambda pair: (-pair[1], pair[0])
        )
        for each in found["events"]:
            compare(each["figures"], by_name[each["name"]])
        assert found["total"]["count"] == sum(map(len, by_name.values()))


def compare(figures: dict[str, Any], events: list[Plain]) -> None:
    """Every figure of an event name, counted from the events."""
    errors = sum(
        event["properties"].get("http.response.status_code", 0) >= 500
        for event in events
        if event["name"] == "http.request"
    )
    durations = [event["properties"]["duration"] for event in events if "duration" in event["properties"]]
    assert figures["errors"] == errors
    assert figures["success_rate"] == pytest.approx((len(events) - errors) / len(events), abs=1e-4)
    keyed = {event["actor"] for event in events if event.get("actor", b"\0")[0] != 0}
    assert figures["actors"] >= len(keyed)
    if durations:
        assert figures["min_duration"] == pytest.approx(min(durations) / 1000, abs=0.001)
        assert figures["max_duration"] == pytest.approx(max(durations) / 1000, abs=0.001)
        assert figures["avg_duration"] == pytest.approx(sum(durations) / len(durations) / 1000, abs=0.001)
        for percent in (50, 95, 99):
            assert figures[f"p{percent}_duration"] == pytest.approx(
                quantile(durations, percent), rel=0.008, abs=0.001
            )
    else:
        assert figures["p95_duration"] is None


async def test_the_dashboard_is_made_of_the_answers_that_query_gives(api: Api) -> None:
    await filled(api)
    key = await api.key("berlin", "read", "admin")
    now = (datetime.now(UTC) - timedelta(hours=3)).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    found = await body(api, f"dashboard?now={now}", key)
    compared = 0
    for period, span in PERIODS.items():
        for part, question in questions(*span).items():
            answer = (await api.post("query", key, {**question, "now": now})).json()
            assert found[period][part] == answer
            compared += bool(answer["results"])
    assert compared == 8


async def test_timeseries_breakdown_and_aggregate_answer_as_query_does(api: Api) -> None:
    await filled(api)
    key = await api.key("berlin", "read", "admin")
    now = "&now=" + datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    only = json.dumps([["is", "http.route", ["/1"]]])
    for path, question in (
        ("timeseries?interval=day&date_range=7d&metrics=requests,errors", {"dimensions": ["time:day"], "metrics": ["requests", "errors"], "date_range": "7d"}),
        (f"timeseries?interval=hour&date_range=day&metrics=requests&filters={only}", {"dimensions": ["time:hour"], "metrics": ["requests"], "date_range": "day", "filters": json.loads(only)}),
        ("aggregate?metrics=visitors&date_range=day", {"metrics": ["visitors"], "date_range": "day"}),
        (
            "breakdown?dimension=http.route&metrics=requests&limit=3&date_range=7d",
            {"dimensions": ["http.route"], "metrics": ["requests"], "date_range": "7d", "order_by": [["requests", "desc"]], "pagination": {"limit": 3}, "include": {"total_rows": True}},
        ),
    ):  # fmt: skip
        found = await body(api, path + now, key)
        asked = (await api.post("query", key, {**question, "now": found["query"]["now"]})).json()
        assert found == asked
        assert found["results"]


async def test_from_and_to_name_the_range(api: Api) -> None:
    key = await api.key("berlin", "read")
    found = await body(api, "timeseries?from=2026-03-28&to=2026-03-30&interval=hour", key)
    # Berlin's clocks go forward on the 29th.
    assert len(found["results"]) == 24 + 23 + 24
    found = await body(api, "aggregate?from=2026-03-28T10:00:00Z&to=2026-03-28T11:00:00Z", key)
    assert found["query"]["date_range"] == ["2026-03-28T11:00:00+01:00", "2026-03-28T12:00:00+01:00"]


async def test_an_unchanged_poll_is_304_and_reads_no_summary(api: Api) -> None:
    await filled(api, 100)
    key = await api.key("berlin", "read")
    for path in ("summary", "dashboard", "timeseries", "breakdown", "aggregate", "catalogue", "ledger"):
        # The clock's grid may pass a point in between; then a second try is within the new one.
        for _ in range(2):
            first = await api.get(path, key)
            with patch.object(asking, "snapshot", side_effect=AssertionError("read the tables")):
                again = await api.get(path, key, **{"if-none-match": first.headers["etag"]})
            if again.status_code == 304:
                break
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert first.headers["cache-control"] == "private, no-cache"


async def test_new_events_change_the_tag_within_a_moment(api: Api) -> None:
    events = await filled(api, 100)
    key = await api.key("berlin", "read")
    tag = (await api.get("aggregate?metrics=events&date_range=all", key)).headers["etag"]
    await api.engine.publish([{**events[0], "tenant": "berlin"}])
    await api.engine.drain()
    await asyncio.sleep(0.15)
    reply = await api.get("aggregate?metrics=events&date_range=all", key, **{"if-none-match": tag})
    assert reply.status_code == 200
    assert reply.json()["results"][0]["metrics"] == [sum(each["tenant"] == "berlin" for each in events) + 1]


async def test_equal_questions_asked_together_are_answered_from_one_look(api: Api) -> None:
    await filled(api, 100)
    key = await api.key("berlin", "read")
    looks = 0
    real = snapshot

    def counted(connection: Any) -> Any:
        nonlocal looks
        looks += 1
        return real(connection)

    with patch.object(asking, "snapshot", counted):
        replies = await asyncio.gather(*(api.get("dashboard", key) for _ in range(40)))
    assert len({reply.content for reply in replies}) <= 2  # two when the clock's grid passed a point
    assert looks <= 2


async def test_tenants_never_see_each_others_answers(api: Api) -> None:
    events = await filled(api)
    counts = Counter(event["tenant"] for event in events)
    keys = {tenant: await api.key(tenant, "read") for tenant in ZONES}
    for _ in range(2):
        for tenant, key in keys.items():
            found = await body(api, "aggregate?metrics=events&date_range=all", key)
            assert found["results"][0]["metrics"] == [counts[tenant]]
            live = await body(api, "realtime", key)
            assert live["time_zone"] == ZONES[tenant]
    tags = {(await api.get("summary", key)).headers["etag"] for key in keys.values()}
    assert len(tags) == 2
    other = await api.post(
        "query", keys["berlin"], {"tenant": "kolkata", "metrics": ["events"], "date_range": "day"}
    )
    assert other.status_code == 403


@pytest.mark.parametrize(
    ("path", "field", "told"),
    [
        ("summary?hours=0", "hours", "greater than or equal to 1"),
        ("summary?hours=8761", "hours", "less than or equal to 8760"),
        ("summary?hours=many", "hours", "integer"),
        ("summary?hours=1&hours=2", "hours", "given twice"),
        ("summary?hour=1", "hour", "did you mean 'hours'"),
        ("timeseries?interval=minute", "interval", "'hour'"),
        ("timeseries?metrics=", "metrics", "separated by commas"),
        ("timeseries?metrics=nonsense", "metrics", "unknown metric"),
        ("timeseries?date_range=soon", "date_range", "give one of"),
        ("timeseries?from=2026-01-01", "to", "missing"),
        ("timeseries?to=2026-01-01", "from", "missing"),
        ("timeseries?from=2026-01-02&to=2026-01-01", "date_range", "must not lie after"),
        ("timeseries?from=2026-01-01&to=2026-01-02&date_range=7d", "date_range", "one of the two"),
        ("timeseries?filters={", "filters", "not JSON"),
        ("timeseries?filters=[[1]]", "filters[0]", "filter"),
        ("breakdown?dimension=colour", "dimensions", "unknown dimension"),
        ("breakdown?limit=0", "limit", "greater than or equal to 1"),
        ("breakdown?limit=10001", "limit", "less than or equal to 10000"),
        ("breakdown?limit=NaN", "limit", "integer"),
        ("breakdown?offset=-1", "offset", "greater than or equal to 0"),
        ("breakdown?order_by=bytes", "order_by", "not asked for"),
        ("ledger?from=2026-01-01T00:30:00Z", "from", "beginning of a UTC hour"),
        ("ledger?from=yesterday", "from", "RFC 3339"),
        ("ledger?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from", "before to"),
        ("ledger?from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from", "up to 8784"),
        ("realtime?since=1", "since", "no parameter"),
        ("aggregate?now=soon", "now", "RFC 3339"),
    ],
)
async def test_a_parameter_that_cannot_be_used_is_named_with_what_is_allowed(
    api: Api, path: str, field: str, told: str
) -> None:
    reply = await api.get(path, await api.key("berlin", "admin"))
    assert reply.status_code == 400, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["field"] == field
    assert told in reply.json()["detail"]


async def test_only_admins_ask_as_of_another_moment(api: Api) -> None:
    await filled(api, 50)
    reader, admin = await api.key("berlin", "read"), await api.key("berlin", "admin")
    then = "2020-01-01T00:00:00Z"
    assert (await api.get(f"summary?now={then}", reader)).status_code == 403
    question = {"metrics": ["events"], "date_range": "day", "now": then}
    assert (await api.post("query", reader, question)).status_code == 403
    found = await body(api, f"summary?now={then}", admin)
    assert found["period_end"] == "2020-01-01T02:00:00+01:00"
    assert (await api.post("query", admin, question)).json()["query"]["now"] == then


async def test_the_live_view_shows_the_newest_events_and_who_was_there(api: Api) -> None:
    now = int(time.time() * 1e6)
    actors = [bytes([1]) + bytes([number]) * 16 for number in range(1, 8)]
    events: list[Plain] = [
        {"name": "http.request", "at": now - number * 1_000_000, "tenant": "berlin", "actor": actors[number % 7], "shard": number % 7 % 4,
         "properties": {"http.route": f"/{number}", "http.response.status_code": 200}}
        for number in range(40)
    ]  # fmt: skip
    events.append(
        {
            "name": "draft.shared",
            "at": now - 400_000_000,
            "tenant": "berlin",
            "actor": bytes([1]) + bytes([99]) * 16,
            "shard": 0,
            "properties": {},
        }
    )
    events.append(
        {
            "name": "http.request",
            "at": now,
            "tenant": "kolkata",
            "actor": bytes([1]) + bytes([98]) * 16,
            "shard": 0,
            "properties": {},
        }
    )
    await api.engine.publish(events)
    await api.engine.drain()
    found = await body(api, "realtime", await api.key("berlin", "read"))
    assert found["actors"] == 7
    assert [each["properties"]["http.route"] for each in found["activities"]] == [
        f"/{number}" for number in range(10)
    ]
    assert found["activities"][0]["actor"] == handle(actors[0].hex())
    assert len({each["actor"] for each in found["activities"]}) == 7
    local = datetime.now(ZoneInfo("Europe/Berlin"))
    assert found["today"] in (local.date().isoformat(), (local - timedelta(seconds=20)).date().isoformat())
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1e6
    assert found["events_today"] == sum(
        event["tenant"] == "berlin" and event["at"] >= midnight for event in events
    )
    assert actors[0].hex() not in json.dumps(found)


async def test_the_ledger_accounts_for_every_event_of_the_tenant(api: Api) -> None:
    now = int(time.time() * 1e6)
    good: Plain = {"name": "http.request", "at": now, "tenant": "berlin", "shard": 1, "properties": {}}
    keyed = {**good, "key": bytes(16)}
    late = {**good, "at": now - 30 * 86_400_000_000}
    wrong = {**good, "properties": {"duration": -5}}
    await api.engine.publish([good, keyed, late, wrong, wrong, {**good, "tenant": "kolkata"}])
    await api.engine.publish([keyed])
    await api.engine.drain()
    found = await body(api, "ledger", await api.key("berlin", "read"))
    assert found["total"] == {
        "processed": 6, "applied": 2, "repeated_key": 1, "rejected": {"invalid_value": 2}, "dead_lettered": {"late": 1},
    }  # fmt: skip
    assert found["transport"]["announced"] == found["transport"]["processed"] == 7
    assert found["transport"]["missing"] == 0


async def test_the_pipeline_tells_lag_workers_and_what_producers_dropped(api: Api) -> None:
    await filled(api, 50)
    lane = api.engine.lane(2)
    lane.drops["buffer_full"] = 3
    await api.engine.send(2, lane.announcement())
    key = await api.key("berlin", "read")
    async with api.engine.working():
        await api.engine.drained()
        found = await body(api, "pipeline", key)
    assert [each["shard"] for each in found["shards"]] == [0, 1, 2, 3]
    assert all(each["held"] for each in found["shards"])
    assert [each["live"] for each in found["workers"]] == [True]
    assert found["dropped_before_sending"] == {"buffer_full": 3}


async def test_the_catalogue_names_everything_that_can_be_asked(api: Api) -> None:
    key = await api.key("berlin", "read")
    found = await body(api, "catalogue", key)
    for metric in found["metrics"]:
        for dimension in metric["dimensions"]:
            question = {"metrics": [metric["name"]], "dimensions": [dimension], "date_range": "day"}
            assert (await api.post("query", key, question)).status_code == 200, question
    request = next(each for each in found["events"] if each["name"] == "http.request")
    assert request["failed"] == {"property": "http.response.status_code", "at_least": 500, "one_of": None}
    assert all(each["purpose"] for each in request["properties"])


async def test_only_listed_origins_may_read(redis_url: str, database_url: str, tmp_path: Path) -> None:
    async with open_api(
        redis_url, database_url, tmp_path, {"berlin": "UTC"}, cors_origins="https://a.example"
    ) as api:
        key = await api.key("berlin", "read")
        good = await api.get("catalogue", key, origin="https://a.example")
        assert good.headers["access-control-allow-origin"] == "https://a.example"
        assert "access-control-allow-credentials" not in good.headers
        other = await api.get("catalogue", key, origin="https://b.example")
        assert "access-control-allow-origin" not in other.headers


async def test_every_example_of_the_document_is_answered(api: Api) -> None:
    key = await api.key("berlin", "admin")
    document = await body(api, "openapi.json", key)
    asked = 0
    for path, operations in document["paths"].items():
        if "get" in operations and path.startswith("/api/v1/"):
            assert operations["get"]["summary"]
            examples = [
                (each["name"], each["schema"]["examples"][0])
                for each in operations["get"].get("parameters", [])
                if each["schema"].get("examples")
            ]
            reply = await api.client.get(
                path, params=dict(examples), headers={"authorization": f"Bearer {key}"}
            )
            assert reply.status_code == 200, (path, reply.text)
            asked += 1
    assert asked == 9
    example = document["paths"]["/api/v1/query"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    assert (await api.post("query", key, example)).status_code == 200


async def test_a_question_that_is_none_is_refused_and_a_long_one_is_not_read(api: Api) -> None:
    key = await api.key("berlin", "read")
    headers = {"authorization": f"Bearer {key}"}
    for content, status in ((b"", 400), (b"[]", 400), (b"{}", 400), (b" " * 70_000, 413)):
        reply = await api.client.post("/api/v1/query", content=content, headers=headers)
        assert reply.status_code == status


def test_names_reads_the_first_dimension() -> None:
    assert names([{"dimensions": ["/a", "b"]}]) == ["/a"]


@settings(max_examples=60)
@given(
    st.sampled_from(["UTC", "Asia/Kolkata", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"]),
    st.integers(1_000_000_000, 2_000_000_000),
    st.integers(1, 400),
)
def test_the_last_hours_are_whole_local_ones_and_end_with_the_current(
    zone: str, now: int, hours: int
) -> None:
    calendar = Calendar([(None, zone)])
    period = last_hours(calendar, now, hours)
    found = calendar.hours(period.start, period.end)
    assert len(found) == hours
    assert found[-1].start <= now < found[-1].end == period.end


@given(st.integers(10**9, 2 * 10**9))
def test_the_live_window_is_five_minutes_and_the_current_ten_seconds(now: int) -> None:
    start, end = window(now)
    assert start % 10 == end % 10 == 0
    assert end - start == 310
    assert start <= now - 300 < start + 10
    assert now < end


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(
                [("applied", ""), ("repeated_key", ""), ("rejected", "late"), ("dead_lettered", "future")]
            ),
            st.integers(1, 99),
        )
    )
)
def test_what_was_processed_is_the_sum_of_what_became_of_it(
    rows: list[tuple[int, tuple[str, str], int]],
) -> None:
    found = entered(0, 10, [(hour, *outcome, events) for hour, outcome, events in rows])
    for each in [found["total"], *(hour.outcomes for hour in found["hours"])]:
        assert each.processed == each.applied + each.repeated_key + sum(each.rejected.values()) + sum(
            each.dead_lettered.values()
        )
    assert found["total"].processed == sum(events for *_, events in rows)


async def test_kept_answers_are_bounded_and_failures_are_not_kept() -> None:
    kept = KeptAnswers(most_bytes=1_000)
    asked = 0

    async def compute() -> bytes:
        nonlocal asked
        asked += 1
        return b"x" * 200

    for number in range(20):
        assert await kept.get(("t", str(number)), compute) == b"x" * 200
    await kept.get(("t", "19"), compute)
    assert asked == 20
    await kept.get(("t", "0"), compute)
    assert asked == 21

    async def fail() -> bytes:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await kept.get(("t", "bad"), fail)
