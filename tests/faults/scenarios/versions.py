"""A new version arrives while events do: migration under load, two versions side by side, and the way back."""

import asyncio
import math
import os
import shutil
from pathlib import Path

from streamgauge.database import open_connection
from tests.faults.answers import asked_all_the_time
from tests.faults.arena import Arena, Row
from tests.faults.ground import ROOT
from tests.faults.scenarios.scenario import scenario

TOMORROW = """-- What a later version adds.
-- additive
ALTER TABLE hourly_summary ADD tomorrow int NOT NULL DEFAULT 0;
ALTER TABLE event_log ADD tomorrow int;
CREATE INDEX hourly_summary_tomorrow ON hourly_summary (tenant_id, bucket);
"""
LOCK_SECONDS = 2.0  # that a migration may keep a worker waiting at a time
_LONGEST_WAIT = """
SELECT coalesce(extract(epoch FROM max(clock_timestamp() - waitstart)), 0)::float
FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND application_name LIKE 'streamgauge worker%'"""


@scenario(
    "F23", "a migration under load while a reader holds its table; workers of two versions; the way back"
)
async def f23(arena: Arena) -> Row:
    tomorrow = {"PYTHONPATH": _tomorrow(arena.directory / "next")}
    arena.load()
    today = await arena.started(arena.worker())
    longest, watching = [0.0], asyncio.Event()

    async def watch() -> None:
        connection = await open_connection(arena.ground.database_url(arena.database))
        try:
            while not watching.is_set():
                longest.append(await connection.fetchval(_LONGEST_WAIT))
                await asyncio.sleep(0.05)
        finally:
            await connection.close()

    async with asked_all_the_time(arena) as answers:
        watcher = asyncio.create_task(watch())
        await arena.progress(100, today)
        reader = await open_connection(arena.ground.database_url(arena.database))
        async with reader.transaction():
            await reader.fetch("SELECT * FROM hourly_summary LIMIT 1")
            migration = arena.program("migrate", "streamgauge_cli.main", "migrate", unprefixed=tomorrow)
            await asyncio.sleep(arena.pick(3, 15))
            await arena.progress(100, today)  # nobody waits for the one who waits
            if migration.process.exit_code is None:
                arena.fired["waited"] += 1
        await reader.close()
        code = await migration.ended()
        if code != 0:
            arena.troubles.append(f"the migration ended with {code}: {migration.output[-500:]}")
        found = await arena.connection.fetchval(
            "SELECT count(*) FROM schema_migrations WHERE version = '9999_tomorrow'"
        )
        arena.fired["migrated"] += found
        for _ in range(arena.pick(1, 5)):
            newer = await arena.started(arena.worker(unprefixed=tomorrow))
            arena.load(unprefixed=tomorrow, batches=40)
            await arena.progress(200, newer)
            # The new one alone, then back to the old one over the new schema.
            await today.terminate()
            await arena.progress(200, newer)
            today = await arena.started(arena.worker())
            await newer.terminate()
            await arena.progress(200, today)
            arena.fired["back"] += 1
        watching.set()
        await watcher
    if bad := answers.bad_outside(math.inf, -math.inf):
        arena.troubles.append(f"the API server failed {bad} times")
    arena.notes.append(
        f"{len(answers.given)} answers; a worker waited for a lock for {max(longest):.2f} s at most"
    )
    if max(longest) > LOCK_SECONDS:
        arena.troubles.append("a worker waited too long for the migration")
    return await arena.finish(today)


def _tomorrow(directory: Path) -> str:
    """A path of modules on which the next version's migrations come first."""
    shutil.copytree(ROOT / "migrations", directory, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "streamgauge_migrations" / "9999_tomorrow.sql").write_text(TOMORROW)
    return os.pathsep.join(filter(None, [str(directory), str(ROOT), os.environ.get("PYTHONPATH", "")]))
