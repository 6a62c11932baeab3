"""Summaries of events from dictionaries and loops, with no code of the project.

An event is a dict: `name`, `at` (microseconds since 1970), `tenant`, and where it has them `actor` (bytes) and `properties`. A summary is
a `Summary`. The result has one `Cell` per grain, tenant, metric, grouping, dimension values and bucket.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

Event = Mapping[str, Any]

# Since 1972 every zone's offset is a whole number of quarters of an hour (Monrovia was the last to have seconds).
QUARTER = 900


@dataclass(frozen=True)
class Summary:
    """What is counted: events of one name ("*": all), by groupings of properties, over a value. `required` properties must be there."""

    metric: str
    event: str
    groupings: tuple[tuple[str, ...], ...]
    value: str | None = None
    required: frozenset[str] = frozenset()
    actors: bool = True
    histogram: bool = True
    totals: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where a cell is: `bucket` is the UTC second at which the local hour ("h") or day ("d") begins."""

    grain: str
    tenant: str
    metric: str
    grouping: int
    dimensions: tuple[str, ...]
    bucket: int


@dataclass
class Cell:
    """What is known of one place."""

    count: int = 0
    errors: int = 0
    values: list[int] = field(default_factory=list)
    actors: set[bytes] = field(default_factory=set)
    totals: list[int | None] = field(default_factory=list)


def local(zone: str, second: int) -> datetime:
    """The wall clock of a zone."""
    return datetime.fromtimestamp(second, ZoneInfo(zone))


@lru_cache(maxsize=1_000_000)
def hour_start(zone: str, quarter: int) -> int:
    """Go back a quarter of an hour at a time, until the wall clock shows another hour, or was set back by one whole hour."""
    while True:
        now, before = local(zone, quarter * QUARTER), local(zone, quarter * QUARTER - 1)
        set_back = (now.utcoffset() or timedelta()) - (before.utcoffset() or timedelta())
        if (now.date(), now.hour) != (before.date(), before.hour):
            return quarter * QUARTER
        if set_back == timedelta(hours=-1) and now.minute == 0:
            return quarter * QUARTER
        quarter -= 1


@lru_cache(maxsize=1_000_000)
def day_start(zone: str, quarter: int) -> int:
    """Go back a quarter of an hour at a time, until the wall clock shows another date."""
    while local(zone, quarter * QUARTER).date() == local(zone, quarter * QUARTER - 1).date():
        quarter -= 1
    return quarter * QUARTER


def rank(key: bytes, dimension: str, value: str) -> int:
    """Which values stay when there are too many: those with the smallest keyed hashes."""
    person = blake2b(dimension.encode(), digest_size=16).digest()
    return int.from_bytes(blake2b(value.encode(), digest_size=8, key=key, person=person).digest(), "big") // 2


def texts(event: Event, name: str) -> str | None:
    """A property as text; a number with a fraction is no dimension."""
    if name == "event.name":
        return str(event["name"])
    value = event.get("properties", {}).get(name)
    if value is None or isinstance(value, float):
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def failed(event: Event) -> bool:
    """Whether the event is an error: a request answered with 500 or more."""
    status = event.get("properties", {}).get("http.response.status_code")
    return event["name"] == "http.request" and type(status) is int and status >= 500


def kept(
    events: Iterable[Event],
    zones: Mapping[str, str],
    summaries: Iterable[Summary],
    limit: int,
    keys: Mapping[str, bytes],
) -> dict[tuple[str, str, int], set[str]]:
    """The dimension values that keep cells of their own, per tenant, dimension and local day."""
    found: dict[tuple[str, str, int], set[str]] = {}
    for event in events:
        quarter = event["at"] // 1_000_000 // QUARTER
        day = day_start(zones[event["tenant"]], quarter)
        for summary in summaries:
            if summary.event in ("*", event["name"]):
                for dimension in {name for grouping in summary.groupings for name in grouping}:
                    value = texts(event, dimension)
                    if value not in (None, "(none)", "(other)"):
                        found.setdefault((event["tenant"], dimension, day), set()).add(value)
    return {
        (tenant, dimension, day): set(
            sorted(values, key=lambda value: rank(keys[tenant], dimension, value))[:limit]
        )
        for (tenant, dimension, day), values in found.items()
    }


def recount(
    events: Sequence[Event],
    zones: Mapping[str, str],
    summaries: Iterable[Summary],
    limit: int | None = None,
    keys: Mapping[str, bytes] | None = None,
) -> dict[Place, Cell]:
    """Every cell of these events. With a `limit`, values that are not among the `limit` smallest ranks become "(other)"."""
    chosen = list(summaries)
    own = None if limit is None else kept(events, zones, chosen, limit, keys or {})
    cells: dict[Place, Cell] = {}
    for event in events:
        quarter = event["at"] // 1_000_000 // QUARTER
        zone = zones[event["tenant"]]
        hour, day = hour_start(zone, quarter), day_start(zone, quarter)
        for summary in chosen:
            if summary.event not in ("*", event["name"]):
                continue
            for place, grouping in enumerate(summary.groupings):
                values = [texts(event, name) for name in grouping]
                if any(
                    value is None and name in summary.required
                    for name, value in zip(grouping, values, strict=True)
                ):
                    continue
                shown = []
                for name, value in zip(grouping, values, strict=True):
                    if value is None:
                        shown.append("(none)")
                    elif own is None or value in {"(none)", "(other)"} | own.get(
                        (event["tenant"], name, day), set()
                    ):
                        shown.append(value)
                    else:
                        shown.append("(other)")
                for grain, bucket in (("h", hour), ("d", day)):
                    where = Place(grain, event["tenant"], summary.metric, place, tuple(shown), bucket)
                    _count(cells.setdefault(where, Cell()), event, summary)
    return cells


def _count(cell: Cell, event: Event, summary: Summary) -> None:
    cell.count += 1
    cell.errors += failed(event)
    value = event.get("properties", {}).get(summary.value)
    if type(value) is int:
        cell.values.append(value)
    cell.totals = cell.totals or [None] * len(summary.totals)
    for place, name in enumerate(summary.totals):
        further = event.get("properties", {}).get(name)
        if type(further) is int:
            cell.totals[place] = (cell.totals[place] or 0) + further
    if summary.actors and event.get("actor") is not None:
        cell.actors.add(event["actor"])


def quantile(values: Iterable[int], q: Fraction) -> int:
    """The exact q-quantile: the value at rank ceil(q * n)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(q * len(ordered)), 1) - 1]


def histogram(values: Iterable[int]) -> dict[int, int]:
    """How many values fall into each bucket, with the bucket written as DESIGN has it."""
    counts: dict[int, int] = {}
    for value in values:
        shift = max(len(f"{value:b}") - 7, 0)
        bucket = (shift << 6) + (value >> shift)
        counts[bucket] = counts.get(bucket, 0) + 1
    return counts
