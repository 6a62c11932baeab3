"""What was refused: kept with its reason, once, however often the stream shows it again."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import orjson

from streamgauge.database import Connection
from streamgauge.entry import Batch, Fields
from streamgauge.event import Event
from streamgauge.outcomes import Reason
from streamgauge_workers.queries import SQL


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused event, or a refused entry (then `event` is None and `raw` holds its bytes)."""

    content_id: bytes
    reason: Reason
    events: int = 1
    tenant_id: int | None = None
    lane: bytes | None = None
    number: int | None = None
    detail: str | None = None
    event: Event | None = None
    raw: bytes | None = None


def of_event(batch: Batch, row: int, tenant_id: int, event: Event, reason: Reason) -> DeadLetter:
    """One refused event; its place in its lane is its identity."""
    number = batch.first + row
    return DeadLetter(
        _identity(batch.lane, b"%d" % number), reason, 1, tenant_id, batch.lane, number, None, event
    )


def of_batch(batch: Batch, reason: Reason, detail: str) -> DeadLetter:
    """A whole batch that cannot be applied."""
    name = _identity(batch.lane, b"%d+%d" % (batch.first, batch.n), batch.payload)
    return DeadLetter(name, reason, batch.n, None, batch.lane, batch.first, detail, None, batch.payload)


def of_fields(fields: Fields, detail: str) -> DeadLetter:
    """An entry that is none of ours, or damaged. How many events it held cannot be known: it counts as one."""
    raw = orjson.dumps([[name.hex(), value.hex()] for name, value in fields])
    return DeadLetter(_identity(raw), "undecodable", 1, None, None, None, detail, None, raw)


async def store(connection: Connection, shard: int, letters: Iterable[DeadLetter]) -> dict[str, int]:
    """Keep dead letters; returns events by reason of those that had not been kept before."""
    rows = [
        (each.tenant_id, each.lane, each.number, each.content_id, each.events, each.reason, _printable(each.detail), _json(each.event), each.raw)
        for each in letters
    ]  # fmt: skip
    counts: dict[str, int] = {}
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        for row in await connection.fetch(SQL["dead_letters_store"], shard, *columns):
            counts[row["reason"]] = counts.get(row["reason"], 0) + row["events"]
    return counts


def _printable(detail: str | None) -> str | None:
    return None if detail is None else detail.replace("\0", "\\0")


def _json(event: Event | None) -> str | None:
    if event is None:
        return None
    return orjson.dumps(asdict(event), default=lambda value: value.hex()).decode()


def _identity(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(b"%d " % len(part) + part)
    return digest.digest()
