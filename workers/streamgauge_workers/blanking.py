"""Events taken out of a frame: what erasure leaves of them is their place.

A blanked event keeps its row, so numbers, `n` and the ranges of its lane stay what they were. Its name and tenant are "", its
time is that of its neighbours, and it has no actor, session, group, device, key or property. Dictionaries shrink to what the other
rows use: a text that only blanked rows had is gone from the bytes. Rows that stay keep every value, bit for bit.
"""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from streamgauge.frame import VERSION
from streamgauge.table import DTYPES, Column, Labels, Mask, Table
from streamgauge_workers.acceptance import EPOCH

#: Of a blanked event; no tenant can be called so.
NOTHING = ""
SOURCE = "server"


def blank(table: Table, gone: Mask, at: datetime) -> Table:
    """The table with nothing of the rows where `gone` holds. They take the earliest time of those that stay; `at` if none does."""
    stays = ~gone
    times = table.occurred_at.copy()
    times[gone] = times[stays].min() if stays.any() else (at - EPOCH) // timedelta(microseconds=1)
    kept_keys = stays[table.key_rows]
    columns = {}
    for name, column in table.columns.items():
        kept = stays[column.rows]
        if kept.any():
            columns[name] = _shrunk(Column(column.rows[kept], column.values[kept], column.dictionary))
    return Table(
        table.n, times, _without(table.name, gone, NOTHING), _without(table.tenant, gone, NOTHING),
        _without(table.source, gone, SOURCE), _without(table.actor, gone), _without(table.session, gone),
        _without(table.group, gone), _without(table.device, gone), table.key_rows[kept_keys],
        [key for key, kept in zip(table.keys, kept_keys.tolist(), strict=True) if kept], columns,
    )  # fmt: skip


def refreeze(table: Table) -> bytes:
    """The frame of a table, as `streamgauge.frame.freeze` lays it out."""
    header: dict[str, object] = {"n": table.n}
    parts = [_packed(table.occurred_at, "<i8")]
    for field in ("name", "tenant", "source"):
        labels: Labels = getattr(table, field)
        header[field] = labels.values
        if len(labels.values) > 1:
            parts.append(_packed(labels.codes, "<u2"))
    header["actors"] = len(table.actor.values)
    if table.actor.values:
        parts += [b"".join(table.actor.values), _packed(table.actor.codes + 1, "<u2")]
    for field in ("session", "group", "device"):
        labels = getattr(table, field)
        if labels.values:
            header[field] = labels.values
            parts.append(_packed(labels.codes + 1, "<u2"))
    if table.keys:
        header["keys"] = len(table.keys)
        parts += [_packed(table.key_rows, "<u2"), b"".join(table.keys)]
    header["columns"] = [_column(name, column, table.n, parts) for name, column in table.columns.items()]
    head = orjson.dumps(header)
    return b"".join([bytes([VERSION]), len(head).to_bytes(4, "little"), head, *parts])


def _without(labels: Labels, gone: Mask, instead: str | None = None) -> Labels:
    """The labels without those of `gone`, which take the value `instead` or none; unused values are dropped."""
    kept = np.where(gone, -1, labels.codes)
    used = np.unique(kept[kept >= 0])
    values = [labels.values[code] for code in used.tolist()]
    if instead is not None and instead not in values and gone.any():
        values.append(instead)
    places = np.full(len(labels.values) + 1, -1, np.int32)
    places[used] = np.arange(len(used), dtype=np.int32)
    codes = places[kept]
    if instead is not None and gone.any():
        codes[gone] = values.index(instead)
    return Labels(values, codes)


def _shrunk(column: Column) -> Column:
    if column.dictionary is None:
        return column
    used, codes = np.unique(column.values, return_inverse=True)
    dictionary = [column.dictionary[code] for code in used.tolist()]
    return Column(column.rows, codes.astype(np.int32), dictionary)


def _column(name: tuple[str, str], column: Column, n: int, parts: list[bytes]) -> list[object]:
    """Append a property's column to `parts`; returns its entry in the header."""
    everywhere = len(column.rows) == n
    if not everywhere:
        parts.append(_packed(column.rows, "<u2"))
    parts.append(_packed(column.values, DTYPES[name[1]]))
    entry: list[object] = [*name, -1 if everywhere else len(column.rows)]
    return entry if column.dictionary is None else [*entry, column.dictionary]


def _packed(values: npt.NDArray[Any], dtype: str) -> bytes:
    return values.astype(dtype).tobytes()
