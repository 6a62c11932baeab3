"""What a dead letter holds: a frame of events, once it can be read."""

import orjson
from asyncpg import Record

from streamgauge.entry import Batch, decode
from streamgauge.errors import FrameError, StreamgaugeError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.table import Table, thaw


def frame_of(letter: Record, content: Record) -> bytes | None:
    """The frame to send again; None: there is none, or it cannot be read.

    Args:
        letter: a row of the query `letters`.
        content: the row of `contents` that belongs to it.
    """
    raw: bytes | None = content["raw"]
    if raw is None:
        return None if content["event"] is None else freeze([_event(content["event"])])
    if letter["cut_from"] is not None:
        return None
    if letter["lane"] is None:
        raw = _payload(raw)
    return raw if raw is not None and read(raw) is not None else None


def read(frame: bytes) -> Table | None:
    """The frame's table; None when this program cannot read it."""
    try:
        return thaw(frame)
    except FrameError:
        return None


def _payload(raw: bytes) -> bytes | None:
    """The payload of an entry that was kept field by field, where this program can tell it."""
    try:
        fields = [(bytes.fromhex(name), bytes.fromhex(value)) for name, value in orjson.loads(raw)]
        record = decode(fields)
    except (ValueError, TypeError, StreamgaugeError):
        return None
    return record.payload if isinstance(record, Batch) else None


def _event(text: str) -> Event:
    """An event as versions before the migration 0005 kept it."""
    found = orjson.loads(text)
    binary = {name: bytes.fromhex(found[name]) for name in ("actor", "key") if found.get(name)}
    return Event(**{**found, **binary})
