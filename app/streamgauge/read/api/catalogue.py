"""`GET /catalogue`: what is recorded and what for, and what can be asked."""

import orjson
from fastapi import APIRouter
from fastapi.responses import Response

from streamgauge.read.api.asking import Ask
from streamgauge.read.api.tags import by_content
from streamgauge.read.declared import Declared

router = APIRouter(tags=["questions"])


@router.get("/catalogue", summary="What is recorded, and what can be asked", response_model=Declared)
async def catalogue(asking: Ask) -> Response:
    """Event types with their purposes and properties; metrics with their units and dimensions; the limits of a question."""
    return by_content(asking.request, orjson.dumps(asking.desk.declared))
