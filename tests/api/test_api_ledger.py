"""The ledger over HTTP: every event of a tenant is accounted for, and everything that producers numbered."""

import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from streamgauge.capture.publisher import Lane
from streamgauge.entry import Announcement, Batch
from streamgauge.frame import freeze
from streamgauge.ranges import Ranges
from streamgauge_workers.delivery import LaneState, ledger
from tests.api.server import Api, open_api
from tests.integration.engine import Plain, event_of

ZONES = {"kolkata": "Asia/Kolkata", "berlin": "Europe/Berlin"}
DAY = 86_400_000_000


@pytest.fixture
async def api(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(redis_url, database_url, tmp_path, ZONES) as opened:
        yield opened


async def entered(api: Api, tenant: str = "berlin", query: str = "") -> Any:
    reply = await api.get(f"ledger{query}", await api.key(tenant, "read"))
    assert reply.status_code == 200, reply.text
    return reply.json()


def generated(seed: int, count: int) -> tuple[list[Plain], dict[str, Counter[tuple[str, str]]]]:
    """Events that end in every way there is, and what is to become of them by tenant."""
    chance = random.Random(seed)
    now = time.time_ns() // 1_000
    kinds: dict[tuple[str, str], dict[str, Any]] = {
        ("applied", ""): {},
        ("rejected", "invalid_value"): {"properties": {"duration": -5}},
        ("rejected", "invalid_text"): {"session": "\0"},
        ("rejected", "invalid_time"): {"at": 7},
        ("rejected", "unknown_tenant"): {"tenant": "nobody"},
        ("dead_lettered", "late"): {"at": now - 30 * DAY},
        ("dead_lettered", "future"): {"at": now + DAY},
    }
    events: list[Plain] = []
    expected: dict[str, Counter[tuple[str, str]]] = {tenant: Counter() for tenant in (*ZONES, "nobody")}
    keys: set[tuple[str, bytes]] = set()
    for _ in range(count):
        outcome = chance.choice(list(kinds))
        event = {
            "name": "http.request", "at": now - chance.randrange(DAY), "tenant": chance.choice(list(ZONES)), "properties": {},
            "shard": 1, **kinds[outcome],
        }  # fmt: skip
        if outcome[0] == "applied" and chance.random() < 0.5:
            # Ids of events are made from their tenant; here of its first letter.
            event["key"] = event["tenant"][:1].encode() * 15 + bytes([chance.randrange(20)])
            if (event["tenant"], event["key"]) in keys:
                outcome = "repeated_key", ""
            keys.add((event["tenant"], event["key"]))
        events.append(event)
        expected[event["tenant"]][outcome] += 1
    return events, expected


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_ledger_accounts_for_every_event_of_the_tenant(api: Api, seed: int) -> None:
    events, expected = generated(seed, 400)
    before = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await api.engine.publish(events, 37)
    await api.engine.drain()
    for tenant in ZONES:
        found = await entered(api, tenant)
        counts = expected[tenant]
        total = found["total"]
        assert total == {
            "processed": sum(counts.values()),
            "applied": counts["applied", ""],
            "repeated_key": counts["repeated_key", ""],
            "rejected": {reason: n for (name, reason), n in sorted(counts.items()) if name == "rejected"},
            "dead_lettered": {reason: n for (name, reason), n in sorted(counts.items()) if name == "dead_lettered"},
            "balanced": True,
        }  # fmt: skip
        assert min(total["repeated_key"], *total["rejected"].values(), *total["dead_lettered"].values()) > 0
        for each in [total, *(hour["outcomes"] for hour in found["hours"])]:
            others = sum(each["rejected"].values()) + sum(each["dead_lettered"].values())
            assert each["processed"] == each["applied"] + each["repeated_key"] + others
        hours = [datetime.fromisoformat(hour["hour"]) for hour in found["hours"]]
        assert all(before <= hour <= datetime.now(UTC) for hour in hours)
        assert sum(hour["outcomes"]["processed"] for hour in found["hours"]) == total["processed"]
        assert found["scope"] == "tenant"
        # The whole installation: both tenants, and the events of none.
        moved = found["transport"]
        assert moved["scope"] == "installation"
        assert moved["announced"] == moved["processed"] == 400
        assert (moved["pending"], moved["lost"], moved["redelivered"], moved["balanced"]) == (0, 0, 0, True)


async def test_an_outcome_that_this_server_does_not_know_is_seen_as_an_imbalance(api: Api) -> None:
    await api.engine.connection.execute(
        "INSERT INTO outcome_ledger SELECT 0, tenant_id, date_trunc('hour', now()), o, '', 5 FROM tenants, "
        "unnest(ARRAY['applied', 'evaporated']) o WHERE name = 'berlin'"
    )
    found = await entered(api)
    assert (found["total"]["processed"], found["total"]["applied"]) == (10, 5)
    assert found["total"]["balanced"] is False
    assert found["hours"][0]["outcomes"]["balanced"] is False
    assert (await entered(api, "kolkata"))["total"]["balanced"] is True


async def test_from_and_to_choose_hours_of_application(api: Api) -> None:
    await api.engine.connection.execute(
        "INSERT INTO outcome_ledger SELECT n % 4, tenant_id, '2026-05-01 00:00+00'::timestamptz + n * interval '1 hour', "
        "'applied', '', 1 + n FROM tenants, generate_series(0, 99) n WHERE name = 'berlin'"
    )
    found = await entered(api, query="?from=2026-05-01T05:00:00Z&to=2026-05-01T10:30:00%2B02:30")
    assert (found["period_start"], found["period_end"]) == ("2026-05-01T05:00:00Z", "2026-05-01T08:00:00Z")
    assert [(hour["hour"], hour["outcomes"]["applied"]) for hour in found["hours"]] == [
        (f"2026-05-01T0{hour}:00:00Z", hour + 1) for hour in (5, 6, 7)
    ]
    assert found["total"]["processed"] == 6 + 7 + 8
    # Unless given, the end is that of the current hour, and the beginning 24 hours before the end.
    found = await entered(api, query="?to=2026-05-03T00:00:00Z")
    assert found["period_start"] == "2026-05-02T00:00:00Z"
    assert len(found["hours"]) == 24
    found = await entered(api)
    assert datetime.fromisoformat(found["period_end"]) > datetime.now(UTC)
    assert found["hours"] == []
    assert (await entered(api, "kolkata", "?to=2026-05-03T00:00:00Z"))["total"]["processed"] == 0


async def test_redelivered_lost_pending_and_dropped_events_are_told(api: Api) -> None:
    now = time.time_ns() // 1_000
    good: Plain = {"name": "http.request", "at": now, "tenant": "berlin", "shard": 1, "properties": {}}
    lanes: dict[int, Lane] = {shard: api.engine.lane(shard) for shard in range(4)}
    ((shard, batch),) = await api.engine.publish([good] * 10, 10, lanes)
    await api.engine.send(shard, batch)
    lane = lanes[1]
    payload = freeze([event_of(good)] * 5)
    # Numbers 10 to 14 never come, 15 to 19 do and are announced; 25 to 29 come before 20 to 24 and the next announcement.
    await api.engine.send(1, Batch(lane.id, lane.born, 0, 15, 5, payload))
    await api.engine.send(
        1, Announcement(lane.id, lane.born, 0, 20, False, {"buffer_full": 3, "sampled_out": 9})
    )
    await api.engine.send(1, Batch(lane.id, lane.born, 0, 25, 5, payload))
    await api.engine.drain()
    await api.engine.connection.execute("INSERT INTO forgotten_lanes VALUES (0, 'x', 1, 9, 7)")
    moved = (await entered(api, "kolkata"))["transport"]
    assert moved.pop("redelivered") >= 10  # a hole has the stream read once more, too
    assert moved == {
        "scope": "installation", "announced": 30, "processed": 20, "pending": 5, "lost": 5, "balanced": True,
        "lost_by_forgotten_lanes": 7, "dropped_before_sending": {"buffer_full": 3, "sampled_out": 9},
    }  # fmt: skip


async def test_transport_is_what_the_workers_ledger_says_of_any_lanes(api: Api) -> None:
    chance = random.Random(5)
    sums = [0, 0, 0, 0]
    for number in range(60):
        done = Ranges()
        for _ in range(chance.randrange(5)):
            first = chance.randrange(60)
            done.add(first, first + chance.randrange(1, 9))
        lane = LaneState(done, chance.randrange(70), False, 1, 1, chance.random() < 0.2)
        await api.engine.connection.execute(
            "INSERT INTO shards (shard, generation, number) SELECT 0, 0, 0 ON CONFLICT DO NOTHING"
        )
        await api.engine.connection.execute(
            'INSERT INTO lanes (shard, lane, done, "end", closed, born, touched, stray, trusted, scanned) '
            "VALUES (0, $1, $2, $3, false, 1, 1, $4, false, 0)",
            number.to_bytes(16, "big"), [asyncpg.Range(*each) for each in lane.done], lane.end, lane.stray,
        )  # fmt: skip
        told = ledger(lane, caught_up=True)
        parts = (told.announced, told.processed, told.pending, told.lost)
        sums = [one + other for one, other in zip(sums, parts, strict=True)]
    moved = (await entered(api))["transport"]
    assert [moved[name] for name in ("announced", "processed", "pending", "lost")] == sums
    assert moved["balanced"] is True
    assert min(sums) > 0
