"""Which refused events are kept as dead letters, and which are only counted: one host that is set wrongly refuses an event after another.

Of each tenant a shard keeps so many letters of a reason that wait with what they held. What comes on top is counted by tenant, reason and
hour, in the transaction that refuses it, so that no ledger lacks it; what it held is in the event log, for as long as that is kept.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import numpy as np

from streamgauge.database import Connection
from streamgauge.entry import Batch
from streamgauge.outcomes import APPLIED, CODES, NOBODYS, REPEATED_KEY, TENANT_DELETED, Outcomes, Reason
from streamgauge.table import Table
from streamgauge_workers import dead_letters
from streamgauge_workers.dead_letters import SQL, DeadLetter

#: Letters of one tenant and reason that wait with their content, for each shard: 100,000 where there are four and the overflow.
MOST: Final = 20_000
#: How long a count of them holds, in seconds: replaying and discarding make room.
FRESH: Final = 60.0
#: Letters whose content is removed in one go.
STEP: Final = 1_000


class Whose(NamedTuple):
    """Which letters are counted together."""

    tenant_id: int | None  #: None: there is no such tenant
    reason: Reason


class Refusals:
    """One shard's refused events. Valid for as long as nothing fails, as all that is behind a token."""

    def __init__(self, shard: int) -> None:
        self._shard = shard
        #: How many more letters there is room for, and until when that is believed.
        self._room: dict[Whose, int] = {}
        self._until = float("-inf")
        self._beyond: Counter[Whose] = Counter()

    async def letters(
        self,
        connection: Connection,
        batch: Batch,
        table: Table,
        tenant_ids: Sequence[int],
        outcomes: Outcomes,
    ) -> list[DeadLetter]:
        """The letters of a batch: its first refused events; for the others there is no room. Of deleted tenants nothing is kept."""
        refused = list(_refused(table, tenant_ids, outcomes))
        await self._look(connection, {whose for _, whose in refused})
        kept = []
        for row, whose in refused:
            if self._room[whose] > 0:
                self._room[whose] -= 1
                kept.append(
                    dead_letters.of_event(batch, row, whose.tenant_id, table.event(row), whose.reason)
                )
            else:
                self._beyond[whose] += 1
        return kept

    async def store(self, connection: Connection) -> dict[str, int]:
        """Count what there was no room for, behind the letters themselves; how many events that was, by reason."""
        counts: Counter[str] = Counter()
        rows = [(whose.tenant_id or 0, whose.reason, events) for whose, events in self._beyond.items()]
        self._beyond.clear()
        for _, reason, events in rows:
            counts[reason] += events
        if rows:
            columns = [list(column) for column in zip(*sorted(rows), strict=True)]
            await connection.execute(SQL["count"], self._shard, *columns)
        # Not before: letters of this transaction would be missing in the count.
        if time.monotonic() >= self._until:
            self._room, self._until = {}, time.monotonic() + FRESH
        return counts

    async def _look(self, connection: Connection, wanted: set[Whose]) -> None:
        for whose in wanted - self._room.keys():
            waiting = await connection.fetchval(
                SQL["waiting"], self._shard, whose.tenant_id or 0, whose.reason, MOST
            )
            self._room[whose] = MOST - waiting


async def expire(connection: Connection, shard: int, age: timedelta) -> int:
    """Remove what letters older than `age` held; they stay, with their counts. Returns how many there were."""
    removed = 0
    while found := int((await connection.execute(SQL["expire"], shard, age, STEP)).rpartition(" ")[2]):
        removed += found
    return removed


def _refused(table: Table, tenant_ids: Sequence[int], outcomes: Outcomes) -> Iterator[tuple[int, Whose]]:
    if not outcomes.any():  # as nearly always, and asked for every batch
        return
    for row in np.flatnonzero(~np.isin(outcomes, (APPLIED, REPEATED_KEY, TENANT_DELETED))).tolist():
        reason = CODES[int(outcomes[row])].reason
        yield row, Whose(None if reason in NOBODYS else tenant_ids[int(table.tenant.codes[row])], reason)
