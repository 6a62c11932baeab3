"""`GET /dashboard`: what the first page shows, in one go and from one snapshot."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from streamgauge.read.api.asking import Asking, Sight, dumped, from_answer

TOTALS = ("requests", "errors", "error_rate", "visitors", "p50_duration", "p95_duration", "bytes")
SERIES = ("requests", "errors", "visitors", "p50_duration", "p95_duration")
ROUTES = ("requests", "error_rate", "p50_duration", "p95_duration", "bytes")
EVENTS = ("events", "actors")
MOST_ROWS = 10

#: The two periods, and how long a point of their curves is.
PERIODS: Mapping[str, tuple[str, str]] = {
    "last_24_hours": ("24h", "time:hour"),
    "last_7_days": ("7d", "time:day"),
}

router = APIRouter(tags=["reports"])


def questions(date_range: str, interval: str) -> Mapping[str, Mapping[str, Any]]:
    """What is asked for one period: each part is answered exactly as POST /api/v1/query answers it."""
    top = {"limit": MOST_ROWS}
    return {
        "totals": {"metrics": TOTALS, "date_range": date_range},
        "series": {"metrics": SERIES, "date_range": date_range, "dimensions": [interval]},
        "routes": {
            "metrics": ROUTES,
            "date_range": date_range,
            "dimensions": ["http.route"],
            "pagination": top,
        },
        "events": {
            "metrics": EVENTS,
            "date_range": date_range,
            "dimensions": ["event.name"],
            "pagination": top,
        },
    }


@router.get("/dashboard")
async def dashboard(asking: Annotated[Asking, Depends()]) -> Response:
    """The last 24 hours by hour, and the last 7 days by day: totals, curves, top routes, event names."""

    async def report(sight: Sight) -> bytes:
        return dumped(
            {
                period: {
                    part: from_answer(await sight.ask(question))
                    for part, question in questions(*span).items()
                }
                for period, span in PERIODS.items()
            }
        )

    return await asking.respond(report)
