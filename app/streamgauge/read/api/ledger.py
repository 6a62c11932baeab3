"""`GET /ledger`: what became of every event. Nothing is lost without a number here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response

from streamgauge.errors import InputError
from streamgauge.read.api.asking import AskAsOf, Sight
from streamgauge.read.api.parameters import LONGEST_INSTANT
from streamgauge.read.api.version import SQL
from streamgauge.read.date_range import parse_instant
from streamgauge.read.pipeline import SQL as STATE_SQL
from streamgauge.read.report import rfc3339
from streamgauge.summaries.calendar import Interval
from streamgauge.summaries.grid import HOUR

MOST_HOURS = 24 * 366
DEFAULT_HOURS = 24

router = APIRouter(tags=["pipeline"])

From = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=LONGEST_INSTANT,
        description="The beginning of an hour of UTC (RFC 3339); 24 hours before the end unless given.",
        examples=["2015-05-20T00:00:00Z"],
    ),
]
To = Annotated[
    str | None,
    Query(
        max_length=LONGEST_INSTANT,
        description="The end, at which an hour of UTC begins; the end of the current hour unless given. At most 366 days after `from`.",
        examples=["2015-05-21T00:00:00Z"],
    ),
]


class Entry(NamedTuple):
    """Events of one UTC hour by what became of them; an outcome of None: all that were processed in that hour."""

    hour: int  #: Unix second
    outcome: str | None
    reason: str | None
    events: int


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of some events. `balanced`: processed = applied + repeated_key + all rejected + all dead_lettered."""

    processed: int
    applied: int
    repeated_key: int
    rejected: Mapping[str, int]
    dead_lettered: Mapping[str, int]
    balanced: bool


@dataclass(frozen=True, slots=True)
class Hour:
    """One UTC hour in which events were processed, whenever they had occurred."""

    hour: str
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class Transport:
    """What all tenants' producers numbered, in the lanes that are still remembered (a week of idleness and a day).

    `balanced`: announced = processed + pending + lost. While a stream is read again, some of what counts as lost may still come.
    Beside these: `redelivered` came more than once and counted once, `lost_by_forgotten_lanes` was missing when its lane was
    forgotten, and `dropped_before_sending` was given up by producers before it had a number, by reason.
    """

    scope: Literal["installation"]
    announced: int
    processed: int
    pending: int
    lost: int
    balanced: bool
    redelivered: int
    lost_by_forgotten_lanes: int
    dropped_before_sending: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Outcomes of the key's tenant, by hour and in total; transport of the whole installation, which knows no tenants."""

    period_start: str
    period_end: str
    scope: Literal["tenant"]
    total: Outcomes
    hours: tuple[Hour, ...]
    transport: Transport


@router.get("/ledger", summary="What became of every event", response_model=Ledger)
async def ledger(asking: AskAsOf, since: From = None, to: To = None) -> Response:
    """Of the key's tenant: what became of the events that were processed in each hour of UTC, with its equation checked.

    Of the whole installation, since transport knows no tenants: what was announced, processed, is pending, lost, or was dropped.
    """
    first, last = _hour(since, "from"), _hour(to, "to")

    async def report(sight: Sight) -> bytes:
        period = between(first, last, sight.now)
        outcomes = await sight.connection.fetch(SQL["outcomes"], sight.tenant.tenant_id, *period)
        (moved,) = await sight.connection.fetch(SQL["transport"])
        drops = await sight.connection.fetch(STATE_SQL["drops"])
        dropped = {row["reason"]: row["events"] for row in drops}
        return orjson.dumps(
            entered(period, [Entry(*row) for row in outcomes], transport(dict(moved), dropped))
        )

    if first is not None and last is not None:
        between(first, last, last)  # a mistake costs no connection
    return await asking.respond(["ledger", first, last], report)


def between(first: int | None, last: int | None, now: int) -> Interval:
    """The hours that are asked for. Raises InputError for a range that is empty or too long."""
    end = now // HOUR * HOUR + HOUR if last is None else last
    start = end - DEFAULT_HOURS * HOUR if first is None else first
    if start >= end:
        raise InputError(f"from is {_shown(start)}, which does not lie before {_shown(end)}, the end", "from")
    if end - start > MOST_HOURS * HOUR:
        hours = (end - start) // HOUR
        raise InputError(f"from lies {hours} hours before the end: up to {MOST_HOURS} are allowed", "from")
    return Interval(start, end)


def entered(period: Interval, entries: Iterable[Entry], moved: Transport) -> Ledger:
    """The report: entries of one tenant in, its ledger out."""
    hours: dict[int, list[Entry]] = {}
    for entry in entries:
        hours.setdefault(entry.hour, []).append(entry)
    every = [entry for found in hours.values() for entry in found]
    return Ledger(
        period_start=_shown(period.start),
        period_end=_shown(period.end),
        scope="tenant",
        total=outcomes_of(every),
        hours=tuple(Hour(_shown(hour), outcomes_of(found)) for hour, found in sorted(hours.items())),
        transport=moved,
    )


def outcomes_of(entries: Iterable[Entry]) -> Outcomes:
    """Add entries up, and check that nothing is missing from them."""
    processed = 0
    sums: dict[str, dict[str, int]] = {"applied": {}, "repeated_key": {}, "rejected": {}, "dead_lettered": {}}
    for entry in entries:
        if entry.outcome is None:
            processed += entry.events
        elif entry.outcome in sums:
            reasons, reason = sums[entry.outcome], entry.reason or ""
            reasons[reason] = reasons.get(reason, 0) + entry.events
    known = {outcome: sum(reasons.values()) for outcome, reasons in sums.items()}
    rejected, dead_lettered = (
        dict(sorted(sums[outcome].items())) for outcome in ("rejected", "dead_lettered")
    )
    balanced = processed == sum(known.values())
    return Outcomes(processed, known["applied"], known["repeated_key"], rejected, dead_lettered, balanced)


def transport(moved: Mapping[str, int], dropped: Mapping[str, int]) -> Transport:
    """The sums of all lanes, checked."""
    balanced = moved["announced"] == moved["processed"] + moved["pending"] + moved["lost"]
    return Transport("installation", balanced=balanced, dropped_before_sending=dropped, **moved)


def _hour(text: str | None, field: str) -> int | None:
    if text is None:
        return None
    instant = parse_instant(text, field)
    second = int(instant.timestamp())
    if second % HOUR or instant.microsecond:
        raise InputError(f"{field} is {text!r}: give the beginning of an hour of UTC", field)
    return second


def _shown(second: int) -> str:
    return rfc3339(datetime.fromtimestamp(second, UTC))
