"""A web application of the fault tests, with a gauge and without one.

python -m tests.faults.web PORT measured|plain        served by uvicorn until it is told to end
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from streamgauge import Streamgauge
from tests.faults.catalogue import NAME, NUMBER, PROBED, VALUE

STATUS = "/health/gauge"  # below a path that is not measured by default


class Probe(BaseModel):
    """One event of the ledger."""

    number: int
    tenant: str
    at: int
    value: int


def create_app(gauge: Streamgauge | None) -> FastAPI:
    """Without a gauge it does the same, and records nothing."""
    app = FastAPI()
    if gauge is not None:
        gauge.instrument(app)

    @app.post("/probes")
    async def probe(given: Probe) -> Response:
        """Records one event; 503 when it was not taken."""
        if gauge is not None and not gauge.record(
            NAME, {NUMBER: given.number, VALUE: given.value}, "a1", occurred_at=given.at, tenant=given.tenant
        ):
            return Response(status_code=503)
        return JSONResponse({"number": given.number})

    @app.get(STATUS)
    async def status() -> dict[str, Any]:
        """What the gauge says of itself."""
        return gauge.status() if gauge is not None else {}

    return app


if __name__ == "__main__":
    measured = sys.argv[2] == "measured"
    application = create_app(Streamgauge(event_types=(PROBED,)) if measured else None)
    uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
