"""The whole engine in one process: publish events, let workers run until the streams are empty, look at the tables.

Events are plain dictionaries, as the oracle takes them, with two more fields: `key` and `shard`.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass, field
from typing import Any, NamedTuple
from unittest.mock import patch

from redis.asyncio import Redis

from streamgauge.capture.publisher import Lane
from streamgauge.catalogue import CATALOGUE
from streamgauge.database import Connection, open_connection, open_pool
from streamgauge.entry import Announcement, Batch, EntryId
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.ranges import Ranges
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge.stream import stream_key
from streamgauge.summaries.boards import Board, Points
from streamgauge.summaries.rollups import Catalogue
from streamgauge.summaries.tallies import ACTOR, Tally
from streamgauge_workers import canonical
from streamgauge_workers.admissions import Cell
from streamgauge_workers.delivery import LaneState, Ledger, ledger
from streamgauge_workers.queries import SQL
from streamgauge_workers.tenants import Tenants
from streamgauge_workers.verify import Verification, verify
from streamgauge_workers.worker import Worker

from ..oracles import event_counts as oracle
from ..oracles.event_counts import Place, Summary

ZONES = {"delhi": "Asia/Kolkata", "chatham": "Pacific/Chatham", "york": "America/New_York"}
PATIENCE = 30.0  # seconds until a test that waits gives up
HOUR = 3_600_000_000
DAY = 24 * HOUR

#: With something in every table that a tenant may have rows in.
EVERY_KIND = CATALOGUE.extended(
    Tally("progress", ("lesson.read", "draft.sent"), (ACTOR,), "day", sums=("duration",)),
    Board("sharing", (Points("draft.sent"), Points("lesson.read"))),
)

Plain = dict[str, Any]


class Row(NamedTuple):
    """A canonical row, whoever counted it."""

    events: int
    errors: int
    observed: int
    sum: int
    min: int | None
    max: int | None
    histogram: tuple[tuple[int, int], ...]
    actors: frozenset[bytes]
    totals: tuple[int | None, ...]


def summaries(catalogue: Catalogue) -> list[Summary]:
    """A catalogue's rollups in the oracle's words."""
    return [
        Summary(
            rollup.metric, rollup.event, rollup.groupings, rollup.value,
            frozenset(each.property for each in rollup.dimensions if each.required), rollup.actors, rollup.histogram, rollup.totals,
        )
        for rollup in catalogue.rollups
    ]  # fmt: skip


def generate(seed: int, count: int, tenants: Sequence[str] = tuple(ZONES), routes: int = 8) -> list[Plain]:
    """Events of the last five days; an actor's events go to one shard."""
    chosen = random.Random(seed)
    now = int(time.time() * 1_000_000)
    events: list[Plain] = []
    for _ in range(count):
        actor = chosen.choice([None, *[bytes([each % 2]) + bytes([each]) * 16 for each in range(1, 30)]])
        request = chosen.random() < 0.7
        event: Plain = {
            "name": "http.request" if request else chosen.choice(["lesson.read", "draft.sent"]),
            "at": now - chosen.randrange(5 * DAY),
            "tenant": chosen.choice(tenants),
            "properties": {},
            "shard": chosen.randrange(4) if actor is None else actor[1] % 4,
        }
        if actor is not None:
            event["actor"] = actor
        if request:
            event["properties"] = {
                "http.route": f"/{chosen.randrange(routes)}",
                "http.request.method": chosen.choice(["GET", "POST"]),
                "http.response.status_code": chosen.choice([200, 200, 404, 500, 503]),
                "duration": int(chosen.lognormvariate(9, 2)),
            }
            if chosen.random() < 0.3:
                del event["properties"]["http.route"]
            if chosen.random() < 0.2:
                event["properties"]["url.path"] = f"/p/{chosen.randrange(routes)}"
                event["properties"]["http.response.body.size"] = chosen.randrange(10**6)
        elif chosen.random() < 0.5:
            event["properties"] = {
                "http.route": f"/x{chosen.randrange(9)}",
                "duration": chosen.randrange(200),
            }
        events.append(event)
    return events


def event_of(plain: Plain) -> Event:
    """The project's form of an event."""
    return Event(
        plain["name"], plain["at"], plain["tenant"], plain.get("actor"), plain.get("session"),
        properties=plain["properties"], key=plain.get("key"),
    )  # fmt: skip


@dataclass
class Engine:
    """Servers, and what was sent."""

    redis_url: str
    database_url: str
    settings: Settings
    connection: Connection
    stream: RedisStream
    redis: "Redis"
    zones: Mapping[str, str] = field(default_factory=lambda: dict(ZONES))
    catalogue: Catalogue = CATALOGUE

    async def make_tenants(self, zones: Mapping[str, str]) -> None:
        """Create tenants, each with its time zone."""
        self.zones = dict(zones)
        for name, zone in zones.items():
            tenant_id = await self.connection.fetchval(
                "INSERT INTO tenants (name) VALUES ($1) RETURNING tenant_id", name
            )
            await self.connection.execute(
                "INSERT INTO tenant_time_zones (tenant_id, time_zone) VALUES ($1, $2)", tenant_id, zone
            )

    def lane(self, shard: int, born: int | None = None) -> Lane:
        """A new lane, as a producer makes one."""
        return Lane(shard, int(time.time() * 1_000) if born is None else born)

    async def trust(self, lane: Lane) -> None:
        """Say that a lane is an import's."""
        await self.connection.execute(
            "INSERT INTO imports (tenant_id, digest, lane, source, options) SELECT min(tenant_id), $1, $1, 'test', '{}' FROM tenants",
            lane.id,
        )

    async def send(self, shard: int, *records: Batch | Announcement) -> list[EntryId]:
        """Append entries as they are."""
        return await self.stream.append_many(shard, records)

    async def publish(
        self,
        events: Iterable[Plain],
        size: int = 100,
        lanes: dict[int, Lane] | None = None,
        announce: bool = True,
    ) -> list[tuple[int, Batch]]:
        """Send events in batches of up to `size`, each to its shard; returns the batches."""
        own = {} if lanes is None else lanes
        sent = []
        for shard in range(4):
            chosen = [event_of(event) for event in events if event["shard"] == shard]
            lane = own.setdefault(shard, self.lane(shard))
            batches = [
                lane.freeze(freeze(chosen[first : first + size]), len(chosen[first : first + size]))
                for first in range(0, len(chosen), size)
            ]
            for batch in batches:
                lane.settle(batch)
            sent += [(shard, batch) for batch in batches]
            records: list[Batch | Announcement] = [*batches]
            if announce and (batches or lanes is not None):
                records.append(lane.announcement(closed=lanes is None))
            if records:
                await self.send(shard, *records)
        return sent

    @asynccontextmanager
    async def working(self, workers: int = 1) -> AsyncIterator[list[Worker]]:
        """Workers that run meanwhile, each with connections of its own."""
        running, pools, streams = [], [], []
        for _ in range(workers):
            pools.append(await open_pool(self.database_url, 30, synchronous_commit="off", lock_timeout="20s"))
            streams.append(RedisStream(self.redis_url, self.settings.stream_prefix, 0, self.settings.shards))
            running.append(Worker(streams[-1], pools[-1], self.settings, self.catalogue))
        tasks = [asyncio.create_task(worker.run()) for worker in running]
        try:
            yield running
        finally:
            for worker in running:
                worker.stop()
            await asyncio.gather(*tasks)
            for pool in pools:
                await pool.close()
            for stream in streams:
                await stream.aclose()

    async def drained(self, shards: Iterable[int] = range(4)) -> None:
        """Wait until running workers have applied everything that is in the streams."""
        deadline = time.monotonic() + PATIENCE
        last = {shard: await self.stream.last_id(shard) for shard in shards}
        while True:
            rows = await self.connection.fetch("SELECT shard, position_ms, position_seq FROM shards")
            at = {row["shard"]: EntryId(row["position_ms"], row["position_seq"]) for row in rows}
            if all(entry_id is None or at.get(shard) == entry_id for shard, entry_id in last.items()):
                return
            assert time.monotonic() < deadline, f"not drained: {at} of {last}"
            await asyncio.sleep(0.01)

    async def until(self, query: str, *arguments: object) -> None:
        """Wait until a query is true."""
        deadline = time.monotonic() + PATIENCE
        while not await self.connection.fetchval(query, *arguments):
            assert time.monotonic() < deadline, f"still not true: {query}"
            await asyncio.sleep(0.01)

    async def drain(self, workers: int = 1) -> None:
        """Run workers until everything in the streams is applied."""
        async with self.working(workers):
            await self.drained()

    async def rows(self) -> dict[Place, Row]:
        """The canonical rows of the tables."""
        tenants = Tenants()
        await tenants.load(self.connection)
        ids = list(tenants.by_id)
        pseudonyms = {
            (row["tenant_id"], row["actor_id"]): row["pseudonym"]
            for row in await self.connection.fetch(SQL["actors"], ids)
        }
        admitted = canonical.Admitted(self.settings.cardinality_limit)
        for row in await self.connection.fetch(SQL["canonical_admissions"], ids):
            admitted.offer(Cell(row["tenant_id"], row["dimension"], row["day"]), row["value"], row["rank"])
        day_of = canonical.DayOf({each: tenants.by_id[each].scope.calendar for each in ids})
        async with self.connection.transaction():
            found = await canonical.stored(self.connection, ids, self.catalogue, admitted, day_of)
        rows = {}
        for name, measures in found.items():
            place = Place(
                name.grain, tenants.by_id[name.tenant_id].name, name.metric, name.grouping, name.dimensions, name.bucket
            )  # fmt: skip
            histogram = measures.histogram
            counts = (
                ()
                if histogram is None
                else zip(histogram.buckets.tolist(), histogram.counts.tolist(), strict=True)
            )
            members = frozenset(pseudonyms[name.tenant_id, each] for each in measures.members)
            rows[place] = Row(
                measures.count, measures.errors, measures.observed, measures.sum, measures.min, measures.max, tuple(counts), members, measures.totals,
            )  # fmt: skip
        return rows

    async def expected(self, events: Sequence[Plain]) -> dict[Place, Row]:
        """The oracle's rows for these events, with the limit that the settings give."""
        keys = {
            row["name"]: row["cardinality_key"]
            for row in await self.connection.fetch("SELECT name, cardinality_key FROM tenants")
        }
        chosen = summaries(self.catalogue)
        counted = oracle.recount(events, self.zones, chosen, self.settings.cardinality_limit, keys)
        with_histogram = {summary.metric for summary in chosen if summary.histogram}
        return {
            place: Row(
                cell.count, cell.errors, len(cell.values), sum(cell.values), min(cell.values, default=None),
                max(cell.values, default=None),
                tuple(sorted(oracle.histogram(cell.values).items())) if place.metric in with_histogram else (),
                frozenset(cell.actors), tuple(cell.totals),
            )
            for place, cell in counted.items()
        }  # fmt: skip

    async def outcomes(self) -> dict[tuple[str, str], int]:
        """The outcome ledger, summed over tenants and hours."""
        rows = await self.connection.fetch(
            "SELECT outcome, reason, sum(events)::int AS n FROM outcome_ledger GROUP BY 1, 2"
        )
        return {(row["outcome"], row["reason"]): row["n"] for row in rows}

    async def transport(self, caught_up: bool = True) -> Ledger:
        """The transport ledger, summed over lanes."""
        sums = [0, 0, 0, 0]
        for row in await self.connection.fetch("SELECT * FROM lanes"):
            done = Ranges((each.lower, each.upper) for each in row["done"])
            lane = LaneState(
                done, row["end"], row["closed"], row["touched"], row["born"], row["stray"], row["trusted"], row["scanned"]
            )  # fmt: skip
            found = ledger(lane, caught_up)
            assert found.announced == found.processed + found.pending + found.lost
            sums = [one + other for one, other in zip(sums, astuple(found), strict=True)]
            kept = row["redelivered"]
            assert kept >= 0
        return Ledger(*sums)

    async def redelivered(self) -> int:
        """Events delivered again."""
        found: int = await self.connection.fetchval("SELECT coalesce(sum(redelivered), 0)::int FROM lanes")
        return found

    async def verified(self) -> Verification:
        """What `verify` says."""
        return await verify(
            self.connection,
            self.catalogue,
            self.settings.cardinality_limit,
            archives=self.settings.archive_dir,
        )

    async def check(self, events: Sequence[Plain]) -> dict[Place, Row]:
        """The tables hold what the oracle counts of these events, both ledgers add up, and `verify` agrees; returns the rows."""
        rows, expected = await self.rows(), await self.expected(events)
        differing = [
            place for place in rows.keys() | expected.keys() if rows.get(place) != expected.get(place)
        ]
        assert not differing, (
            f"{len(differing)} differ: {[(p, rows.get(p), expected.get(p)) for p in differing[:3]]}"
        )
        processed = (await self.transport()).processed
        assert sum((await self.outcomes()).values()) == processed
        assert (await self.outcomes()).get(("applied", ""), 0) == len(events)
        assert (await self.verified()).differences == []
        return rows

    async def flush_stream(self, *shards: int) -> None:
        """Delete streams, as an operator's DEL does."""
        for shard in shards:
            await self.redis.delete(stream_key(self.settings.stream_prefix, 0, shard))

    async def epochs(self) -> list[int]:
        """The epoch of every shard."""
        return [
            row["epoch"]
            for row in await self.connection.fetch(
                "SELECT epoch FROM shards WHERE NOT overflow ORDER BY shard"
            )
        ]


@asynccontextmanager
async def open_engine(
    redis_url: str,
    database_url: str,
    zones: Mapping[str, str] | None = None,
    catalogue: Catalogue = CATALOGUE,
    **settings: Any,
) -> AsyncIterator[Engine]:
    """An engine with tenants, whose workers do not wait as long as they would in life."""
    chosen = Settings(**{"lease_seconds": 1, **settings})
    connection = await open_connection(database_url)
    stream = RedisStream(redis_url, chosen.stream_prefix, 0, chosen.shards)
    client = Redis.from_url(redis_url)
    engine = Engine(redis_url, database_url, chosen, connection, stream, client, catalogue=catalogue)
    try:
        await engine.make_tenants(ZONES if zones is None else zones)
        with (
            patch("streamgauge_workers.shard_worker.BLOCK_MS", 20),
            patch("streamgauge_workers.shard_worker.LONGEST_BACKOFF", 0.01),
            patch("streamgauge_workers.shard_worker.STOPPED_PAUSE", 0.01),
        ):
            yield engine
    finally:
        await connection.close()
        await stream.aclose()
        await client.aclose()
