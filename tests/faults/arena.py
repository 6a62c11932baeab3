"""One run of one fault: its servers, workers, producers and oracle; and, when the fault is over, the verdict."""

import asyncio
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg
import orjson

from streamgauge.capture.publisher import Lane
from streamgauge.database import Connection, open_connection
from streamgauge.entry import EntryId
from streamgauge.errors import ServerError
from streamgauge.frame import freeze
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge.stream import History
from streamgauge_workers.verify import verify
from tests.faults.catalogue import CATALOGUE, METRIC, TENANTS
from tests.faults.ground import PATIENCE, Child, Ground, RedisServer, until
from tests.faults.judge import Verdict, find, judge
from tests.faults.ledger import Fact, Ledger, Outcome, intention, outcome
from tests.faults.load import SHARDS, STREAMS, Plan, event_of
from tests.faults.oracle import Witness

LEASE_SECONDS = 1
NOTHING: Mapping[str, str] = MappingProxyType({})
PROBE_SECONDS = 10.0  # in which a probe is visible once the faults are over (I5)
PROBE = 1 << 40  # values of probes; a producer's are far below
APART = 10_000_000  # event numbers between two producers


_ACTIVITY = """
SELECT pid, state, coalesce(wait_event, '-'), now() - state_change, pg_blocking_pids(pid), left(query, 60)
FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"""


@dataclass
class Row:
    """A line of the table."""

    fault: str
    fired: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    seconds: float = 0.0
    troubles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing lost, nothing doubled, nothing else wrong, and the fault happened (I7)."""
        return not self.troubles and self.fired > 0 and self.verdict.lost == self.verdict.doubled == 0


class Arena:
    """What a scenario works with. Everything random in it comes from `chosen`."""

    def __init__(self, ground: Ground, fault: str, seed: int, full: bool, slack: float = 1.0) -> None:
        self.ground, self.fault, self.seed, self.full, self.slack = ground, fault, seed, full, slack
        self.chosen = random.Random(f"{seed} {fault}")
        self.directory: Path = ground.make_directory()
        self.fired: Counter[str] = Counter()
        self.troubles: list[str] = []
        self.notes: list[str] = []
        self.junk = 0  #: entries sent that hold nothing of the ledger
        self.redis = RedisServer(self.directory)
        self.database = ""
        self.database_host: Path | None = None  #: where it is reached, if not where the ground's is
        self.witness: Witness
        self.connection: Connection
        self.children: list[Child] = []
        self._loads: list[Child] = []
        self._started = self._made = 0  # programs, and producers among them, until now
        self._probes = 0
        self._spare: list[Child] = []

    def pick(self, quick: int, full: int) -> int:
        """How often: in a quick run, and in a full one."""
        return full if self.full else quick

    async def open(self) -> None:
        """Start what every scenario needs."""
        await self.redis.start()
        self.database = await self.ground.make_database()
        await self.reconnect()
        for name, (zone, _) in TENANTS.items():
            await self.connection.execute(
                "WITH made AS (INSERT INTO tenants (name) VALUES ($1) RETURNING tenant_id) "
                "INSERT INTO tenant_time_zones (tenant_id, time_zone) SELECT tenant_id, $2 FROM made",
                name,
                zone,
            )
        oracle = self._child("oracle", "tests.faults.oracle", str(self._socket), str(self.ledger))
        self._spare.append(oracle)

        async def listening() -> bool:
            try:
                self.witness = await Witness.open(str(self._socket))
            except OSError:
                return False
            return True

        await until(listening, "the oracle listens", oracle.process)

    async def close(self) -> None:
        """End everything, whatever state it is in."""
        for child in [*self.children, *self._spare]:
            await child.kill()
        if self.ground.keep:
            kept = self.ground.keep / self.fault
            kept.mkdir(parents=True, exist_ok=True)
            for log in [*self.directory.glob("*.log"), self.ledger]:
                shutil.copy(log, kept)
        if hasattr(self, "witness"):
            await self.witness.aclose()
        if hasattr(self, "connection"):
            await self.connection.close()
        if self.redis.running:
            await self.redis.process.stop()
        if self.database:
            await self.ground.drop_database(self.database)

    async def reconnect(self) -> None:
        """A new connection to PostgreSQL, as soon as it takes one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.connection = await open_connection(
                    self.ground.database_url(self.database, self.database_host)
                )
                return
            except (ServerError, asyncpg.PostgresError):
                assert time.monotonic() < deadline, "PostgreSQL does not come back"
                await asyncio.sleep(0.05)

    def worker(
        self, failpoints: str = "", port: int = 0, unprefixed: Mapping[str, str] = NOTHING, **environment: str
    ) -> Child:
        """A `streamgauge worker`; variables are settings without their prefix, in small letters."""
        given = {"failpoints": failpoints, "batch_events": "300", **environment}
        return self.program(
            "worker", "streamgauge_cli.main", "worker", "--port", str(port), unprefixed=unprefixed, **given
        )

    def program(
        self,
        name: str,
        module: str,
        *arguments: str,
        unprefixed: Mapping[str, str] = NOTHING,
        **environment: str,
    ) -> Child:
        """Any program of ours that takes part. `unprefixed`: variables that are no settings of ours."""
        child = self._child(name, module, *arguments, **self.environment(**environment), **unprefixed)
        self.children.append(child)
        return child

    async def started(self, worker: Child) -> Child:
        """Wait until a worker has shards: it does not start without its servers."""

        async def working() -> bool:
            return worker.said("shard taken") > 0

        await until(working, "the worker has shards", worker.process)
        return worker

    def environment(self, **settings: str) -> dict[str, str]:
        """What a program of ours needs to take part."""
        known = {
            "redis_url": self.redis.url,
            "database_url": self.ground.database_url(self.database, self.database_host),
            "shards": str(SHARDS),
            "lease_seconds": str(LEASE_SECONDS),
            "data_dir": str(self.directory),
            "catalogue": "tests.faults.catalogue:CATALOGUE",
            **settings,
        }
        return {f"STREAMGAUGE_{name.upper()}": value for name, value in known.items() if value}

    def load(
        self,
        redis_url: str = "",
        environment: Mapping[str, str] = NOTHING,
        unprefixed: Mapping[str, str] = NOTHING,
        **plan: Any,
    ) -> Child:
        """A producer; see `Plan` for what it can be told. Quick ones leave the machine to other suites."""
        plan = {"pause": self.pick(15, 8) / 100, "size": self.pick(30, 40), **plan}
        self._made += 1
        number = self._made
        url = redis_url or self.redis.url
        whole = Plan(str(self._socket), url, f"p{number}", number * APART, self.seed, **plan)
        child = self._child(
            f"load{number}",
            "tests.faults.load",
            orjson.dumps(asdict(whole)).decode(),
            **self.environment(redis_url=url, **environment),
            **unprefixed,
        )
        self._loads.append(child)
        self.children.append(child)
        return child

    async def loaded(self, batches: int = 10, by: Child | None = None) -> None:
        """Wait until producers, or one of them, have been told that so many batches more were taken."""
        before = self._said(by)

        async def more() -> bool:
            self._watch()
            return self._said(by) >= before + batches

        await until(more, f"{batches} more batches are acked")

    async def applied(self) -> int:
        """Events applied until now; 0 while PostgreSQL does not say."""
        try:
            found = await self.connection.fetchval(
                "SELECT coalesce(sum(events), 0)::bigint FROM outcome_ledger"
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self.reconnect()
            return 0
        return int(found)

    async def progress(self, events: int = 1, process: Child | None = None) -> None:
        """Wait until so many events more are applied."""
        before = await self.applied()

        async def more() -> bool:
            self._watch()
            return await self.applied() >= before + events

        await until(more, f"{events} more events are applied", process.process if process else None)

    def _watch(self) -> None:
        """Producers that have failed or ended will never send what is waited for."""
        for load in self._loads:
            assert load.process.exit_code in (None, 0, -9, -15), (
                f"{load.name} failed: {load.process.output(5)}"
            )
        left = [load for load in self._loads if load.process.exit_code is None]
        assert left or not self._loads, "no producer is left"

    def void(self, what: str) -> None:
        """Say that something did not happen that was to: then the run proves nothing."""
        self.troubles.append(f"void: {what}")

    async def finish(self, worker: Child | None = None) -> Row:
        """The faults are over: end the load, see a probe through, drain, judge. Without a worker, starts one."""
        if worker is None or worker.process.exit_code is not None:
            self.worker()
        await self.probed()
        await self.witness.stop_producers()
        for load in self._loads:
            if await load.ended() not in (0, None, -9, -15):
                self.troubles.append(f"{load.name} ended badly: {load.process.output(5)}")
        await self.drained()
        row = Row(self.fault, self.fired.total(), troubles=self.troubles, notes=self.notes)
        ledger = Ledger.read(self.ledger)
        row.verdict = judge(ledger, await find(self.connection), self.junk)
        row.troubles += row.verdict.troubles
        verified = await verify(self.connection, CATALOGUE, Settings().cardinality_limit)
        row.troubles += [f"verify: {each}" for each in verified.differences[:3]]
        if not row.fired:
            row.troubles.append("void: the fault never fired")
        return row

    async def drained(self) -> None:
        """Wait until everything in the streams is applied."""
        stream = RedisStream(self.redis.url, "streamgauge", 0, SHARDS)
        try:

            async def all_applied() -> bool:
                rows = await self.connection.fetch("SELECT shard, position_ms, position_seq FROM shards")
                at = {row["shard"]: EntryId(row["position_ms"], row["position_seq"]) for row in rows}
                for shard in range(STREAMS):
                    last = await stream.last_id(shard)
                    if last is not None and at.get(shard) != last:
                        return False
                return True

            await until(all_applied, "the streams are drained")
        finally:
            await stream.aclose()

    async def applied_until_now(self) -> None:
        """Wait until everything is applied that is in the streams now; more may come meanwhile."""
        stream = RedisStream(self.redis.url, "streamgauge", 0, SHARDS)
        try:
            marks = [await stream.last_id(shard) for shard in range(STREAMS)]
        finally:
            await stream.aclose()

        async def reached() -> bool:
            rows = await self.connection.fetch("SELECT shard, position_ms, position_seq FROM shards")
            at = {row["shard"]: EntryId(row["position_ms"], row["position_seq"]) for row in rows}
            return all(
                mark is None or (shard in at and at[shard] >= mark) for shard, mark in enumerate(marks)
            )

        await until(reached, "what is in the streams is applied")

    async def trimmed(self) -> int:
        """Take from the streams what PostgreSQL says is applied, as a worker may at any moment; how many entries."""
        rows = await self.connection.fetch(
            "SELECT * FROM shards WHERE run_id IS NOT NULL AND shard < $1", SHARDS
        )
        stream = RedisStream(self.redis.url, "streamgauge", 0, SHARDS)
        removed = 0
        try:
            for row in rows:
                history = History(row["run_id"], row["birthmark"])
                before = EntryId(row["position_ms"], row["position_seq"])
                removed += await stream.trim(row["shard"], history, before) or 0
        finally:
            await stream.aclose()
        return removed

    def forget_the_ended(self) -> None:
        """Remove logs of programs that ended well or were killed: a long run starts thousands."""
        ended = [each for each in self.children if each.process.exit_code is not None]
        for child in ended:
            if child in self._loads and child.process.exit_code not in (0, -9, -15):
                self.troubles.append(f"{child.name} ended badly: {child.process.output(5)}")
            child.log.unlink(missing_ok=True)
        self.children = [each for each in self.children if each not in ended]
        self._loads = [each for each in self._loads if each not in ended]

    async def probed(self) -> None:
        """Send one event to every shard, and wait until all of them are in the summaries (I5)."""
        over, now, first = time.monotonic(), time.time_ns() // 1000, self._probes
        self._probes += SHARDS
        facts = [
            Fact(1 + number, "red", now - 60_000_000, PROBE + number)
            for number in range(first, first + SHARDS)
        ]
        parcel = f"probes {first}"
        await self.witness.tell(intention(parcel, facts))
        stream = RedisStream(self.redis.url, "streamgauge", 0, SHARDS)
        try:
            for shard, fact in enumerate(facts):
                lane = Lane(shard, now // 1000)
                batch = lane.freeze(freeze([event_of(fact, self.chosen)]), 1)
                lane.settle(batch)
                while True:  # Redis may be full for a moment still; numbers make a repetition harmless
                    try:
                        await stream.append_many(shard, [batch, lane.announcement(closed=True)])
                        break
                    except ServerError:
                        assert time.monotonic() < over + PATIENCE, "a probe was never taken"
                        await asyncio.sleep(0.1)
        finally:
            await stream.aclose()
        await self.witness.tell(outcome(parcel, Outcome.ACKED))
        query = (
            "SELECT count(DISTINCT shard) FROM hourly_summary JOIN series USING (shard, series_id) "
            "WHERE metric = $1 AND max >= $2"
        )
        while await self.connection.fetchval(query, METRIC, PROBE + first) < SHARDS:
            assert time.monotonic() < over + PATIENCE, "a probe was never counted"
            await asyncio.sleep(0.02)
        took = time.monotonic() - over
        if took > PROBE_SECONDS * self.slack:
            self.troubles.append(f"a probe took {took:.1f} seconds to be visible")

    async def activity(self) -> str:
        """What PostgreSQL's sessions are doing, one line each."""
        try:
            rows = await self.connection.fetch(_ACTIVITY)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return f"\n  PostgreSQL does not say: {error}"
        return "".join(f"\n  session: {' | '.join(map(str, row))}" for row in rows)

    def tails(self) -> str:
        """The last words of every program that took part."""
        return "".join(
            f"\n  {child.log.name}: {child.output[-400:]}" for child in [*self._spare, *self.children]
        )

    @property
    def _socket(self) -> Path:
        return self.directory / "o"

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    def _said(self, by: Child | None) -> int:
        name = "p[0-9]+" if by is None else by.name.replace("load", "p")
        acked = rf'"parcel":"{name}-[^"]*","outcome":"acked"'.encode()
        return len(re.findall(acked, self.ledger.read_bytes())) if self.ledger.exists() else 0

    def _child(self, name: str, module: str, *arguments: str, **environment: str) -> Child:
        self._started += 1
        log = self.directory / f"{name}-{self._started}.log"
        return Child(name, log, module, *arguments, **environment)


@asynccontextmanager
async def open_arena(
    ground: Ground, fault: str, seed: int, full: bool, slack: float = 1.0
) -> AsyncIterator[Arena]:
    """An arena, with nothing left of it afterwards."""
    arena = Arena(ground, fault, seed, full, slack)
    try:
        await arena.open()
        yield arena
    finally:
        await arena.close()
