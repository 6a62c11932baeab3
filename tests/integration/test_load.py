"""Synthetic events are the same for the same seed, and what the tables hold of them is what was told."""

import asyncio
import io
import shutil
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from pyroaring import BitMap

from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge.errors import InputError, ServerError
from streamgauge.event import Event
from streamgauge.settings import Settings
from streamgauge.table import thaw
from streamgauge_cli.load import read_until
from streamgauge_imports.batches import Frame, batch_size
from streamgauge_imports.importing import Delivered, deliver
from streamgauge_imports.orders import Load, load_order
from streamgauge_imports.preparing import Prepared, prepared, write
from streamgauge_imports.progress import Lines
from streamgauge_imports.shipment import Shipment
from streamgauge_imports.synthetic import ROUTES, Synthetic

UNTIL = datetime(2024, 3, 31, 12, tzinfo=UTC)
LOAD = Load("school", actors=300, days=3, events=9_000, rate=0, seed=7, until=UNTIL)
DURATION = "http.server.request.duration"
KEYS = TenantKeys("school", 1, b"k" * 32, b"e" * 32)


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, database_url: str) -> Settings:
    (tmp_path / "data").mkdir()
    return Settings(redis_url, database_url, tmp_path / "data", lease_seconds=1)


def synthetic(**changes: Any) -> Synthetic:
    source = Synthetic(
        KEYS,
        ((None, "Europe/Berlin"),),
        "load",
        7,
        300,
        3,
        9_000,
        int(UNTIL.timestamp()) * 1_000_000,
        4,
        5_000,
    )
    return replace(source, **changes)


def events_of(source: Synthetic) -> tuple[list[Event], dict[str, Any]]:
    summary: dict[str, Any] = {}
    tables = [thaw(frame.payload) for frame in source.frames(summary)]
    return [table.event(row) for table in tables for row in range(table.n)], summary


async def run(load: Load, settings: Settings, time_zone: str | None = None) -> Delivered:
    assert settings.redis_url is not None
    assert settings.database_url is not None
    order = load_order(load, settings, time_zone)
    return await deliver(
        order, settings, settings.redis_url, settings.database_url, Lines("load", load.events)
    )


async def fetch(settings: Settings, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(settings.database_url)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


def test_the_same_seed_and_end_give_the_same_frames_and_others_give_others() -> None:
    frames = list(synthetic().frames({}))
    assert list(synthetic().frames({})) == frames
    assert list(synthetic(seed=8).frames({})) != frames
    # These must stay as they are, or batches.VERSION change: somebody may be about to finish a load of an older version.
    assert [(frame.shard, frame.n) for frame in frames] == [(0, 2579), (1, 1928), (2, 2364), (3, 2129)]


def test_totals_are_those_of_the_events() -> None:
    events, summary = events_of(synthetic())
    zone = ZoneInfo("Europe/Berlin")

    def totals(chosen: list[Event]) -> dict[str, int]:
        asked = [each.properties for each in chosen if each.name == "http.request"]
        durations = [int(each["duration"]) for each in asked]
        return {
            "requests": len(asked),
            "errors": sum(int(each["http.response.status_code"]) >= 500 for each in asked),
            "bytes": sum(int(each["http.response.body.size"]) for each in asked),
            "min_duration": min(durations),
            "max_duration": max(durations),
            "sum_duration": sum(durations),
            "events": len(chosen),
            "visitors": len({each.actor for each in chosen if each.name == "http.request"}),
            "actors": len({each.actor for each in chosen}),
        }

    days: dict[str, list[Event]] = {}
    for event in events:
        at = datetime.fromtimestamp(event.occurred_at / 1_000_000, zone)
        days.setdefault(at.date().isoformat(), []).append(event)
    assert summary["totals"] == totals(events)
    assert summary["by_day"] == {day: totals(chosen) for day, chosen in sorted(days.items())}
    assert list(summary["by_day"]) == ["2024-03-28", "2024-03-29", "2024-03-30", "2024-03-31"]
    assert summary["by_name"] == dict(sorted(Counter(event.name for event in events).items()))


def test_events_are_mixed_as_a_web_applications_are() -> None:
    events, summary = events_of(synthetic(events=50_000))
    begin = UNTIL - timedelta(days=3)
    times = [event.occurred_at / 1_000_000 for event in events]
    assert begin.timestamp() <= min(times) <= max(times) < UNTIL.timestamp()
    totals = summary["totals"]
    assert 0.69 < totals["requests"] / 50_000 < 0.71
    assert 0.015 < totals["errors"] / totals["requests"] < 0.025
    others = [event for event in events if event.name != "http.request"]
    keys = [event.key for event in others if event.key is not None]
    assert 0.08 < len(keys) / len(others) < 0.12
    assert len(set(keys)) == len(keys)
    routes = {event.properties["http.route"] for event in events if event.properties}
    assert (len(ROUTES), len(set(ROUTES)), len(routes)) == (60, 60, 30)
    durations = sorted(int(event.properties["duration"]) for event in events if event.properties)
    assert 19_000 < durations[len(durations) // 2] < 21_000


def test_one_event_is_enough() -> None:
    events, summary = events_of(synthetic(events=1, actors=1, days=1))
    assert len(events) == summary["rows"] == summary["totals"]["events"] == 1


def test_a_frame_holds_less_the_slower_events_are_sent() -> None:
    assert [batch_size(shards) for shards in (1, 4, 64)] == [20_000, 20_000, 1_250]
    assert [batch_size(4, rate) for rate in (1, 100, 16_000, 10**9)] == [1, 6, 1_000, 20_000]


async def test_the_tables_hold_what_was_told(settings: Settings) -> None:
    delivered = await run(LOAD, settings, "Europe/Berlin")
    told, result = delivered.summary, delivered.result
    assert (result.read, result.applied, result.accounted) == (9_000, 9_000, True)
    days = await fetch(
        settings,
        "SELECT (d.bucket AT TIME ZONE 'Europe/Berlin')::date::text AS day, d.count, d.errors, d.sum, d.min, d.max, d.total_1 AS bytes "
        f"FROM daily_metrics d WHERE d.metric = '{DURATION}' AND d.dimensions = '{{}}'",
    )  # fmt: skip
    assert {
        row["day"]: (row["count"], row["errors"], row["bytes"], row["min"], row["max"], row["sum"])
        for row in days
    } == {
        day: tuple(each[name] for name in ("requests", "errors", "bytes", "min_duration", "max_duration", "sum_duration"))
        for day, each in told["by_day"].items()
    }  # fmt: skip
    members = await fetch(
        settings,
        "SELECT (bucket AT TIME ZONE 'Europe/Berlin')::date::text AS day, members FROM summary_members "
        f"JOIN series USING (shard, series_id) WHERE grain = 'd' AND metric = '{DURATION}' AND dimensions = '{{}}'",
    )
    found: dict[str, BitMap] = {}
    for row in members:
        found[row["day"]] = found.get(row["day"], BitMap()) | BitMap.deserialize(row["members"])
    assert {day: len(each) for day, each in found.items()} == {
        day: each["visitors"] for day, each in told["by_day"].items()
    }
    assert len(BitMap.union(BitMap(), *found.values())) == told["totals"]["visitors"]
    names = await fetch(
        settings,
        "SELECT dimensions[1] AS name, sum(count) AS count FROM daily_metrics WHERE metric = 'events' GROUP BY 1",
    )
    assert {row["name"]: row["count"] for row in names} == told["by_name"]


async def test_the_same_load_again_changes_nothing_and_tells_the_same(settings: Settings) -> None:
    first = await run(LOAD, settings)
    again = await run(LOAD, settings)
    assert (again.result.applied, again.result.duplicate) == (0, 9_000)
    assert again.result.finished_before is not None
    assert again.summary == first.summary
    other = await run(replace(LOAD, seed=8), settings)
    assert other.result.applied == 9_000, "another seed's events are other ones"
    (row,) = await fetch(settings, "SELECT sum(events) AS n FROM outcome_ledger WHERE outcome = 'applied'")
    assert row["n"] == 18_000


async def test_events_are_not_sent_faster_than_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, float]] = []
    send = Shipment.send

    async def watched(shipment: Shipment, group: list[Frame]) -> None:
        sent.append((shipment.published, time.monotonic()))
        await send(shipment, group)

    monkeypatch.setattr(Shipment, "send", watched)
    assert (await run(replace(LOAD, events=60, rate=100), settings)).result.applied == 60
    begin = sent[0][1]
    assert len(sent) > 8
    assert all(at - begin > before / 100 - 0.01 for before, at in sent)


async def test_frames_that_are_ready_come_together_up_to_what_was_asked() -> None:
    output, source = io.BytesIO(), synthetic(batch=100)
    write(source, output)
    reader = asyncio.StreamReader()
    reader.feed_data(output.getvalue())
    frames = Prepared(reader)
    groups = [group async for group in frames.groups(250)]
    assert [frame for group in groups for frame in group] == list(source.frames({}))
    assert max(sum(frame.n for frame in group) for group in groups) == 300
    assert frames.summary["rows"] == 9_000


async def test_a_source_that_is_left_half_way_is_ended() -> None:
    async with prepared(synthetic(events=10**9)) as frames:
        async for group in frames.groups(1):
            assert [frame.n for frame in group] == [5_000]
            break
    # Here we are, although it could have gone on for hours.
    assert not frames.summary


async def test_a_source_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("true"))
    async with prepared(synthetic()) as frames:
        with pytest.raises(ServerError, match="ended from outside"):
            await anext(frames.groups(1))


def test_the_end_is_read_in_whole_seconds_of_utc() -> None:
    now = datetime(2024, 1, 1, 12, 0, 0, 500, tzinfo=timezone(timedelta(hours=2)))
    assert read_until("2023-06-01T02:00:00.7+02:00", now) == datetime(2023, 6, 1, tzinfo=UTC)
    assert read_until("2023-06-01", now) == datetime(2023, 6, 1, tzinfo=UTC)
    assert read_until(None, now.astimezone(UTC)) == datetime(2024, 1, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "told"), [("yesterday", "give a time such as"), ("2024-01-03", "in the future")]
)
def test_an_end_that_is_none_or_lies_ahead_is_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_until(text, datetime(2024, 1, 1, tzinfo=UTC))
