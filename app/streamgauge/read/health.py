"""Whether the server can do its work: PostgreSQL with the right schema, and Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from streamgauge.database import Connection, Pool
from streamgauge.errors import SchemaError
from streamgauge.logs import redacted
from streamgauge.read.problems import problem
from streamgauge.stream import StreamPort

PATIENCE = 3.0  # seconds a server may take to answer

#: Raises SchemaError unless the database is at this program's version.
CheckSchema = Callable[[Connection], Awaitable[None]]

router = APIRouter(prefix="/health")


@router.get("/live")
async def live() -> Response:
    """200 whenever the process runs."""
    return JSONResponse({"status": "live"})


@router.get("/ready")
async def ready(request: Request) -> Response:
    """200 when PostgreSQL answers, its schema is current and Redis answers; otherwise 503, with what is missing."""
    state = request.app.state
    reasons = await missing(state.pool, state.stream, state.check_schema)
    if not reasons:
        return JSONResponse({"status": "ready"})
    return problem(503, "; ".join(f"{name}: {reason}" for name, reason in reasons.items()), missing=reasons)


async def missing(pool: Pool, stream: StreamPort, check_schema: CheckSchema) -> dict[str, str]:
    """What is not as it should be, and why, without secrets; empty when all is well."""

    async def ask_postgresql() -> None:
        async with pool.acquire(timeout=PATIENCE) as connection:
            await check_schema(connection)

    found = await asyncio.gather(_reason(ask_postgresql()), _reason(stream.check_server()))
    reasons: dict[str, str] = {}
    for name, reason in zip(("postgresql", "redis"), found, strict=True):
        if reason is not None:
            kind, text = reason
            reasons["schema" if kind is SchemaError else name] = text
    return reasons


async def _reason(asking: Awaitable[Any]) -> tuple[type[Exception], str] | None:
    try:
        async with asyncio.timeout(PATIENCE):
            await asking
    except TimeoutError as error:
        return type(error), f"no answer within {PATIENCE:.0f} seconds"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return type(error), redacted(str(error) or type(error).__name__)
    return None
