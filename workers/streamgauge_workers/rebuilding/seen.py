"""Which entries of the event log are in the shadow, by their names: a clock may have been set back, numbers never are."""

from datetime import date

from asyncpg import Range

from streamgauge.database import Connection
from streamgauge.ranges import Ranges
from streamgauge_workers.log_source import LogEntry
from streamgauge_workers.rebuilding.queries import SQL


class Seen:
    """Lanes' numbers by shard and day of application, in memory and, once stored, where a query can compare them."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, date, bytes], Ranges] = {}
        self._changed: set[tuple[int, date, bytes]] = set()

    def add(self, entry: LogEntry) -> None:
        """An entry was taken into the shadow."""
        # With the day, because numbers of a lane that was forgotten may be applied again (rule P10).
        key = entry.shard, entry.applied_day, entry.lane
        self._known.setdefault(key, Ranges()).add(entry.first, entry.first + entry.n)
        self._changed.add(key)

    async def store(self, connection: Connection) -> None:
        """Write what was added since the last call."""
        rows = [(*key, [Range(*each) for each in self._known[key]]) for key in self._changed]
        self._changed = set()
        await connection.executemany(SQL["seen_store"], rows)
