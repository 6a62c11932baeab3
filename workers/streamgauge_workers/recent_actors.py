"""Who was there in the last minutes: distinct actors of ten-second buckets. A live view: not part of what is verified."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from pyroaring import BitMap

from streamgauge.database import Connection
from streamgauge.summaries.fold import bitmap_of
from streamgauge.table import Ints, Table
from streamgauge_workers.acceptance import EPOCH
from streamgauge_workers.queries import SQL
from streamgauge_workers.summary_rows import union

BUCKET = 10  # seconds
KEPT = timedelta(minutes=6)  # what is written; readers look back five minutes
MOST_PARTS = 16  # of one bucket before it is written as one part again
MOST_CACHED = 20_000  # buckets; beyond that all are forgotten and read again
MOST_FORGOTTEN = 10_000  # rows at a time, so that none of these statements takes long
MICROSECONDS = 1_000_000


class Bucket(NamedTuple):
    """A tenant's ten seconds: the Unix second at which they begin."""

    tenant_id: int
    start: int


@dataclass(slots=True)
class Present:
    """Who was there, and how many parts that is stored in."""

    members: BitMap = field(default_factory=BitMap)
    parts: int = 0


class RecentActors:
    """One shard's buckets. Belongs to a token: drop it on any error (rule P5)."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.known: dict[Bucket, Present] = {}

    async def store(
        self,
        connection: Connection,
        table: Table,
        actors: Ints,
        tenant_ids: Sequence[int],
        now: datetime,
    ) -> None:
        """Take in applied events; `actors` holds each one's dense id, -1 for none, `tenant_ids` follows the tenant labels.

        Runs inside the transaction that swapped the shard's token, whose time is `now`. Events of before the last six minutes
        are passed over, so that a backlog or an import leaves no trace here.
        """
        first = (now - EPOCH - KEPT) // timedelta(seconds=BUCKET) * BUCKET
        found = gather(table, actors, tenant_ids, first)
        if not found:
            return
        await self._load(connection, found.keys(), first)
        parts, compacted = [], []
        for bucket, members in found.items():
            present = self.known[bucket]
            fresh = members - present.members
            if not fresh:
                continue
            present.members |= fresh
            if present.parts >= MOST_PARTS:
                compacted.append(bucket)
                fresh, present.parts = present.members, 0
            present.parts += 1
            parts.append((*bucket, present.parts, fresh.serialize()))
        if compacted:
            columns = [list(column) for column in zip(*compacted, strict=True)]
            await connection.execute(SQL["recent_actors_remove"], self.shard, *columns)
        if parts:
            columns = [list(column) for column in zip(*parts, strict=True)]
            await connection.execute(SQL["recent_actors_store"], self.shard, *columns)

    async def _load(self, connection: Connection, wanted: Collection[Bucket], first: int) -> None:
        if len(self.known) > MOST_CACHED:
            self.known.clear()
        missing = [bucket for bucket in wanted if bucket not in self.known]
        if not missing:
            return
        for bucket in [bucket for bucket in self.known if bucket.start < first]:
            del self.known[bucket]
        self.known.update((bucket, Present()) for bucket in missing)
        columns = [list(column) for column in zip(*missing, strict=True)]
        for row in await connection.fetch(SQL["recent_actors_load"], self.shard, *columns):
            present = self.known[Bucket(row["tenant_id"], row["start"])]
            try:
                present.members, present.parts = union(row["parts"]), row["last"]
            except (ValueError, IndexError):
                # Damaged, and of no importance in a few minutes: the next member replaces all of it.
                present.parts = MOST_PARTS


async def forget(connection: Connection, shard: int) -> None:
    """Remove a shard's rows of before the last ten minutes.

    No token is swapped for it: nobody writes or reads buckets as old, so whoever does this, and when, makes no difference.
    """
    await connection.execute(SQL["recent_actors_forget"], shard, MOST_FORGOTTEN)


def gather(table: Table, actors: Ints, tenant_ids: Sequence[int], first: int) -> dict[Bucket, BitMap]:
    """The distinct actors of every bucket from the Unix second `first`, the beginning of one."""
    rows = np.flatnonzero((table.occurred_at >= first * MICROSECONDS) & (actors >= 0))
    if not len(rows):
        return {}
    buckets = (table.occurred_at[rows] - first * MICROSECONDS) // (BUCKET * MICROSECONDS)
    cells = buckets * len(tenant_ids) + table.tenant.codes[rows]
    # Sorted as one number each: equal cells come together, and their ids ascend, which is how a bitmap is built fastest.
    pairs = np.sort((cells << 32) | actors[rows])
    cells, ids = pairs >> 32, (pairs & 0xFFFFFFFF).astype(np.uint32)
    cuts = np.flatnonzero(np.r_[True, cells[1:] != cells[:-1]])
    found = {}
    for cell, (start, end) in zip(cells[cuts].tolist(), pairwise([*cuts.tolist(), len(ids)]), strict=True):
        bucket, code = divmod(cell, len(tenant_ids))
        found[Bucket(tenant_ids[code], first + bucket * BUCKET)] = bitmap_of(ids[start:end])
    return found
