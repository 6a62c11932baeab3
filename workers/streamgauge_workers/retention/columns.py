"""Entries of the event log as rows that any program reads: one per event, in the order of their numbers."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from asyncpg import Record

from streamgauge.outcomes import CODES, Outcomes
from streamgauge.table import Labels, Table

Objects = npt.NDArray[np.object_]
Row = Record | Mapping[str, Any]  #: of the event log, by the names of its columns

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
FIRST_DAY = date(1970, 1, 1)
#: Of an event that was taken out of an archive because its tenant's retention was over. Known to archives alone.
EXPIRED = 255
#: What a timestamp can hold with certainty, in microseconds: the years 1 to 9999. The frame keeps what lies outside.
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999

#: Columns and what they are made from. Those behind `reason` belong to an entry, and are null but in the row of its first event.
#: `frame`: the entry's bytes as the event log holds them, from which the very same table is read again.
COLUMNS = {
    "applied_day": "DATE '1970-01-01' + day::INTEGER", "shard": "shard::SMALLINT", "applied_at": "make_timestamptz(applied_at)",
    "lane": "lane::BLOB", "number": "number", "first": "first", "n": "n::INTEGER", "tenant": "tenant::VARCHAR", "name": "name::VARCHAR",
    "occurred_at": "make_timestamptz(occurred_at)", "actor": "actor::BLOB", "session": "session::VARCHAR",
    "group_id": "group_id::VARCHAR", "device": "device::VARCHAR", "source": "source::VARCHAR", "event_id": "event_id::BLOB",
    "properties": "properties::VARCHAR", "outcome": "outcome::VARCHAR", "reason": "reason::VARCHAR",
    "tenant_ids": "tenant_ids::VARCHAR", "outcomes": "outcomes::BLOB", "digest": "digest::BLOB", "frame": "frame::BLOB",
}  # fmt: skip
OF_THE_ENTRY = ("tenant_ids", "outcomes", "digest", "frame")

_OUTCOMES = np.full(256, "unknown", object)
_REASONS = np.full(256, None, object)
_OUTCOMES[EXPIRED] = "expired"
for _code, _outcome in CODES.items():
    _OUTCOMES[_code], _REASONS[_code] = _outcome.name, _outcome.reason or None


def of_entry(row: Row, table: Table, outcomes: Outcomes) -> dict[str, npt.NDArray[Any]]:
    """The columns of an entry: its row of the event log, the table of its payload, and what was decided."""
    n = table.n
    event_ids = np.full(n, None, object)
    event_ids[table.key_rows] = objects(table.keys)
    entry = {name: np.full(n, None, object) for name in OF_THE_ENTRY}
    entry["tenant_ids"][0] = orjson.dumps(row["tenants"]).decode()
    entry["outcomes"][0], entry["digest"][0], entry["frame"][0] = (
        row["outcomes"],
        row["digest"],
        row["payload"],
    )
    applied_at = (row["applied_at"] - EPOCH) // timedelta(microseconds=1)
    return {
        "day": np.full(n, (row["applied_day"] - FIRST_DAY).days),
        "shard": np.full(n, row["shard"]),
        "applied_at": np.full(n, applied_at),
        # Not numpy's `full`: that takes bytes for a text of fixed width, and NULs at its end for padding.
        "lane": objects([row["lane"]] * n),
        "number": np.arange(row["first"], row["first"] + n),
        "first": np.full(n, row["first"]),
        "n": np.full(n, n),
        "tenant": _texts(table.tenant),
        "name": _texts(table.name),
        "occurred_at": np.clip(table.occurred_at, EARLIEST, LATEST),
        "actor": _texts(table.actor),
        "session": _texts(table.session),
        "group_id": _texts(table.group),
        "device": _texts(table.device),
        "source": _texts(table.source),
        "event_id": event_ids,
        "properties": _properties(table),
        "outcome": _OUTCOMES[outcomes],
        "reason": _REASONS[outcomes],
        **entry,
    }


def objects(values: list[Any]) -> Objects:
    """An array of these, whatever they are."""
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _texts(labels: Labels) -> Objects:
    """Every row's value; one more than there are, so that code -1 is none."""
    return objects([*labels.values, None])[labels.codes]


def _properties(table: Table) -> Objects:
    """Every row's properties as the text of a JSON object. What is no number (NaN) is null there."""
    parts: list[list[str]] = [[] for _ in range(table.n)]
    for (name, kind), column in table.columns.items():
        head = orjson.dumps(name).decode() + ":"
        if column.dictionary is not None:
            texts = [head + orjson.dumps(value).decode() for value in column.dictionary]
            shown = [texts[code] for code in column.values.tolist()]
        else:
            values = column.values.astype(np.bool_).tolist() if kind == "b" else column.values.tolist()
            shown = [head + orjson.dumps(value).decode() for value in values]
        for row, text in zip(column.rows.tolist(), shown, strict=True):
            parts[row].append(text)
    return objects(["{" + ",".join(part) + "}" for part in parts])
