"""A connection of a pool for a bounded wait, and whatever goes wrong with it a ServerError."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from streamgauge.database import UNREACHABLE, Connection, Pool
from streamgauge.errors import ServerError

PATIENCE = 5.0  # seconds a request waits for a connection to come free

#: What a connection raises when its server goes away, stops, or has no room.
GONE = (
    *UNREACHABLE, asyncpg.InterfaceError, asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
)  # fmt: skip


@asynccontextmanager
async def lent(pool: Pool) -> AsyncIterator[Connection]:
    """One connection. Raises ServerError when none comes free in time, and when PostgreSQL goes away meanwhile."""
    try:
        connection = await pool.acquire(timeout=PATIENCE)
    except TimeoutError:
        raise ServerError(
            f"no connection to PostgreSQL came free within {PATIENCE:.0f} seconds: ask again later"
        ) from None
    except GONE as error:
        raise _gone(error) from error
    try:
        yield connection
    except GONE as error:
        raise _gone(error) from error
    finally:
        await pool.release(connection)


def _gone(error: BaseException) -> ServerError:
    return ServerError(f"PostgreSQL does not answer ({type(error).__name__}): ask again later")
