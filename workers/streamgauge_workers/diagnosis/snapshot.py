"""One look at this machine, Redis and PostgreSQL. It reads only, and what does not answer is noted, not raised."""

import asyncio
import json
import shutil
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from streamgauge.database import Connection, open_connection
from streamgauge.entry import EntryId
from streamgauge.errors import ServerError
from streamgauge.logs import redacted
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge.sql import named_queries
from streamgauge.stream import Backlog, History
from streamgauge_migrations import require_current
from streamgauge_workers.diagnosis.server_info import ServerInfo, ask

PATIENCE = 10.0  # seconds for each server
BETWEEN = 1.0  # seconds between the two looks that tell a growing lag from a shrinking one
NOT_RUNNING = "no address was given, and none is running here"
PROBE = "CREATE TEMPORARY TABLE streamgauge_probe ON COMMIT DROP AS SELECT repeat('x', 1000) FROM generate_series(1, 100)"

SQL = named_queries("streamgauge_workers.diagnosis", "snapshot.sql")


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine, as far as it concerns us."""

    data_dir: Path
    #: Bytes below each entry of the data directory; empty when there is none.
    sizes: Mapping[str, int]
    free: int
    keyring: Path
    keyring_exists: bool
    keyring_is_open: bool  #: others than its owner may read it
    #: Tenants that the keyring holds keys of; None when it cannot be read.
    keyring_tenants: frozenset[str] | None = frozenset()
    archive_dir: Path = Path()
    archive_free: int | None = None  #: bytes of its disk; None: it cannot be told


@dataclass(frozen=True, slots=True)
class Redis:
    """What Redis said. `refused`: why it cannot keep the contract, although it answers."""

    info: ServerInfo
    refused: str | None
    #: By shard: its stream's history, and what lies behind its position.
    histories: Mapping[int, History | None] = field(default_factory=dict)
    backlogs: Mapping[int, tuple[Backlog, Backlog]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard's row, and who holds it."""

    shard: int
    number: int
    position: EntryId
    history: History | None
    attempts: int
    applied_at: datetime | None
    holder: UUID | None  #: None when no lease runs
    #: The position at the second look.
    later: EntryId
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that said it is there."""

    worker_id: UUID
    host: str
    pid: int
    silent: float  #: seconds since it last said so


@dataclass(frozen=True, slots=True)
class Refusals:
    """Events refused for one reason."""

    reason: str
    events: int
    newest: datetime


@dataclass(frozen=True, slots=True)
class Stop:
    """A shard that waits because too large a share of its events would be refused."""

    shard: int
    stopped_at: datetime
    processed: int
    refused: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Database:
    """What PostgreSQL said. Everything below `refused` is empty when that is set."""

    version: str
    ahead: float  #: seconds by which its clock is ahead of ours
    read_only: bool
    write_error: str | None
    refused: str | None  #: why its schema or version cannot be used
    shards: Sequence[Shard] = ()
    workers: Sequence[Worker] = ()
    dead_letters: Sequence[Refusals] = ()
    rejected: Sequence[Refusals] = ()
    lost: int = 0
    lost_forgotten: int = 0
    forgotten_lanes: int = 0
    #: Names of tenants, and whether they have events.
    tenants: Sequence[tuple[str, bool]] = ()
    partition_today: bool = True
    partition_tomorrow: bool = True
    applied_today: bool = False
    #: Tenants with actors under pseudonyms made with the tenant's key.
    pseudonymous: Sequence[str] = ()
    #: Tenants without a valid key that may read.
    keyless: Sequence[str] = ()
    #: What applications dropped, by reason.
    drops: Sequence[tuple[str, int]] = ()
    #: Of the last day: all events that were read, and those refused for their time.
    processed: int = 0
    late: int = 0
    future: int = 0
    stops: Sequence[Stop] = ()
    log_bytes: int = 0
    log_oldest: int = 0  #: days since the event log's oldest day


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the checks judge. A server that did not answer is the text of why."""

    settings: Settings
    machine: Machine
    redis: Redis | str
    database: Database | str


async def take(settings: Settings, redis_url: str | None, database_url: str | None) -> Snapshot:
    """Look at everything. Raises nothing for servers that are away; None is the address of one that is not known."""
    # It connects with its first question, so an address that nobody has is never used.
    stream = RedisStream(redis_url or "", settings.stream_prefix, settings.generation, settings.shards)
    try:
        redis, database = await asyncio.gather(_redis(redis_url, stream), _database(database_url))
        if isinstance(redis, Redis) and isinstance(database, Database) and database.refused is None:
            redis, database = await _behind(redis, database, stream, database_url)
    finally:
        await stream.aclose()
    return Snapshot(settings, look_at_machine(settings), redis, database)


def look_at_machine(settings: Settings) -> Machine:
    """The data directory and the keys."""
    directory = settings.data_dir.expanduser().absolute()
    sizes: dict[str, int] = {}
    if directory.is_dir():
        sizes = {entry.name: _size(entry) for entry in sorted(directory.iterdir()) if entry.is_dir()}
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    keyring = settings.keyring.expanduser().absolute()
    exists = keyring.is_file()
    is_open = exists and bool(stat.S_IMODE(keyring.stat().st_mode) & 0o077)
    held = _tenants_of(keyring) if exists and not is_open else frozenset()
    archive = settings.archive_dir.expanduser().absolute()
    free = shutil.disk_usage(existing).free
    return Machine(directory, sizes, free, keyring, exists, is_open, held, archive, _free(archive))


def _free(directory: Path) -> int | None:
    """Bytes free where a directory is, or would be made."""
    try:
        return shutil.disk_usage(next(path for path in (directory, *directory.parents) if path.exists())).free
    except OSError:
        return None


def _tenants_of(keyring: Path) -> frozenset[str] | None:
    """Whose keys a keyring holds; the keys themselves are not looked at."""
    try:
        return frozenset(json.loads(keyring.read_bytes())["tenants"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _size(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:  # gone meanwhile, or another user's
            continue
    return total


async def _redis(redis_url: str | None, stream: RedisStream) -> Redis | str:
    if redis_url is None:
        return NOT_RUNNING
    try:
        async with asyncio.timeout(PATIENCE):
            info = await ask(redis_url)
            try:
                await stream.check_server()
            except ServerError as error:
                return Redis(info, redacted(str(error)))
            return Redis(info, None)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what there is to tell
        return redacted(str(error) or type(error).__name__)


async def _database(database_url: str | None) -> Database | str:
    if database_url is None:
        return NOT_RUNNING
    try:
        async with asyncio.timeout(PATIENCE):
            connection = await open_connection(database_url, application_name="streamgauge doctor")
            try:
                return await _ask_database(connection)
            finally:
                await connection.close()
    except Exception as error:  # noqa: BLE001 - as above
        return redacted(str(error) or type(error).__name__)


async def _ask_database(connection: Connection) -> Database:
    before = time.time()
    clock = await connection.fetchrow(SQL["clock"])
    assert clock is not None  # noqa: S101 - a query without FROM has one row
    version = ".".join(str(part) for part in connection.get_server_version()[:2])
    ahead = clock["at"] - (before + time.time()) / 2
    write_error = None if clock["read_only"] else await _try_to_write(connection)
    refused = None
    try:
        await require_current(connection)
    except ServerError as error:
        refused = str(error)
    if refused is not None:
        return Database(version, ahead, clock["read_only"], write_error, refused)
    losses = await connection.fetchrow(SQL["losses"])
    partitions = await connection.fetchrow(SQL["partitions"])
    last_day = await connection.fetchrow(SQL["last_day"])
    log = await connection.fetchrow(SQL["log_size"])
    assert losses is not None  # noqa: S101 - as above
    assert last_day is not None  # noqa: S101 - as above
    assert log is not None  # noqa: S101 - as above
    assert partitions is not None  # noqa: S101 - as above
    return Database(
        version,
        ahead,
        clock["read_only"],
        write_error,
        None,
        [_shard(row) for row in await connection.fetch(SQL["shards"])],
        [Worker(*row) for row in await connection.fetch(SQL["workers"])],
        [
            Refusals(row["reason"], row["events"], row["newest"])
            for row in await connection.fetch(SQL["dead_letters"])
        ],
        [Refusals(*row) for row in await connection.fetch(SQL["rejected"])],
        losses["known"],
        losses["forgotten"],
        losses["forgotten_lanes"],
        [(row["name"], row["has_events"]) for row in await connection.fetch(SQL["tenants"])],
        partitions["today"],
        partitions["tomorrow"],
        partitions["applied_today"],
        [row["name"] for row in await connection.fetch(SQL["pseudonymous"])],
        [row["name"] for row in await connection.fetch(SQL["keyless"])],
        [(row["reason"], row["events"]) for row in await connection.fetch(SQL["drops"])],
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
    )


async def _behind(
    redis: Redis, database: Database, stream: RedisStream, database_url: str | None
) -> tuple[Redis | str, Database | str]:
    """What lies behind the positions, looked at a second time when there is anything, to see where it goes."""
    streams = {each.generation: stream for each in database.shards}
    for generation in streams.keys() - {stream.generation}:
        streams[generation] = stream.of_generation(generation, 0)
    try:
        async with asyncio.timeout(PATIENCE):
            histories = {
                each.shard: await streams[each.generation].history(each.number) for each in database.shards
            }
            first = {
                each.shard: await streams[each.generation].backlog(each.number, each.position)
                for each in database.shards
            }
            second = first
            if any(backlog.oldest is not None for backlog in first.values()):
                await asyncio.sleep(BETWEEN)
                again = await _database(database_url)
                if isinstance(again, str):
                    return redis, again
                before = {each.shard: each.position for each in database.shards}
                shards = [
                    replace(each, position=before.get(each.shard, each.position)) for each in again.shards
                ]
                database = replace(again, shards=shards)
                second = {
                    each.shard: await streams[each.generation].backlog(each.number, each.later)
                    for each in shards
                }
    except Exception as error:  # noqa: BLE001 - as above
        return redacted(str(error) or type(error).__name__), database
    finally:
        for each in streams.values():
            if each is not stream:
                await each.aclose()
    pairs = {shard: (first[shard], second[shard]) for shard in first.keys() & second.keys()}
    return Redis(redis.info, redis.refused, histories, pairs), database
