"""`GET /breakdown`: metrics by the values of dimensions."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from streamgauge.read.api.asking import AskAsOf
from streamgauge.read.api.parameters import DateRange, Filters, From, Metrics, To, between, filters_of, texts
from streamgauge.read.api.questions import answered
from streamgauge.read.query import MOST_RESULTS
from streamgauge.read.report import Answer

DIRECTIONS = ("asc", "desc")

router = APIRouter(tags=["questions"])


@router.get("/breakdown", summary="Metrics by the values of a dimension", response_model=Answer)
async def breakdown(
    asking: AskAsOf,
    dimension: Annotated[
        str,
        Query(
            max_length=500,
            description="A dimension's name, or up to 6 separated by commas; `GET /api/v1/catalogue` tells all of them.",
            examples=["http.request.method"],
        ),
    ] = "http.route",
    metrics: Metrics = "requests,error_rate,p95_duration",
    date_range: DateRange = None,
    since: From = None,
    to: To = None,
    filters: Filters = None,
    order: Annotated[
        str | None,
        Query(
            max_length=200,
            description="A metric or dimension that is asked for, with `:asc` or `:desc` behind it; the first metric from the "
            "greatest unless given.",
            examples=["requests:asc"],
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_RESULTS, description="Most rows.", examples=[5])] = 20,
    offset: Annotated[int, Query(ge=0, le=10**9, description="Rows to pass over.", examples=[5])] = 0,
) -> Response:
    """One row per value that occurs; `meta.total_rows` says how many there are in all.

    The same as `POST /api/v1/query` with dimensions, as a URL.
    """
    question = {
        "metrics": texts(metrics, "metrics"),
        "date_range": between(date_range, since, to),
        "dimensions": texts(dimension, "dimension"),
        "filters": filters_of(filters),
        "order_by": [] if order is None else [ordered(order)],
        "pagination": {"limit": limit, "offset": offset},
        "include": {"total_rows": True},
    }
    names = {"dimensions": "dimension", "order_by": "order"}
    return await answered(
        asking, "breakdown", question, names if since is None else {**names, "date_range": "from"}
    )


def ordered(text: str) -> Sequence[str]:
    """What to order by and in which direction: `requests:asc`, or `requests`, which is from the greatest."""
    name, _, direction = text.rpartition(":")
    return [name, direction] if name and direction in DIRECTIONS else [text, "desc"]
