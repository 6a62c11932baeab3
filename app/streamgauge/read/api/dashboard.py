"""`GET /dashboard`: what a first page shows, in one go and from one snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi.responses import Response

from streamgauge.read.api.asking import AskAsOf, Sight
from streamgauge.read.report import Answer

TOTALS = ("requests", "errors", "error_rate", "visitors", "p50_duration", "p95_duration", "bytes")
SERIES = ("requests", "errors", "visitors", "p50_duration", "p95_duration")
ROUTES = ("requests", "error_rate", "p50_duration", "p95_duration", "bytes")
EVENTS = ("events", "actors")
MOST_ROWS = 10

router = APIRouter(tags=["reports"])


@dataclass(frozen=True, slots=True)
class Overview:
    """One period: its totals, its curve, its busiest routes and its most frequent events."""

    totals: Answer
    series: Answer
    routes: Answer
    events: Answer


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The last 24 hours by hour, and the last 7 days by day."""

    last_24_hours: Overview
    last_7_days: Overview


def questions(date_range: str, interval: str) -> Mapping[str, Mapping[str, Any]]:
    """What is asked for one period, by the part it answers."""
    period, top = {"date_range": date_range}, {"pagination": {"limit": MOST_ROWS}}
    return {
        "totals": {"metrics": TOTALS, **period},
        "series": {"metrics": SERIES, **period, "dimensions": [interval]},
        "routes": {"metrics": ROUTES, **period, "dimensions": ["http.route"], **top},
        "events": {"metrics": EVENTS, **period, "dimensions": ["event.name"], **top},
    }


PERIODS = {"last_24_hours": questions("24h", "time:hour"), "last_7_days": questions("7d", "time:day")}


@router.get("/dashboard", summary="The last day and the last week", response_model=Dashboard)
async def dashboard(asking: AskAsOf) -> Response:
    """The last 24 hours by hour, and the last 7 days by day, the current ones included: totals, curves, busiest routes, event names.

    All of it is from one snapshot, and each part is what `POST /api/v1/query` answers to the question in its `query`.
    """

    async def report(sight: Sight) -> bytes:
        return orjson.dumps(Dashboard(**{name: await overview(sight, name) for name in PERIODS}))

    return await asking.respond(["dashboard"], report)


async def overview(sight: Sight, period: str) -> Overview:
    """One period's parts."""
    return Overview(**{part: await sight.ask(question) for part, question in PERIODS[period].items()})
