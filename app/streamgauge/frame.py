"""Freeze events into the columnar bytes that travel through the stream and rest in the event log.

A frame is one version byte, a length-prefixed JSON header with the dictionaries, then the columns as little-endian arrays in the
order the header implies. Columns fold several times faster than rows of JSON, and need nothing but the standard library and
orjson to write. Reading is in `streamgauge.table` (numpy).
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import orjson

from streamgauge.errors import InputError
from streamgauge.event import PSEUDONYM_BYTES, Event, Value

T = TypeVar("T")
VERSION = 1
MAX_EVENTS = 32_768  # row numbers and dictionary codes are 16 bits wide; one fold takes a whole frame
KEY_BYTES = 16
KINDS = {bool: "b", int: "i", float: "f", str: "s"}
TYPECODES = {"b": "B", "i": "q", "f": "d", "s": "H"}


def freeze(events: Sequence[Event]) -> bytes:
    """The frame of `events`, in their order. Raises InputError for an empty or oversized batch or a value no column can hold."""
    n = len(events)
    if not 0 < n <= MAX_EVENTS:
        raise InputError(f"a frame holds 1 to {MAX_EVENTS} events, not {n}", "events")
    header: dict[str, object] = {"n": n}
    try:
        parts = [_pack("q", [event.occurred_at for event in events])]
    except (OverflowError, TypeError) as error:
        raise InputError(f"a time is whole microseconds in 64 bits: {error}", "occurred_at") from None
    for field in ("name", "tenant", "source"):
        values, codes = _encode([getattr(event, field) for event in events])
        header[field] = values
        if len(values) > 1:
            parts.append(_pack("H", codes))
    actors, codes = _encode_optional([event.actor for event in events])
    header["actors"] = len(actors)
    if actors:
        if any(len(actor) != PSEUDONYM_BYTES for actor in actors):
            raise InputError(f"a pseudonym has {PSEUDONYM_BYTES} bytes", "actor")
        parts += [b"".join(actors), _pack("H", codes)]
    for field in ("session", "group", "device"):
        values, codes = _encode_optional([getattr(event, field) for event in events])
        if values:
            header[field] = values
            parts.append(_pack("H", codes))
    keys = [(row, event.key) for row, event in enumerate(events) if event.key is not None]
    if keys:
        if any(len(key) != KEY_BYTES for _, key in keys):
            raise InputError(f"the id of a keyed event has {KEY_BYTES} bytes", "key")
        header["keys"] = len(keys)
        parts += [_pack("H", [row for row, _ in keys]), b"".join(key for _, key in keys)]
    header["columns"] = [
        _property(name, kind, rows, values, n, parts) for name, kind, rows, values in _properties(events)
    ]
    try:
        head = orjson.dumps(header)
    except orjson.JSONEncodeError as error:
        raise InputError(f"a text cannot be written as UTF-8: {error}", "events") from None
    return b"".join([bytes([VERSION]), len(head).to_bytes(4, "little"), head, *parts])


def _properties(events: Sequence[Event]) -> Iterable[tuple[str, str, list[int], list[Value]]]:
    """Property values gathered per (name, kind): a name whose type changes between events makes two columns, not an error."""
    columns: dict[tuple[str, type], tuple[list[int], list[Value]]] = {}
    for row, event in enumerate(events):
        for name, value in event.properties.items():
            found = columns.get((name, type(value)))
            if found is None:
                found = columns[name, type(value)] = ([], [])
            found[0].append(row)
            found[1].append(value)
    for (name, kind), (rows, values) in columns.items():
        if kind not in KINDS:
            raise InputError(
                f"property {name!r} is a {kind.__name__}; it can be an int, float, str or bool", name
            )
        yield name, KINDS[kind], rows, values


def _property(
    name: str, kind: str, rows: list[int], values: list[Value], n: int, parts: list[bytes]
) -> list[object]:
    """Append one property's column to `parts`; returns its entry in the header."""
    everywhere = len(rows) == n
    if not everywhere:
        parts.append(_pack("H", rows))
    entry: list[object] = [name, kind, -1 if everywhere else len(rows)]
    if kind == "s":
        dictionary, codes = _encode(values)
        entry.append(dictionary)
        parts.append(_pack("H", codes))
    else:
        try:
            parts.append(_pack(TYPECODES[kind], values))
        except OverflowError:
            raise InputError(f"property {name!r} does not fit 64 bits", name) from None
    return entry


def _encode(values: Sequence[T]) -> tuple[list[T], list[int]]:
    """Distinct values in order of appearance, and each value's place among them."""
    index: dict[T, int] = {}
    codes = [index.setdefault(value, len(index)) for value in values]
    return list(index), codes


def _encode_optional(values: Sequence[T | None]) -> tuple[list[T], list[int]]:
    """As `_encode`, with code 0 for None and the dictionary counted from 1."""
    index: dict[T | None, int] = {None: 0}
    codes = [index.setdefault(value, len(index)) for value in values]
    return [value for value in index if value is not None], codes


def _pack(typecode: str, values: Sequence[Any]) -> bytes:
    column: array[Any] = array(typecode, values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()
