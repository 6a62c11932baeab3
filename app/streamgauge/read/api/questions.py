"""Questions in general: `query`, and its two usual shapes as URLs."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import Response

from streamgauge.access import Caller, require
from streamgauge.database import Pool
from streamgauge.errors import InputError
from streamgauge.read.answer import answer
from streamgauge.read.api.asking import PATIENCE, Asking, Sight, texts
from streamgauge.read.query import MOST_BYTES, MOST_RESULTS, parse_query

router = APIRouter(tags=["questions"])

EXAMPLE = {
    "metrics": ["requests", "errors", "p95_duration"],
    "date_range": "7d",
    "dimensions": ["time:day"],
}
DateRange = Annotated[
    str | None,
    Query(
        description="day, 24h, 7d, 28d, 30d, 91d, month, 6mo, 12mo, year or all; 7d unless from and to are given."
    ),
]
From = Annotated[
    str | None,
    Query(
        alias="from", description="First date, or first instant at the beginning of a local hour (RFC 3339)."
    ),
]
To = Annotated[
    str | None, Query(description="Last date, included; or the instant at which the last hour ends.")
]
Metrics = Annotated[str, Query(description="Names separated by commas; GET /api/v1/catalogue has all.")]
Filters = Annotated[
    str | None,
    Query(
        description="A list of filters as JSON, as in POST /api/v1/query.",
        examples=['[["is","http.route",["/"]]]'],
    ),
]


@router.post(
    "/query",
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"example": EXAMPLE}}}},
)
async def query(request: Request, caller: Annotated[Caller, Depends(require("read"))]) -> Response:
    """Ask anything, in the shape of Plausible's Stats API v2. The tenant is the key's."""
    question = await _question(request)
    if question.setdefault("tenant", caller.tenant) != caller.tenant:
        raise HTTPException(403, "tenant is not the key's: leave it out")
    if question.get("now") is not None and not caller.may("admin"):
        raise HTTPException(403, "now may only be given with the scope admin: leave it out")
    state = request.app.state
    parse_query(question, state.catalogue)  # a mistake costs no connection
    pool: Pool = state.pool
    async with pool.acquire(timeout=PATIENCE) as connection:
        terms = Asking.terms(state)
        found = await answer(
            connection,
            question,
            cardinality_limit=terms.cardinality_limit,
            max_lateness=terms.max_lateness,
            catalogue=terms.catalogue,
        )
    return Response(found, media_type="application/json")


@router.get("/aggregate")
async def aggregate(
    asking: Annotated[Asking, Depends()],
    metrics: Metrics = "requests,errors,visitors",
    date_range: DateRange = None,
    since: From = None,
    to: To = None,
    filters: Filters = None,
) -> Response:
    """Metrics of a whole range. The answer has the shape of `query`, with one row."""
    question = {
        "metrics": texts(metrics, "metrics"),
        "date_range": between(date_range, since, to),
        "filters": filters_of(filters),
    }
    return await asking.respond(_answering(question, asking))


@router.get("/timeseries")
async def timeseries(
    asking: Annotated[Asking, Depends()],
    metrics: Metrics = "requests,errors",
    interval: Annotated[
        Literal["auto", "hour", "day", "week", "month"], Query(description="How long one row is.")
    ] = "auto",
    date_range: DateRange = None,
    since: From = None,
    to: To = None,
    filters: Filters = None,
) -> Response:
    """Metrics over time. The answer has the shape of `query`, with one row per period."""
    question = {
        "metrics": texts(metrics, "metrics"),
        "date_range": between(date_range, since, to),
        "dimensions": ["time" if interval == "auto" else f"time:{interval}"],
        "filters": filters_of(filters),
    }
    return await asking.respond(_answering(question, asking))


@router.get("/breakdown")
async def breakdown(
    asking: Annotated[Asking, Depends()],
    dimension: Annotated[str, Query(description="One, or several separated by commas.")] = "http.route",
    metrics: Metrics = "requests,error_rate,p95_duration",
    date_range: DateRange = None,
    since: From = None,
    to: To = None,
    filters: Filters = None,
    order_by: Annotated[str | None, Query(description="A metric; the first one unless given.")] = None,
    direction: Annotated[Literal["desc", "asc"], Query(description="Greatest or least first.")] = "desc",
    limit: Annotated[int, Query(ge=1, le=MOST_RESULTS, description="Rows.")] = 20,
    offset: Annotated[int, Query(ge=0, le=10**9, description="Rows to skip.")] = 0,
) -> Response:
    """Metrics by the values of dimensions. The answer has the shape of `query`, with one row per value."""
    named = texts(metrics, "metrics")
    question = {
        "metrics": named,
        "date_range": between(date_range, since, to),
        "dimensions": texts(dimension, "dimension"),
        "filters": filters_of(filters),
        "order_by": [[order_by or named[0], direction]],
        "pagination": {"limit": limit, "offset": offset},
        "include": {"total_rows": True},
    }
    return await asking.respond(_answering(question, asking))


def _answering(question: dict[str, Any], asking: Asking) -> Any:
    # Before anything is read: a mistake is told without a look at the version.
    parse_query({**question, "tenant": asking.caller.tenant}, asking.request.app.state.catalogue)

    async def report(sight: Sight) -> bytes:
        return (await sight.ask(question)).json()

    return report


def between(date_range: str | None, since: str | None, to: str | None) -> Any:
    """The range of a question from URL parameters. Raises InputError for half of one, or two."""
    if since is None and to is None:
        return date_range or "7d"
    if date_range is not None:
        raise InputError("date_range is given beside from and to: give one of the two", "date_range")
    if since is None or to is None:
        missing = "from" if since is None else "to"
        raise InputError(f"{missing} is missing: give both from and to, or date_range", missing)
    return [since, to]


def filters_of(text: str | None) -> Any:
    """Filters from a URL parameter. Raises InputError when it is no JSON."""
    if text is None:
        return []
    if len(text) > MOST_BYTES:
        raise InputError(f"filters is longer than {MOST_BYTES} characters", "filters")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError(f"filters is not JSON: {error}", "filters") from None


async def _question(request: Request) -> dict[str, Any]:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise HTTPException(413, f"the query is longer than {MOST_BYTES} bytes")
        parts.append(part)
    try:
        found = orjson.loads(b"".join(parts))
    except orjson.JSONDecodeError as error:
        raise InputError(f"the query is not JSON: {error}", "query") from None
    if not isinstance(found, dict):
        raise InputError("the query must be a JSON object", "query")
    return found
