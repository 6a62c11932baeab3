"""The host application of the fault tests: events through `Gauge.track`, from one process or from several that it forks."""

import asyncio
import os
import signal
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from streamgauge import Streamgauge
from streamgauge.capture.pending import Ticket
from tests.faults.catalogue import NAME, NUMBER, VALUE
from tests.faults.ledger import Fact, Outcome, intention, outcome
from tests.faults.load import Facts, Plan, parts
from tests.faults.oracle import Witness
from tests.faults.unsynced import keep_journal

if TYPE_CHECKING:
    from types import FrameType


def through_gauge(plan: Plan) -> None:
    """Track until the oracle says stop or the process is told to end; forks first when the plan says so."""
    if plan.journal:
        keep_journal(plan.journal)
    gauge = Streamgauge()
    firsts = list(parts(plan.first, plan.forks + 1))
    children = []
    for first in firsts[1:]:
        child = os.fork()
        if child == 0:
            _serve(gauge, plan, first)
        children.append(child)

    def forward(number: int, _: "FrameType | None") -> None:
        for each in children:
            os.kill(each, number)
        sys.exit(0)

    try:
        asyncio.run(_track(gauge, plan, firsts[0], forward))
    finally:
        for each in children:
            os.waitpid(each, 0)


def _serve(gauge: Streamgauge, plan: Plan, first: int) -> None:
    """A forked child's life; never returns. Its end is an ordinary one, so that what it holds is sent."""
    asyncio.run(_track(gauge, plan, first, lambda *_: sys.exit(0)))
    sys.exit(0)


async def _track(gauge: Streamgauge, plan: Plan, first: int, at_term: object) -> None:
    signal.signal(signal.SIGTERM, at_term)  # type: ignore[arg-type]  # one of the two functions above
    witness = await Witness.open(plan.oracle)
    host = Host(gauge, plan, Facts(plan, first), witness)
    await host.run()
    await witness.aclose()


class Host:
    """Tracks events and tells the oracle what it knows of them."""

    def __init__(self, gauge: Streamgauge, plan: Plan, facts: Facts, witness: Witness) -> None:
        self.gauge, self.plan, self.facts, self.witness = gauge, plan, facts, witness
        self.nanoseconds: deque[int] = deque(maxlen=100_000)  #: that each of the last calls took
        self.open: list[str] = []

    async def run(self) -> None:
        """Until the oracle says stop; then everything is sent, and what calls took is printed."""
        for _ in range(self.plan.batches):
            if not await self._send():
                break
            await asyncio.sleep(self.plan.pause)
        deadline = time.monotonic() + self.plan.deadline
        while self._kept() and time.monotonic() < deadline:  # noqa: ASYNC110 - a gauge tells nobody
            await asyncio.sleep(0.1)
        before = self._given_up()
        if await asyncio.to_thread(self.gauge.close, 5.0) and self._given_up() == before:
            for parcel in self.open:
                await self.witness.tell(outcome(parcel, Outcome.ACKED))
        calls = sorted(self.nanoseconds) or [0]
        p99 = calls[len(calls) * 99 // 100] / 1000
        print(f"calls {len(calls)} p99_us {p99:.1f} most_us {calls[-1] / 1000:.1f}", flush=True)

    async def _send(self) -> bool:
        parcel, taken = self.facts.parcel(), self.facts.take()
        if not await self.witness.tell(intention(parcel, taken)):
            return False
        tickets = {fact.number: self._tracked(fact) for fact in taken}
        refused = [number for number, ticket in tickets.items() if not ticket.accepted]
        before, result = self._given_up(), Outcome.UNKNOWN
        if self.plan.ack == "close":
            if not refused:
                self.open.append(parcel)
        elif self.plan.ack == "durable":
            accepted = [ticket for ticket in tickets.values() if ticket.accepted]
            written = [await asyncio.to_thread(each.durable_within, self.plan.patience) for each in accepted]
            result = Outcome.ACKED if all(written) else Outcome.UNKNOWN
        else:
            sent = await asyncio.to_thread(self.gauge.flush, self.plan.patience)
            # What was not sent by now may be sent later: nothing is known of it.
            result = Outcome.ACKED if sent and self._given_up() == before else Outcome.UNKNOWN
        await self.witness.tell(outcome(parcel, result, refused))
        return True

    def _tracked(self, fact: Fact) -> Ticket:
        actor = f"a{self.facts.chosen.randrange(200)}"
        properties = {NUMBER: fact.number, VALUE: fact.value}
        began = time.perf_counter_ns()
        ticket = self.gauge.record(NAME, properties, actor, occurred_at=fact.at, tenant=fact.tenant)
        self.nanoseconds.append(time.perf_counter_ns() - began)
        return ticket

    def _given_up(self) -> int:
        return sum(self.gauge.status()["dropped"].values())

    def _kept(self) -> int:
        """Batches that are still in files, or events that wait."""
        status = self.gauge.status()
        return int(status["spool"]["batches"] + status["waiting"])
