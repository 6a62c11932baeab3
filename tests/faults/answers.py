"""An API server that is asked all the time: what it answered, and when."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.faults.arena import Arena
from tests.faults.ground import Child, until
from tests.integration.program import fetch, free_port

PAUSE = 0.05  # seconds between two questions


@dataclass
class Answers:
    """Statuses with their moments; 0: no answer."""

    server: Child
    given: list[tuple[float, int]] = field(default_factory=list)

    def bad_outside(self, first: float, last: float) -> int:
        """Answers other than 200 before `first` or behind `last`."""
        return sum(status != 200 for moment, status in self.given if not first <= moment <= last)

    def told(self, first: float, last: float) -> str:
        """What was answered between the two, in words."""
        found = Counter(status for moment, status in self.given if first <= moment <= last)
        return "answers meanwhile: " + (
            ", ".join(f"{count} x {status}" for status, count in sorted(found.items())) or "none"
        )


@asynccontextmanager
async def asked_all_the_time(arena: Arena) -> AsyncIterator[Answers]:
    """A `streamgauge serve` of its own, asked whether it is ready until the context ends."""
    port, ending = free_port(), asyncio.Event()
    server = arena.program("server", "streamgauge_cli.main", "serve", "--port", str(port))
    answers = Answers(server)

    async def status() -> int:
        try:
            return (await asyncio.to_thread(fetch, port, "/health/ready")).status
        except OSError:
            return 0

    async def ready() -> bool:
        return await status() == 200

    async def ask() -> None:
        while not ending.is_set():
            moment = time.monotonic()
            answers.given.append((moment, await status()))
            await asyncio.sleep(PAUSE)

    await until(ready, "the API server is ready", server.process)
    asking = asyncio.create_task(ask())
    try:
        yield answers
    finally:
        ending.set()
        await asking
        await server.kill()
