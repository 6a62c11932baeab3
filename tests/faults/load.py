"""A producer process: says to the oracle what it is about to send, sends it, says what it was told.

python -m tests.faults.load PLAN        the plan is a JSON object, see `Plan`
"""

import asyncio
import dataclasses
import random
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

import orjson

from streamgauge.capture.publisher import Publisher
from streamgauge.entry import Batch
from streamgauge.errors import ServerError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.redis_stream import RedisStream
from tests.faults.catalogue import NAME, NUMBER, VALUE
from tests.faults.ledger import Fact, Outcome, intention, outcome
from tests.faults.oracle import Witness

SHARDS = 4
STREAMS = SHARDS + 1  # and the overflow
HOUR = 3_600_000_000
AHEAD = 290_000_000  # just below what may be ahead of PostgreSQL's clock, in microseconds
LARGEST = 1 << 20
POISONS = ("nan", "nul", "negative", "overflow", "huge", "frame")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one producer does."""

    oracle: str
    redis: str
    name: str
    first: int  #: its first event's number
    seed: int
    by: Literal["lanes", "gauge"] = "lanes"
    batches: int = 100_000  #: the most; it ends earlier when the oracle says so
    size: int = 40  #: the most events in a batch
    pause: float = 0.08  #: seconds between two batches of a shard
    patience: float = 0.5  #: seconds until an answer counts as missing
    deadline: float = 120.0  #: seconds in which a batch has to be taken, or it stays unknown
    clock: int = 0  #: seconds that its clock is ahead of the others
    hours: int = 3  #: how old its events are at most
    poison: float = 0.0  #: share of events that must be refused
    forks: int = 0  #: processes it forks, all of which send
    tenants: tuple[str, ...] = ("red", "blue")  #: whose events they are, in equal shares
    journal: str = ""  #: file in which a host notes what it has synced
    #: When a host calls its events acked: behind each flush, once they are on disk, or at its end, when all of them are sent.
    ack: Literal["flush", "durable", "close"] = "flush"


class Facts:
    """Makes events that nobody has made before."""

    def __init__(self, plan: Plan, first: int) -> None:
        self.plan, self.next = plan, first
        self.chosen = random.Random(f"{plan.seed} {plan.name} {first}")
        self.parcels = 0

    def parcel(self) -> str:
        """A new name for a batch."""
        self.parcels += 1
        return f"{self.plan.name}-{self.next}-{self.parcels}"

    def take(self) -> list[Fact]:
        """The events of a batch."""
        return [self._fact() for _ in range(self.chosen.randint(1, self.plan.size))]

    def _fact(self) -> Fact:
        self.next += 1
        now = time.time_ns() // 1000
        at = now + self.plan.clock * 1_000_000 - self.chosen.randrange(self.plan.hours * HOUR)
        if abs(at - now - AHEAD) < 60_000_000:
            at -= 120_000_000  # nobody could say on which side of the limit it will be judged
        tenant = self.chosen.choice(self.plan.tenants)
        return Fact(self.next, tenant, at, self.chosen.randrange(LARGEST), at > now + AHEAD)


def event_of(fact: Fact, chosen: random.Random, poison: str = "") -> Event:
    """The event of a fact, spoilt in some way or not at all."""
    properties: dict[str, int | float | str | bool] = {NUMBER: fact.number, VALUE: fact.value}
    if poison == "nan":
        properties["spoilt"] = float("nan")
    elif poison == "nul":
        properties["spoilt"] = "a\0b"
    elif poison == "negative":
        properties[VALUE] = -1
    elif poison == "overflow":
        properties[VALUE] = 1 << 62
    elif poison == "huge":
        properties["spoilt"] = "x" * 4_000
    actor = bytes([1]) + chosen.randrange(200).to_bytes(16, "big")
    return Event(NAME, fact.at, fact.tenant, actor, properties=properties)


class LaneProducer:
    """Sends through lanes of its own, as the outbox does, and hears the answer to every batch."""

    def __init__(self, plan: Plan, witness: Witness, stream: RedisStream) -> None:
        self.plan, self.witness, self.stream = plan, witness, stream
        self.facts = Facts(plan, plan.first)
        self.publisher = Publisher(
            stream, lambda: time.time_ns() // 1_000_000 + plan.clock * 1000, attempts=1
        )
        self.left = plan.batches

    async def run(self) -> None:
        """Send to all shards side by side, with announcements in between and a last one."""
        announcing = asyncio.create_task(self._announce())
        await asyncio.gather(*[self._send_to(shard) for shard in range(SHARDS)])
        announcing.cancel()
        with suppress(asyncio.CancelledError):
            await announcing
        async with asyncio.timeout(self.plan.deadline):
            while True:
                with suppress(ServerError):
                    return await self.publisher.announce(closed=True)
                await asyncio.sleep(0.1)

    async def _announce(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            with suppress(ServerError):
                await self.publisher.announce()

    async def _send_to(self, shard: int) -> None:
        while self.left > 0:
            self.left -= 1
            parcel, facts = self.facts.parcel(), self.facts.take()
            payload, facts = self._payload(facts)
            if not await self.witness.tell(intention(parcel, facts)):
                return
            lane = self.publisher.lane(shard)
            batch = lane.freeze(payload, len(facts))
            if await self._deliver(shard, batch):
                await self.witness.tell(outcome(parcel, Outcome.ACKED))
            lane.settle(batch)
            await asyncio.sleep(self.plan.pause)

    async def _deliver(self, shard: int, batch: Batch) -> bool:
        deadline = time.monotonic() + self.plan.deadline
        while time.monotonic() < deadline:
            try:
                await self.publisher.send(shard, batch)
                return True
            except ServerError:
                await asyncio.sleep(0.05)
        return False

    def _payload(self, facts: list[Fact]) -> tuple[bytes, list[Fact]]:
        chosen = self.facts.chosen
        poisons = [chosen.choice(POISONS) if chosen.random() < self.plan.poison else "" for _ in facts]
        if "frame" in poisons:  # then no event of it can be read
            return b"\x01" + chosen.randbytes(60), [fact._replace(refusable=True) for fact in facts]
        events = [event_of(fact, chosen, poison) for fact, poison in zip(facts, poisons, strict=True)]
        marked = [
            fact._replace(refusable=fact.refusable or bool(poison))
            for fact, poison in zip(facts, poisons, strict=True)
        ]
        return freeze(events), marked


async def through_lanes(plan: Plan) -> None:
    """Produce by lanes."""
    stream = RedisStream(plan.redis, "streamgauge", 0, SHARDS, plan.patience)
    witness = await Witness.open(plan.oracle)
    try:
        await LaneProducer(plan, witness, stream).run()
    finally:
        await stream.aclose()
        await witness.aclose()


def main(plan: Plan) -> None:
    """Produce until done."""
    if plan.by == "lanes":
        asyncio.run(through_lanes(plan))
    else:
        from tests.faults.host import through_gauge

        through_gauge(plan)


def parts(first: int, count: int) -> Iterator[int]:
    """First numbers of `count` producers that never meet."""
    yield from range(first, first + count * 1_000_000, 1_000_000)


if __name__ == "__main__":
    main(Plan(**orjson.loads(sys.argv[1])))
