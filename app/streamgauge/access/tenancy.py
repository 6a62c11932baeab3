"""Transactions as one tenant, or as the platform: the database itself shows no other tenant's rows.

The server's connections are `streamgauge_api`, which row-level security lets see the tenant that its transaction names, and nothing
where none is named. So a query that forgets its tenant gives an empty answer instead of somebody else's.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias

from streamgauge.database import Connection, Pool
from streamgauge.lending import lent

#: The roles of migration 0003. Nobody logs in as them.
API_ROLE: Final = "streamgauge_api"
PLATFORM_ROLE: Final = "streamgauge_platform"
Isolation: TypeAlias = Literal["read_committed", "repeatable_read"]
_TENANT = "SELECT set_config('streamgauge.tenant_id', $1, true)"
_PLATFORM = f"SET LOCAL ROLE {PLATFORM_ROLE}"


async def become(connection: Connection, tenant_id: int) -> None:
    """Let the rest of the connection's transaction see this tenant. It must be in one: the setting ends with it."""
    await connection.execute(_TENANT, str(tenant_id))


async def become_platform(connection: Connection) -> None:
    """Let the rest of the connection's transaction see the settings and keys of all tenants, and how the pipeline is."""
    await connection.execute(_PLATFORM)


@asynccontextmanager
async def tenant_transaction(
    pool: Pool, tenant_id: int, *, read_only: bool = False
) -> AsyncIterator[Connection]:
    """A transaction that sees one tenant; with `read_only` a snapshot of it. Raises ServerError as `lent`."""
    isolation: Isolation = "repeatable_read" if read_only else "read_committed"
    async with lent(pool) as connection, connection.transaction(isolation=isolation, readonly=read_only):
        await become(connection, tenant_id)
        yield connection


@asynccontextmanager
async def platform_transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A transaction that sees all tenants' settings and keys, and no events: to find out who asks, and for owners."""
    async with lent(pool) as connection, connection.transaction():
        await become_platform(connection)
        yield connection
