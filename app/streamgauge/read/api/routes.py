"""All routes of the read API."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from streamgauge.access import Caller, require
from streamgauge.read.api import catalogue, dashboard, ledger, pipeline, questions, realtime, summary

router = APIRouter(
    prefix="/api/v1",
    responses={
        400: {
            "description": "A parameter cannot be used; problem details (RFC 9457) name it and what is allowed."
        },
        401: {"description": "No usable key."},
        403: {"description": "The key may not do this."},
        503: {"description": "PostgreSQL does not answer in time."},
    },
)
for each in (questions, summary, dashboard, realtime, catalogue, ledger, pipeline):
    router.include_router(each.router)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request, _: Annotated[Caller, Depends(require("read"))]) -> Response:
    """The OpenAPI document of this server."""
    document: dict[str, Any] = request.app.openapi()
    return JSONResponse(document)
