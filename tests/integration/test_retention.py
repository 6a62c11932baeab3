"""The event log leaves PostgreSQL for the archive: nothing is lost on the way, and everything can still be proved."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import orjson
import pytest
import zstandard

from streamgauge.database import Connection, open_connection, open_pool
from streamgauge.errors import ArchiveError
from streamgauge.failpoints import VARIABLE
from streamgauge_workers import partitions
from streamgauge_workers.erasure import Erasure
from streamgauge_workers.rebuild import rebuild
from streamgauge_workers.retention.archive import SQL, Archive
from streamgauge_workers.retention.archive_file import entries_of
from streamgauge_workers.retention.archiving import Archivist
from streamgauge_workers.retention.policy import LogDay
from streamgauge_workers.retention.retention import Retention, days
from streamgauge_workers.verify import Verification, verify

from .engine import Engine, Plain, generate, open_engine

OLD = 40  # days: beyond the log's retention


@pytest.fixture
async def engine(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(redis_url, database_url, archive_dir=tmp_path / "archive") as opened:
        yield opened


async def age(connection: Connection, by: int) -> date:
    """Let everything in the log have been applied some days earlier; returns the day."""
    today = await connection.fetchval("SELECT current_date")
    day: date = today - timedelta(days=by)
    bounds = f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
    await partitions.attach(connection, "event_log", LogDay(day, 0).partition, bounds)
    shift = f"interval '{by} days'"
    await connection.execute(
        f"UPDATE event_log SET applied_day = '{day}', applied_at = applied_at - {shift} WHERE applied_day = '{today}'"
    )
    await connection.execute(
        "WITH gone AS (DELETE FROM outcome_ledger WHERE hour > now() - interval '2 days' RETURNING *)"
        f"INSERT INTO outcome_ledger SELECT shard, tenant_id, hour - {shift}, outcome, reason, events FROM gone "
        "ON CONFLICT (shard, tenant_id, hour, outcome, reason) DO UPDATE SET events = outcome_ledger.events + excluded.events"
    )
    return day


async def turn(engine: Engine) -> list[date]:
    pool = await open_pool(engine.database_url, 2)
    try:
        return await Retention(pool, engine.settings, engine.catalogue, asyncio.Event()).turn()
    finally:
        await pool.close()


async def verified(engine: Engine) -> Verification:
    return await verify(
        engine.connection,
        engine.catalogue,
        engine.settings.cardinality_limit,
        archives=engine.settings.archive_dir,
    )


async def archives(engine: Engine) -> list[Archive]:
    return [Archive.of_row(row) for row in await engine.connection.fetch(SQL["archives"])]


async def archived(engine: Engine, seed: int = 1, count: int = 400) -> tuple[list[Plain], date]:
    """Events that were archived and whose day was dropped."""
    events = generate(seed, count)
    await engine.publish(events)
    await engine.drain()
    day = await age(engine.connection, OLD)
    assert await turn(engine) == [day]
    return events, day


async def test_an_old_day_is_archived_and_dropped_and_everything_still_adds_up(engine: Engine) -> None:
    events, day = await archived(engine)
    assert day not in [each.day for each in await days(engine.connection)]
    assert await engine.connection.fetchval("SELECT count(*) FROM event_log") == 0
    result = await verified(engine)
    assert result.differences == []
    assert result.days == {"archive": [day]}
    assert result.events == len(events)
    more = generate(2, 200)
    await engine.publish(more)
    await engine.drain()
    result = await verified(engine)
    assert result.differences == []
    assert (result.events, set(result.days)) == (600, {"archive", "log"})
    assert await engine.rows() == await engine.expected([*events, *more])


async def test_without_its_files_a_day_is_checked_by_its_seal(engine: Engine) -> None:
    events, day = await archived(engine)
    more = generate(2, 200)
    await engine.publish(more)
    await engine.drain()
    for archive in await archives(engine):
        (engine.settings.archive_dir / archive.file).unlink()
    result = await verified(engine)
    assert result.differences == []
    assert result.days["seal"] == [day]
    assert set(result.archives.values()) == {"is not there"}
    assert result.events == len(events) + len(more)
    await engine.connection.execute(
        "UPDATE daily_summary SET count = count + 1 WHERE ctid = (SELECT ctid FROM daily_summary LIMIT 1)"
    )
    assert {each.table for each in (await verified(engine)).tables if each.differences} == {"daily_summary"}


async def test_any_program_counts_an_archive(engine: Engine) -> None:
    events, _ = await archived(engine)
    files = str(engine.settings.archive_dir / "*.parquet")
    found = asked(f"SELECT tenant, name, count(*) FROM '{files}' WHERE outcome = 'applied' GROUP BY ALL")
    want: dict[tuple[str, str], int] = {}
    for event in events:
        want[event["tenant"], event["name"]] = want.get((event["tenant"], event["name"]), 0) + 1
    assert {(tenant, name): count for tenant, name, count in found} == want
    slow = asked(f"SELECT count(*) FROM '{files}' WHERE (properties->>'$.duration')::BIGINT > 100000")
    assert slow == [(sum(event["properties"].get("duration", 0) > 100_000 for event in events),)]


async def test_a_damaged_archive_is_named_and_its_seal_stands_in(engine: Engine) -> None:
    await archived(engine, count=400)
    damaged = (await archives(engine))[1]
    path = engine.settings.archive_dir / damaged.file
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(bytes(changed))
    result = await verified(engine)
    assert result.differences == [f"archive {damaged.file} is damaged: it is not what was written"]
    assert result.archives == {damaged.file: "is damaged: it is not what was written"}
    aside = await open_connection(engine.database_url)
    try:
        with pytest.raises(ArchiveError, match=damaged.file):
            await rebuild(
                engine.connection,
                aside,
                [],
                engine.settings.cardinality_limit,
                engine.catalogue,
                archives=engine.settings.archive_dir,
            )
    finally:
        await aside.close()


async def test_a_changed_seal_is_found(engine: Engine) -> None:
    await archived(engine, count=400)
    for archive in await archives(engine):
        (engine.settings.archive_dir / archive.file).unlink()
    await engine.connection.execute(
        "UPDATE archives SET counts = jsonb_set(counts, '{0,3}', '9999') WHERE shard = 2"
    )
    said = (await verified(engine)).differences
    assert any("shard2" in each and "seal does not match" in each for each in said)


async def test_summaries_are_filled_from_the_archive(engine: Engine) -> None:
    events, _ = await archived(engine, count=300)
    more = generate(5, 300)
    await engine.publish(more)
    await engine.drain()
    await engine.connection.execute("DELETE FROM hourly_summary; DELETE FROM summary_members")
    aside = await open_connection(engine.database_url)
    try:
        await rebuild(
            engine.connection,
            aside,
            [],
            engine.settings.cardinality_limit,
            engine.catalogue,
            archives=engine.settings.archive_dir,
        )
    finally:
        await aside.close()
    assert await engine.rows() == await engine.expected([*events, *more])
    assert (await verified(engine)).differences == []


PLACES = ["archive.recorded", "archive.detached"]
if os.environ.get("STREAMGAUGE_TESTS_FULL"):
    PLACES += ["archive.written", "archive.dropped"]


@pytest.mark.parametrize("place", PLACES)
async def test_killed_at_any_step_archiving_goes_on_where_it_ended(engine: Engine, place: str) -> None:
    events = generate(3, 400)
    await engine.publish(events)
    await engine.drain()
    day = await age(engine.connection, OLD)
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TURN, engine.database_url, str(engine.settings.archive_dir),
        env={**os.environ, VARIABLE: f"{place}=kill@1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert await asyncio.wait_for(killed.wait(), 40) == -signal.SIGKILL
    # PostgreSQL needs a moment to notice.
    await engine.until(
        "SELECT NOT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
        "WHERE l.locktype = 'advisory' AND d.datname = current_database())"
    )
    assert (await verified(engine)).differences == []
    await turn(engine)
    assert day not in [each.day for each in await days(engine.connection)]
    result = await verified(engine)
    assert result.differences == []
    assert (result.events, set(result.days)) == (len(events), {"archive"})
    kept = {archive.file for archive in await archives(engine)}
    assert {path.name for path in engine.settings.archive_dir.iterdir()} == kept


TURN = """
import asyncio, sys
from streamgauge.catalogue import CATALOGUE
from streamgauge.database import open_pool
from streamgauge.settings import Settings
from streamgauge_workers.retention.retention import Retention

async def main():
    pool = await open_pool(sys.argv[1], 2)
    settings = Settings.from_environ({"STREAMGAUGE_ARCHIVE_DIR": sys.argv[2]})
    await Retention(pool, settings, CATALOGUE, asyncio.Event()).turn()

asyncio.run(main())
"""


async def test_what_changed_since_it_was_written_is_written_again(engine: Engine) -> None:
    await engine.publish(generate(3, 400))
    await engine.drain()
    day = await age(engine.connection, OLD)
    with patch.object(Archivist, "_drop", side_effect=OSError("the disk is gone")):
        with pytest.raises(OSError, match="disk"):
            await turn(engine)
        assert {archive.state for archive in await archives(engine)} == {"written"}
        await engine.publish(generate(4, 100))
        await engine.drain()
        assert await age(engine.connection, OLD) == day
    assert (await verified(engine)).days == {"log": [day]}
    assert await turn(engine) == [day]
    result = await verified(engine)
    assert result.differences == []
    assert sum(archive.events for archive in await archives(engine)) == result.events == 500


async def test_a_day_in_use_stays_until_it_is_not_and_nobody_waits_for_it(engine: Engine) -> None:
    await engine.publish(generate(3, 200))
    await engine.drain()
    day = await age(engine.connection, OLD)
    reader = await open_connection(engine.database_url)
    try:
        async with reader.transaction():
            await reader.fetchval("SELECT count(*) FROM event_log")
            with patch("streamgauge_workers.retention.archiving.TRIES", 1):
                assert await turn(engine) == []
            more = generate(4, 100)
            await engine.publish(more)
            await engine.drain()
            assert await reader.fetchval("SELECT count(*) FROM event_log WHERE applied_day = $1", day) > 0
        assert await turn(engine) == [day]
    finally:
        await reader.close()
    result = await verified(engine)
    assert (result.differences, result.events) == ([], 300)


async def test_entries_of_a_day_that_was_archived_before_are_another_part_of_it(engine: Engine) -> None:
    _, day = await archived(engine, count=300)
    await engine.publish(generate(6, 200))
    await engine.drain()
    assert await age(engine.connection, OLD) == day
    assert set((await verified(engine)).days) == {"log", "archive"}
    assert await turn(engine) == [day]
    result = await verified(engine)
    assert (result.differences, result.events, result.days) == ([], 500, {"archive": [day]})
    assert {archive.part for archive in await archives(engine)} == {0, 1}


async def test_a_log_with_too_many_bytes_loses_its_oldest_days_but_never_yesterday(engine: Engine) -> None:
    ages = (5, 3, 1)
    for seed, by in enumerate(ages):
        await engine.publish(generate(seed, 200))
        await engine.drain()
        await age(engine.connection, by)
    # Less than any setting may say.
    object.__setattr__(engine.settings, "log_max_bytes", 1)
    today = await engine.connection.fetchval("SELECT current_date")
    assert await turn(engine) == [today - timedelta(days=5), today - timedelta(days=3)]
    result = await verified(engine)
    assert (result.differences, result.events) == ([], 600)
    assert today - timedelta(days=1) in result.days["log"]


async def test_without_a_partition_for_today_no_event_is_refused(engine: Engine) -> None:
    async with engine.working():
        await engine.publish(generate(1, 100))
        await engine.drained()
        for day in await days(engine.connection):
            await engine.connection.execute(
                f"ALTER TABLE event_log DETACH PARTITION {day.partition}; ALTER TABLE {day.partition} RENAME TO lost_{day.day:%Y%m%d}"
            )
        await engine.publish(generate(2, 100))
        await engine.drained()
    assert await engine.connection.fetchval("SELECT sum(n) FROM event_log") == 100
    assert (await engine.outcomes())["applied", ""] == 200


async def test_a_tenants_own_retention_takes_its_events_out_and_leaves_its_figures(engine: Engine) -> None:
    events, day = await archived(engine, count=300)
    before = await engine.rows()
    await engine.connection.execute("UPDATE tenants SET retention_days = 35 WHERE name = 'delhi'")
    await turn(engine)
    files = str(engine.settings.archive_dir / "*.parquet")
    held = dict(asked(f"SELECT tenant, count(*) FROM '{files}' GROUP BY ALL"))
    gone = sum(event["tenant"] == "delhi" for event in events)
    assert held == {
        "": gone,
        **{name: sum(event["tenant"] == name for event in events) for name in ("york", "chatham")},
    }
    assert all(b"delhi" not in frame for frame in frames(engine))
    result = await verified(engine)
    assert result.differences == []
    assert result.days == {"archive": [day], "archive and seal": [day]}
    assert await engine.rows() == before
    await engine.connection.execute("UPDATE hourly_summary SET count = count + 1")
    assert any("tenant delhi" in difference for difference in (await verified(engine)).differences)


async def test_events_whose_tenants_retention_is_over_are_not_archived_at_all(engine: Engine) -> None:
    await engine.connection.execute("UPDATE tenants SET retention_days = 3 WHERE name = 'delhi'")
    await archived(engine, count=300)
    assert all(b"delhi" not in frame for frame in frames(engine))
    assert (await verified(engine)).differences == []
    for archive in await archives(engine):
        (engine.settings.archive_dir / archive.file).unlink()
    assert (await verified(engine)).differences == []


@pytest.mark.parametrize("lost", [False, True])
async def test_a_tenants_deletion_reaches_the_archive(engine: Engine, lost: bool) -> None:
    events, _ = await archived(engine, count=400)
    processed = sum((await engine.outcomes()).values())
    files = sorted(archive.file for archive in await archives(engine))
    away = engine.settings.archive_dir.with_name("away")
    if lost:
        engine.settings.archive_dir.rename(away)
    content = await deleted(engine, "delhi")
    result = await verified(engine)
    assert result.differences == []
    assert sum((await engine.outcomes()).values()) == processed
    left = [archive.seal for archive in await archives(engine)]
    assert {name.tenant_id for seal in left for name in seal.rows} == {2, 3}
    if lost:
        assert sorted(content["left"]["archives"]) == [f"{file} is not there" for file in files]
        return
    assert sorted(content["archives"]) == files
    assert content["event_log"]["events"] == sum(event["tenant"] == "delhi" for event in events)
    assert {path.name for path in engine.settings.archive_dir.iterdir()} == {
        archive.file for archive in await archives(engine)
    }
    assert not set(files) & {path.name for path in engine.settings.archive_dir.iterdir()}
    assert all(b"delhi" not in frame for frame in frames(engine))


async def deleted(engine: Engine, tenant: str) -> dict[str, Any]:
    """Delete a tenant; returns its receipt's content."""
    await engine.connection.execute("UPDATE tenants SET status = 'deleting' WHERE name = $1", tenant)
    await engine.connection.execute(
        "INSERT INTO deletion_receipts (tenant, requested_by, requested_at) VALUES ($1, 'test', now() - interval '1 hour')", tenant,
    )  # fmt: skip
    pool = await open_pool(engine.database_url, 2)
    try:
        with patch("streamgauge_workers.erasure.PAUSE", 0):
            assert await Erasure(pool, engine.settings, asyncio.Event()).turn() == 1
    finally:
        await pool.close()
    content: dict[str, Any] = orjson.loads(
        await engine.connection.fetchval("SELECT content FROM deletion_receipts")
    )
    return content


def asked(question: str) -> list[Any]:
    """What DuckDB says, as anybody may ask it."""
    with duckdb.connect() as connection:
        return connection.execute(question).fetchall()


def frames(engine: Engine) -> Iterator[bytes]:
    """Every frame in the archive, unpacked."""
    for path in engine.settings.archive_dir.iterdir():
        for page in entries_of(path):
            for row in page:
                yield zstandard.ZstdDecompressor().decompress(row["payload"])


async def command(engine: Engine, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `streamgauge archive`."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streamgauge_cli.main", "archive", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "STREAMGAUGE_REDIS_URL": engine.redis_url,
            "STREAMGAUGE_DATABASE_URL": engine.database_url, "STREAMGAUGE_ARCHIVE_DIR": str(engine.settings.archive_dir),
        },
    )  # fmt: skip
    said, _ = await asyncio.wait_for(running.communicate(), 40)
    return running.returncode or 0, said.decode()


async def test_the_command_archives_lists_and_checks(engine: Engine) -> None:
    await engine.publish(generate(3, 200))
    await engine.drain()
    day = await age(engine.connection, OLD)
    code, said = await command(engine, "run")
    assert (code, f"{day} was archived" in said) == (0, True), said
    code, said = await command(engine, "list")
    assert (code, "4 files, 200 events" in said) == (0, True), said
    assert (await command(engine, "check"))[0] == 0
    (lost,) = [archive.file for archive in await archives(engine) if archive.shard == 1]
    (engine.settings.archive_dir / lost).unlink()
    code, said = await command(engine, "check")
    assert (code, f"{lost} is not there" in said) == (1, True), said
