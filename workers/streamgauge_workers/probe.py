"""Sends one event through the whole path and takes the time of every hop. In a tenant of its own: nobody's figures change."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import orjson

from streamgauge.capture.publisher import Publisher
from streamgauge.catalogue import load_catalogue
from streamgauge.database import Connection, open_connection
from streamgauge.domains.operations.declarations import PROBE, PROBE_TENANT
from streamgauge.errors import ServerError, StreamgaugeError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.logs import redacted
from streamgauge.outcomes import CODES
from streamgauge.read.answer import answer
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge.sharding import shard_of
from streamgauge.sql import named_queries
from streamgauge.stream import StreamPort
from streamgauge_imports.tenants import require_tenant
from streamgauge_workers import generations

PATIENCE = 10.0  # seconds for the event to be applied
PATIENCE_WITHOUT_WORKER = 3.0  # seconds, when no worker is heard of: one may be starting
LOOK_SECONDS = 0.002

SQL = named_queries("streamgauge_workers", "probe.sql")
QUESTION = {
    "tenant": PROBE_TENANT,
    "metrics": ["events"],
    "date_range": "all",
    "filters": [["is", "event.name", [PROBE.name]]],
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Where the event got stuck, and what to do next."""

    says: str
    next: str


@dataclass(slots=True)
class Probe:
    """How far the event came: milliseconds of each hop in order, and what stopped it, if anything did."""

    shard: int
    hops: dict[str, float] = field(default_factory=dict)
    trouble: Trouble | None = None
    #: In which a server said that it is ready; None when none did. Beside the event's path, so no hop of it.
    server: float | None = None

    @property
    def milliseconds(self) -> float:
        """From its making to the last hop."""
        return sum(self.hops.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "shard": self.shard,
            "hops": [{"hop": name, "milliseconds": round(each, 3)} for name, each in self.hops.items()],
            "milliseconds": round(self.milliseconds, 3),
            "arrived": self.trouble is None,
            "server_milliseconds": None if self.server is None else round(self.server, 3),
        }


class _StuckError(Exception):
    """Carries the trouble out of the hop in which it happened."""

    def __init__(self, says: str, next: str) -> None:
        super().__init__(says)
        self.trouble = Trouble(says, next)


async def probe(settings: Settings, redis_url: str, database_url: str) -> Probe:
    """Send one event and follow it. Takes up to about 20 seconds when a server does not answer; raises nothing for that."""
    producer = secrets.token_bytes(16)
    found = Probe(shard_of(None, None, None, producer, settings.shards))
    stream = RedisStream(redis_url, settings.stream_prefix, settings.generation, settings.shards)
    try:
        async with asyncio.timeout(2 * PATIENCE):
            connection = await open_connection(database_url, application_name="streamgauge probe")
            try:
                await _follow(found, settings, stream, connection)
            finally:
                with contextlib.suppress(TimeoutError):
                    await connection.close(timeout=1)
    except _StuckError as stuck:
        found.trouble = stuck.trouble
    except TimeoutError:
        found.trouble = Trouble("A server did not answer in time.", "See what is said about the servers.")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ServerError) as error:
        found.trouble = Trouble(
            f"PostgreSQL did not do what it takes: {redacted(str(error))}.",
            "See what is said about PostgreSQL.",
        )
    except StreamgaugeError as error:
        found.trouble = Trouble(
            f"The event could not be followed: {redacted(str(error))}.",
            "Correct it; STREAMGAUGE_CATALOGUE names the declarations.",
        )
    finally:
        await stream.aclose()
    return found


async def _follow(found: Probe, settings: Settings, stream: StreamPort, connection: Connection) -> None:
    await require_tenant(connection, PROBE_TENANT, None)
    shard = (await generations.to_send_to(connection, settings))[found.shard]
    before = await _counted(connection, settings)
    publisher = Publisher(stream, lambda: time.time_ns() // 1_000_000, attempts=1)
    lane = publisher.lane(found.shard)
    try:
        await stream.length(found.shard)  # connects, as a running application is
        clock = _Clock(found.hops)
        payload = freeze([Event(PROBE.name, time.time_ns() // 1_000, PROBE_TENANT)])
        await publisher.publish(found.shard, payload, 1)
    except ServerError as error:
        raise _StuckError(
            f"The event did not get into the stream: {redacted(str(error))}.",
            "See what is said about Redis; applications cannot send their events either.",
        ) from error
    clock.lap("in the stream")
    try:
        await _applied(shard, lane.id, settings, connection)
        clock.lap("applied")
    finally:
        # Whoever made a lane says how it ended; without Redis it ends unannounced, like a crashed application's.
        with contextlib.suppress(ServerError):
            await publisher.announce(closed=True)
    clock.restart()
    if await _counted(connection, settings) <= before:
        raise _StuckError(
            "The event was applied, but answers do not count it.",
            "Run `streamgauge verify`; this is a defect of ours.",
        )
    clock.lap("readable")


async def _applied(shard: int, lane: bytes, settings: Settings, connection: Connection) -> None:
    """Wait until the event is in the tables."""
    began = time.monotonic()
    patience = PATIENCE
    workers = await connection.fetchrow(SQL["probe_readers"], shard, settings.lease_seconds)
    if workers is not None and not workers["workers"]:
        patience = PATIENCE_WITHOUT_WORKER
    while (fate := await connection.fetchrow(SQL["probe_fate"], shard, lane)) is None or not fate["done"]:
        if time.monotonic() - began > patience:
            raise await _unread(shard, settings, connection, patience)
        await asyncio.sleep(LOOK_SECONDS)
    # Both are written in one transaction, and no codes mean that everything was applied.
    outcome = CODES[fate["outcomes"][0]] if fate["outcomes"] else CODES[0]
    reason = await connection.fetchval(SQL["probe_refused"], shard, lane) or outcome.reason
    if reason or outcome.name != "applied":
        raise _StuckError(
            f"The event was read and refused as {reason or outcome.name}.",
            "See what is said about rejected events and dead letters.",
        )


async def _unread(shard: int, settings: Settings, connection: Connection, waited: float) -> _StuckError:
    readers = await connection.fetchrow(SQL["probe_readers"], shard, settings.lease_seconds)
    assert readers is not None  # noqa: S101 - a query without FROM has one row
    says = f"The event is in the stream of shard {shard} and was not counted within {waited:.0f} seconds"
    if not readers["workers"]:
        return _StuckError(f"{says}: no worker is running.", "Run `streamgauge worker`; it is counted then.")
    if not readers["held"]:
        return _StuckError(
            f"{says}: a worker is running, but none reads this shard.",
            f"Try again in {settings.lease_seconds} seconds; if it stays so, look at the workers' logs.",
        )
    return _StuckError(
        f"{says}, although a worker reads this shard.",
        "See what is said about lag, and look at the workers' logs; it is counted when they catch up.",
    )


async def _counted(connection: Connection, settings: Settings) -> int:
    """Probes that answers count so far."""
    found = await answer(
        connection,
        QUESTION,
        cardinality_limit=settings.cardinality_limit,
        max_lateness=timedelta(days=settings.max_lateness_days),
        catalogue=load_catalogue(settings),
    )
    results: list[Mapping[str, Any]] = orjson.loads(found)["results"]
    return int(results[0]["metrics"][0]) if results else 0


class _Clock:
    """Takes the time between one lap and the next."""

    def __init__(self, hops: dict[str, float]) -> None:
        self._hops = hops
        self.restart()

    def restart(self) -> None:
        """What was done since the last lap is nobody's hop."""
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """A hop ended."""
        now = time.perf_counter()
        self._hops[name], self._since = (now - self._since) * 1000, now
