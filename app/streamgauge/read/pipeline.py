"""The pipeline's state as the database and the streams tell it, for the server's metrics: ledgers, lag, losses."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamgauge.access.tenancy import platform_transaction
from streamgauge.database import Pool
from streamgauge.entry import EntryId
from streamgauge.sql import named_queries
from streamgauge.stream import StreamPort

FRESH = 5.0  # seconds for which an answer is good enough for the next scrape too
PATIENCE = 3.0  # seconds for asking either server

SQL = named_queries("streamgauge.read", "pipeline.sql")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker process, and the seconds since it last said that it works."""

    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    silent: float


@dataclass(slots=True)
class PipelineState:
    """One look. `database` and `streams` say whether each of them answered; what did not is left out."""

    database: bool = False
    streams: bool = False
    #: Events by (outcome, reason).
    ledger: dict[tuple[str, str], int] = field(default_factory=dict)
    #: (letters, events) by reason.
    dead_letters: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Announced events that are not there, of known lanes and of forgotten ones.
    lost: tuple[int, int] = (0, 0)
    #: By shard: generation and number of its stream, and how far that is applied.
    positions: dict[int, tuple[int, int, EntryId]] = field(default_factory=dict)
    #: Unix seconds of each shard's latest transaction.
    applied_at: dict[int, float] = field(default_factory=dict)
    lag: dict[int, float] = field(default_factory=dict)
    workers: list[WorkerSeen] = field(default_factory=list)
    #: Shards that a worker holds the lease of.
    held: set[int] = field(default_factory=set)
    #: Events that producers announced as given up before they had a number, by reason.
    drops: dict[str, int] = field(default_factory=dict)


class Pipeline(Collector):
    """Looks at most every FRESH seconds, however many scrape; `collect` tells the latest look."""

    def __init__(self, pool: Pool, stream: StreamPort) -> None:
        self.pool = pool
        self.stream = stream
        self.streams = {stream.generation: stream}
        self.state = PipelineState()
        self.looked_at = float("-inf")
        self.looking = asyncio.Lock()

    async def look(self) -> PipelineState:
        """The state, asked for anew unless the last answer is fresh. Never raises for a server that is away."""
        async with self.looking:
            if time.monotonic() - self.looked_at >= FRESH:
                state = PipelineState()
                await self._ask_database(state)
                await self._ask_streams(state)
                self.state, self.looked_at = state, time.monotonic()
        return self.state

    async def _ask_database(self, state: PipelineState) -> None:
        try:
            async with asyncio.timeout(PATIENCE), platform_transaction(self.pool) as connection:
                for row in await connection.fetch(SQL["ledger"]):
                    state.ledger[row["outcome"], row["reason"]] = row["events"]
                for row in await connection.fetch(SQL["dead_letters"]):
                    state.dead_letters[row["reason"]] = row["letters"], row["events"]
                for row in await connection.fetch(SQL["positions"]):
                    at = EntryId(row["position_ms"], row["position_seq"])
                    state.positions[row["shard"]] = row["generation"], row["number"], at
                    if row["applied_at"] is not None:
                        state.applied_at[row["shard"]] = row["applied_at"].timestamp()
                lost = await connection.fetchrow(SQL["lost"])
                state.lost = (lost["known"], lost["forgotten"]) if lost else (0, 0)
                state.workers = [WorkerSeen(*row) for row in await connection.fetch(SQL["workers"])]
                held = await connection.fetch(SQL["held"])
                state.held = {row["shard"] for row in held}
                state.drops = {row["reason"]: row["events"] for row in await connection.fetch(SQL["drops"])}
                state.database = True
        except Exception as error:  # noqa: BLE001 - metrics without it are better than none
            log.warning("metrics without the database", error=type(error).__name__, detail=str(error))

    async def _ask_streams(self, state: PipelineState) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                for shard, (generation, number, position) in state.positions.items():
                    stream = self._stream_of(generation)
                    state.lag[shard] = (await stream.backlog(number, position)).seconds
            state.streams = bool(state.positions)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("metrics without the streams", error=type(error).__name__, detail=str(error))

    def _stream_of(self, generation: int) -> StreamPort:
        """The streams of a generation; how many there are is the database's to say."""
        if generation not in self.streams:
            self.streams[generation] = self.stream.of_generation(generation, 0)
        return self.streams[generation]

    async def aclose(self) -> None:
        """Close the streams of other generations than the one it was given."""
        for stream in self.streams.values():
            if stream is not self.stream:
                await stream.aclose()

    def collect(self) -> Iterator[Metric]:
        """The metric families of the latest look."""
        state = self.state
        up = GaugeMetricFamily(
            "streamgauge_source_up", "Whether what these metrics come from answered.", labels=["source"]
        )
        up.add_metric(["database"], state.database)
        up.add_metric(["streams"], state.streams)
        yield up
        if not state.database:
            return
        ledger = CounterMetricFamily(
            "streamgauge_ledger_events", "Events by what became of them.", labels=["outcome", "reason"]
        )
        for (outcome, reason), events in sorted(state.ledger.items()):
            ledger.add_metric([outcome, reason], events)
        yield ledger
        letters = GaugeMetricFamily(
            "streamgauge_dead_letters",
            "Refused events and entries that wait for somebody to look.",
            labels=["reason"],
        )
        for reason, (count, _) in sorted(state.dead_letters.items()):
            letters.add_metric([reason], count)
        yield letters
        lost = GaugeMetricFamily(
            "streamgauge_lost_events",
            "Announced events that are not there; while a stream is read again some of them may still come.",
            labels=["lanes"],
        )
        lost.add_metric(["known"], state.lost[0])
        lost.add_metric(["forgotten"], state.lost[1])
        yield lost
        yield _per_shard(
            "streamgauge_shard_applied_timestamp_seconds", "Latest transaction.", state.applied_at
        )
        yield _per_shard(
            "streamgauge_shard_lag_seconds", "Age of the oldest entry that is not applied yet.", state.lag
        )


def _per_shard(name: str, documentation: str, values: dict[int, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=["shard"])
    for shard, value in sorted(values.items()):
        family.add_metric([str(shard)], value)
    return family
