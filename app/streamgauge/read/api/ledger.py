"""`GET /ledger`: what became of every event. Nothing is lost without a number here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from streamgauge.errors import InputError
from streamgauge.read.api.asking import Asking, Sight, dumped
from streamgauge.read.api.version import SQL
from streamgauge.read.date_range import parse_instant
from streamgauge.read.report import rfc3339
from streamgauge.summaries.grid import HOUR

MOST_HOURS = 24 * 366
DEFAULT_HOURS = 24

router = APIRouter(tags=["pipeline"])


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of some events: `processed` is the sum of the others."""

    processed: int
    applied: int
    repeated_key: int
    rejected: Mapping[str, int]
    dead_lettered: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Hour:
    """One UTC hour in which events were applied, whenever they had occurred."""

    hour: str
    outcomes: Outcomes


@router.get("/ledger")
async def ledger(
    asking: Annotated[Asking, Depends()],
    since: Annotated[
        str | None,
        Query(alias="from", description="Beginning of a UTC hour (RFC 3339); 24 hours ago when left out."),
    ] = None,
    to: Annotated[
        str | None, Query(description="End, the beginning of a UTC hour; now when left out.")
    ] = None,
) -> Response:
    """The key's tenant: outcomes by hour of application. The whole installation: what was announced, processed, lost, dropped."""
    first, last = _hour(since, "from"), _hour(to, "to")

    async def report(sight: Sight) -> bytes:
        end = sight.now // HOUR * HOUR + HOUR if last is None else last
        start = end - DEFAULT_HOURS * HOUR if first is None else first
        check_range(start, end)
        outcomes = await sight.connection.fetch(SQL["outcomes"], sight.tenant.tenant_id, start, end)
        transport = await sight.connection.fetchrow(SQL["transport"])
        drops = await sight.connection.fetch(SQL["drops"])
        rows = [(row["hour"], row["outcome"], row["reason"], row["events"]) for row in outcomes]
        return dumped(
            {
                **entered(start, end, rows),
                "transport": {
                    "scope": "installation",
                    **dict(transport or {}),
                    "dropped_before_sending": {row["reason"]: row["events"] for row in drops},
                },
            }
        )

    return await asking.respond(report)


def check_range(start: int, end: int) -> None:
    """Raise InputError for a range that is empty or too long."""
    if start >= end:
        raise InputError("from must lie before to", "from")
    if end - start > MOST_HOURS * HOUR:
        raise InputError(
            f"from and to are {(end - start) // HOUR} hours apart: up to {MOST_HOURS} are allowed", "from"
        )


def entered(start: int, end: int, rows: Iterable[tuple[int, str, str, int]]) -> dict[str, Any]:
    """The report: (hour, outcome, reason, events) in, the ledger out."""
    hours: dict[int, list[tuple[str, str, int]]] = {}
    for hour, outcome, reason, events in rows:
        hours.setdefault(hour, []).append((outcome, reason, events))
    everything = [row for found in hours.values() for row in found]
    return {
        "from": _shown(start),
        "to": _shown(end),
        "hours": [Hour(_shown(hour), outcomes_of(found)) for hour, found in sorted(hours.items())],
        "total": outcomes_of(everything),
    }


def outcomes_of(rows: Iterable[tuple[str, str, int]]) -> Outcomes:
    """Add up (outcome, reason, events)."""
    sums: dict[str, dict[str, int]] = {"applied": {}, "repeated_key": {}, "rejected": {}, "dead_lettered": {}}
    processed = 0
    for outcome, reason, events in rows:
        processed += events
        reasons = sums[outcome]
        reasons[reason] = reasons.get(reason, 0) + events
    applied, repeated = (sum(sums[outcome].values()) for outcome in ("applied", "repeated_key"))
    return Outcomes(processed, applied, repeated, sums["rejected"], sums["dead_lettered"])


def _hour(text: str | None, field: str) -> int | None:
    if text is None:
        return None
    instant = parse_instant(text, field)
    second = int(instant.timestamp())
    if second % HOUR or instant.microsecond:
        raise InputError(f"{field} is {text!r}: give the beginning of a UTC hour", field)
    return second


def _shown(second: int) -> str:
    return rfc3339(datetime.fromtimestamp(second, UTC))
