"""People who use the web application of `tests.faults.web` while something is away, and those who use the same without a gauge."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.audience import Answers, Asked, Audience
from benchmarks.record import percentiles

from tests.faults.arena import Arena
from tests.faults.ground import until
from tests.faults.ledger import Fact, Outcome, intention, outcome
from tests.faults.load import Facts, Plan
from tests.faults.web import STATUS
from tests.integration.program import fetch, free_port

PEOPLE = 8
RATE = 40  # requests a second to either application
LEAD = 1.0  # seconds of use before a fault and behind it
FIRST = 1 << 33  # number of the first event; those of producers are far below
SETTLED = 50  # events that may wait while requests go on


@dataclass
class Visits:
    """Both applications, and what came of asking them."""

    arena: Arena
    seconds: float
    measured: Answers = field(default_factory=Answers)
    plain: Answers = field(default_factory=Answers)
    facts: list[Fact] = field(default_factory=list)

    async def open(self) -> None:
        """Start both, and write down what will be sent."""
        self.ports = free_port(), free_port()
        self.host, self.other = (
            self.arena.program(kind, "tests.faults.web", str(port), kind, tenant="red")
            for port, kind in zip(self.ports, ("measured", "plain"), strict=True)
        )
        for port, child in zip(self.ports, (self.host, self.other), strict=True):

            async def serving(port: int = port) -> bool:
                try:
                    return (await asyncio.to_thread(fetch, port, STATUS)).status == 200
                except OSError:
                    return False

            await until(serving, "the application serves", child.process)
        source = Facts(Plan("", "", "web", FIRST, self.arena.seed, size=1), FIRST)
        self.facts = [each for _ in range(round(RATE * self.seconds)) for each in source.take()]
        for each in self.facts:
            await self.arena.witness.tell(intention(f"web-{each.number}", [each]))

    async def go_on(self) -> None:
        """Ask both for all the seconds."""
        due = iter(self.facts)

        def ask(_: random.Random, __: int) -> Asked:
            fact = next(due)
            return Asked(
                "POST", "/probes", 200, dict(zip(("number", "tenant", "at", "value"), fact, strict=False))
            )

        same = Asked("POST", "/probes", 200, {"number": 1, "tenant": "red", "at": 0, "value": 0})
        audiences = [
            Audience(f"http://127.0.0.1:{self.ports[0]}", PEOPLE, ask),
            Audience(f"http://127.0.0.1:{self.ports[1]}", PEOPLE, lambda *_: same),
        ]
        try:
            self.measured, self.plain = await asyncio.gather(
                *[each.ask(RATE, self.seconds) for each in audiences]
            )
        finally:
            for each in audiences:
                await each.leave()

    async def status(self) -> dict[str, Any]:
        """What the gauge says."""
        return dict(json.loads((await asyncio.to_thread(fetch, self.ports[0], STATUS)).text))

    async def drained(self, end: Callable[[], Awaitable[object]]) -> tuple[float, float]:
        """End the fault, and wait until what was kept is sent as requests go on: events sent a second, and events taken a second.

        Counted from before the end, with the time that Redis needs to start and the host to find it.
        """
        first, began = await self.status(), time.monotonic()
        now = first
        await end()

        async def little_waits() -> bool:
            nonlocal now
            now = await self.status()
            return bool(now["waiting"] <= SETTLED)

        await until(little_waits, "what was kept is sent", self.host.process)
        seconds = max(time.monotonic() - began, 1e-3)
        return (now["sent"] - first["sent"]) / seconds, (now["accepted"] - first["accepted"]) / seconds

    async def close(self) -> None:
        """See everything sent, end both as a deployment does, and say what was acked."""

        async def nothing_waits() -> bool:
            return not (await self.status())["waiting"]

        await until(nothing_waits, "nothing waits any more", self.host.process)
        dropped = (await self.status())["dropped"]
        for child in (self.host, self.other):
            code = await child.terminate()
            if code not in (0, -15):
                self.arena.troubles.append(
                    f"{child.name} told to end ended with {code}: {child.output[-300:]}"
                )
        failures = self.measured.failures + self.plain.failures
        if failures or dropped:
            self.arena.troubles.append(f"{len(failures)} requests failed {failures[:2]}, dropped {dropped}")
            return
        for each in self.facts:
            await self.arena.witness.tell(outcome(f"web-{each.number}", Outcome.ACKED))

    def figures(self) -> str:
        """How long requests took, with a gauge and without."""
        with_gauge, without = (percentiles(each.nanoseconds) for each in (self.measured, self.plain))
        added = with_gauge["p99_ms"] - without["p99_ms"]
        return (
            f"{self.measured.count} requests, {len(self.measured.failures)} failed; p99 {with_gauge['p99_ms']} ms, without a gauge "
            f"{without['p99_ms']} ms, added {added:+.2f} ms; p50 {with_gauge['p50_ms']} and {without['p50_ms']} ms"
        )
