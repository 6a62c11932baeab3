"""Upgrades and ways back: migrations under load, producers and workers of two versions side by side, an older program over a newer schema."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

import httpx2 as httpx
import pytest

from streamgauge.database import Connection, open_connection
from streamgauge.errors import SchemaError, ServerError
from streamgauge.frame import VERSION, freeze
from streamgauge.read.server import create_app
from streamgauge.settings import Settings
from streamgauge_migrations import apply, check, migrate, versions
from streamgauge_migrations.apply import Migration

from .engine import Engine, event_of, generate, open_engine

TOMORROW = """-- What a later version adds.
-- additive
ALTER TABLE hourly_summary ADD tomorrow int NOT NULL DEFAULT 0;
ALTER TABLE event_log ADD tomorrow int;
CREATE INDEX hourly_summary_tomorrow ON hourly_summary (tenant_id, bucket);
CREATE TABLE tomorrow (shard smallint PRIMARY KEY);
"""


SHIPPED = versions()


async def as_shipped(connection: Connection) -> None:
    """What today's server asks; tomorrow's migrations are made known to this process too, by those who migrate."""
    if apply.compare(await apply.applied(connection), SHIPPED):
        raise SchemaError("the database is behind")


def later(sql: str = TOMORROW) -> list[Migration]:
    """What the next version ships."""
    return [*SHIPPED, Migration("9999_tomorrow", sql, hashlib.sha256(sql.encode()).hexdigest())]


@asynccontextmanager
async def polled(engine: Engine) -> AsyncIterator[list[int]]:
    """A server that is asked all the time; gives the statuses of its answers."""
    app = create_app(Settings(redis_url=engine.redis_url, database_url=engine.database_url), as_shipped)
    statuses: list[int] = []
    ending = asyncio.Event()

    async def poll(client: httpx.AsyncClient) -> None:
        while not ending.is_set():
            statuses.append((await client.get("/health/ready")).status_code)
            await asyncio.sleep(0.005)

    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://streamgauge") as client:
            polling = asyncio.create_task(poll(client))
            try:
                yield statuses
            finally:
                ending.set()
                await polling


async def test_a_migration_under_load_keeps_nobody_out_and_everything_is_counted(
    redis_url: str, database_url: str
) -> None:
    """A reader holds a table for a while: the migration lets others pass until it is gone."""
    events = generate(31, 600)
    async with open_engine(redis_url, database_url) as engine, polled(engine) as statuses:
        async with engine.working(2):
            await engine.publish(events[:100], 10)
            await engine.drained()
            reader = await open_connection(database_url)
            with patch.object(apply, "versions", later), patch.object(apply, "PAUSE", 0.05):
                async with reader.transaction():
                    await reader.fetch("SELECT * FROM hourly_summary LIMIT 1")
                    migrating = asyncio.create_task(migrate(database_url))
                    for first in range(100, 600, 100):
                        await engine.publish(events[first : first + 100], 10)
                        # Would wait for the reader if the migration stood in the queue between the two.
                        await engine.drained()
                    assert not migrating.done()
                assert await asyncio.wait_for(migrating, 30) == ["9999_tomorrow"]
            await reader.close()
            more = generate(32, 100)
            await engine.publish(more, 10)
            await engine.drained()
        await engine.check(events + more)
    assert set(statuses) == {200}


async def test_a_migration_that_cannot_have_its_locks_says_who_has_them(database_url: str) -> None:
    reader = await open_connection(database_url, application_name="a long report")
    async with reader.transaction():
        await reader.fetch("SELECT * FROM hourly_summary LIMIT 1")
        await asyncio.sleep(1.1)
        began = time.monotonic()
        with (
            patch.object(apply, "versions", later),
            patch.object(apply, "PAUSE", 0.01),
            patch.object(apply, "MOST_TRIES", 3),
            pytest.raises(
                ServerError, match=r"held a lock.*nothing was changed.*a long report \(process \d+"
            ),
        ):
            await migrate(database_url)
        assert time.monotonic() - began > 0.4, "it was not tried three times"
    await reader.close()
    await check(database_url)


async def test_the_program_before_an_additive_migration_works_over_it_and_is_served(
    redis_url: str, database_url: str
) -> None:
    with patch.object(apply, "versions", later):
        await migrate(database_url)
        await check(database_url)
    # The way back: today's program over tomorrow's schema.
    await check(database_url)
    assert await migrate(database_url) == []
    events = generate(33, 150)
    async with open_engine(redis_url, database_url) as engine, polled(engine) as statuses:
        await engine.publish(events, 10)
        await engine.drain()
        await engine.check(events)
    assert set(statuses) == {200}
    with patch.object(apply, "versions", later):
        assert await migrate(database_url) == []


async def test_the_program_before_any_other_migration_refuses_the_database(database_url: str) -> None:
    # The mark counts in the comment at the file's head alone.
    changed = "ALTER TABLE hourly_summary RENAME count TO events;\n-- additive\n"
    with patch.object(apply, "versions", lambda: later(changed)):
        await migrate(database_url)
    for act in (check, migrate):
        with pytest.raises(
            SchemaError, match=r"at migration 9999_tomorrow, which this program does not know"
        ):
            await act(database_url)


async def test_a_database_of_before_the_mark_is_read_and_gets_it_with_the_next_migration(
    database_url: str,
) -> None:
    connection = await open_connection(database_url)
    await connection.execute("ALTER TABLE schema_migrations DROP additive")
    await check(database_url)
    with patch.object(apply, "versions", later):
        await migrate(database_url)
    marked = await connection.fetch("SELECT version FROM schema_migrations WHERE additive AND version > '9'")
    await connection.close()
    assert [row["version"] for row in marked] == ["9999_tomorrow"]
    await check(database_url)


async def test_a_newer_producer_stops_its_shard_alone_until_a_newer_worker_reads_on(
    redis_url: str, database_url: str
) -> None:
    """Nothing is lost or dead-lettered meanwhile; the newer worker reads older frames as well."""
    events = generate(34, 200)
    first = [event for event in events if event["shard"] == 1]
    assert len(first) > 30
    newer = bytes([VERSION + 1])
    async with open_engine(redis_url, database_url) as engine:
        lane = engine.lane(1)
        for place, event in enumerate(first):
            payload = freeze([event_of(event)])
            batch = lane.freeze(newer + payload[1:] if place >= 10 else payload, 1)
            lane.settle(batch)
            await engine.send(1, batch)
        await engine.send(1, lane.announcement(closed=False))
        await engine.publish([event for event in events if event["shard"] != 1], 20)
        async with engine.working():
            await engine.drained({0, 2, 3})
            await asyncio.sleep(0.2)  # many looks
        counted = await engine.outcomes()
        assert set(counted) <= {("applied", "")}, counted
        assert counted["applied", ""] <= len(events) - len(first) + 10
        with patch("streamgauge.table.VERSION", VERSION + 1):
            await engine.drain()
            await engine.check(events)
