"""Connections to PostgreSQL for one request: lent for a bounded time, and whatever goes wrong with them is a ServerError."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streamgauge.access.tenancy import become, become_platform
from streamgauge.database import Connection, Pool
from streamgauge.errors import ServerError
from streamgauge.lending import lent
from streamgauge.read.rows import snapshot

LONGEST = 20.0  # seconds a whole report may take, however many statements it has


@asynccontextmanager
async def lent_snapshot(pool: Pool, tenant_id: int) -> AsyncIterator[Connection]:
    """A connection in a read-only snapshot of one tenant, and of what knows no tenants.

    Raises ServerError as `lent`, and when what is done with it takes longer than LONGEST.
    """
    try:
        async with (
            asyncio.timeout(LONGEST) as deadline,
            lent(pool) as connection,
            snapshot(connection, bounded=True),  # by settings.statement_seconds, as all of the server's are
        ):
            await become(connection, tenant_id)
            yield connection
    except TimeoutError:
        if not deadline.expired():
            raise
        raise ServerError(
            f"the answer took longer than {LONGEST:.0f} seconds: ask for a shorter time, or for less at once"
        ) from None


@asynccontextmanager
async def lent_platform(pool: Pool) -> AsyncIterator[Connection]:
    """A connection in a transaction that sees the settings of all tenants, and how the pipeline is. Raises ServerError as `lent`."""
    async with lent(pool) as connection, connection.transaction(readonly=True):
        await become_platform(connection)
        yield connection
