"""What a stream entry is: a frozen micro-batch of a lane, or a lane's announcement of how far it got.

On the wire an entry has two short fields, the same for both kinds so that Redis stores their names once per node:

    h   version, kind, lane, born, generation, first or end, n or closed; then a CRC-32 of everything else
    p   the payload of a batch; the drop counters of an announcement as JSON

The last four bytes of `h` are the CRC in every version, so that a flipped bit in the version byte is damage
(dead-lettered) and not a newer version (which stops the shard, rule P12).
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

import orjson

from streamgauge.errors import InputError, NewerFrameError

VERSION = 1
LANE_BYTES = 16
#: Numbers of a lane stay below this: they are `int8` in PostgreSQL.
NUMBER_LIMIT = 2**53
#: A batch fits one fold and one transaction.
MOST_EVENTS = 32_768
MOST_REASONS, LONGEST_REASON = 64, 64  # of an announcement's drops

_HEADER, _PAYLOAD = b"h", b"p"
_BATCH, _ANNOUNCEMENT = 1, 2
_LAYOUT = struct.Struct(">BB16sqIqI")
_CRC = struct.Struct(">I")

Fields = Sequence[tuple[bytes, bytes]]


class EntryId(NamedTuple):
    """A Redis stream id; compares in stream order. Its text form is `milliseconds-sequence`."""

    milliseconds: int
    sequence: int

    @classmethod
    def parse(cls, text: bytes | str) -> "EntryId":
        """Read the text form. Raises InputError when it is something else."""
        plain = text.decode("ascii", "replace") if isinstance(text, bytes) else text
        milliseconds, dash, sequence = plain.partition("-")
        # isdecimal alone would take the digits of every script, and int() would follow it.
        if not (dash and plain.isascii() and milliseconds.isdecimal() and sequence.isdecimal()):
            raise InputError(f"stream id {plain!r} is not of the form milliseconds-sequence", "entry_id")
        return cls(int(milliseconds), int(sequence))

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.sequence}"


#: Before every entry: where reading a history starts.
BEGINNING = EntryId(0, 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """A frozen micro-batch: the lane's events `[first, first + n)`. Every retry sends the same bytes (rule P1)."""

    #: 128-bit identity of the lane that numbered the events.
    lane: bytes
    #: When the lane was made, Unix milliseconds of the producer's clock.
    born: int
    #: Generation of the shard layout the batch was frozen for.
    generation: int
    #: Number of the first event; events are numbered, not batches, so that a loss is counted in events.
    first: int
    #: How many events, at least 1.
    n: int
    #: The encoded events; opaque here.
    payload: bytes

    def __post_init__(self) -> None:
        _check_lane(self.lane, self.born, self.generation)
        _check_range("first", self.first, 0, NUMBER_LIMIT - 2**32)
        _check_range("n", self.n, 1, MOST_EVENTS + 1)

    @property
    def end(self) -> int:
        """One more than the number of the last event."""
        return self.first + self.n


@dataclass(frozen=True, slots=True)
class Announcement:
    """A lane says which numbers it has given out and settled, and what it dropped before numbering (rule P3)."""

    lane: bytes
    born: int
    generation: int
    #: Every number below is in the stream or will not come again by itself.
    end: int
    #: Nothing will follow.
    closed: bool
    #: Events dropped before they were numbered, by reason, cumulative over the lane's life.
    drops: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_lane(self.lane, self.born, self.generation)
        _check_range("end", self.end, 0, NUMBER_LIMIT)
        if len(self.drops) > MOST_REASONS:
            raise InputError(f"drops has {len(self.drops)} reasons, may have {MOST_REASONS}", "drops")
        for reason, count in self.drops.items():
            if not (reason.isprintable() and 0 < len(reason) <= LONGEST_REASON):
                raise InputError(
                    f"a reason in drops is not 1 to {LONGEST_REASON} printable characters", "drops"
                )
            _check_range(f"drops[{reason!r}]", count, 0, NUMBER_LIMIT)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry that is not ours, was cut short or fails its CRC; kept raw for the dead letters."""

    fields: Fields
    reason: str


Record = Batch | Announcement
Entry = tuple[EntryId, Record | Unreadable]


def encode(record: Record) -> dict[bytes, bytes]:
    """The Redis fields of a record; always the same bytes for an equal record."""
    if isinstance(record, Batch):
        kind, number, detail, payload = _BATCH, record.first, record.n, record.payload
    else:
        kind, number, detail = _ANNOUNCEMENT, record.end, int(record.closed)
        payload = orjson.dumps(dict(record.drops), option=orjson.OPT_SORT_KEYS)
    header = _LAYOUT.pack(VERSION, kind, record.lane, record.born, record.generation, number, detail)
    return {_HEADER: header + _CRC.pack(checksum(header, [(_PAYLOAD, payload)])), _PAYLOAD: payload}


def decode(fields: Fields) -> Record | Unreadable:
    """The record in these Redis fields, or why there is none.

    Raises NewerFrameError when an undamaged entry is of a newer version: its shard must stop until the worker
    has been upgraded (rule P12). Raises nothing else.
    """
    header, others = _split(fields)
    if header is None or len(header) <= _CRC.size:
        return Unreadable(fields, "no header field: not an entry of this program")
    body = header[: -_CRC.size]
    if _CRC.unpack(header[-_CRC.size :])[0] != checksum(body, others):
        return Unreadable(fields, "checksum does not match: damaged or cut short")
    if body[0] > VERSION:
        raise NewerFrameError(
            f"stream entry of version {body[0]}, this worker reads up to {VERSION}: upgrade the workers first"
        )
    if body[0] != VERSION or len(body) != _LAYOUT.size or [name for name, _ in others] != [_PAYLOAD]:
        return Unreadable(fields, f"not laid out as an entry of version {VERSION}")
    try:
        return _record(body, others[0][1])
    except (InputError, orjson.JSONDecodeError) as error:
        return Unreadable(fields, str(error))


def decode_all(raw: Iterable[tuple[EntryId, Fields]]) -> list[Entry]:
    """Decode entries up to one of a newer version; raises NewerFrameError when that is the first (rule P12)."""
    entries: list[Entry] = []
    for entry_id, fields in raw:
        try:
            entries.append((entry_id, decode(fields)))
        except NewerFrameError:
            if not entries:
                raise
            break
    return entries


def checksum(body: bytes, others: Iterable[tuple[bytes, bytes]]) -> int:
    """CRC-32 over the header without its last four bytes, then every other field's name, length and value."""
    crc = crc32(body)
    for name, value in others:
        crc = crc32(value, crc32(b"%d %d " % (len(name), len(value)) + name, crc))
    return crc


def _split(fields: Fields) -> tuple[bytes | None, list[tuple[bytes, bytes]]]:
    headers = [value for name, value in fields if name == _HEADER]
    others = [(name, value) for name, value in fields if name != _HEADER]
    return (headers[0] if len(headers) == 1 else None), others


def _record(body: bytes, payload: bytes) -> Record:
    _, kind, lane, born, generation, number, detail = _LAYOUT.unpack(body)
    if kind == _BATCH:
        return Batch(lane, born, generation, number, detail, payload)
    if kind != _ANNOUNCEMENT or detail > 1:
        raise InputError(f"entry kind {kind} with detail {detail} is unknown", "kind")
    drops = orjson.loads(payload)
    if not isinstance(drops, dict):
        raise InputError("the drops of an announcement are not an object", "drops")
    return Announcement(lane, born, generation, number, bool(detail), drops)


def _check_lane(lane: bytes, born: int, generation: int) -> None:
    if len(lane) != LANE_BYTES:
        raise InputError(f"lane has {len(lane)} bytes, must have {LANE_BYTES}", "lane")
    _check_range("born", born, -NUMBER_LIMIT, NUMBER_LIMIT)
    _check_range("generation", generation, 0, 2**32)


def _check_range(name: str, value: object, low: int, limit: int) -> None:
    # type() and not isinstance: JSON's true and 1.0 must not pass for a count.
    if type(value) is not int or not low <= value < limit:
        raise InputError(f"{name} is {value!r}, must be an integer from {low} to below {limit}", name)
