"""Events as columns: what a frame is read into, and what the fold works on.

Strings are codes into dictionaries. Tables of many frames are joined into one before folding: that is where the speed of large
batches comes from.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from streamgauge.errors import FrameError, NewerFrameError
from streamgauge.event import PSEUDONYM_BYTES, Event
from streamgauge.frame import KEY_BYTES, MAX_EVENTS, VERSION

T = TypeVar("T")
Ints: TypeAlias = npt.NDArray[np.int64]
Codes: TypeAlias = npt.NDArray[np.int32]
Mask: TypeAlias = npt.NDArray[np.bool_]
OLDEST = 1  # version of a frame that is read still: logs, archives and spools keep them for long
DTYPES = {"b": "<u1", "i": "<i8", "f": "<f8", "s": "<u2"}


@dataclass(frozen=True, slots=True)
class Column:
    """One property: the rows that carry it (ascending) and their values, codes into `dictionary` for strings."""

    rows: Ints
    values: npt.NDArray[Any]
    dictionary: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """A string-like column: codes into `values`; -1 is none."""

    values: list[Any]
    codes: Codes


@dataclass(frozen=True, slots=True)
class Table:
    """`n` events as columns. `columns` is keyed by (property, kind): "i" int, "f" float, "s" str, "b" bool."""

    n: int
    occurred_at: Ints
    name: Labels
    tenant: Labels
    source: Labels
    actor: Labels
    session: Labels
    group: Labels
    device: Labels
    key_rows: Ints
    keys: list[bytes]
    columns: dict[tuple[str, str], Column] = field(default_factory=dict)
    #: Where the events were numbered; none until `located`.
    lane: Labels | None = None
    number: Ints | None = None

    def located(self, lane: bytes, first: int) -> "Table":
        """The same rows, as numbered from `first` on in a lane: what tells events apart that have no key."""
        return replace(
            self, lane=Labels([lane], np.zeros(self.n, np.int32)), number=np.arange(first, first + self.n)
        )

    def select(self, mask: Mask) -> "Table":
        """The rows where `mask` holds; dictionaries stay as they are."""
        place = np.cumsum(mask) - 1
        keep = mask[self.key_rows]
        keys = [key for key, kept in zip(self.keys, keep.tolist(), strict=True) if kept]
        columns = {}
        for name, column in self.columns.items():
            kept = mask[column.rows]
            columns[name] = Column(place[column.rows[kept]], column.values[kept], column.dictionary)

        def kept_of(labels: Labels) -> Labels:
            return Labels(labels.values, labels.codes[mask])

        return Table(
            int(mask.sum()), self.occurred_at[mask], kept_of(self.name), kept_of(self.tenant), kept_of(self.source),
            kept_of(self.actor), kept_of(self.session), kept_of(self.group), kept_of(self.device),
            place[self.key_rows[keep]], keys, columns, None if self.lane is None else kept_of(self.lane),
            None if self.number is None else self.number[mask],
        )  # fmt: skip

    def event(self, row: int) -> Event:
        """One row as an Event again: for dead letters and event queries, not for folding."""
        properties = {}
        for (name, kind), column in self.columns.items():
            place = int(np.searchsorted(column.rows, row))
            if place < len(column.rows) and column.rows[place] == row:
                value = column.values[place].item()
                properties[name] = column.dictionary[value] if column.dictionary is not None else value
                if kind == "b":
                    properties[name] = bool(value)
        at = int(np.searchsorted(self.key_rows, row))
        key = self.keys[at] if at < len(self.keys) and self.key_rows[at] == row else None

        def label(labels: Labels) -> Any:
            code = int(labels.codes[row])
            return labels.values[code] if code >= 0 else None

        return Event(
            name=label(self.name), occurred_at=int(self.occurred_at[row]), tenant=label(self.tenant),
            actor=label(self.actor), session=label(self.session), group=label(self.group),
            device=label(self.device), source=label(self.source), properties=properties, key=key,
        )  # fmt: skip


class _Cursor:
    """Reads a frame's columns one after another."""

    def __init__(self, payload: bytes, offset: int) -> None:
        self.payload = payload
        self.offset = offset

    def take(self, dtype: str, count: int) -> npt.NDArray[Any]:
        found = np.frombuffer(self.payload, dtype, count, self.offset)
        self.offset += found.nbytes
        return found

    def blobs(self, size: int, count: int) -> list[bytes]:
        start, self.offset = self.offset, self.offset + size * count
        if self.offset > len(self.payload):
            raise ValueError("the frame ends early")
        return [self.payload[at : at + size] for at in range(start, self.offset, size)]


def thaw(payload: bytes) -> Table:
    """The table of a frame. Raises NewerFrameError for a newer version, FrameError for anything that is not a whole frame."""
    if not payload or not OLDEST <= payload[0] <= VERSION:
        if payload and payload[0] > VERSION:
            raise NewerFrameError(
                f"a frame of version {payload[0]}, this program reads up to {VERSION}: upgrade it"
            )
        raise FrameError("not a frame: its version byte is missing")
    try:
        size = int.from_bytes(payload[1:5], "little")
        header = orjson.loads(payload[5 : 5 + size])
        return _read(header, _Cursor(payload, 5 + size))
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, json.JSONDecodeError) as error:
        raise FrameError(f"not a whole frame: {error}") from error


def _read(header: dict[str, Any], cursor: _Cursor) -> Table:
    n = header["n"]
    if type(n) is not int or not 0 < n <= MAX_EVENTS:
        raise ValueError(f"it says that it holds {n!r} events")
    occurred_at = cursor.take("<i8", n)
    name, tenant, source = (_labels(header[field], n, cursor) for field in ("name", "tenant", "source"))
    actors = cursor.blobs(PSEUDONYM_BYTES, header["actors"])
    actor = Labels(actors, _optional(len(actors), n, cursor))
    session, group, device = (
        Labels(values := _texts(header.get(field, [])), _optional(len(values), n, cursor))
        for field in ("session", "group", "device")
    )
    key_count = header.get("keys", 0)
    key_rows = cursor.take("<u2", key_count).astype(np.int64)
    keys = cursor.blobs(KEY_BYTES, key_count)
    columns = {(entry[0], entry[1]): _column(entry, n, cursor) for entry in header["columns"]}
    if cursor.offset != len(cursor.payload) or (len(key_rows) and int(key_rows.max()) >= n):
        raise ValueError("its columns do not add up to its length")
    if (key_rows[1:] <= key_rows[:-1]).any():
        raise ValueError("its keys are out of order")
    return Table(n, occurred_at, name, tenant, source, actor, session, group, device, key_rows, keys, columns)


def _texts(values: list[str]) -> list[str]:
    if type(values) is not list or not {type(value) for value in values} <= {str}:
        raise ValueError("a dictionary holds something else than texts")
    if len(set(values)) != len(values):
        raise ValueError("a dictionary holds a text twice")
    return values


def _labels(values: list[str], n: int, cursor: _Cursor) -> Labels:
    _texts(values)
    if len(values) == 1:
        return Labels(values, np.zeros(n, np.int32))
    return Labels(values, _checked(cursor.take("<u2", n).astype(np.int32), len(values)))


def _optional(count: int, n: int, cursor: _Cursor) -> Codes:
    if not count:
        return np.full(n, -1, np.int32)
    return _checked(cursor.take("<u2", n).astype(np.int32), count + 1) - np.int32(1)


def _column(entry: list[Any], n: int, cursor: _Cursor) -> Column:
    name, kind, count = entry[:3]
    _texts([name])
    rows = np.arange(n) if count < 0 else cursor.take("<u2", count).astype(np.int64)
    if len(rows) and (int(rows[-1]) >= n or (rows[1:] <= rows[:-1]).any()):
        raise ValueError("a column names a row that is not there, or rows out of order")
    values = cursor.take(DTYPES[kind], len(rows))
    if kind != "s":
        return Column(rows, values)
    return Column(rows, _checked(values.astype(np.int32), len(_texts(entry[3]))), entry[3])


def _checked(codes: Codes, size: int) -> Codes:
    if len(codes) and int(codes.max()) >= size:
        raise ValueError("a code lies outside its dictionary")
    return codes


def join(tables: Sequence[Table]) -> Table:
    """One table of all rows, in order; dictionaries are merged."""
    if len(tables) == 1:
        return tables[0]
    starts = np.cumsum([0] + [table.n for table in tables])
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {}
    for name in names:
        parts = [
            (start, table.columns[name])
            for start, table in zip(starts, tables, strict=False)
            if name in table.columns
        ]
        rows = np.concatenate([part.rows + start for start, part in parts])
        if name[1] == "s":
            merged = _join_labels([Labels(part.dictionary or [], part.values) for _, part in parts])
            columns[name] = Column(rows, merged.codes, merged.values)
        else:
            columns[name] = Column(rows, np.concatenate([part.values for _, part in parts]))
    return Table(
        int(starts[-1]),
        np.concatenate([table.occurred_at for table in tables]),
        _join_labels([table.name for table in tables]),
        _join_labels([table.tenant for table in tables]),
        _join_labels([table.source for table in tables]),
        _join_labels([table.actor for table in tables]),
        _join_labels([table.session for table in tables]),
        _join_labels([table.group for table in tables]),
        _join_labels([table.device for table in tables]),
        np.concatenate([table.key_rows + start for start, table in zip(starts, tables, strict=False)]),
        [key for table in tables for key in table.keys],
        columns,
        _joined([table.lane for table in tables]),
        _numbers([table.number for table in tables]),
    )


def _joined(parts: Sequence[Labels | None]) -> Labels | None:
    known = [part for part in parts if part is not None]
    return _join_labels(known) if len(known) == len(parts) else None


def _numbers(parts: Sequence[Ints | None]) -> Ints | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _join_labels(parts: Sequence[Labels]) -> Labels:
    index: dict[Any, int] = {}
    codes = []
    for part in parts:
        # One slot more than values, so that code -1 (none) maps to -1.
        remap = np.array([index.setdefault(value, len(index)) for value in part.values] + [-1], np.int32)
        codes.append(remap[part.codes])
    return Labels(list(index), np.concatenate(codes))
