"""One shard's rows of tallies: states of a batch are added to what the table has, whatever that is.

Unlike summary rows, nothing is kept in memory: there are as many rows as people times lessons, and a batch meets few of them twice.
Adding is exact because it happens in the transaction that swaps the shard's token.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import orjson
from asyncpg import Record

from streamgauge.database import Connection
from streamgauge.summaries.tallies import Moment, State, TallyKey
from streamgauge_workers.queries import SQL

DIGEST_BYTES = 16


async def add(
    connection: Connection,
    shard: int,
    states: Iterable[tuple[TallyKey, State]],
    queries: Mapping[str, str] = SQL,
) -> int:
    """Add states, each key once, to a shard's rows; returns how many rows that were."""
    # In the order of the primary key: pages are met once.
    rows = sorted(
        (
            key.tenant_id, key.tally, key.bucket, digest(key), key.actor, _array(key.parts), state.count, _array(state.sums),
            _array(state.greatest), *state.first, *state.last, orjson.dumps(dict(state.said)).decode(),
        )
        for key, state in states
    )  # fmt: skip
    if rows:
        await connection.execute(queries["tallies_add"], shard, *map(list, zip(*rows, strict=True)))
    return len(rows)


def read(row: Record) -> tuple[TallyKey, State]:
    """A row of the table."""
    key = TallyKey(row["tenant_id"], row["tally"], row["bucket"], row["actor"], tuple(row["parts"]))
    return key, State(
        row["count"],
        tuple(int(each) for each in row["sums"]),
        tuple(row["greatest"]),
        Moment(row["first_at"], row["first_id"]),
        Moment(row["last_at"], row["last_id"]),
        orjson.loads(row["said"]),
    )


def digest(key: TallyKey) -> bytes:
    """16 bytes of actor and parts; lengths in front, so that no two keys read alike."""
    found = blake2b(key.actor or b"", digest_size=DIGEST_BYTES)
    for part in key.parts:
        raw = part.encode()
        found.update(b"|%d|" % len(raw) + raw)
    return found.digest()


def _array(values: Iterable[object]) -> str:
    """A PostgreSQL array as text: `unnest` would flatten an array of arrays."""
    return "{" + ",".join("NULL" if value is None else _quoted(str(value)) for value in values) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
