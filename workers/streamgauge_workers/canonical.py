"""Canonical rows: what summaries say once stripes are merged and ids, batches and clocks are left out.

For the same accepted events they are equal for any order, batching and number of workers. `verify` computes them twice: from the
tables, and from the event log.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from asyncpg import Record
from pyroaring import BitMap

from streamgauge.database import Connection
from streamgauge.summaries.admission import Admission
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import RESERVED
from streamgauge.summaries.histogram import Histogram
from streamgauge.summaries.measures import Measures
from streamgauge.summaries.rollups import OTHER, Catalogue
from streamgauge_workers.admissions import Cell
from streamgauge_workers.queries import SQL
from streamgauge_workers.summary_rows import GRAINS, Grain, stored_measures, union


class RowName(NamedTuple):
    """A summary row, stripes merged: `bucket` is the UTC second at which its hour or day begins."""

    grain: Grain
    tenant_id: int
    metric: str
    grouping: int
    dimensions: tuple[str, ...]
    bucket: int


@dataclass(slots=True)
class Admitted:
    """The dimension values that keep rows of their own over all stripes."""

    limit: int
    cells: dict[Cell, Admission] = field(default_factory=dict)

    def offer(self, cell: Cell, value: str, place: int) -> None:
        """Take a value with its rank into account."""
        self.cells.setdefault(cell, Admission(self.limit)).offer(value, place)

    def cut(self, catalogue: Catalogue, name: RowName, day: int) -> RowName:
        """The row that a stripe's row belongs to once values kept only by single stripes are "(other)"."""
        rollup = catalogue.rollup(name.metric)
        if rollup is None:
            return name
        kept = []
        for dimension, value in zip(rollup.groupings[name.grouping], name.dimensions, strict=True):
            admission = self.cells.get(Cell(name.tenant_id, dimension, day))
            turned_away = admission is not None and admission.overflowed and value not in admission.ranks
            kept.append(OTHER if turned_away and value not in RESERVED else value)
        return name._replace(dimensions=tuple(kept))


UNNAMED = RowName("h", 0, "(no such series)", 0, (), 0)
UNREADABLE = Histogram(
    np.array([2**16 - 1], np.uint16), np.array([1], np.int64)
)  # no value falls into that bucket
NOBODY = 0  # ids of actors begin at 1

Rows = dict[RowName, Measures]
Members = dict[tuple[Grain, int, int, int], list[tuple[int, bytes]]]


def add(rows: Rows, name: RowName, measures: Measures) -> None:
    """Merge measures into a row."""
    known = rows.get(name)
    if known is None:
        known = rows[name] = Measures()
    known.merge(measures)


class DayOf:
    """The local day of a tenant's bucket."""

    def __init__(self, calendars: dict[int, Calendar]) -> None:
        self.calendars = calendars
        self.known: dict[tuple[int, int], int] = {}

    def __call__(self, tenant_id: int, bucket: int) -> int:
        """UTC second at which the day of the bucket begins."""
        day = self.known.get((tenant_id, bucket))
        if day is None:
            calendar = self.calendars.get(tenant_id)
            day = bucket if calendar is None else calendar.day_of(bucket)
            self.known[tenant_id, bucket] = day
        return day


async def stored(
    connection: Connection, tenant_ids: Iterable[int], catalogue: Catalogue, admitted: Admitted, day_of: DayOf
) -> Rows:
    """The canonical rows of the tables for these tenants. Needs a transaction: it reads through cursors."""
    chosen = list(tenant_ids)
    series = {
        (row["shard"], row["series_id"]): RowName(
            "h", row["tenant_id"], row["metric"], row["grouping"], tuple(row["dimensions"]), 0
        )
        for row in await connection.fetch(SQL["canonical_series"], chosen)
    }
    members: Members = defaultdict(list)
    async for row in connection.cursor(SQL["canonical_members"], chosen, prefetch=1_000):
        grain: Grain = "h" if row["grain"] == b"h" else "d"
        members[grain, row["shard"], row["series_id"], row["bucket"]].append(
            (row["tenant_id"], row["members"])
        )
    rows: Rows = {}

    def put(key: tuple[Grain, int, int, int], tenant_id: int, measures: Measures) -> None:
        name = series.get((key[1], key[2]), UNNAMED)._replace(grain=key[0], bucket=key[3])
        if tenant_id != name.tenant_id:
            # A series, its rows and their sets belong to one tenant, or the row is another than any that the log gives.
            name = name._replace(
                metric=f"{name.metric} (of another tenant than its series)", tenant_id=tenant_id
            )
        add(rows, admitted.cut(catalogue, name, day_of(name.tenant_id, name.bucket)), measures)

    for grain, name in GRAINS.items():
        async for row in connection.cursor(SQL["canonical_rows"].format(grain=name), chosen, prefetch=1_000):
            measures = _measures(row)
            key = (grain, row["shard"], row["series_id"], row["bucket"])
            parts = members.pop(key, [])
            owners = {row["tenant_id"], *(owner for owner, _ in parts)}
            measures.members = _members([part for _, part in parts])
            put(key, row["tenant_id"] if len(owners) == 1 else NOBODY, measures)
    for key, parts in members.items():
        # Members of a row that is not there are kept, so that the comparison names them.
        put(key, parts[0][0], Measures(members=_members([part for _, part in parts])))
    return rows


def _measures(row: Record) -> Measures:
    """A row's measures; a histogram that cannot be read becomes one that differs from every other."""
    try:
        return stored_measures(row)
    except ValueError:
        measures = stored_measures({**row, "histogram": None})
        measures.histogram = UNREADABLE
        return measures


def _members(parts: list[bytes]) -> BitMap:
    """A row's set; parts that cannot be read become one member that nobody has."""
    try:
        return union(parts)
    except (ValueError, IndexError):
        return BitMap([NOBODY])
