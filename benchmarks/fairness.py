"""How much later everybody else's events are visible while one tenant floods.

    python -m benchmarks.fairness [--rate 200] [--times 50] [--seconds 20] [--json FILE]
    python -m benchmarks.fairness --memory 240 [--json FILE]

An application tracks the events of `mix`, of three tenants, and a poller asks PostgreSQL's summaries all the time, as in `freshness`:
first alone, then while another application tracks so many times as many events of a fourth tenant, then alone again, and at last beside
a flood without a quota. The times alone before and behind the flood are what its delays are compared with. Resident memory of every
process is sampled meanwhile; `--memory` does only that, for so many seconds of as many events as one application makes. Everything runs
on this machine: the flood's own application and the worker share its cores with what is measured.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmarks import flood, mix, record
from benchmarks.freshness import SEEN, SQL_PAUSE, poll
from benchmarks.installation import Installation
from benchmarks.patience import run, until
from benchmarks.producer import MARKERS
from benchmarks.sightings import Delays, Sightings
from streamgauge_local.process import Process

BAR = 2.0  # times the delay without a flood
WARM_UP = 5.0  # seconds of flood before others are measured
QUOTA = 5_000
SAMPLE = 1.0  # seconds
#: Of each process's samples, those from its beginning that say nothing of growth.
UNSETTLED = 0.3
COUNTS = """
SELECT coalesce(sum(events) FILTER (WHERE overflow), 0)::bigint AS overflow, coalesce(sum(events), 0)::bigint AS processed,
       coalesce(sum(events) FILTER (WHERE outcome = 'applied'), 0)::bigint AS applied
FROM outcome_ledger JOIN shards USING (shard)
"""


@dataclass
class Memory:
    """Resident memory of a process over time."""

    at: list[float] = field(default_factory=list)
    mebibytes: list[float] = field(default_factory=list)

    def sample(self, process: Process) -> None:
        """Look once; nothing when it has ended."""
        try:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text("ascii").split()[1])
        except (OSError, IndexError):
            return
        if pages:
            self.at.append(time.monotonic())
            self.mebibytes.append(pages * 4096 / 2**20)

    def as_json(self) -> dict[str, float]:
        """First, last and most, and the slope of what is settled, in MiB a minute."""
        begin = int(len(self.at) * UNSETTLED)
        at, size = self.at[begin:], self.mebibytes[begin:]
        slope = statistics.linear_regression(at, size).slope * 60 if len(at) > 2 else 0.0
        return {
            "first": round(self.mebibytes[0], 1), "last": round(self.mebibytes[-1], 1), "most": round(max(self.mebibytes), 1),
            "slope_per_minute": round(slope, 2), "seconds": round(self.at[-1] - self.at[0], 1),
        }  # fmt: skip


@asynccontextmanager
async def watched(memories: dict[str, Memory], **processes: Process) -> AsyncIterator[None]:
    """Sample the memory of processes meanwhile."""

    async def sample() -> None:
        while True:
            for name, process in processes.items():
                memories.setdefault(name, Memory()).sample(process)
            await asyncio.sleep(SAMPLE)

    sampling = asyncio.create_task(sample())
    try:
        yield
    finally:
        sampling.cancel()


class Fairness:
    """One installation, on which others' delays are measured again and again."""

    def __init__(self, installation: Installation, database: Any, rate: int, seconds: float) -> None:
        self._installation = installation
        self._database = database
        self._rate = rate
        self._seconds = seconds
        self._tracked: dict[str, list[int]] = {name: [] for name in MARKERS}
        self.sightings = Sightings()
        self.windows: dict[str, tuple[int, int]] = {}
        self.accepted = 0  #: events, by all applications so far

    async def others(self, name: str) -> dict[str, Any]:
        """Let the others track for a while; their delays."""
        file = self._installation.directory / f"{name}.json"
        began = time.monotonic_ns()
        options = ["--rate", str(self._rate), "--seconds", str(self._seconds), "--file", str(file)]
        await self._ended(self._installation.run(name, "-m", "benchmarks.producer", *options))
        produced = orjson.loads(file.read_bytes())
        self.accepted += produced["status"]["accepted"]
        self.windows[name] = began, time.monotonic_ns()
        for marker, moments in produced["tracked"].items():
            self._tracked[marker] += moments

        async def seen() -> bool:
            last = self.sightings.counts[-1]
            return all(last.get(marker, 0) == len(moments) for marker, moments in self._tracked.items())

        await until(seen, "all markers are visible")
        return {
            "delay": self.delay(name),
            "dropped": produced["status"]["dropped"],
        }

    def delay(self, *names: str) -> dict[str, float]:
        """Delays of these times together."""
        together = Delays()
        for name in names:
            found = self.sightings.delays(self._tracked, *self.windows[name])
            together.nanoseconds += found.nanoseconds
            together.overstated += found.overstated
            together.unseen += found.unseen
        return together.as_json()

    async def flooded(
        self, name: str, rate: int, quota: int, memories: dict[str, Memory], processes: dict[str, Process]
    ) -> dict[str, Any]:
        """The same while another tenant floods; and what became of the flood."""
        file = self._installation.directory / f"{name}-flood.json"
        before = await self._database.fetchrow(COUNTS)
        options = ["--rate", str(rate), "--seconds", str(self._seconds + WARM_UP + 3), "--quota", str(quota)]
        flooding = self._installation.run(
            f"{name}-flood", "-m", "benchmarks.flood", *options, "--file", str(file)
        )
        async with watched(memories, flood=flooding, **processes):
            await asyncio.sleep(WARM_UP)
            result = await self.others(name)
            await self._ended(flooding)
        told = orjson.loads(file.read_bytes())
        self.accepted += told["accepted"]
        drained = await until(self._is_drained, "all of the flood is applied", 300.0)
        after = await self._database.fetchrow(COUNTS)
        return {
            **result,
            "flood_events_per_second": round(told["events_per_second"]),
            "flood_dropped": told["status"]["dropped"],
            "flood_accepted": told["accepted"],
            "processed": after["processed"] - before["processed"],
            "in_overflow": after["overflow"] - before["overflow"],
            "drained_after_seconds": round(drained, 1),
        }

    async def exact(self) -> dict[str, Any]:
        """Whether all that was accepted was processed, and once."""
        await until(self._is_drained, "everything is applied", 300.0)
        counts = await self._database.fetchrow(COUNTS)
        return {"accepted": self.accepted, **counts, "exact": self.accepted == counts["processed"]}

    async def _is_drained(self) -> bool:
        """Whether nothing more is applied: producers have ended, so their lanes say how far they go."""
        pending: int = await self._database.fetchval(
            """SELECT coalesce(sum("end" - (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(done) r)), 0)::bigint FROM lanes
            WHERE NOT stray"""
        )
        return pending == 0 and await self._database.fetchval(
            "SELECT bool_and(closed) AND max(applied_at) < now() - interval '1.5 s' FROM lanes, shards"
        )

    async def _ended(self, process: Process) -> None:
        if not await process.wait(self._seconds + WARM_UP + 90) or process.exit_code != 0:
            raise SystemExit(f"{process.name} failed:\n{process.output(30)}")


async def measure(rate: int, times: int, seconds: float, *, ephemeral: bool = False) -> dict[str, Any]:
    """Delays alone, beside a flood, and beside a flood without a quota."""
    machine = record.machine("redis", "hiredis", "asyncpg")
    tenants = [*(mix.tenant(number) for number in range(mix.TENANTS)), flood.TENANT]
    memories: dict[str, Memory] = {}
    async with (
        Installation(tenants=tenants, ephemeral=ephemeral) as installation,
        installation.database() as database,
    ):
        processes = {"worker": await installation.run_worker()}
        processes["server"], _ = await installation.run_server()
        fairness = Fairness(installation, database, rate, seconds)

        async def ask() -> dict[str, int]:
            return {row["name"]: row["n"] for row in await polled.fetch(SEEN, list(MARKERS))}

        async with installation.database() as polled:
            polling = asyncio.create_task(poll(fairness.sightings, ask, SQL_PAUSE))
            try:
                await fairness.others("warm")  # every actor and series is new then
                alone = await fairness.others("alone")
                flooded = await fairness.flooded("flooded", rate * times, QUOTA, memories, processes)
                again = await fairness.others("again")
                bare = await fairness.flooded("bare", rate * times, 0, {}, {})
            finally:
                polling.cancel()
        account = await fairness.exact()
    base = fairness.delay("alone", "again")
    return {
        "others_events_per_second": rate, "times": times, "quota_events_per_second": QUOTA, "seconds": seconds,
        "alone": alone, "flooded": flooded, "flooded_without_quota": bare, "alone_again": again,
        "ratio": _ratio(flooded["delay"], base), "ratio_without_quota": _ratio(bare["delay"], base), "bar": BAR,
        "within_bar": flooded["delay"]["p50_ms"] <= BAR * base["p50_ms"] and flooded["delay"]["p95_ms"] <= BAR * base["p95_ms"],
        "account": account,
        "memory_mebibytes": {name: memory.as_json() for name, memory in memories.items()},
        "baseline": base,
        "servers": installation.details, **machine,
    }  # fmt: skip


async def measure_memory(seconds: float, *, ephemeral: bool = False) -> dict[str, Any]:
    """Memory of host, worker and server while one application sends all it can, above its quota."""
    machine = record.machine("redis", "hiredis", "asyncpg")
    memories: dict[str, Memory] = {}
    async with (
        Installation(tenants=[flood.TENANT], ephemeral=ephemeral) as installation,
        installation.database() as database,
    ):
        worker = await installation.run_worker()
        server, _ = await installation.run_server()
        file = installation.directory / "flood.json"
        options = ["--rate", "0", "--seconds", str(seconds), "--quota", str(QUOTA), "--file", str(file)]
        flooding = installation.run("flood", "-m", "benchmarks.flood", *options)
        async with watched(memories, flood=flooding, worker=worker, server=server):
            if not await flooding.wait(seconds + 120) or flooding.exit_code != 0:
                raise SystemExit(f"the flood failed:\n{flooding.output(30)}")
        told = orjson.loads(file.read_bytes())
        counts = await database.fetchrow(COUNTS)
    return {
        "seconds": seconds, "tracked_per_second": round(told["tracked"] / seconds),
        "accepted_per_second": round(told["events_per_second"]), "dropped": told["status"]["dropped"],
        "waiting_at_the_end": told["status"]["waiting"], **counts,
        "memory_mebibytes": {name: memory.as_json() for name, memory in memories.items()},
        "servers": installation.details, **machine,
    }  # fmt: skip


def _ratio(delay: dict[str, float], base: dict[str, float]) -> dict[str, float]:
    return {name: round(delay[name] / base[name], 2) for name in ("p50_ms", "p95_ms", "p99_ms")}


def show(result: dict[str, Any]) -> None:
    """Print figures for people."""
    for name in ("alone", "flooded", "flooded_without_quota", "alone_again"):
        shown = "   ".join(f"{figure} {value}" for figure, value in result[name]["delay"].items())
        print(f"{name:<24}{shown}")
    print(f"times as late: {result['ratio']}; without a quota: {result['ratio_without_quota']}; bar {BAR}")
    print(f"account: {result['account']}")
    print(f"memory in MiB: {result['memory_mebibytes']}", flush=True)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=int, default=200, help="events a second of the others")
    parser.add_argument("--times", type=int, default=50, help="how many times as many the flood has")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--memory", type=float, help="measure only memory, for so many seconds")
    parser.add_argument("--json", type=Path, default=record.RESULTS / "fairness.json", help="file to write")
    options = parser.parse_args()
    if options.memory:
        record.keep(result := run(measure_memory(options.memory)), options.json)
        print(result)
        return
    result = run(measure(options.rate, options.times, options.seconds))
    record.keep(result, options.json)
    show(result)
    sys.exit(0 if result["within_bar"] else 1)


if __name__ == "__main__":
    main()
