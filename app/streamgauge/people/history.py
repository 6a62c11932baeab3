"""Reading what one actor did: its hours from the summaries' sets, its events from its shard of the log."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from pyroaring import BitMap

from streamgauge.database import Connection
from streamgauge.event_log.activity import Step, Where, steps
from streamgauge.event_log.entries import Entry
from streamgauge.event_log.walk import AHEAD, SECOND, Budget
from streamgauge.event_log.wanted import Wanted
from streamgauge.people.desk import People
from streamgauge.people.notes import Note, notes
from streamgauge.people.sight import SQL
from streamgauge.read.rows import Tenant
from streamgauge.summaries.calendar import FIRST_DATE, Interval
from streamgauge.table import Ints, Table

PER_STEP = 20_000  # events of anybody in the actor's shard, looked through together
MOST_NOTES = 200_000  # of one actor, for one request


@dataclass(frozen=True, slots=True)
class Range:
    """Time that is asked about: Unix seconds, from `start` to before `end`, which is in microseconds."""

    start: int
    end: int

    @classmethod
    def of_days(cls, tenant: Tenant, days: int) -> "Range":
        """So many local days, the last of them today, up to now and what may have come from a clock ahead of ours."""
        today = tenant.calendar.date_of(tenant.clock // SECOND)
        first = max(today - timedelta(days - 1), FIRST_DATE)
        return cls(tenant.calendar.day_start(first), tenant.clock + int(AHEAD.total_seconds()) * SECOND)


@dataclass(frozen=True, slots=True)
class History:
    """How far a reading came. `ended`: to the range's beginning; `covers_from`: everything from this microsecond on is there."""

    ended: bool
    covers_from: int
    damaged: int = 0  #: entries of the log that could not be read
    lacking: bool = False  #: the log does not hold everything that the summaries counted
    reached: int = 0  #: the microsecond at which reading ended

    @property
    def complete(self) -> bool:
        """Whether everything is there."""
        return self.ended and not self.lacking


async def read_history(
    people: People, connection: Connection, tenant: Tenant, name: str, pseudonym: bytes, period: Range,
    take: Callable[[list[Note]], None], budget: Budget,
) -> History:  # fmt: skip
    """Give `take` the actor's events of a range, in a thread and in no order that matters, each once."""
    row = await connection.fetchrow(SQL["ids"], tenant.tenant_id, [pseudonym])
    if row is None or period.start * SECOND >= period.end:
        return History(True, period.start * SECOND)
    where = Where(tenant.tenant_id, tenant.calendar, None, [row["shard"]], BitMap([row["actor_id"]]))
    expected: list[Interval] = []
    met: set[int] = set()
    taken = 0

    async def watched(ahead: AsyncIterator[Step]) -> AsyncIterator[Step]:
        async for step in ahead:
            expected.extend(step.hours)
            yield step

    def note(_: Entry, table: Table, rows: Ints) -> None:
        nonlocal taken
        found = notes(table, rows, people.catalogue)
        taken += len(found)
        if taken > MOST_NOTES:
            budget.events = 0
        met.update(np.unique(tenant.calendar.hour_starts(table.occurred_at[rows])).tolist())
        take(found)

    floor = period.end
    end = -(-period.end // SECOND)
    ahead = steps(connection, where, period.start, end, PER_STEP, split=False)
    wanted = Wanted(name, frozenset({pseudonym}))
    walk = people.log.walk(
        connection, tenant.tenant_id, where.shards, wanted, watched(ahead), period.end, note, budget
    )
    async with aclosing(ahead), aclosing(walk):
        async for reached in walk:
            floor = reached
    begin = period.start * SECOND
    missing = latest_missing(expected, met, max(floor, begin), period.end)
    reached = max(floor, begin)
    return History(
        floor <= begin, reached if missing is None else missing, budget.damaged, missing is not None, reached
    )


def latest_missing(expected: list[Interval], met: set[int], floor: int, end: int) -> int | None:
    """The end, in microseconds, of the last hour that must hold an event and in which none was found; None: there is no such hour.

    Hours that were read in part are left out: what they must hold may lie in the other part.
    """
    whole = [hour for hour in expected if hour.start * SECOND >= floor and hour.end * SECOND <= end]
    ends = [hour.end * SECOND for hour in whole if hour.start not in met]
    return max(ends, default=None)
