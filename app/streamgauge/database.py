"""PostgreSQL connections as every part of Streamgauge opens them."""

from typing import TypeAlias

import asyncpg

from streamgauge.errors import ServerError

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

# Short statements over narrow tables: just-in-time compilation costs more than it saves.
SETTINGS = {"jit": "off", "timezone": "UTC"}
UNREACHABLE = (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError, asyncpg.InvalidCatalogNameError,
               asyncpg.InvalidAuthorizationSpecificationError, TimeoutError)  # fmt: skip


async def open_connection(database_url: str, **settings: str) -> Connection:
    """One connection. Raises ServerError, naming what to change, when there is no server or no such database."""
    try:
        return await asyncpg.connect(database_url, server_settings=SETTINGS | settings, timeout=10)
    except UNREACHABLE as error:
        raise ServerError(
            f"PostgreSQL cannot be reached: {_reason(error)}; check STREAMGAUGE_DATABASE_URL"
        ) from error


async def open_pool(database_url: str, size: int, patience: float = 30.0, **settings: str) -> Pool:
    """A pool of up to `size` connections; a statement may take `patience` seconds. Raises ServerError as `open_connection` does."""
    try:
        return await asyncpg.create_pool(
            database_url,
            min_size=1,
            max_size=size,
            server_settings=SETTINGS | settings,
            timeout=10,
            command_timeout=patience,
        )
    except UNREACHABLE as error:
        raise ServerError(
            f"PostgreSQL cannot be reached: {_reason(error)}; check STREAMGAUGE_DATABASE_URL"
        ) from error


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
