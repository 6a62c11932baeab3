"""One tenant floods: what is above its quota waits in the overflow, behind everybody else's, and every event counts exactly once."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from streamgauge.access import Caller
from streamgauge.capture.quota import BURST_SECONDS
from streamgauge.entry import Batch, EntryId
from streamgauge.event import Event
from streamgauge.frame import VERSION as FRAME_VERSION
from streamgauge.frame import freeze
from streamgauge.ingest.intake import Intake
from streamgauge.ingest.items import Item
from streamgauge.settings import Settings
from streamgauge.sharding import overflow_of
from streamgauge.table import thaw
from streamgauge_workers.pacing import EVERY, SMALL
from streamgauge_workers.shard_worker import ShardWorker

from .engine import PATIENCE, Engine, open_engine
from .test_gauge import LESSON, open_gauge

QUOTA = 100  # events a second
ZONES = {"flood": "Asia/Kolkata", "quiet": "America/New_York"}
OVERFLOW = overflow_of(4)


@pytest.fixture
async def engine(redis_url: str, database_url: str) -> AsyncIterator[Engine]:
    """Two tenants, and nothing sent yet."""
    async with open_engine(redis_url, database_url, ZONES) as opened:
        yield opened


async def held_by(engine: Engine, number: int) -> Counter[str]:
    """Events in a stream, by tenant."""
    found: Counter[str] = Counter()
    reader = await engine.stream.open_reader(number)
    reading = await reader.read(EntryId(0, 0), 10_000, 1)
    await reader.aclose()
    for _, record in reading.entries:
        if isinstance(record, Batch):
            table = thaw(record.payload)
            found.update(table.event(row).tenant for row in range(table.n))
    return found


@pytest.mark.parametrize("mode", ["memory", "durable"])
async def test_a_flood_above_its_quota_waits_in_the_overflow_and_everything_counts_once(
    engine: Engine, redis_url: str, tmp_path: Path, mode: str
) -> None:
    """Each key comes once early, within the quota, and once late: its two events go through different streams."""
    flood, quiet, keys = 50 * 40, 40, 200
    gauge = open_gauge(redis_url, tmp_path, capture_mode=mode, tenant_events_per_second=QUOTA)
    for number in range(flood):
        key = f"key {number % keys}" if number < keys or number >= flood - keys else None
        assert gauge.track(
            LESSON.name, actor=f"user {number % 50}", tenant="flood", idempotency_key=key, percent=number
        )
        if number % 50 == 0:
            assert gauge.track(LESSON.name, actor=f"user {number}", tenant="quiet", percent=number)
    assert await asyncio.to_thread(gauge.close, 20.0)
    assert gauge.status()["dropped"] == {}
    streams = [await held_by(engine, number) for number in range(4)]
    above = await held_by(engine, OVERFLOW)
    assert set(above) == {"flood"}
    within = sum(streams, Counter[str]())
    assert within["quiet"] == quiet
    assert within["flood"] + above["flood"] == flood
    # A little more when this machine was slow: a quota is of so many a second.
    assert QUOTA * BURST_SECONDS <= within["flood"] < flood - keys
    assert await engine.stream.last_id(OVERFLOW) is not None
    async with engine.working(2):
        await engine.drained(range(5))
        await engine.until("SELECT sum(events) = $1 FROM outcome_ledger", flood + quiet)
    assert await engine.outcomes() == {
        ("applied", ""): flood + quiet - keys,
        ("repeated_key", ""): keys,
    }
    assert (await engine.transport()).lost == 0
    assert (await engine.verified()).differences == []
    overflowed = await engine.connection.fetchval(
        "SELECT sum(events)::int FROM outcome_ledger JOIN shards USING (shard) WHERE overflow"
    )
    assert overflowed == above["flood"]


async def test_events_over_http_above_their_tenants_quota_wait_in_the_overflow_too(
    engine: Engine, redis_url: str, tmp_path: Path
) -> None:
    intake = Intake(Settings(redis_url=redis_url, data_dir=tmp_path, tenant_events_per_second=2))
    now = time.time_ns() // 1_000
    items = [Item(LESSON.name, now, {}, (), f"session {number}", None, None) for number in range(30)]
    async with intake.running():
        for tenant, count in (("flood", 30), ("quiet", 3)):
            caller = Caller("a key", tenant, 1, "writer", frozenset({"write"}))
            assert len(set(await intake.take(caller, items[:count]))) == count
    within = sum([await held_by(engine, number) for number in range(4)], Counter[str]())
    assert within == {"flood": 2 * BURST_SECONDS, "quiet": 3}
    assert await held_by(engine, OVERFLOW) == {"flood": 30 - 2 * BURST_SECONDS}
    await engine.drain()
    assert (await engine.transport()).lost == 0


@dataclass
class Commit:
    """A transaction of a shard's worker."""

    at: float
    overflow: bool
    events: int


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[Commit]:
    """Every transaction from now on."""
    found: list[Commit] = []
    succeeded: Callable[..., None] = ShardWorker._succeeded

    def noted(self: ShardWorker, applied: Any, seconds: float) -> None:
        found.append(Commit(time.monotonic(), self.overflow, applied.events))
        succeeded(self, applied, seconds)

    monkeypatch.setattr(ShardWorker, "_succeeded", noted)
    return found


def frames(tenant: str, count: int, size: int) -> list[tuple[bytes, int]]:
    now = time.time_ns() // 1_000
    return [
        (
            freeze(
                [
                    Event("lesson.read", now - number, tenant, b"\x01" + bytes([number % 50]) * 16)
                    for number in range(size)
                ]
            ),
            size,
        )
        for _ in range(count)
    ]


async def fill(engine: Engine, number: int, tenant: str, count: int, size: int) -> int:
    """Put frames into a stream; how many events that were."""
    lane = engine.lane(number)
    batches = [lane.freeze(*frame) for frame in frames(tenant, count, size)]
    for batch in batches:
        lane.settle(batch)
    await engine.send(number, *batches, lane.announcement(closed=True))
    return count * size


async def test_the_overflow_gets_a_small_transaction_a_second_while_others_are_behind_and_all_of_it_when_they_are_not(
    engine: Engine, commits: list[Commit]
) -> None:
    engine.settings = replace(engine.settings, batch_events=5_000)
    sent = await fill(engine, OVERFLOW, "flood", 40, 500)
    sent += sum([await fill(engine, shard, "quiet", 60, 500) for shard in range(4)])
    async with engine.working():
        await engine.drained(range(5))
    batches = [each for each in commits if each.events]
    assert sum(each.events for each in batches) == sent
    done = max(place for place, each in enumerate(batches) if not each.overflow)
    early = [each for each in batches[:done] if each.overflow]
    assert all(each.events <= SMALL for each in early)
    # The first may come before anybody has said that it is behind.
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(early[1:])]
    assert all(gap >= EVERY * 0.9 for gap in gaps)
    assert max(each.events for each in batches[done:]) == 5_000
    assert (await engine.verified()).differences == []


async def test_a_regular_shard_that_stands_still_does_not_keep_the_overflow_waiting(
    engine: Engine, commits: list[Commit]
) -> None:
    """It holds frames of a newer version, more than one transaction takes: no work that others have to wait behind."""
    engine.settings = replace(engine.settings, batch_events=1_000)
    lane = engine.lane(0)
    newer = [
        lane.freeze(bytes([FRAME_VERSION + 1]) + payload[1:], n) for payload, n in frames("quiet", 3, 1_000)
    ]
    await engine.send(0, *newer)
    sent = await fill(engine, OVERFLOW, "flood", 6, 500)
    async with engine.working() as (worker,):
        await engine.drained([OVERFLOW])
        deadline = time.monotonic() + PATIENCE
        while worker.pacing.pause() > 0 or worker.pacing._behind:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)
    assert sum(each.events for each in commits if each.overflow) == sent
    assert not any(each.events for each in commits if not each.overflow)
