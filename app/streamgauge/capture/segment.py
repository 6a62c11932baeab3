"""What a file of a spool holds: entries as they were frozen, each in a frame that tells damage from data.

    header   8 bytes of magic, 8 random bytes; then a first frame with JSON: prefix, durable
    frame    4 bytes of magic, length, CRC-32 of the header's random bytes and of the body; then the body
    body     shard, when it was written (Unix milliseconds), length of `h`; then the fields `h` and `p` of the entry

A frame that does not add up is skipped to the next one that does: what a torn or damaged place takes along is that place alone.
The random bytes are in every CRC, so that nothing an event contains is ever taken for a frame.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from zlib import crc32

import orjson

from streamgauge.entry import Record, Unreadable, decode, encode
from streamgauge.errors import NewerFrameError

#: Its last byte is the version.
MAGIC: Final = b"sgspool\x01"
SALT_BYTES: Final = 8
HEADER_BYTES: Final = len(MAGIC) + SALT_BYTES
#: No text in UTF-8 contains it.
FRAME_MAGIC: Final = b"\xf5sg\xff"
_FRAME: Final = struct.Struct(">4sII")
_BODY: Final = struct.Struct(">IqH")


class Stowed(NamedTuple):
    """An entry in a spool."""

    shard: int
    written_at: int  #: Unix milliseconds
    record: Record


@dataclass(frozen=True, slots=True)
class Label:
    """Whose entries a segment holds."""

    prefix: str  #: of the streams they are for
    durable: bool  #: kept until they are acknowledged, not only until they are sent


@dataclass(slots=True)
class Contents:
    """What could be read of a segment."""

    label: Label | None = None  #: None: it is damaged there
    stowed: list[Stowed] = field(default_factory=list)
    damaged: int = 0  #: bytes that belong to no entry


def begin(label: Label) -> bytes:
    """What a new segment begins with."""
    salt = os.urandom(SALT_BYTES)
    told = orjson.dumps({"prefix": label.prefix, "durable": label.durable})
    return MAGIC + salt + _framed(salt, told)


def frame(salt: bytes, stowed: Stowed) -> bytes:
    """An entry's frame; `salt` is `salt_of` its segment."""
    header, payload = encode(stowed.record).values()
    return _framed(salt, _BODY.pack(stowed.shard, stowed.written_at, len(header)) + header + payload)


def salt_of(segment: bytes) -> bytes:
    """The random bytes of a segment that `begin` began."""
    return segment[len(MAGIC) : HEADER_BYTES]


def read(data: bytes) -> Contents:
    """Everything in a segment that adds up, in order.

    Raises NewerFrameError for a segment, or an undamaged entry, of a newer version, and nothing else.
    """
    if data[: len(MAGIC) - 1] == MAGIC[:-1] and data[len(MAGIC) - 1 : len(MAGIC)] > MAGIC[-1:]:
        raise NewerFrameError(
            f"a spool's segment of version {data[len(MAGIC) - 1]}: upgrade this application"
        )
    if not data.startswith(MAGIC) or len(data) < HEADER_BYTES:
        return Contents(damaged=len(data))
    contents, used = Contents(), HEADER_BYTES
    for position, body in _bodies(data):
        label = _label(body) if position == HEADER_BYTES else None
        if label is not None:
            contents.label = label
        elif (stowed := _stowed(body)) is not None:
            contents.stowed.append(stowed)
        else:
            continue
        used += _FRAME.size + len(body)
    contents.damaged = len(data) - used
    return contents


def _framed(salt: bytes, body: bytes) -> bytes:
    return _FRAME.pack(FRAME_MAGIC, len(body), crc32(body, crc32(salt))) + body


def _bodies(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The bodies of all whole frames, with their frames' positions."""
    seed = crc32(salt_of(data))
    position = HEADER_BYTES
    while (position := data.find(FRAME_MAGIC, position)) >= 0 and position + _FRAME.size <= len(data):
        _, length, checksum = _FRAME.unpack_from(data, position)
        start = position + _FRAME.size
        body = data[start : start + length] if start + length <= len(data) else None
        if body is not None and crc32(body, seed) == checksum:
            yield position, body
            position = start + length
        else:
            position += 1


def _label(body: bytes) -> Label | None:
    try:
        told: Any = orjson.loads(body)
        return Label(str(told["prefix"]), bool(told["durable"]))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _stowed(body: bytes) -> Stowed | None:
    if len(body) < _BODY.size:
        return None
    shard, written_at, length = _BODY.unpack_from(body)
    header, payload = body[_BODY.size : _BODY.size + length], body[_BODY.size + length :]
    record = decode([(b"h", header), (b"p", payload)])
    return None if isinstance(record, Unreadable) else Stowed(shard, written_at, record)
