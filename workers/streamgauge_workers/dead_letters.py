"""What was refused: kept with its reason, once, however often the stream shows it again.

Every refused event is kept, rejected ones included, but those of deleted tenants, of which nothing may be. What it held is kept as
a frame of its own, to the bit, so that it can be replayed as it was; only declared properties were ever captured, so only those are
in it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from streamgauge.database import Connection
from streamgauge.entry import Batch, Fields
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.outcomes import Reason
from streamgauge.sql import named_queries
from streamgauge_workers.delivery import LaneState

SQL = named_queries("streamgauge_workers", "dead_letters.sql")
#: Of an entry that cannot be read at most so many bytes are kept. What is longer is cut, and cannot be replayed.
MOST_BYTES: Final = 256 * 1024
LONGEST_DETAIL: Final = 500  # characters


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused event, or a refused entry of `events` events. `raw`: its frame, or whatever bytes there were."""

    content_id: bytes
    reason: Reason
    events: int
    tenant_id: int | None
    lane: bytes | None
    number: int | None
    detail: str | None
    raw: bytes
    cut_from: int | None = None  #: how many bytes there were, when not all are kept


def of_event(batch: Batch, row: int, tenant_id: int | None, event: Event, reason: Reason) -> DeadLetter:
    """One refused event; its place in its lane is its identity. `tenant_id` is None when there is no such tenant."""
    number = batch.first + row
    name = _identity(batch.lane, b"%d" % number)
    return DeadLetter(name, reason, 1, tenant_id, batch.lane, number, None, freeze([event]))


def of_batch(batch: Batch, reason: Reason, detail: str) -> DeadLetter:
    """A whole batch that cannot be applied. A frame that its worker failed on can be read, and is kept whole: to be tried again."""
    name = _identity(batch.lane, b"%d+%d" % (batch.first, batch.n), batch.payload)
    kept, cut_from = _cut(batch.payload) if reason == "undecodable" else (batch.payload, None)
    return DeadLetter(name, reason, batch.n, None, batch.lane, batch.first, detail, kept, cut_from)


def of_fields(fields: Fields, detail: str) -> DeadLetter:
    """An entry that is none of ours, or damaged. How many events it held cannot be known: it counts as one."""
    raw = orjson.dumps([[name.hex(), value.hex()] for name, value in fields])
    kept, cut_from = _cut(raw)
    return DeadLetter(_identity(raw), "undecodable", 1, None, None, None, detail, kept, cut_from)


async def store(connection: Connection, shard: int, letters: Iterable[DeadLetter]) -> dict[str, int]:
    """Keep dead letters; returns events by reason of those that had not been kept before."""
    rows = [
        (each.tenant_id, each.lane, each.number, each.content_id, each.events, each.reason, _printable(each.detail), each.raw, each.cut_from)
        for each in letters
    ]  # fmt: skip
    counts: dict[str, int] = {}
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        for row in await connection.fetch(SQL["store"], shard, *columns):
            counts[row["reason"]] = counts.get(row["reason"], 0) + row["events"]
    return counts


async def replayed(connection: Connection, shard: int, lanes: Mapping[bytes, LaneState]) -> None:
    """Say which letters were replayed, in the transaction that does it; their tenants' history is another one then."""
    replays = [lane for lane, state in lanes.items() if state.trusted and state.done]
    if not replays:
        return
    marked = [row["replay_lane"] for row in await connection.fetch(SQL["replayed"], replays)]
    if marked:
        await connection.execute(SQL["revised"], shard, marked)


def _cut(raw: bytes) -> tuple[bytes, int | None]:
    return (raw, None) if len(raw) <= MOST_BYTES else (raw[:MOST_BYTES], len(raw))


def _printable(detail: str | None) -> str | None:
    return None if detail is None else detail[:LONGEST_DETAIL].replace("\0", "\\0")


def _identity(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(b"%d " % len(part) + part)
    return digest.digest()
