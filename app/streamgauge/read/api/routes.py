"""All routes of the read API."""

from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

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
from streamgauge.read.api.asking import Ask
from streamgauge.read.api.tags import by_content
from streamgauge.read.problems import MEDIA_TYPE

_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {
            "type": "string",
            "description": "What is wrong, which limit there is, and what to change.",
        },
        "field": {"type": "string", "description": "The parameter or the question's field it is about."},
    },
}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _problem("A parameter cannot be used."),
    401: _problem("No usable key."),
    403: _problem("The key may not do this."),
    503: _problem("PostgreSQL does not answer in time."),
    # Beside documenting the rest, this keeps FastAPI from promising its own 422, which is a 400 here.
    "default": _problem("Anything else that is wrong."),
}
_UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The answer whose ETag was given as If-None-Match still holds."}
}

router = APIRouter(prefix="/api/v1", responses=_PROBLEMS)
router.include_router(questions.router)
for each in (aggregate, timeseries, breakdown, catalogue, summary, dashboard, realtime, ledger, pipeline):
    router.include_router(each.router, responses=_UNCHANGED)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(asking: Ask) -> Response:
    """The OpenAPI document of this server."""
    request: Request = asking.request
    return by_content(request, orjson.dumps(request.app.openapi()))
