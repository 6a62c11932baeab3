"""All routes of the read API."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from streamgauge.access import Caller, require
from streamgauge.read.api import (
    aggregate,
    breakdown,
    catalogue,
    dashboard,
    ledger,
    pipeline,
    questions,
    realtime,
    summary,
    timeseries,
)
from streamgauge.read.api.parameters import refuse_strangers
from streamgauge.read.api.tags import by_content
from streamgauge.read.problem_document import PROBLEMS

_UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The answer whose ETag was given as If-None-Match still holds."}
}

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)
router.include_router(questions.router)
for each in (aggregate, timeseries, breakdown, catalogue, summary, dashboard, realtime, ledger, pipeline):
    router.include_router(each.router, responses=_UNCHANGED)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request, _: Annotated[Caller, Depends(require("any"))]) -> Response:
    """The OpenAPI document of this server, which holds nobody's data."""
    refuse_strangers(request)
    return by_content(request, orjson.dumps(request.app.openapi()))
