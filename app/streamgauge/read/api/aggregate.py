"""`GET /aggregate`: metrics of a whole range."""

from fastapi import APIRouter
from fastapi.responses import Response

from streamgauge.read.api.asking import AskAsOf
from streamgauge.read.api.parameters import DateRange, Filters, From, Metrics, To, between, filters_of, texts
from streamgauge.read.api.questions import answered
from streamgauge.read.report import Answer

router = APIRouter(tags=["questions"])


@router.get("/aggregate", summary="Metrics of a whole range", response_model=Answer)
async def aggregate(
    asking: AskAsOf,
    metrics: Metrics = "requests,errors,visitors",
    date_range: DateRange = None,
    since: From = None,
    to: To = None,
    filters: Filters = None,
) -> Response:
    """One row. The same as `POST /api/v1/query` without dimensions, as a URL."""
    question = {
        "metrics": texts(metrics, "metrics"),
        "date_range": between(date_range, since, to),
        "filters": filters_of(filters),
    }
    return await answered(asking, "aggregate", question, {} if since is None else {"date_range": "from"})
