"""Connections to Redis: how they are made, and what their errors are called."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import Connection, ConnectionPool, UnixDomainSocketConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    MovedError,
    OutOfMemoryError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from streamgauge.errors import ServerError, SettingsError, UnreachableError

#: How long a server may take to answer, in seconds, beyond the time it was asked to block.
PATIENCE: Final = 5.0

#: Host and port of a node of a cluster.
Address = tuple[str, int]


def check_url(url: str) -> None:
    """Raise SettingsError unless redis-py takes this URL."""
    try:
        parse_url(url)
    except ValueError:  # its text may repeat the URL, and so a password
        raise SettingsError(
            "the Redis URL must start with redis://, rediss:// or unix:// and be valid"
        ) from None


def host_of(url: str) -> str:
    """The host a URL leads to; a socket leads to this machine."""
    return str(parse_url(url).get("host") or "127.0.0.1")


def pool_to(
    url: str, patience: float, *, to: Address | None = None, socket_timeout: float | None = None
) -> ConnectionPool:
    """A pool whose connections lead to `to`, by default where `url` leads, with its credentials. They never retry and never reconnect unasked.

    `patience`: seconds a connection may take; `socket_timeout`: seconds an answer may take, None for no limit.
    """
    options = {
        "protocol": 2,
        "decode_responses": False,
        # redis-py retries every command by default, XADD too: the only retry must be the one that is counted.
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": patience,
    }
    pool = ConnectionPool.from_url(url, **options)
    # Options in the URL's query win in from_url; ours are part of the protocol.
    pool.connection_kwargs.update(options)
    if to is not None:
        if issubclass(pool.connection_class, UnixDomainSocketConnection):
            pool.connection_kwargs.pop("path", None)
            pool.connection_class = Connection
        pool.connection_kwargs.update(host=to[0], port=to[1])
    return pool


def new_connection(
    url: str, patience: float, *, to: Address | None = None, socket_timeout: float | None = None
) -> Connection:
    """One connection, not connected yet; see `pool_to`."""
    pool = pool_to(url, patience, to=to, socket_timeout=socket_timeout)
    connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]  # untyped in redis-py
    return connection


@asynccontextmanager
async def translated(doing: str) -> AsyncIterator[None]:
    """Turn the errors of redis-py into ServerError. `doing` completes "cannot … Redis"."""
    try:
        yield
    except OutOfMemoryError as error:
        raise ServerError(
            f"cannot {doing} Redis: it is full; raise maxmemory or let the workers catch up"
        ) from error
    except ClusterDownError as error:
        raise UnreachableError(
            f"cannot {doing} Redis: the cluster does not serve this now ({error}); is a primary down that has no replica?"
        ) from error
    except AskError as error:  # MovedError is one
        moved = "has moved" if isinstance(error, MovedError) else "is just moving"
        raise ServerError(
            f"cannot {doing} Redis: the stream {moved} to another node of the cluster"
        ) from error
    except (TimeoutError, RedisTimeoutError) as error:
        raise UnreachableError(
            f"cannot {doing} Redis: no answer in time; is it hung or unreachable?"
        ) from error
    except (AuthenticationError, AuthorizationError) as error:  # kinds of ConnectionError there
        raise ServerError(f"cannot {doing} Redis: {error}") from error
    except (RedisConnectionError, OSError) as error:
        raise UnreachableError(f"cannot {doing} Redis: {error or type(error).__name__}") from error
    except RedisError as error:
        raise ServerError(f"cannot {doing} Redis: {error or type(error).__name__}") from error
