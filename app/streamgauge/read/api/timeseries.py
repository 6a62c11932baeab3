"""`GET /timeseries`: metrics over time."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from streamgauge.read.api.asking import AskAsOf
from streamgauge.read.api.parameters import DateRange, Filters, From, Metrics, To, between, filters_of, texts
from streamgauge.read.api.questions import answered
from streamgauge.read.report import Answer

router = APIRouter(tags=["questions"])


@router.get("/timeseries", summary="Metrics over time", response_model=Answer)
async def timeseries(
    asking: AskAsOf,
    metrics: Metrics = "requests,errors",
    interval: Annotated[
        Literal["auto", "hour", "day", "week", "month"],
        Query(
            description="How long one row is, in the tenant's time zone. `auto`: hours for up to 2 days, days for up to 100, else months. "
            "`hour` for up to 400 days.",
            examples=["day"],
        ),
    ] = "auto",
    date_range: DateRange = None,
    since: From = None,
    to: To = None,
    filters: Filters = None,
) -> Response:
    """One row per period, those without events included, those yet to begin not.

    The same as `POST /api/v1/query` with a time dimension, as a URL.
    """
    question = {
        "metrics": texts(metrics, "metrics"),
        "date_range": between(date_range, since, to),
        "dimensions": ["time" if interval == "auto" else f"time:{interval}"],
        "filters": filters_of(filters),
    }
    names = {"dimensions": "interval"} if since is None else {"dimensions": "interval", "date_range": "from"}
    return await answered(asking, "timeseries", question, names)
