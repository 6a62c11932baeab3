"""What becomes of each event of a batch, apart from repeated keys: pure, and recorded in the event log."""

from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from streamgauge.outcomes import (
    APPLIED,
    FUTURE,
    INVALID_TEXT,
    INVALID_TIME,
    INVALID_VALUE,
    LATE,
    UNKNOWN_TENANT,
    Outcomes,
)
from streamgauge.summaries.boards import MOST_POINTS
from streamgauge.summaries.calendar import END_SECOND, FIRST_SECOND
from streamgauge.summaries.histogram import LARGEST
from streamgauge.summaries.rollups import Catalogue, EventType
from streamgauge.table import Labels, Mask, Table

LONGEST_TEXT = 2_048  # bytes of UTF-8: an admitted dimension value has to fit a row of an index
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A day after the calendar's first instant, so that its local day lies within the calendar in every zone.
FIRST_ACCEPTED = (FIRST_SECOND + 86_400) * 1_000_000
EARLIEST = LOWEST = -(2**63)
HIGHEST = 2**63 - 1
AHEAD = timedelta(minutes=5)  # how far a producer's clock may run ahead of PostgreSQL's


def judge(
    table: Table,
    trusted: Mask,
    tenants: Container[str],
    catalogue: Catalogue,
    now: datetime,
    max_lateness: timedelta,
) -> Outcomes:
    """The outcome of every row. `trusted` rows (imports of history) may be older than `max_lateness`."""
    outcomes = np.full(table.n, APPLIED, np.uint8)
    now_us = (now - EPOCH) // timedelta(
        microseconds=1
    )  # a float of seconds would be a microsecond off now and then
    at = table.occurred_at
    outcomes[(at < now_us - max_lateness // timedelta(microseconds=1)) & ~trusted] = LATE
    outcomes[at > now_us + AHEAD // timedelta(microseconds=1)] = FUTURE
    outcomes[(at < FIRST_ACCEPTED) | (at >= END_SECOND * 1_000_000)] = INVALID_TIME
    outcomes[_bad_values(table, catalogue)] = INVALID_VALUE
    outcomes[_bad_texts(table)] = INVALID_TEXT
    unknown = [name not in tenants for name in table.tenant.values]
    outcomes[np.array(unknown, np.bool_)[table.tenant.codes]] = UNKNOWN_TENANT
    return outcomes


def of_deleted_tenants(table: Table, trusted: Mask, deleted: Mapping[str, int | None]) -> Mask:
    """Rows of tenants that were deleted: `deleted` maps their names to when another tenant took the name, None: none has.

    From then on (microseconds since 1970) events are the new tenant's, and so is a `trusted` row: imports of the old one ended with it.
    """
    if not any(name in deleted for name in table.tenant.values):
        return np.zeros(table.n, np.bool_)
    gone = np.array([name in deleted and deleted[name] is None for name in table.tenant.values])
    since = np.array([deleted.get(name) or EARLIEST for name in table.tenant.values], np.int64)
    codes = table.tenant.codes
    return np.asarray(gone[codes] | ((table.occurred_at < since[codes]) & ~trusted), np.bool_)


def _bad_values(table: Table, catalogue: Catalogue) -> Mask:
    """Rows with a NaN or infinity, or with a measured number that no summary could hold."""
    bad = np.zeros(table.n, np.bool_)
    for (_, kind), column in table.columns.items():
        if kind == "f":
            bad[column.rows[~np.isfinite(column.values)]] = True
    for rollup in catalogue.rollups:
        for name in (rollup.value or "", *rollup.totals):
            measured = table.columns.get((name, "i"))
            if measured is not None:
                low = 0 if rollup.histogram and name == rollup.value else -LARGEST
                bad[measured.rows[(measured.values < low) | (measured.values > LARGEST)]] = True
    for name in {name for tally in catalogue.tallies for name in (*tally.sums, *tally.greatest)}:
        measured = table.columns.get((name, "i"))
        if measured is not None:
            bad[measured.rows[(measured.values < 0) | (measured.values > LARGEST)]] = True
    for points in {points for board in catalogue.boards for points in board.points}:
        measured = table.columns.get((points.property or "", "i"))
        if measured is not None:
            bad[measured.rows[(measured.values < 0) | (measured.values > MOST_POINTS)]] = True
    for declared in catalogue.event_types:
        if declared.name in table.name.values:
            _mark_out_of_bounds(bad, table, declared)
    return bad


def _mark_out_of_bounds(bad: Mask, table: Table, declared: EventType) -> None:
    """Mark rows of an event type with a number outside its declared bounds: not every producer is a gauge of ours."""
    named: Mask = table.name.codes == table.name.values.index(declared.name)
    for name, each in declared.properties.items():
        column = table.columns.get((name, "i"))
        if column is None or (each.least is None and each.most is None):
            continue
        low = LOWEST if each.least is None else each.least
        high = HIGHEST if each.most is None else each.most
        bad[column.rows[((column.values < low) | (column.values > high)) & named[column.rows]]] = True
    for smaller, larger in declared.within:
        one, other = table.columns.get((smaller, "i")), table.columns.get((larger, "i"))
        if one is None or other is None:
            continue
        least, most = np.full(table.n, LOWEST, np.int64), np.full(table.n, HIGHEST, np.int64)
        least[one.rows], most[other.rows] = one.values, other.values
        bad |= named & (least > most)


def _bad_texts(table: Table) -> Mask:
    """Rows with a text that PostgreSQL cannot store or no index row can hold."""
    bad = np.zeros(table.n, np.bool_)
    for labels in (table.name, table.tenant, table.source, table.session, table.group, table.device):
        bad |= _bad_codes(labels)
    for (name, _), column in table.columns.items():
        if _is_bad(name):
            bad[column.rows] = True
        if column.dictionary is not None:
            bad[column.rows[_bad_codes(Labels(column.dictionary, column.values))]] = True
    return bad


def _bad_codes(labels: Labels) -> Mask:
    wrong: Sequence[bool] = [_is_bad(text) for text in labels.values]
    if not any(wrong):
        return np.zeros(len(labels.codes), np.bool_)
    return np.array([*wrong, False], np.bool_)[labels.codes]


def _is_bad(text: str) -> bool:
    # A character has up to four bytes: only a text that could be too long is encoded to know.
    return "\0" in text or (len(text) > LONGEST_TEXT // 4 and len(text.encode()) > LONGEST_TEXT)
