"""How long it takes from `track()` until the event is in every answer.

    python -m benchmarks.freshness [--rate 1000] [--seconds 30] [--json FILE]

An application tracks the events of `mix` with the real gauge and default settings, a worker applies them, and two pollers ask all
the time how many markers there are: one in PostgreSQL's summaries, one through the API with a key, as a dashboard does. One event
in twenty is a marker; see `sightings` for how delays come of that. The floor is measured meanwhile on the same servers: an entry
added and read by another connection that waits for it, and a transaction that writes nothing. Everything runs on this machine, so
its cores are shared by the application, the worker, both servers, the API and the pollers.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx2
import orjson
from redis.asyncio import Redis

from benchmarks import mix, record
from benchmarks.installation import Installation
from benchmarks.patience import run, until
from benchmarks.producer import MARKERS, TENANT
from benchmarks.record import percentiles
from benchmarks.sightings import Sightings
from streamgauge_local.credentials import local_keys

WARM_UP = 3.0  # seconds whose markers are told apart: every actor and every series is new then
BAR = 250.0  # milliseconds, for 95 % of the events
SQL_PAUSE, API_PAUSE, FLOOR_PAUSE = 0.01, 0.05, 0.1  # seconds between an answer and the next question
FLOOR = "floor"  # the key of a stream
SEEN = """
SELECT s.dimensions[1] AS name, sum(r.count)::bigint AS n
FROM series s JOIN hourly_summary r USING (shard, series_id)
WHERE s.metric = 'events' AND s.dimensions[1] = ANY($1) GROUP BY 1
"""

Ask = Callable[[], Awaitable[Mapping[str, int]]]


class Pollers:
    """Ask until they are told to stop."""

    def __init__(self, installation: Installation, api: str) -> None:
        self._installation = installation
        self._api = api
        self._open = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.sql, self.http = Sightings(), Sightings()
        self.floor: list[int] = []

    async def __aenter__(self) -> Self:
        database = await self._open.enter_async_context(self._installation.database())
        key = (await local_keys(self._installation.postgres.url(), self._installation.directory, TENANT)).read
        client = await self._open.enter_async_context(
            httpx2.AsyncClient(base_url=self._api, headers={"Authorization": f"Bearer {key}"})
        )
        now = datetime.now(UTC)
        question = {
            "tenant": TENANT,
            "metrics": ["events"],
            "dimensions": ["event.name"],
            "filters": [["is", "event.name", list(MARKERS)]],
            "date_range": [f"{now - timedelta(days=1):%Y-%m-%d}", f"{now + timedelta(days=1):%Y-%m-%d}"],
        }

        async def in_sql() -> Mapping[str, int]:
            return {row["name"]: row["n"] for row in await database.fetch(SEEN, list(MARKERS))}

        async def in_api() -> Mapping[str, int]:
            answer = await client.post("/api/v1/query", json=question)
            if answer.status_code != 200:
                raise SystemExit(f"the API answered {answer.status_code}: {answer.text}")
            return {
                each["dimensions"][0]: each["metrics"][0] for each in orjson.loads(answer.content)["results"]
            }

        self._tasks = [
            asyncio.create_task(poll(self.sql, in_sql, SQL_PAUSE)),
            asyncio.create_task(poll(self.http, in_api, API_PAUSE)),
            asyncio.create_task(self._measure_floor()),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        running = set(self._tasks)
        while running:
            for task in running:
                task.cancel()
            # Again if need be: a client that is just being answered may keep a cancellation to itself.
            ended, running = await asyncio.wait(running, timeout=1.0)
            for task in ended:
                if not task.cancelled():
                    task.result()
        await self._open.aclose()

    async def until_seen(self, tracked: Mapping[str, list[int]]) -> None:
        """Wait until both have seen all markers."""

        async def seen() -> bool:
            for task in self._tasks:
                if task.done():
                    task.result()
            last = [sightings.counts[-1] for sightings in (self.sql, self.http)]
            return all(counts.get(name, 0) == len(tracked[name]) for counts in last for name in tracked)

        await until(seen, "all markers are visible")

    async def _measure_floor(self) -> None:
        url = self._installation.valkey.url()
        async with (
            Redis.from_url(url) as writer,
            Redis.from_url(url) as reader,
            self._installation.database() as database,
        ):
            await database.execute("SET synchronous_commit = off")  # as workers do
            while True:
                after = (await writer.xinfo_stream(FLOOR))["last-generated-id"] if self.floor else "0"
                began = await self._pass_on(writer, reader, after)
                async with database.transaction():
                    await database.execute("SELECT pg_current_xact_id()")
                self.floor.append(time.monotonic_ns() - began)
                await asyncio.sleep(FLOOR_PAUSE)

    async def _pass_on(self, writer: Redis, reader: Redis, after: str) -> int:
        """From one connection to another that waits for it; when it was given away."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_read(reader, after))
            await asyncio.sleep(0.005)  # until it waits
            began = time.monotonic_ns()
            await writer.xadd(FLOOR, {"payload": b"x" * 100}, maxlen=10)
        return began


async def _read(reader: Redis, after: str) -> None:
    await reader.xread({FLOOR: after}, block=10_000)


async def poll(sightings: Sightings, ask: Ask, pause: float) -> None:
    """Ask for ever."""
    while True:
        asked = time.monotonic_ns()
        counts = await ask()
        sightings.see(asked, time.monotonic_ns(), counts)
        await asyncio.sleep(pause)


async def measure(rate: int, seconds: float, *, ephemeral: bool = False) -> dict[str, Any]:
    """Delays at so many events a second."""
    machine = record.machine("redis", "hiredis", "asyncpg", "fastapi", "uvicorn")
    tenants = [mix.tenant(number) for number in range(mix.TENANTS)]
    async with Installation(tenants=tenants, ephemeral=ephemeral) as installation:
        await installation.run_worker()
        _, api = await installation.run_server()
        file = installation.directory / "produced.json"
        async with Pollers(installation, api) as pollers:
            options = ["--rate", str(rate), "--seconds", str(seconds), "--file", str(file)]
            producer = installation.run("producer", "-m", "benchmarks.producer", *options)
            if not await producer.wait(seconds + 60) or producer.exit_code != 0:
                raise SystemExit(f"the producer failed:\n{producer.output(30)}")
            produced = orjson.loads(file.read_bytes())
            if produced["status"]["dropped"] or produced["status"]["troubles"]:
                raise SystemExit(f"not all events were sent: {produced['status']}")
            tracked = produced.pop("tracked")
            await pollers.until_seen(tracked)
        warm = min(moments[0] for moments in tracked.values() if moments) + int(WARM_UP * 1e9)
        saw = {"PostgreSQL": pollers.sql, "API": pollers.http}
        delays = {name: each.delays(tracked, since=warm).as_json() for name, each in saw.items()}
        floor = percentiles(pollers.floor)
        return {
            "events_per_second_asked": rate,
            "seconds": seconds,
            **produced,
            "delay": delays,
            "delay_at_first": {
                name: each.delays(tracked, until=warm).as_json() for name, each in saw.items()
            },
            "floor": floor,
            "p95_times_floor": round(delays["PostgreSQL"]["p95_ms"] / floor["p95_ms"], 1),
            "bar_p95_ms": BAR,
            "within_bar": {name: delay["p95_ms"] <= BAR for name, delay in delays.items()},
            "mix": mix.__doc__,
            "servers": installation.details,
            **machine,
        }


def show(result: dict[str, Any]) -> None:
    """Print figures for people."""
    print(f"{result['events_per_second']:,.0f} events/s; track() to visible, in ms:")
    first = {f"{name}, first {WARM_UP:.0f} s": figures for name, figures in result["delay_at_first"].items()}
    for name, figures in {**result["delay"], **first, "floor": result["floor"]}.items():
        shown = "   ".join(f"{figure} {value}" for figure, value in figures.items())
        print(f"{name:<24}{shown}")
    print(f"bar: p95 <= {BAR:.0f} ms; within: {result['within_bar']}", flush=True)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=int, default=1_000, help="events a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", type=Path, default=record.RESULTS / "freshness.json", help="file to write")
    options = parser.parse_args()
    result = run(measure(options.rate, options.seconds))
    record.keep(result, options.json)
    show(result)
    sys.exit(0 if all(result["within_bar"].values()) else 1)


if __name__ == "__main__":
    main()
