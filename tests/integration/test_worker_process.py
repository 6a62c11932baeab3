"""Worker processes: they share the shards, take over from each other, stop cleanly, and count exactly whatever happens to them."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from streamgauge.capture.publisher import Publisher
from streamgauge.catalogue import CATALOGUE
from streamgauge.event import Event, Value
from streamgauge.frame import freeze
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge_workers.verify import verify
from tests.integration.program import PATIENCE, Program, fetch, free_port, given

SHARDS = 6  # two for each of three workers
LEASE_SECONDS = 2


class Site:
    """A tenant, its streams and its tables."""

    def __init__(self, redis_url: str, database_url: str, connection: Any, log: Path) -> None:
        self.urls = given(
            redis_url,
            database_url,
            STREAMGAUGE_LEASE_SECONDS=str(LEASE_SECONDS),
            STREAMGAUGE_SHARDS=str(SHARDS),
        )
        self.stream = RedisStream(redis_url, "streamgauge", 0, SHARDS)
        self.publisher = Publisher(self.stream, lambda: time.time_ns() // 1_000_000)
        self.connection = connection
        self.log = log
        self.sent = 0

    async def send(self, frames: int, n: int = 50, tenant: str = "shop") -> None:
        """Publish frames of `n` events each to every shard in turn."""
        for frame in range(frames):
            events = [request(tenant) for _ in range(n)]
            await self.publisher.publish(frame % SHARDS, freeze(events), n)
        self.sent += frames * n

    def worker(self, name: str, port: int = 0, **environment: str) -> Program:
        """A worker process."""
        log = self.log / f"{name}.log"
        return Program("worker", "--port", str(port), log=log, **self.urls, **environment)

    async def processed(self) -> int:
        """Events in the outcome ledger."""
        return int(
            await self.connection.fetchval("SELECT coalesce(sum(events), 0)::bigint FROM outcome_ledger")
        )

    async def counted(self) -> tuple[int, int]:
        """Events in the daily and in the hourly summary of requests, over all of them."""
        query = (
            "SELECT coalesce(sum(count), 0)::bigint FROM {}_summary JOIN series USING (shard, series_id) "
            "WHERE metric = 'http.server.request.duration' AND cardinality(dimensions) = 0"
        )
        daily, hourly = [await self.connection.fetchval(query.format(grain)) for grain in ("daily", "hourly")]
        return int(daily), int(hourly)

    async def until_processed(self, events: int) -> None:
        """Wait until so many events are in the ledger."""
        deadline = time.monotonic() + PATIENCE
        while await self.processed() < events:
            assert time.monotonic() < deadline, f"{await self.processed()} of {events} events after a minute"
            await asyncio.sleep(0.02)

    async def holders(self) -> dict[int, int]:
        """Process number of the live holder of each shard."""
        rows = await self.connection.fetch(
            "SELECT shard, pid FROM leases JOIN workers USING (worker_id) WHERE expires_at > now()"
        )
        return {row["shard"]: row["pid"] for row in rows}

    async def until_held_by(self, *pids: int) -> dict[int, int]:
        """Wait until these processes, all of them, hold all shards."""
        deadline = time.monotonic() + PATIENCE
        while len(held := await self.holders()) <= SHARDS or set(held.values()) != set(pids):
            assert time.monotonic() < deadline, held
            await asyncio.sleep(0.02)
        return held


def request(tenant: str) -> Event:
    at = time.time_ns() // 1_000 - random.randrange(10**9)
    properties: dict[str, Value] = {
        "http.route": f"/r/{random.randrange(5)}",
        "http.response.status_code": 200,
        "duration": 5,
    }
    return Event("http.request", at, tenant, bytes([1]) + random.randbytes(16), properties=properties)


@pytest.fixture
async def site(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A tenant with nothing in it."""
    connection = await asyncpg.connect(database_url)
    tenant = await connection.fetchval("INSERT INTO tenants (name) VALUES ('shop') RETURNING tenant_id")
    await connection.execute(
        "INSERT INTO tenant_time_zones (tenant_id, time_zone) VALUES ($1, 'UTC')", tenant
    )
    made = Site(redis_url, database_url, connection, tmp_path)
    yield made
    await made.stream.aclose()
    await connection.close()


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def exact(site: Site) -> None:
    """Every event that was sent is counted once: in the ledger, in both tables and in the log."""
    assert await site.connection.fetch("SELECT outcome, reason, sum(events) FROM outcome_ledger GROUP BY 1, 2") == [
        ("applied", "", site.sent)
    ]  # fmt: skip
    assert await site.counted() == (site.sent, site.sent)
    assert await site.connection.fetchval("SELECT sum(n) FROM event_log") == site.sent
    # Row by row, sets and histograms included: what one process would have made of the same log.
    found = await verify(site.connection, CATALOGUE, Settings().cardinality_limit)
    assert found.differences == []
    assert found.events == site.sent


async def test_a_worker_applies_what_was_published_and_its_metrics_tell(site: Site) -> None:
    port = free_port()
    await site.send(40)
    await site.send(4, tenant="nobody")
    with site.worker("one", port) as worker:
        await asyncio.to_thread(worker.until_ready, port)
        await site.until_processed(site.sent)
        found = values(fetch(port, "/metrics").text)
        while found["streamgauge_batch_events_sum", ()] < site.sent:
            await asyncio.sleep(0.02)
            found = values(fetch(port, "/metrics").text)
        assert found["streamgauge_events_received_total", ()] == site.sent
        assert found["streamgauge_events_total", (("outcome", "applied"), ("reason", ""))] == 2000
        rejected = (("outcome", "rejected"), ("reason", "unknown_tenant"))
        assert found["streamgauge_events_total", rejected] == 200
        assert found["streamgauge_transaction_seconds_count", ()] >= SHARDS
        assert found["streamgauge_shards_held", ()] == SHARDS + 1  # and the overflow
        assert found["process_resident_memory_bytes", ()] > 0
        shards = [(("shard", str(shard)),) for shard in range(SHARDS)]
        while any(
            found.get((f"streamgauge_lag_{unit}", shard)) != 0
            for unit in ("seconds", "entries")
            for shard in shards
        ):
            await asyncio.sleep(0.02)
            found = values(fetch(port, "/metrics").text)
        assert fetch(port, "/health/live").status == 200
        assert fetch(port, "/elsewhere").status == 404
        assert await asyncio.to_thread(worker.stop) == 0, worker.output
    assert await site.connection.fetchval("SELECT count(*) FROM leases WHERE expires_at > now()") == 0
    assert await site.connection.fetchval("SELECT count(*) FROM workers") == 0


async def test_a_worker_that_is_stopped_in_the_middle_of_a_load_finishes_its_batch_and_the_next_goes_on(
    site: Site,
) -> None:
    await site.send(400)
    with site.worker("one", STREAMGAUGE_BATCH_EVENTS="200") as worker:
        await site.until_processed(1)
        assert await asyncio.to_thread(worker.stop) == 0, worker.output
        assert {line["level"] for line in worker.lines()} == {"info"}, worker.output
        assert worker.lines()[-1]["event"] == "worker stopped"
    processed = await site.processed()
    assert 0 < processed < site.sent
    assert await site.counted() == (processed, processed)
    assert await site.connection.fetchval("SELECT max(attempts) FROM shards") == 0
    with site.worker("two"):
        await site.until_processed(site.sent)
    await exact(site)


async def test_a_second_signal_ends_a_worker_whose_batch_cannot_end(site: Site) -> None:
    await site.send(SHARDS)
    lock = site.connection.transaction()
    await lock.start()
    await site.connection.execute("LOCK TABLE outcome_ledger IN ACCESS EXCLUSIVE MODE")
    with site.worker("one") as worker:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outcome_ledger'::regclass"
        # Nothing tells when another session begins to wait.
        while await site.connection.fetchval(waiting) < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        worker.signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert worker.process.poll() is None, "the first signal waits for the batch"
        worker.signal(signal.SIGTERM)
        await asyncio.to_thread(worker.ended)
    await lock.rollback()
    assert await site.processed() == 0
    with site.worker("two"):
        await site.until_processed(site.sent)
    await exact(site)


async def test_when_a_worker_is_killed_another_takes_over_within_the_lease_and_every_event_counts_once(
    site: Site,
) -> None:
    await site.send(400)
    with site.worker("one", STREAMGAUGE_BATCH_EVENTS="500") as first:
        await site.until_processed(1)
        with site.worker("two", STREAMGAUGE_BATCH_EVENTS="500") as second:
            await site.until_held_by(first.process.pid, second.process.pid)
            await site.send(200)
            first.process.kill()
            killed = await site.connection.fetchval("SELECT clock_timestamp()")
            await site.until_held_by(second.process.pid)
            taken = await site.connection.fetchval("SELECT clock_timestamp()")
            await site.until_processed(site.sent)
    assert (taken - killed).total_seconds() <= LEASE_SECONDS + 2
    await exact(site)


async def test_three_workers_share_the_shards_and_every_event_counts_once(site: Site) -> None:
    with ExitStack() as stack:
        workers = [
            stack.enter_context(site.worker(name, STREAMGAUGE_BATCH_EVENTS="500"))
            for name in ("one", "two", "three")
        ]
        pids = [worker.process.pid for worker in workers]
        assert len(set(pids)) == 3
        held = await site.until_held_by(*pids)
        while sorted(list(held.values()).count(pid) for pid in pids) != [2, 2, 3]:  # the overflow is one more
            await asyncio.sleep(0.05)
            held = await site.holders()
        await site.send(300)
        await site.until_processed(site.sent)
        for worker in workers:
            taken = [line["shard"] for line in worker.lines() if line["event"] == "shard taken"]
            assert taken, worker.output
    await exact(site)


async def test_a_worker_whose_redis_hangs_is_live_and_not_ready_and_recovers(
    site: Site, redis_url: str
) -> None:
    port = free_port()
    with site.worker("one", port) as worker, redis.Redis.from_url(redis_url) as admin:
        await asyncio.to_thread(worker.until_ready, port)
        admin.client_pause(4_500, all=True)
        reply = await asyncio.to_thread(fetch, port, "/health/ready")
        assert reply.status == 503
        assert "redis" in reply.json()["missing"]
        assert fetch(port, "/health/live").status == 200
        await asyncio.to_thread(worker.until_ready, port)
        await site.send(8)
        await site.until_processed(site.sent)
    await exact(site)


async def test_no_password_and_no_pseudonym_gets_into_the_log_of_a_run(site: Site, database_url: str) -> None:
    actor = bytes([1]) + bytes(range(100, 116))
    event = Event("http.request", time.time_ns() // 1_000, "shop", actor, properties={"duration": 7})
    secret = database_url.replace("postgresql://owner@", "postgresql://owner:hunter2@")
    assert "hunter2" in secret
    # PostgreSQL now refuses the rows, and quotes them in what it says.
    await site.connection.execute("ALTER TABLE actors ADD CONSTRAINT refused CHECK (actor_id < 0)")
    await site.publisher.publish(0, freeze([event]), 1)
    site.urls["STREAMGAUGE_DATABASE_URL"] = secret
    with site.worker("one", STREAMGAUGE_LOG_LEVEL="debug") as worker:
        await asyncio.to_thread(worker.until, lambda: "shard read again" in worker.output, "it failed")
        await asyncio.to_thread(worker.stop)
        output = worker.output
    assert "refused" in output, "the log says what happened"
    assert all({"time", "level", "logger", "event"} <= line.keys() for line in worker.lines())
    for secret_text in ("hunter2", actor.hex(), actor[1:].hex(), repr(actor), "Failing row"):
        assert secret_text not in output
