"""Lane states in PostgreSQL (rule P2), one shard's."""

from collections.abc import Iterable, Mapping

import orjson
from asyncpg import Range

from streamgauge.database import Connection
from streamgauge.entry import Announcement, Batch, Entry
from streamgauge.ranges import Ranges
from streamgauge_workers.delivery import LaneState, Verdict
from streamgauge_workers.queries import SQL

MOST_CACHED = 10_000


class Lanes:
    """One shard's lanes. Belongs to a token: drop it on any error (rule P5)."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.known: dict[bytes, LaneState] = {}
        self.trusted: set[bytes] = set()

    async def load(self, connection: Connection, entries: Iterable[Entry]) -> Mapping[bytes, LaneState]:
        """The states of the lanes among these entries, and which new ones are imports (in `trusted`)."""
        if len(self.known) > MOST_CACHED:
            self.known, self.trusted = {}, set()
        records = [record for _, record in entries if isinstance(record, Batch | Announcement)]
        missing = list({record.lane for record in records} - self.known.keys())
        if missing:
            for row in await connection.fetch(SQL["lanes_load"], self.shard, missing):
                done = Ranges((each.lower, each.upper) for each in row["done"])
                self.known[row["lane"]] = LaneState(
                    done,
                    row["end"],
                    row["closed"],
                    row["touched"],
                    row["born"],
                    row["stray"],
                    row["trusted"],
                    row["scanned"],
                )
            new = [lane for lane in missing if lane not in self.known]
            self.trusted.update(row["lane"] for row in await connection.fetch(SQL["lanes_trusted"], new))
        return self.known

    async def store(self, connection: Connection, verdict: Verdict) -> None:
        """Write the lanes a verdict changed, and count what was delivered again."""
        again: dict[bytes, int] = {}
        for _, batch in verdict.duplicates:
            again[batch.lane] = again.get(batch.lane, 0) + batch.n
        rows = []
        for lane, state in verdict.lanes.items():
            done = [Range(first, end) for first, end in state.done]
            drops = orjson.dumps(verdict.drops.get(lane, {})).decode()
            rows.append((
                self.shard, lane, done, state.end, state.closed, state.born, state.touched, state.stray, state.trusted,
                state.scanned, again.get(lane, 0), drops,
            ))  # fmt: skip
        await connection.executemany(SQL["lane_store"], rows)
        self.known.update(verdict.lanes)
