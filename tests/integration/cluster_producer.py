"""A producer that sends again until it is answered, and what the figures must then be."""

import asyncio
from contextlib import suppress

import pytest

from streamgauge.entry import Announcement, Batch
from streamgauge.errors import ServerError
from streamgauge.frame import freeze
from streamgauge_workers.delivery import Ledger

from .engine import Engine, Plain, event_of

SHARDS = range(4)


class Producer:
    """Sends as an application does: what has not been answered is sent again, the same bytes, until it is."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.lanes = {shard: engine.lane(shard) for shard in SHARDS}
        self.sent: list[tuple[int, Batch]] = []
        self.retries = 0

    async def send(self, events: list[Plain], size: int = 10) -> list[tuple[int, Batch]]:
        """Number and send events; returns their batches."""
        batches = []
        for shard in SHARDS:
            chosen = [event_of(event) for event in events if event["shard"] == shard]
            for first in range(0, len(chosen), size):
                part = chosen[first : first + size]
                batches.append((shard, self.lanes[shard].freeze(freeze(part), len(part))))
        for shard, batch in batches:
            await self.surely(shard, batch)
            self.lanes[shard].settle(batch)
        self.sent += batches
        return batches

    async def announce(self, closed: bool = False) -> None:
        """Say how far each lane goes."""
        for shard, lane in self.lanes.items():
            await self.surely(shard, lane.announcement(closed=closed))

    async def surely(self, shard: int, record: Batch | Announcement) -> None:
        """Send until it is answered."""
        for _ in range(600):
            try:
                await self.engine.stream.append(shard, record)
                return
            except ServerError:
                self.retries += 1
                await asyncio.sleep(0.02)
        pytest.fail("it was never taken")


async def expect(engine: Engine, announced: int, lost: int) -> None:
    """The transport ledger is exactly this, nothing pending."""
    assert await engine.transport() == Ledger(announced, announced - lost, 0, lost)


async def caught_up(engine: Engine) -> None:
    """All that is in the streams is applied. A node may be away for a moment meanwhile."""
    for _ in range(200):
        with suppress(ServerError):
            await engine.drained()
            return
        await asyncio.sleep(0.05)
