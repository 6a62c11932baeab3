"""Ids of series in one stripe: small integers instead of a tuple of texts in every summary row's key."""

import hashlib
from collections.abc import Collection, Mapping

import orjson

from streamgauge.database import Connection
from streamgauge.summaries.fold import SeriesKey
from streamgauge_workers.queries import SQL

MOST_CACHED = 200_000


def digest(key: SeriesKey) -> bytes:
    """16 bytes that stand for a series: a hash of an injective encoding of its whole key."""
    return hashlib.blake2b(orjson.dumps(list(key)), digest_size=16).digest()


class SeriesIds:
    """One shard's series. Belongs to a token: drop it on any error (rule P5)."""

    def __init__(self, shard: int, queries: Mapping[str, str] = SQL) -> None:
        self.shard = shard
        self.queries = queries
        self.known: dict[SeriesKey, int] = {}
        self.last: int | None = None

    async def resolve(self, connection: Connection, keys: Collection[SeriesKey]) -> set[int]:
        """Make sure `known` holds an id for each key; returns the ids that were given out just now."""
        if len(self.known) > MOST_CACHED:
            self.known.clear()
        missing = {digest(key): key for key in keys if key not in self.known}
        if not missing:
            return set()
        for row in await connection.fetch(self.queries["series_load"], self.shard, list(missing)):
            self.known[missing.pop(row["digest"])] = row["series_id"]
        if missing and self.last is None:
            self.last = await connection.fetchval(self.queries["series_last"], self.shard)
        fresh, last = [], self.last or 0
        for place, (name, key) in enumerate(missing.items(), start=last + 1):
            self.known[key] = self.last = place
            # As JSON: arrays of texts inside an array would have to be of one length.
            fresh.append((place, *key[:3], orjson.dumps(list(key.dimensions)).decode(), name))
        if fresh:
            await connection.execute(
                self.queries["series_store"], self.shard, *map(list, zip(*fresh, strict=True))
            )
        return {row[0] for row in fresh}
