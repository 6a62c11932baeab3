"""What a host's users notice when what Streamgauge needs is away: nothing. And what becomes of the events meanwhile: none is lost.

    python -m benchmarks.outage [--seconds 60] [--rate 100] [--people 8] [--buffer-events 10000] [--json FILE]

The example school is used all the time, at a steady rate, while in turn nothing happens, Redis is killed, Redis hangs (SIGSTOP),
Redis is full (maxmemory), and PostgreSQL is stopped; each fault begins and ends under load. Everything runs on this machine, over
a temporary directory: Valkey, PostgreSQL, a worker, the API server, and the school under uvicorn. Exits with 1 when a request
failed, or when accepted events are neither in the tables nor announced as dropped.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2

from benchmarks import record, students
from benchmarks.audience import Audience
from benchmarks.faults import Fault, faults
from benchmarks.installation import Installation, free_port
from benchmarks.patience import PATIENCE, run, until
from benchmarks.school import STATUS
from streamgauge.settings import Settings
from streamgauge_local.process import Process

LEAD = 0.1  # of a fault's seconds: load before it begins and after it has ended
LEAST_LEAD = 0.5  # seconds
ANNOUNCED_WITHIN = 10.0  # seconds; applications announce every five
LAST_WORDS_WITHIN = 3.0  # seconds
# Numbers that were announced and never came.
LOST = """
SELECT coalesce(sum("end" - (SELECT coalesce(sum(least(upper(r), "end") - lower(r)), 0) FROM unnest(done) r WHERE lower(r) < "end")), 0)
    ::bigint
FROM lanes WHERE NOT stray
"""


@dataclass
class Account:
    """Where the events are."""

    accepted: int  #: by the gauge
    waiting: int  #: in its buffer
    sent: int  #: to the stream
    dropped: dict[str, int]  #: by the gauge, by reason
    processed: int  #: in the outcome ledger
    counted: int  #: in the summaries
    repeated: int  #: not counted, because an event with the same key was

    def since(self, before: "Account") -> dict[str, Any]:
        """What was added."""
        numbers, old = asdict(self), asdict(before)
        dropped = Counter(self.dropped)
        dropped.subtract(before.dropped)
        return {name: value - old[name] for name, value in numbers.items() if name != "dropped"} | {
            "dropped": dict(+dropped)
        }


class Outage:
    """A school that is used while things go wrong."""

    def __init__(self, installation: Installation, host: Process, url: str, audience: Audience) -> None:
        self._installation = installation
        self._host = host
        self._url = url
        self._audience = audience

    async def suffer(self, fault: Fault, rate: int, seconds: float) -> dict[str, Any]:
        """Use the school during a fault, and until everything is in the tables again."""
        before = await self.account()
        lead = max(LEAD * seconds, LEAST_LEAD)
        using = asyncio.create_task(self._audience.ask(rate, seconds + 2 * lead))
        try:
            await asyncio.sleep(lead)
            try:
                await fault.begin()
                await asyncio.sleep(seconds)
                waiting = (await self.status())["waiting"]
            finally:
                await fault.end()
            ended = time.monotonic()
            answers = await using
        finally:
            using.cancel()
        recovered = await self.settle()
        return {
            **answers.as_json(),
            "events": (await self.account()).since(before),
            "waiting": waiting,
            "recovered": recovered,
            # Until after the last request, so it is at least as long as they went on.
            "recovery_seconds": round(time.monotonic() - ended, 2),
        }

    async def warm_up(self, rate: int) -> None:
        """Fill caches, open connections."""
        await self._audience.ask(rate, 1.0)
        await self.settle()

    async def close(self) -> int | None:
        """End the school as a deployment does; its exit code."""
        await self._host.stop((signal.SIGTERM, 20.0))
        code = self._host.exit_code
        # uvicorn ends itself by the signal it was sent, when it has shut down.
        return 0 if code == -signal.SIGTERM else code

    async def settle(self) -> bool:
        """Wait until all that was sent is in the tables and nothing waits; whether that came to be."""

        async def settled() -> bool:
            account = await self.account()
            return account.waiting == 0 and account.sent == account.processed

        try:
            await until(settled, "all accepted events are in the tables", step=0.1)
        except TimeoutError:
            return False
        return True

    async def status(self) -> dict[str, Any]:
        """What the gauge says of itself."""
        async with httpx2.AsyncClient() as client:
            answer = await client.get(self._url + STATUS)
            told: dict[str, Any] = answer.raise_for_status().json()
            return told

    async def account(self) -> Account:
        """Of now."""
        told = await self.status()
        async with self._installation.database() as connection:
            rows = await connection.fetch(
                "SELECT outcome, sum(events)::bigint AS n FROM outcome_ledger GROUP BY 1"
            )
            outcomes = {row["outcome"]: row["n"] for row in rows}
            counted = "SELECT coalesce(sum(count), 0)::bigint FROM hourly_metrics WHERE metric = 'events'"
            return Account(
                told["accepted"], told["waiting"], told["sent"], told["dropped"], sum(outcomes.values()),
                await connection.fetchval(counted), outcomes.get("repeated_key", 0),
            )  # fmt: skip

    async def announced(self, account: Account) -> dict[str, int]:
        """What the tables know of drops, by reason, and of numbers that never came, once it is as much as was dropped."""
        told: dict[str, int] = {}

        async def complete() -> bool:
            told.clear()
            told.update(await self._told())
            return sum(told.values()) == sum(account.dropped.values())

        with contextlib.suppress(TimeoutError):
            await until(complete, "all drops are announced", ANNOUNCED_WITHIN)
        return told

    async def lanes_closed(self) -> bool:
        """Whether the school, which has ended, said so in the stream."""

        async def closed() -> bool:
            async with self._installation.database() as connection:
                return bool(await connection.fetchval("SELECT bool_and(closed) FROM lanes"))

        try:
            await until(closed, "the school's last words are in the tables", LAST_WORDS_WITHIN)
        except TimeoutError:
            return False
        return True

    async def _told(self) -> dict[str, int]:
        async with self._installation.database() as connection:
            rows = await connection.fetch(
                "SELECT key, sum(value::bigint)::bigint AS n FROM lanes, jsonb_each_text(drops) GROUP BY key"
            )
            lost = await connection.fetchval(LOST)
        return {row["key"]: row["n"] for row in rows} | ({"lost": lost} if lost else {})


@asynccontextmanager
async def open_school(installation: Installation, people: int) -> AsyncIterator[Outage]:
    """The school, with so many students who are logged in."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    # Kept longer than any recovery: a connection closed for being idle would be no failure of what is measured.
    kept = ["--timeout-keep-alive", "600"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", "--no-access-log", *kept]
    host = installation.run("school", "-m", "uvicorn", "benchmarks.school:app", *options)
    await installation.until_answered(url + STATUS, host)
    audience = Audience(url, people, students.activity)
    try:
        await audience.enter(students.login)
        yield Outage(installation, host, url, audience)
    finally:
        await audience.leave()


async def measure(
    seconds: float, rate: int, people: int, buffer_events: int, *, ephemeral: bool = False
) -> dict[str, Any]:
    """All faults in turn, each of so many seconds, and what is wrong with the outcome."""
    # What is asked is what a full buffer does: with files behind it, it would never be full.
    variables = {"STREAMGAUGE_BUFFER_EVENTS": str(buffer_events), "STREAMGAUGE_CAPTURE_MODE": "memory"}
    machine = record.machine("fastapi", "uvicorn", "redis", "asyncpg")
    async with Installation(ephemeral=ephemeral, variables=variables) as installation:
        worker, (server, address) = await asyncio.gather(installation.run_worker(), installation.run_server())
        async with open_school(installation, people) as outage:
            await outage.warm_up(rate)
            suffered = {}
            for fault in faults(installation):
                suffered[fault.name] = await outage.suffer(fault, rate, seconds)
                show(fault.name, suffered[fault.name])
                if not suffered[fault.name]["recovered"]:
                    break  # what is missing would be missing after all others, too
                await installation.until_answered(f"{address}/health/ready", server)
            account = await outage.account()
            announced = await outage.announced(account)
            ended = await outage.close()
            lanes_closed = await outage.lanes_closed()
        result = {
            "seconds": seconds,
            "requests_per_second": rate,
            "people": people,
            "buffer_events": buffer_events,
            "faults": suffered,
            "events": asdict(account),
            "announced": announced,
            "lanes_closed": lanes_closed,
            "still_run": {
                "worker": worker.exit_code is None,
                "server": server.exit_code is None,
                "school": ended == 0,
            },
            "servers": installation.details,
            **machine,
        }
    return {**result, "wrong": list(wrong(result))}


def wrong(result: dict[str, Any]) -> Iterator[str]:
    """What must not be, in words."""
    for name, told in result["faults"].items():
        if told["failed"]:
            yield f"{name}: {told['failed']} of {told['requests']} requests failed"
        if not told["recovered"]:
            yield f"{name}: not all events were in the tables within {PATIENCE:.0f} seconds after its end"
    for name, runs in result["still_run"].items():
        if not runs:
            yield f"the {name} did not survive"
    events, announced = result["events"], result["announced"]
    given_up = events["accepted"] - events["sent"]
    if (
        events["processed"] + given_up != events["accepted"]
        or events["counted"] + events["repeated"] != events["processed"]
    ):
        yield f"accepted events are neither in the tables nor given up: {events}"
    if sum(announced.values()) != sum(events["dropped"].values()):
        yield f"dropped {events['dropped']}, but announced {announced}"


def show(name: str, told: dict[str, Any]) -> None:
    """Print one fault's figures for people."""
    events = told["events"]
    print(
        f"{name:<20}{told['requests']:>7} requests{told['failed']:>4} failed   p50 {told['p50_ms']:>6.1f} ms   p99 {told['p99_ms']:>6.1f} ms   "
        f"events: {events['accepted']} accepted, {told['waiting']} waiting at its end, {events['processed']} in the tables "
        f"after {told['recovery_seconds']} s, dropped {events['dropped']}",
        flush=True,
    )  # fmt: skip


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each fault")
    parser.add_argument("--rate", type=int, default=100, help="requests a second")
    parser.add_argument("--people", type=int, default=8, help="connections")
    parser.add_argument(
        "--buffer-events", type=int, default=Settings().buffer_events, help="most that may wait in the school"
    )
    parser.add_argument("--json", type=Path, default=record.RESULTS / "outage.json", help="file to write")
    options = parser.parse_args()
    result = run(measure(options.seconds, options.rate, options.people, options.buffer_events))
    record.keep(result, options.json)
    print(
        f"all events: {result['events']}, announced drops: {result['announced']}, lanes closed: {result['lanes_closed']}"
    )
    for each in result["wrong"]:
        print(f"WRONG: {each}", file=sys.stderr)
    sys.exit(1 if result["wrong"] else 0)


if __name__ == "__main__":
    main()
