"""People using a web application: requests at a steady rate over a few connections that are kept, whatever happens to the answers.

A request is due at a moment that does not depend on the answers before it, and its time is counted from that moment: an
application that stalls for a second is seen to stall by everybody who would have asked meanwhile, not by one.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from benchmarks.record import percentiles

TIMEOUT = 10.0  # seconds until an answer counts as failed


@dataclass(frozen=True)
class Asked:
    """One request, and the status it must be answered with."""

    method: str
    path: str
    status: int = 200
    json: Any = None


#: Makes the next request of somebody, who is a number.
Choose = Callable[[random.Random, int], Asked]


@dataclass
class Answers:
    """What became of the requests."""

    #: From when each was due until its whole answer was there.
    nanoseconds: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Of all requests."""
        return len(self.nanoseconds) + len(self.failures)

    def as_json(self) -> dict[str, Any]:
        """Figures."""
        return {
            "requests": self.count,
            "failed": len(self.failures),
            "failures": sorted(set(self.failures))[:10],
            **percentiles(self.nanoseconds),
        }


class Audience:
    """So many people, each with a connection and cookies of their own."""

    def __init__(self, url: str, people: int, choose: Choose, seed: int = 1) -> None:
        limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
        self._clients = [
            httpx2.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits) for _ in range(people)
        ]
        self._choose = choose
        self._chance = random.Random(seed)

    async def enter(self, asked: Callable[[int], Asked]) -> None:
        """Everybody asks once, such as to log in. Ends the benchmark unless all are answered as expected."""
        answers = Answers()
        for number, client in enumerate(self._clients):
            await _ask(client, asked(number), time.perf_counter(), answers)
        if answers.failures:
            raise SystemExit(f"the application does not work: {answers.failures}")

    async def ask(self, rate: int, seconds: float) -> Answers:
        """Ask `rate` times a second, everybody in turn, for so long; returns when all answers are there."""
        answers = Answers()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(round(rate * seconds)):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                person = number % len(self._clients)
                asked = self._choose(self._chance, person)
                group.create_task(_ask(self._clients[person], asked, due, answers))
        return answers

    async def leave(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()


async def _ask(client: httpx2.AsyncClient, asked: Asked, due: float, answers: Answers) -> None:
    try:
        answer = await client.request(asked.method, asked.path, json=asked.json)
    except httpx2.HTTPError as error:
        answers.failures.append(f"{asked.method} {asked.path}: {type(error).__name__} {error}")
        return
    if answer.status_code == asked.status:
        answers.nanoseconds.append(round((time.perf_counter() - due) * 1e9))
    else:
        answers.failures.append(f"{asked.method} {asked.path}: {answer.status_code}")
