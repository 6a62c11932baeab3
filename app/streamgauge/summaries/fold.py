"""The pure fold: events in, summary rows out. The worker, `verify` and `rebuild` all use this one.

Every grouping is one vectorised pass: dimension values become codes, codes one combined integer per event, equal integers one
group. A group is one series in one local hour; the caller merges it into the hour's row and into its day's.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.histogram import Histogram, buckets_of
from streamgauge.summaries.measures import Measures
from streamgauge.summaries.rollups import (
    ANY,
    EVENT_NAME,
    NONE,
    OTHER,
    Catalogue,
    Condition,
    EventType,
    Rollup,
)
from streamgauge.table import Codes, Ints, Labels, Mask, Table

RESERVED = frozenset({NONE, OTHER})
MOST_EVENTS = 32_768  # of one fold: 2**15 values below 2**48 sum in 64 bits


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant as the fold needs it."""

    tenant_id: int
    calendar: Calendar


class SeriesKey(NamedTuple):
    """One metric of one tenant at one tuple of dimension values."""

    tenant_id: int
    metric: str
    grouping: int  #: place of the grouping among its rollup's
    dimensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The events of one series in one local hour: `hour` and `day` are the UTC seconds at which these begin."""

    key: SeriesKey
    hour: int
    day: int
    measures: Measures


#: (tenant id, dimension, day, values) -> for each value whether it keeps rows of its own.
Admit = Callable[[int, str, int, list[str]], list[bool]]


def touched_days(table: Table, scopes: Sequence[Scope]) -> set[tuple[int, int]]:
    """The (tenant id, local day) pairs that a table's events fall into."""
    touched = set()
    for code, scope in enumerate(scopes):
        at = table.occurred_at[table.tenant.codes == code]
        touched |= {(scope.tenant_id, day) for day in np.unique(scope.calendar.day_starts(at)).tolist()}
    return touched


def fold(
    table: Table, actors: Ints, scopes: Sequence[Scope], catalogue: Catalogue, admit: Admit
) -> Iterator[Group]:
    """Fold a table of accepted events.

    `actors` holds each event's dense actor id, -1 for none; `scopes[i]` is the tenant of code i of the table's `tenant` labels.
    Raises ValueError for more than MOST_EVENTS rows.
    """
    if table.n > MOST_EVENTS:
        raise ValueError(f"one fold takes up to {MOST_EVENTS} events, not {table.n}")
    if table.n:
        prepared = _Prepared(table, actors, scopes, catalogue, admit)
        for rollup in catalogue.rollups:
            yield from prepared.fold(rollup)


def bitmap_of(ids: npt.NDArray[np.uint32]) -> BitMap:
    """The set of these ids. pyroaring takes an `array` whole and anything else number by number, seven times as slow."""
    return BitMap(array("I", ids.tobytes()))


def texts_of(table: Table, name: str) -> Labels:
    """A property as text codes, whatever its kind; -1 where it is missing."""
    values: list[str] = []
    codes: Codes = np.full(table.n, -1, np.int32)
    for kind in "sib":
        column = table.columns.get((name, kind))
        if column is None:
            continue
        if column.dictionary is not None:
            texts, place = column.dictionary, column.values
        else:
            distinct, place = np.unique(column.values, return_inverse=True)
            texts = [str(bool(value)).lower() if kind == "b" else str(value) for value in distinct.tolist()]
        codes[column.rows] = place + len(values)
        values = values + texts
    return Labels(values, codes)


class _Prepared:
    """What all rollups of one table share."""

    def __init__(
        self, table: Table, actors: Ints, scopes: Sequence[Scope], catalogue: Catalogue, admit: Admit
    ) -> None:
        self.table = table
        self.actors = actors
        self.scopes = scopes
        self.catalogue = catalogue
        self.admit = admit
        self.dimensions: dict[str, Labels] = {}
        self.numbers: dict[str, tuple[Ints, Mask]] = {}
        hours, days = np.empty(table.n, np.int64), np.empty(table.n, np.int64)
        for code, scope in enumerate(scopes):
            rows = slice(None) if len(scopes) == 1 else np.flatnonzero(table.tenant.codes == code)
            at = table.occurred_at[rows]
            hours[rows], days[rows] = scope.calendar.hour_starts(at), scope.calendar.day_starts(at)
        self.hours, self.hour_codes = np.unique(hours, return_inverse=True)
        self.days, self.day_codes = np.unique(days, return_inverse=True)
        self.failed = self._failed(catalogue.event_types)

    def fold(self, rollup: Rollup) -> Iterator[Group]:
        """All groupings of one rollup."""
        chosen = self._rows_of(rollup.event)
        if not chosen.any():
            return
        required = {dimension.property for dimension in rollup.dimensions if dimension.required}
        for place, grouping in enumerate(rollup.groupings):
            labels = [self._dimension(name, name in required) for name in grouping]
            rows = chosen
            for name, at in zip(grouping, labels, strict=True):
                if name in required:
                    rows = rows & (at.codes >= 0)
            picked = np.flatnonzero(rows)
            if len(picked):
                yield from self._groups(rollup, place, labels, picked)

    def _rows_of(self, event: str) -> Mask:
        """Which rows are events of that name."""
        if event == ANY:
            return np.ones(self.table.n, np.bool_)
        if event not in self.table.name.values:
            return np.zeros(self.table.n, np.bool_)
        named: Mask = self.table.name.codes == self.table.name.values.index(event)
        return named

    def _groups(self, rollup: Rollup, place: int, labels: list[Labels], rows: Ints) -> Iterator[Group]:
        """One grouping: sort the rows by group, then reduce every group's run of rows."""
        combined = self.hour_codes[rows] * len(self.scopes) + self.table.tenant.codes[rows]
        capacity = len(self.hours) * len(self.scopes)
        for at in labels:
            if capacity * len(at.values) >= 1 << 62:
                distinct, combined = np.unique(combined, return_inverse=True)
                capacity = len(distinct)
            combined = combined * len(at.values) + at.codes[rows]
            capacity *= len(at.values)
        order = np.argsort(combined, kind="stable")
        rows, combined = rows[order], combined[order]
        starts = np.flatnonzero(np.r_[True, combined[1:] != combined[:-1]])
        ends = np.r_[starts[1:], len(rows)]
        heads = rows[starts]
        measures = self._measures(rollup, rows, starts, ends)
        names = [[at.values[code] for code in at.codes[heads].tolist()] for at in labels]
        hours, days = self.hours[self.hour_codes[heads]].tolist(), self.days[self.day_codes[heads]].tolist()
        for group, tenant in enumerate(self.table.tenant.codes[heads].tolist()):
            dimensions = tuple(values[group] for values in names)
            key = SeriesKey(self.scopes[tenant].tenant_id, rollup.metric, place, dimensions)
            yield Group(key, hours[group], days[group], measures[group])

    def _measures(self, rollup: Rollup, rows: Ints, starts: Ints, ends: Ints) -> list[Measures]:
        errors = np.add.reduceat(self.failed[rows].astype(np.int64), starts)
        found = [
            Measures(count, failed)
            for count, failed in zip((ends - starts).tolist(), errors.tolist(), strict=True)
        ]
        groups = np.repeat(np.arange(len(starts)), ends - starts)
        if rollup.value is not None:
            self._measure_values(rollup, rows, groups, found)
        if rollup.totals:
            totals = [self._total(name, rows, starts) for name in rollup.totals]
            for measures, sums in zip(found, zip(*totals, strict=True), strict=True):
                measures.totals = sums
        if rollup.actors:
            ids = self.actors[rows]
            known = ids >= 0
            pairs = np.unique((groups[known] << 32) | ids[known])
            cuts = np.searchsorted(pairs, np.arange(len(found) + 1) << 32)
            members = (pairs & 0xFFFFFFFF).astype(np.uint32)
            for group, (first, last) in enumerate(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)):
                if first < last:
                    found[group].members = bitmap_of(members[first:last])
        return found

    def _measure_values(self, rollup: Rollup, rows: Ints, groups: Ints, found: list[Measures]) -> None:
        values, present = self._number(rollup.value or "")
        mask = present[rows]
        if not mask.any():
            return
        values, groups = values[rows][mask], groups[mask]
        starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
        which = groups[starts].tolist()
        reduced = zip(
            which,
            np.diff(np.r_[starts, len(values)]).tolist(),
            np.add.reduceat(values, starts).tolist(),
            np.minimum.reduceat(values, starts).tolist(),
            np.maximum.reduceat(values, starts).tolist(),
            strict=True,
        )
        for group, observed, total, least, greatest in reduced:
            measures = found[group]
            measures.observed, measures.sum, measures.min, measures.max = observed, total, least, greatest
        if rollup.histogram:
            pairs, counts = np.unique((groups << 16) | buckets_of(values), return_counts=True)
            cuts = np.searchsorted(pairs, np.r_[groups[starts], len(found)] << 16)
            buckets = (pairs & 0xFFFF).astype(np.uint16)
            for group, first, last in zip(which, cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
                found[group].histogram = Histogram(buckets[first:last], counts[first:last])

    def _total(self, name: str, rows: Ints, starts: Ints) -> list[int | None]:
        """Each group's sum of a property, None where no event carries it."""
        values, present = self._number(name)
        sums = np.add.reduceat(values[rows], starts).tolist()
        carried = np.logical_or.reduceat(present[rows], starts).tolist()
        return [total if any_carried else None for total, any_carried in zip(sums, carried, strict=True)]

    def _number(self, name: str) -> tuple[Ints, Mask]:
        """A whole-number property of every row, and which rows carry it."""
        if name not in self.numbers:
            values, present = np.zeros(self.table.n, np.int64), np.zeros(self.table.n, np.bool_)
            column = self.table.columns.get((name, "i"))
            if column is not None:
                values[column.rows], present[column.rows] = column.values, True
            self.numbers[name] = values, present
        return self.numbers[name]

    def _failed(self, event_types: Sequence[EventType]) -> Mask:
        failed = np.zeros(self.table.n, np.bool_)
        for declared in event_types:
            if declared.failed is not None and declared.name in self.table.name.values:
                named = self.table.name.codes == self.table.name.values.index(declared.name)
                failed |= named & self._holds(declared.failed)
        return failed

    def _holds(self, condition: Condition) -> Mask:
        if condition.at_least is not None:
            values, present = self._number(condition.property)
            return present & (values >= condition.at_least)
        labels = self._dimension(condition.property, required=True, limited=False)
        if not condition.one_of:
            return labels.codes >= 0
        wanted = [code for code, value in enumerate(labels.values) if value in condition.one_of]
        return np.isin(labels.codes, wanted)

    def _dimension(self, name: str, required: bool, limited: bool = True) -> Labels:
        """A dimension's value of every row as codes, with what the cardinality limit does not admit as "(other)"."""
        key = f"{name}/{required}/{limited}"
        if key not in self.dimensions:
            labels = self.table.name if name == EVENT_NAME else texts_of(self.table, name)
            if not required and (labels.codes < 0).any():
                codes = np.where(labels.codes < 0, np.int32(len(labels.values)), labels.codes)
                labels = Labels([*labels.values, NONE], codes)
            self.dimensions[key] = self._limited(name, labels) if limited else labels
        return self.dimensions[key]

    def _limited(self, name: str, labels: Labels) -> Labels:
        """Ask for every (tenant, day, value) present whether it is admitted; the others get the code of "(other)".

        What is asked must not depend on how events were batched. So only events count that some rollup breaks down by
        this dimension, and "(none)" and "(other)" take no place.
        """
        size = len(labels.values)
        own = np.array([value not in RESERVED for value in labels.values] + [False], np.bool_)
        counted = np.zeros(self.table.n, np.bool_)
        for rollup in self.catalogue.rollups:
            if any(name in grouping for grouping in rollup.groupings):
                counted |= self._rows_of(rollup.event)
        present = np.flatnonzero(counted & own[labels.codes])
        scopes = self.day_codes[present] * len(self.scopes) + self.table.tenant.codes[present]
        # Only what occurs: tenants times days times values can be a million times more.
        cells, places = np.unique(scopes * size + labels.codes[present], return_inverse=True)
        refused = np.zeros(len(cells), np.bool_)
        starts = np.flatnonzero(np.r_[True, cells[1:] // size != cells[:-1] // size]) if len(cells) else cells
        for first, end in pairwise([*starts.tolist(), len(cells)]):
            day, tenant = divmod(int(cells[first]) // size, len(self.scopes))
            values = [labels.values[code] for code in (cells[first:end] % size).tolist()]
            admitted = self.admit(self.scopes[tenant].tenant_id, name, int(self.days[day]), values)
            refused[first:end] = ~np.array(admitted, np.bool_)
        if not refused.any():
            return labels
        limited = labels.codes.copy()
        limited[present[refused[places]]] = size
        return Labels([*labels.values, OTHER], limited)
