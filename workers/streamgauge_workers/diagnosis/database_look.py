"""A look at PostgreSQL. Nothing is changed, and nobody is waited for: a table that is locked is one more thing to tell."""

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import asyncpg

from streamgauge.database import Connection, open_connection
from streamgauge.entry import EntryId
from streamgauge.errors import ServerError
from streamgauge.logs import redacted
from streamgauge.sql import named_queries
from streamgauge.stream import History
from streamgauge_migrations import require_current
from streamgauge_workers.diagnosis.sessions import Session
from streamgauge_workers.diagnosis.snapshot import NOT_RUNNING, Database, Hole, Refusals, Shard, Stop, Worker
from streamgauge_workers.diagnosis.unreachable import Unreachable, of_postgresql

PATIENCE = 3.0  # seconds for all of it
LOCK_PATIENCE = "500ms"  # for a table that somebody else has locked
PROBE = "CREATE TEMPORARY TABLE streamgauge_probe ON COMMIT DROP AS SELECT repeat('x', 1000) FROM generate_series(1, 100)"

LOCKED = "another session has locked a table that is needed (see below, under locks): let it end, or end it"

SQL = named_queries("streamgauge_workers.diagnosis", "snapshot.sql")


async def look_at_database(database_url: str | None) -> Database | Unreachable:
    """Everything the checks want of PostgreSQL."""
    if database_url is None:
        return NOT_RUNNING
    connection: Connection | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            connection = await open_connection(
                database_url, application_name="streamgauge doctor", lock_timeout=LOCK_PATIENCE
            )
            found = await _ask(connection)
            await connection.close()
            return found
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what there is to tell
        if connection is not None:
            connection.terminate()  # one that hangs does not say goodbye either
        return of_postgresql(error)


async def _ask(connection: Connection) -> Database:
    before = time.time()
    clock = await connection.fetchrow(SQL["clock"])
    assert clock is not None  # noqa: S101 - a query without FROM has one row
    # What needs no table is asked first: it tells who keeps a table locked.
    found = Database(
        ".".join(str(part) for part in connection.get_server_version()[:2]),
        clock["at"] - (before + time.time()) / 2,
        clock["read_only"],
        None if clock["read_only"] else await _try_to_write(connection),
        None,
        sessions=[Session(**row) for row in await connection.fetch(SQL["sessions"])],
        fsync=clock["fsync"],
        full_pages=clock["full_pages"],
        synchronous=clock["synchronous"],
    )
    try:
        await require_current(connection)
        return await _tables(connection, found)
    except asyncpg.LockNotAvailableError:
        return replace(found, refused=LOCKED)
    except ServerError as error:
        return replace(found, refused=str(error))


async def _tables(connection: Connection, found: Database) -> Database:
    losses = await connection.fetchrow(SQL["losses"])
    partitions = await connection.fetchrow(SQL["partitions"])
    last_day = await connection.fetchrow(SQL["last_day"])
    log = await connection.fetchrow(SQL["log_size"])
    assert losses is not None  # noqa: S101 - as above
    assert last_day is not None  # noqa: S101 - as above
    assert log is not None  # noqa: S101 - as above
    assert partitions is not None  # noqa: S101 - as above
    shards = [_shard(row) for row in await connection.fetch(SQL["shards"])]
    return replace(
        found,
        shards=[each for each in shards if not each.retired],
        retired=[each for each in shards if each.retired],
        workers=[Worker(*row) for row in await connection.fetch(SQL["workers"])],
        dead_letters=[Refusals(*row) for row in await connection.fetch(SQL["dead_letters"])],
        rejected=[Refusals(*row) for row in await connection.fetch(SQL["rejected"])],
        lost=losses["known"],
        holes=[Hole(**row) for row in await connection.fetch(SQL["holes"])],
        lost_forgotten=losses["forgotten"],
        forgotten_lanes=losses["forgotten_lanes"],
        tenants=[(row["name"], row["has_events"]) for row in await connection.fetch(SQL["tenants"])],
        partition_today=partitions["today"],
        partition_tomorrow=partitions["tomorrow"],
        applied_today=partitions["applied_today"],
        pseudonymous=[row["name"] for row in await connection.fetch(SQL["pseudonymous"])],
        keyless=[row["name"] for row in await connection.fetch(SQL["keyless"])],
        drops=[(row["reason"], row["events"]) for row in await connection.fetch(SQL["drops"])],
        archives={row["file"]: row["bytes"] for row in await connection.fetch(SQL["archives"])},
        processed=last_day["processed"],
        late=last_day["late"],
        future=last_day["future"],
        log_bytes=log["bytes"],
        log_oldest=log["oldest"],
        stops=[
            Stop(
                row["shard"], row["stopped_at"], row["processed"], row["refused"], json.loads(row["reasons"])
            )
            for row in await connection.fetch(SQL["stops"])
        ],
    )


async def _try_to_write(connection: Connection) -> str | None:
    """Whether PostgreSQL can write to its disk; what was written is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(PROBE)
    except asyncpg.PostgresError as error:
        return redacted(str(error))
    finally:
        await transaction.rollback()
    return None


def _shard(row: Any) -> Shard:
    at = EntryId(row["position_ms"], row["position_seq"])
    history = History(row["run_id"], row["birthmark"]) if row["run_id"] else None
    holder = row["worker_id"] if row["leased"] else None
    return Shard(
        row["shard"],
        row["number"],
        at,
        history,
        row["attempts"],
        row["applied_at"],
        holder,
        at,
        row["generation"],
        row["epoch"],
        row["overflow"],
        row["retired"],
    )
