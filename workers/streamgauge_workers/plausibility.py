"""Stops a shard before it refuses nearly everything: a wrong clock, a wrong tenant, a program of another version.

The limit is looked at inside the transaction, before it commits: the batch that would pass it is rolled back and waits in the stream
with all that is behind it. So no more than the floor's worth of a flood becomes dead letters, and nothing is lost. The stop is a row
of `shard_stops`, so that neither a restart nor another worker goes on by itself.
"""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import orjson
from asyncpg import Record

from streamgauge.database import Connection
from streamgauge.errors import StreamgaugeError
from streamgauge.outcomes import NOBODYS, Outcome
from streamgauge_workers import metrics
from streamgauge_workers.dead_letters import SQL

EVENTS: Final = 10_000  #: the share is taken over about so many events
SECONDS: Final = 300.0  #: of those processed within so long
FLOOR: Final = 1_000  #: refused events below which no share is implausible
NEVER: Final = 100  #: the limit that switches it off
LOOK: Final = 10.0  #: seconds between looks at a stopped shard


class Seen(NamedTuple):
    """What became of some events. `at`: seconds of a monotonic clock."""

    at: float
    processed: int
    refused: Counter[str]  #: by reason


class ImplausibleError(StreamgaugeError):
    """Too large a share of a shard's events would be refused: it waits until somebody has looked."""

    def __init__(self, shard: int, processed: int, refused: Mapping[str, int]) -> None:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(refused.items()))
        super().__init__(
            f"shard {shard}: {sum(refused.values())} of {processed} events would be refused ({reasons}); look for the cause, then "
            f"`streamgauge dead-letters allow {shard}`, or set another STREAMGAUGE_DEAD_LETTER_PERCENT"
        )
        self.processed = processed
        self.refused = refused


class Plausibility:
    """What became of one shard's last events.

    Those of trusted lanes - imports, replays - do not count: who brings them in sees what becomes of them. Nor do those of deleted
    tenants, whose refusal is what somebody wanted, nor those of tenants that are not there: one host with a wrong name must not stop
    the others' events, and what it may fill is bounded (see refusals).
    """

    def __init__(self, shard: int, percent: int) -> None:
        """`percent`: the share of refused events that is still plausible."""
        self.shard = shard
        self.percent = percent
        self.window: deque[Seen] = deque()
        #: Until when, by a monotonic clock, somebody has allowed any share.
        self.allowed_until = float("-inf")

    def weigh(self, outcomes: Mapping[Outcome, int], at: float) -> Seen:
        """What a transaction is about to commit; it counts once it is given to `committed`.

        Raises ImplausibleError when the last events would pass the limit with it.
        """
        wanted = {each: count for each, count in outcomes.items() if each.reason not in NOBODYS}
        refused: Counter[str] = Counter()
        for each, count in wanted.items():
            if count and each.name in ("rejected", "dead_lettered"):
                refused[each.reason] += count
        seen = Seen(at, sum(wanted.values()), refused)
        self._forget(at, seen.processed)
        processed, together = _sum([*self.window, seen])
        # What refuses nothing never waits: it is not what the limit is about.
        if self.percent >= NEVER or at < self.allowed_until or not refused:
            return seen
        if together.total() >= FLOOR and together.total() * 100 > processed * self.percent:
            raise ImplausibleError(self.shard, processed, together)
        return seen

    def committed(self, seen: Seen) -> None:
        """It did. What is allowed does not count against what comes after."""
        if seen.processed and seen.at >= self.allowed_until:
            self.window.append(seen)

    async def consult(self, connection: Connection) -> None:
        """Raise ImplausibleError while the shard is stopped; learn until when somebody has allowed it to go on."""
        row = await connection.fetchrow(SQL["stop"], self.shard)
        stopped = row is not None and row["percent"] == self.percent and row["allowed"] is None
        metrics.STOPPED.labels(str(self.shard)).set(stopped)
        if row is None:
            return
        if stopped:
            raise ImplausibleError(self.shard, row["processed"], orjson.loads(row["reasons"]))
        self.window.clear()
        if row["percent"] == self.percent and row["allowed"] > 0:
            self.allowed_until = time.monotonic() + row["allowed"]
        else:
            await connection.execute(SQL["stop_lift"], self.shard)

    async def stop(self, connection: Connection, error: ImplausibleError) -> None:
        """Write the stop down, for whoever works on the shard from now on."""
        reasons = orjson.dumps(dict(error.refused)).decode()
        refused = sum(error.refused.values())
        await connection.execute(
            SQL["stop_store"], self.shard, self.percent, error.processed, refused, reasons
        )

    def leave(self) -> None:
        """The shard is somebody else's."""
        with contextlib.suppress(KeyError):
            metrics.STOPPED.remove(str(self.shard))

    def _forget(self, at: float, coming: int) -> None:
        """Drop what is too old, and what is not needed for the window to be full."""
        total = coming + sum(each.processed for each in self.window)
        while self.window:
            oldest = self.window[0]
            if oldest.at >= at - SECONDS and total - oldest.processed < EVENTS:
                return
            total -= self.window.popleft().processed


async def allow(connection: Connection, shard: int, hours: float, by: str) -> bool:
    """Let a stopped shard go on for so many hours, whatever share it refuses; False when it is not stopped."""
    return await connection.fetchval(SQL["stop_allow"], shard, hours, by) is not None


async def stopped(connection: Connection) -> list[Record]:
    """The shards that are stopped, with what they were stopped for."""
    return await connection.fetch(SQL["stops"])


def _sum(seen: Iterable[Seen]) -> tuple[int, Counter[str]]:
    processed, refused = 0, Counter[str]()
    for each in seen:
        processed += each.processed
        refused += each.refused
    return processed, refused
