"""`/api/v1/system/…`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import Response

from streamgauge.access import Caller, require
from streamgauge.people.documented import answers
from streamgauge.read.api import ledger
from streamgauge.read.api.asking import Sight
from streamgauge.read.api.desk import Desk
from streamgauge.read.api.parameters import refuse_strangers
from streamgauge.read.api.summary import instants, last_hours
from streamgauge.read.api.tags import by_content
from streamgauge.read.api.version import SQL
from streamgauge.read.problem_document import PROBLEMS
from streamgauge.read.report import rfc3339
from streamgauge.read.rows import load_tenant
from streamgauge.summaries.calendar import Interval
from streamgauge.summaries.grid import HOUR
from streamgauge.system import examples
from streamgauge.system.installation import Installation
from streamgauge.system.metrics import SystemMetrics, of_installation, of_tenant
from streamgauge.system.tenant import TenantMetrics, questions, tenant_metrics

MOST_HOURS: Final = 168  # a week


@asynccontextmanager
async def _installation(app: FastAPI) -> AsyncIterator[None]:
    installation = Installation(app.state.pool, app.state.pipeline, app.state.settings.redis_url)
    app.state.installation = installation
    try:
        yield
    finally:
        await installation.aclose()


router = APIRouter(prefix="/api/v1/system", tags=["system"], responses=PROBLEMS, lifespan=_installation)


@router.get(
    "/metrics",
    summary="How the system does",
    response_model=SystemMetrics,
    responses={
        **answers(examples.OF_TENANT),
        304: {"description": "The answer whose ETag was given as If-None-Match still holds."},
    },
)
async def metrics(
    request: Request,
    caller: Annotated[Caller, Depends(require("tenants"))],
    hours: Annotated[
        int,
        Query(
            ge=1,
            le=MOST_HOURS,
            description="Whole hours of the tenant's time zone, the current one included; for an owner it changes nothing.",
            examples=[24],
        ),
    ] = 24,
) -> Response:
    """For an admin: the tenant's latency and errors by route, throughput, active users and dropped events, and whether processing keeps up.

    For an owner of the platform: the whole installation: its pipeline, queue, throughput, drops, workers, PostgreSQL and Redis. Neither
    is told the other's part: an admin nothing of other tenants, not even their sums, an owner nothing of a single tenant.

    What cannot be told is null, and `unavailable` says why. Without Redis everything but lag, queue and Redis' memory is told; without
    PostgreSQL nobody can be asked who they are, and the answer is a 503. Processing and the installation are looked at anew at most
    every five seconds.
    """
    refuse_strangers(request)
    state = request.app.state
    lease: float = state.settings.lease_seconds
    found: Installation = state.installation
    if caller.role == "owner":
        told = of_installation(await found.look(), lease)
    else:
        told = of_tenant(await _tenant(state.desk, caller, hours), await found.look(), lease)
    return by_content(request, orjson.dumps(told))


async def _tenant(desk: Desk, caller: Caller, hours: int) -> TenantMetrics:
    """The tenant's part, from one snapshot."""
    async with desk.snapshot(caller.tenant_id) as connection:
        tenant = await load_tenant(connection, caller.tenant)
        now = tenant.clock // 1_000_000
        sight = Sight(connection, caller.tenant, tenant, desk.terms, now)
        calendar = tenant.calendar
        period = last_hours(calendar, now, hours)
        hour = last_hours(calendar, calendar.hour_of(now) - 1, 1)
        asked = questions(instants(calendar, period), instants(calendar, hour), desk.terms.catalogue)
        found = {part: await sight.ask(question) for part, question in asked.items()}
        processed = _processed(now, hours)
        rows = await connection.fetch(SQL["outcomes"], tenant.tenant_id, *processed)
    outcomes = ledger.outcomes_of(ledger.Entry(*row) for row in rows)
    since = rfc3339(datetime.fromtimestamp(processed.start, UTC))
    return tenant_metrics(found, hours, hour.end - hour.start, outcomes, since)


def _processed(now: int, hours: int) -> Interval:
    """So many whole hours of UTC, the current one last."""
    end = now // HOUR * HOUR + HOUR
    return Interval(end - hours * HOUR, end)
