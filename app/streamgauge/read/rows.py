"""Loading what a plan asks for: one snapshot of the database, stripes merged."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import orjson
from pyroaring import BitMap

from streamgauge.catalogue import EVENTS
from streamgauge.database import Connection
from streamgauge.errors import InputError, ServerError, StreamgaugeError
from streamgauge.read.naming import shown
from streamgauge.read.plan import Bucket, Plan, Source, Span
from streamgauge.sql import named_queries
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.histogram import Histogram
from streamgauge.summaries.measures import Measures

SQL = named_queries("streamgauge.read")
TIMEOUT = 10_000  # milliseconds of one statement
MOST_CELLS = 200_000  # of one span and rollup

Crowded = tuple[str, int]  # a dimension, and the Unix second a local day begins at


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as a reader needs it. `extent`: the first and last local date it has rows of."""

    tenant_id: int
    revision: int
    salted: bool  #: whether it ever had visitors known by a daily salt
    clock: int  #: the database's, Unix microseconds
    calendar: Calendar
    time_zone: str  #: the one in force now
    extent: tuple[date, date] | None


@dataclass(frozen=True, slots=True)
class Cell:
    """Measures of one tuple of dimension values in one period; `day` is given where days must be kept apart."""

    period: int
    day: int | None
    values: tuple[str, ...]
    measures: Measures


@dataclass(frozen=True, slots=True)
class Verification:
    """The last verification that covers the range, and whether anything was applied since."""

    verified_at: datetime
    differences: int
    stale: bool


@dataclass(frozen=True, slots=True)
class Rows:
    """Everything read for one answer.

    `cells` and `members` are by rollup; `overflow` names where values did not fit, `excess` the values to be read as "(other)".
    """

    cells: Mapping[str, Sequence[Cell]]
    members: Mapping[str, Sequence[Cell]]
    overflow: frozenset[Crowded]
    excess: Mapping[Crowded, frozenset[str]]
    applied_at: datetime | None
    verification: Verification | None
    left_out: int = 0


@asynccontextmanager
async def snapshot(connection: Connection, *, bounded: bool = False) -> AsyncIterator[Connection]:
    """A read-only transaction in which every statement sees the same commit.

    Raises ServerError when a statement takes longer than TIMEOUT, or, if the connection is `bounded`, than that allows.
    """
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            if not bounded:
                await connection.execute(f"SET LOCAL statement_timeout = {TIMEOUT}")
            yield connection
    except asyncpg.QueryCanceledError as error:
        raise ServerError(
            "the question took PostgreSQL too long: narrow date_range, or ask for fewer dimensions"
        ) from error


async def load_tenant(connection: Connection, name: str) -> Tenant:
    """The tenant of that name. Raises InputError when there is none, StreamgaugeError when its time zones are not known here."""
    row = await connection.fetchrow(SQL["tenant"], name)
    if row is None:
        raise InputError(
            f"tenant {shown(name)} is not known: names are matched exactly, and a tenant is there once something was imported "
            "for it or it was created",
            "tenant",
        )
    try:
        calendar = Calendar(list(zip([None, *row["effective"][1:]], row["zones"], strict=True)))
    except InputError as error:
        # It is in the table: whoever asks cannot help it.
        raise StreamgaugeError(f"the time zones of tenant {shown(name)} cannot be used: {error}") from None
    extent = await connection.fetchrow(SQL["extent"], row["tenant_id"], EVENTS.metric)
    dates = None
    if extent is not None and extent["first"] is not None:
        dates = calendar.date_of(extent["first"]), calendar.date_of(extent["last"])
    clock = row["clock"]
    since = [begin for begin in row["effective"][1:] if begin * 1_000_000 <= clock]
    return Tenant(
        row["tenant_id"], row["revision"], row["salted"], clock, calendar, row["zones"][len(since)], dates
    )


async def load(connection: Connection, plan: Plan, tenant: Tenant, cardinality_limit: int) -> Rows:
    """The rows of a plan. Raises InputError when there are too many of them."""
    overflow = await _overflow(connection, plan, tenant, cardinality_limit)
    crowded_days = {day for _, day in overflow}
    cells: dict[str, list[Cell]] = {}
    members: dict[str, list[Cell]] = {}
    for source in plan.sources:
        cells[source.metric], members[source.metric] = [], []
        for span in plan.spans:
            cells[source.metric] += await _measures(connection, tenant, source, span, crowded_days)
            if source.members:
                members[source.metric] += await _members(connection, tenant, source, span, crowded_days)
    shards = await connection.fetch(SQL["shards"])
    return Rows(
        cells,
        members,
        overflow,
        await _excess(connection, tenant, overflow, cardinality_limit),
        max((row["applied_at"] for row in shards if row["applied_at"] is not None), default=None),
        await _verification(connection, plan, tenant, shards),
        await _left_out(connection, plan, tenant),
    )


async def _overflow(connection: Connection, plan: Plan, tenant: Tenant, limit: int) -> frozenset[Crowded]:
    if not plan.stored:
        return frozenset()
    first, last = plan.days[0].start, plan.days[-1].end
    found = await connection.fetch(SQL["overflow"], tenant.tenant_id, plan.stored, first, last, limit)
    return frozenset((row["dimension"], row["day"]) for row in found)


async def _excess(
    connection: Connection, tenant: Tenant, overflow: frozenset[Crowded], limit: int
) -> Mapping[Crowded, frozenset[str]]:
    if not overflow:
        return {}
    dimensions, days = zip(*sorted(overflow), strict=True)
    values: dict[Crowded, set[str]] = {}
    for row in await connection.fetch(SQL["excess"], tenant.tenant_id, dimensions, days, limit):
        values.setdefault((row["dimension"], row["day"]), set()).add(row["value"])
    return {place: frozenset(found) for place, found in values.items()}


class _Slots:
    """Numbers for buckets that count together: those of one period, and of one day where days must be kept apart."""

    def __init__(self, buckets: Sequence[Bucket], apart: Iterable[int] | None) -> None:
        kept = None if apart is None else set(apart)
        self.places = [
            (bucket.period, bucket.day if kept is None or bucket.day in kept else None) for bucket in buckets
        ]
        self.distinct = list(dict.fromkeys(self.places))
        numbers = {place: number for number, place in enumerate(self.distinct)}
        self.numbers = [numbers[place] for place in self.places]


def _arguments(tenant: Tenant, source: Source, span: Span, slots: _Slots) -> Iterator[Any]:
    yield from (tenant.tenant_id, source.metric, source.grouping)
    yield [_instant(bucket.start) for bucket in span.buckets]
    yield slots.numbers
    yield source.places
    yield [place for place, _ in source.allowed]
    yield [f"{place}:{value}" for place, values in source.allowed for value in values]
    yield MOST_CELLS + 1


async def _measures(
    connection: Connection, tenant: Tenant, source: Source, span: Span, crowded_days: Iterable[int]
) -> list[Cell]:
    slots = _Slots(span.buckets, crowded_days)
    # Not even looked at unless asked for: they are most of a row's bytes.
    histograms = "string_agg(histogram, '')" if source.histograms else "NULL::bytea"
    places = range(1, source.totals + 1)
    query = SQL["measures"].format(
        grain=span.grain,
        histograms=histograms,
        totals="".join(f", sum(totals[{place}]) AS total_{place}" for place in places),
        all_totals=", ".join(f"sum(r.total_{place})" for place in places),
    )
    rows = await connection.fetch(query, *_arguments(tenant, source, span, slots))
    _check_size(rows)
    return [_cell(slots, row, _merged(row)) for row in rows]


def _merged(row: asyncpg.Record) -> Measures:
    return Measures(
        row["count"], row["errors"], row["observed"], int(row["sum"]), row["min"], row["max"],
        Histogram.union(row["histograms"]) if row["histograms"] else None,
        totals=tuple(None if total is None else int(total) for total in row["totals"]),
    )  # fmt: skip


async def _members(
    connection: Connection, tenant: Tenant, source: Source, span: Span, crowded_days: Iterable[int]
) -> list[Cell]:
    # Only within a day can daily-salted visitors be told from each other; without any, whole periods are read at once.
    slots = _Slots(span.buckets, None if source.by_day or tenant.salted else crowded_days)
    grain = span.grain[0].encode()
    rows = await connection.fetch(SQL["members"], *_arguments(tenant, source, span, slots), grain)
    _check_size(rows)
    return [_cell(slots, row, Measures(members=_union(row["parts"]))) for row in rows]


def _union(parts: Iterable[bytes]) -> BitMap:
    return BitMap.union(BitMap(), *map(BitMap.deserialize, parts))


def _cell(slots: _Slots, row: asyncpg.Record, measures: Measures) -> Cell:
    period, day = slots.distinct[row["slot"]]
    return Cell(period, day, tuple(row["values"]), measures)


def _check_size(rows: Sequence[object]) -> None:
    if len(rows) > MOST_CELLS:
        raise InputError(
            f"the question needs more than {MOST_CELLS} combinations of dimension values and buckets: narrow date_range, "
            "or ask for fewer dimensions",
            "dimensions",
        )


async def _left_out(connection: Connection, plan: Plan, tenant: Tenant) -> int:
    if plan.left_out is None:
        return 0
    counts = []
    for source in plan.left_out:
        counts.append(0)
        for span in plan.spans:
            bounds = _instant(span.buckets[0].start), _instant(span.buckets[-1].start)
            counts[-1] += await connection.fetchval(
                SQL["events"].format(grain=span.grain),
                tenant.tenant_id,
                source.metric,
                source.grouping,
                *bounds,
            )
    return int(counts[0] - counts[1])


async def _verification(
    connection: Connection, plan: Plan, tenant: Tenant, shards: Sequence[asyncpg.Record]
) -> Verification | None:
    """Days without rows need no check of their own, so the range is first narrowed to those that have some."""
    first, last = plan.days[0].date, plan.days[-1].date
    if tenant.extent is not None:
        first, last = max(first, tenant.extent[0]), min(last, tenant.extent[1])
    dates = (first, last) if tenant.extent is not None and first <= last else (None, None)
    row = await connection.fetchrow(SQL["verification"], tenant.tenant_id, *dates)
    if row is None:
        return None
    covered = {int(shard): _position(at) for shard, at in orjson.loads(row["positions"]).items()}
    moved = any(
        covered.get(shard["shard"], (0, 0)) != (shard["position_ms"], shard["position_seq"])
        for shard in shards
    )
    return Verification(row["verified_at"], row["differences"], moved or row["revision"] != tenant.revision)


def _position(stored: str | Sequence[int]) -> tuple[int, int]:
    """A stream position: an entry id such as `1526919030474-55`, or its two numbers."""
    first, second = stored.split("-") if isinstance(stored, str) else stored
    return int(first), int(second)


def _instant(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
