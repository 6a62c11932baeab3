"""The pure fold of tallies: events in, states of entities out. The worker, `verify` and `rebuild` all use this one."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgauge.event import Value
from streamgauge.summaries.fold import Scope, texts_of
from streamgauge.summaries.rollups import EVENT_NAME
from streamgauge.summaries.tallies import (
    ACTOR,
    ALL_TIME,
    EVENT,
    GROUP,
    SESSION,
    Moment,
    State,
    Tally,
    TallyKey,
)
from streamgauge.table import Ints, Labels, Mask, Table

ID_BYTES = 16


def event_ids(table: Table, rows: Ints) -> list[bytes]:
    """The 16-byte ids of these rows: of the caller's key where there is one, else of the event's place in its lane."""
    if table.lane is None or table.number is None:
        raise ValueError("these events were not located in their lanes")
    keyed = dict(zip(table.key_rows.tolist(), table.keys, strict=True))
    lanes, numbers = table.lane.codes[rows].tolist(), table.number[rows].tolist()
    return [
        keyed.get(row) or blake2b(table.lane.values[lane] + number.to_bytes(8), digest_size=ID_BYTES).digest()
        for row, lane, number in zip(rows.tolist(), lanes, numbers, strict=True)
    ]


def tally(
    table: Table, scopes: Sequence[Scope], tallies: Sequence[Tally]
) -> Iterator[tuple[TallyKey, State]]:
    """States of every entity that a table's accepted events belong to. `scopes[i]` is the tenant of code i of the tenant labels."""
    wanted = {event for each in tallies for event in each.events}
    if not wanted.isdisjoint(table.name.values):
        prepared = _Prepared(table, scopes)
        for declared in tallies:
            yield from prepared.states(declared)


class _Prepared:
    """What all tallies of one table share."""

    def __init__(self, table: Table, scopes: Sequence[Scope]) -> None:
        self.table = table
        self.scopes = scopes
        self.labels: dict[str, Labels] = {}

    def states(self, declared: Tally) -> Iterator[tuple[TallyKey, State]]:
        rows, labels = self._rows_and_labels(declared)
        if not len(rows):
            return
        ids = event_ids(self.table, rows)
        at, buckets = self.table.occurred_at[rows], self._buckets(declared, rows)
        group = self._groups(declared, rows, labels, buckets)
        halves = np.frombuffer(b"".join(ids), ">u8").reshape(-1, 2)
        order = np.lexsort((halves[:, 1], halves[:, 0], at, group))
        rows, group, buckets = rows[order], group[order], buckets[order]
        starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        ends = np.r_[starts[1:], len(rows)]
        sums = [self._reduced(name, rows, starts, np.add, 0) for name in declared.sums]
        greatest = [self._reduced(name, rows, starts, np.maximum, -1) for name in declared.greatest]
        for place, (start, end) in enumerate(zip(starts.tolist(), (ends - 1).tolist(), strict=True)):
            row = int(rows[start])
            parts = tuple(
                ids[order[start]].hex() if part == EVENT else labels[part].values[labels[part].codes[row]]
                for part in declared.parts
            )
            code = int(self.table.tenant.codes[row])
            actor = labels[ACTOR].values[labels[ACTOR].codes[row]] if ACTOR in declared.by else None
            key = TallyKey(self.scopes[code].tenant_id, declared.name, int(buckets[start]), actor, parts)
            yield (
                key,
                State(
                    end - start + 1,
                    tuple(int(each[place]) for each in sums),
                    tuple(None if each[place] < 0 else int(each[place]) for each in greatest),
                    Moment(int(self.table.occurred_at[row]), ids[order[start]]),
                    Moment(int(self.table.occurred_at[rows[end]]), ids[order[end]]),
                    self._said(declared.last, int(rows[end])),
                ),
            )

    def _rows_and_labels(self, declared: Tally) -> tuple[Ints, dict[str, Labels]]:
        """The rows that have all parts of the key, and the parts."""
        names = [code for code, name in enumerate(self.table.name.values) if name in declared.events]
        chosen: Mask = np.isin(self.table.name.codes, names)
        labels = {part: self._part(part) for part in declared.by if part != EVENT}
        for part in labels.values():
            chosen &= part.codes >= 0
        return np.flatnonzero(chosen), labels

    def _part(self, name: str) -> Labels:
        if name not in self.labels:
            own = {
                ACTOR: self.table.actor,
                GROUP: self.table.group,
                SESSION: self.table.session,
                EVENT_NAME: self.table.name,
            }
            self.labels[name] = own[name] if name in own else texts_of(self.table, name)
        return self.labels[name]

    def _groups(self, declared: Tally, rows: Ints, labels: dict[str, Labels], buckets: Ints) -> Ints:
        """A number for each row, equal for those of one key."""
        if EVENT in declared.by:
            return np.arange(len(rows))
        group = np.unique(buckets, return_inverse=True)[1] * len(self.scopes) + self.table.tenant.codes[rows]
        for part in labels.values():
            # Kept dense, or the product of many parts' sizes would not fit.
            group = np.unique(group, return_inverse=True)[1] * len(part.values) + part.codes[rows]
        dense: Ints = group
        return dense

    def _buckets(self, declared: Tally, rows: Ints) -> Ints:
        buckets = np.full(len(rows), ALL_TIME, np.int64)
        if declared.grain == "all":
            return buckets
        for code in np.unique(self.table.tenant.codes[rows]).tolist():
            own = self.table.tenant.codes[rows] == code
            calendar, at = self.scopes[code].calendar, self.table.occurred_at[rows[own]]
            buckets[own] = calendar.day_starts(at) if declared.grain == "day" else calendar.hour_starts(at)
        return buckets

    def _reduced(
        self, name: str, rows: Ints, starts: Ints, reduce: "np.ufunc", missing: int
    ) -> npt.NDArray[np.int64]:
        values = np.full(self.table.n, missing, np.int64)
        column = self.table.columns.get((name, "i"))
        if column is not None:
            values[column.rows] = column.values
        found: npt.NDArray[np.int64] = reduce.reduceat(values[rows], starts)
        return found

    def _said(self, names: Sequence[str], row: int) -> dict[str, Value]:
        said: dict[str, Value] = {}
        for (name, kind), column in self.table.columns.items():
            if name not in names:
                continue
            place = int(np.searchsorted(column.rows, row))
            if place < len(column.rows) and column.rows[place] == row:
                value: Any = column.values[place].item()
                if column.dictionary is not None:
                    value = column.dictionary[value]
                said[name] = bool(value) if kind == "b" else value
        return said
