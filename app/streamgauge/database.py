"""PostgreSQL connections as every part of Streamgauge opens them."""

from typing import TypeAlias

import asyncpg

from streamgauge.errors import ServerError, UnreachableError

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

# Short statements over narrow tables: just-in-time compilation costs more than it saves.
SETTINGS = {"jit": "off", "timezone": "UTC"}
#: What may be over by itself, and what has to be changed first.
AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    TimeoutError,
)
UNREACHABLE = (*AWAY, asyncpg.InvalidCatalogNameError, asyncpg.InvalidAuthorizationSpecificationError)


async def open_connection(database_url: str, **settings: str) -> Connection:
    """One connection. Raises ServerError, naming what to change, when there is no server or no such database."""
    try:
        return await asyncpg.connect(database_url, server_settings=SETTINGS | settings, timeout=10)
    except UNREACHABLE as error:
        raise unreachable(error) from error


async def open_pool(
    database_url: str, size: int, patience: float = 30.0, *, role: str | None = None, **settings: str
) -> Pool:
    """A pool of up to `size` connections; a statement may take `patience` seconds.

    With `role` every connection becomes that role and stays it: what a pool resets does not include it.

    Raises ServerError as `open_connection` does, and, as acquiring a connection does, when it cannot become the role.
    """

    async def become(connection: Connection) -> None:
        if role is None:
            return
        try:
            await connection.execute(f'SET ROLE "{role}"')
        except asyncpg.InvalidParameterValueError:
            raise ServerError(f"the database has no role {role}: run `streamgauge migrate`") from None
        except asyncpg.InsufficientPrivilegeError:
            raise ServerError(
                f"the database's user may not become {role}: GRANT streamgauge_api, streamgauge_platform TO it"
            ) from None

    try:
        return await asyncpg.create_pool(
            database_url,
            min_size=1,
            max_size=size,
            server_settings=SETTINGS | settings,
            timeout=10,
            command_timeout=patience,
            init=become,
        )
    except UNREACHABLE as error:
        raise unreachable(error) from error


def unreachable(error: BaseException) -> ServerError:
    """What an error of UNREACHABLE is to be raised as."""
    kind = UnreachableError if isinstance(error, AWAY) else ServerError
    return kind(f"PostgreSQL cannot be reached: {_reason(error)}; check STREAMGAUGE_DATABASE_URL")


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
