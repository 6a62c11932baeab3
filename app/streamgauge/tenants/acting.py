"""Changes over the API: in one transaction of the caller's tenant or the platform, together with their line in the audit log."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, HTTPException, Path, Query, Request

from streamgauge.access import Caller, require
from streamgauge.access.roles import Permission
from streamgauge.access.tenancy import become, become_platform
from streamgauge.database import Connection
from streamgauge.lending import lent
from streamgauge.read.api.parameters import refuse_strangers
from streamgauge.tenants.records import LONGEST_ID

TenantId = Annotated[
    str,
    Path(
        alias="tenant",
        min_length=1,
        max_length=LONGEST_ID,
        description="A tenant's id.",
        examples=["riverside"],
    ),
]
After = Annotated[
    str | None,
    Query(
        max_length=LONGEST_ID,
        description="Begin behind this id: `next` of the answer before.",
        examples=["riverside"],
    ),
]
Limit = Annotated[int, Query(ge=1, le=100, description="At most so many.", examples=[20])]


def asking(permission: Permission) -> Callable[..., Awaitable[Caller]]:
    """A dependency that gives the caller, who may do this. Raises InputError for unknown and repeated parameters."""

    async def ask(request: Request, caller: Annotated[Caller, Depends(require(permission))]) -> Caller:
        refuse_strangers(request)
        return caller

    return ask


@asynccontextmanager
async def acting(request: Request, caller: Caller) -> AsyncIterator[Connection]:
    """A transaction that sees what the caller administers. Raises ServerError as `lent`."""
    async with lent(request.app.state.pool) as connection, connection.transaction():
        if caller.tenant_id:
            await become(connection, caller.tenant_id)
        else:
            await become_platform(connection)
        yield connection


def no_tenant() -> HTTPException:
    """The answer about a tenant that is not there, and about another one than the caller's."""
    return HTTPException(404, "there is no such tenant")
