"""Real servers for the tests: one Valkey and one PostgreSQL per session, started when first asked for."""

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis
from hypothesis import settings

from streamgauge.database import Connection
from streamgauge_local.stack import Stack
from streamgauge_migrations import migrate

# How long one example takes says more about the machine than about the code. Before a release: STREAMGAUGE_TESTS_FULL=1.
settings.register_profile("streamgauge", parent=settings(), deadline=None, max_examples=50)
settings.register_profile("streamgauge-full", parent=settings(), deadline=None, max_examples=1_000)
settings.load_profile("streamgauge-full" if os.environ.get("STREAMGAUGE_TESTS_FULL") else "streamgauge")

# Every new connection asks the server about each type of array it meets, in a query over the whole catalogue: a quarter of the time
# of tests that open a dozen connections each. PostgreSQL's own types are the same in all databases, and are asked for once here.
_introspect = asyncpg.Connection._introspect_types  # type: ignore[attr-defined]  # not a documented method
_FIRST_USER_TYPE = 16_384
_types: dict[frozenset[int], Any] = {}


async def _introspect_once(connection: Connection, ids: Iterable[int], *more: Any) -> Any:
    asked = frozenset(ids)
    if max(asked) >= _FIRST_USER_TYPE:
        return await _introspect(connection, asked, *more)
    if asked not in _types:
        _types[asked] = await _introspect(connection, asked, *more)
    return _types[asked]


asyncpg.Connection._introspect_types = _introspect_once  # type: ignore[attr-defined]  # as above

_TEMPLATE = "streamgauge_template"
#: Owns the tests' databases: an ordinary user, for whom row-level security holds. The cluster's own is above it.
_OWNER = "owner"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Both servers over a directory of their own, without durability.

    Started in the main thread, as `tether` wants it.
    """
    with tempfile.TemporaryDirectory(prefix="streamgauge-tests-") as directory:
        running = Stack(Path(directory), ephemeral=True)
        asyncio.run(running.start())
        try:
            yield running
        finally:
            asyncio.run(running.stop())


@pytest.fixture
def redis_url(stack: Stack) -> str:
    """An empty Redis, for this test alone."""
    with redis.Redis.from_url(stack.redis_url) as client:
        client.flushall()
        # Scripts and functions outlive a flush of the data.
        client.script_flush()
    return stack.redis_url


@pytest.fixture(scope="session")
def database_template(stack: Stack) -> str:
    """The name of a migrated database that `database_url` copies."""

    async def make() -> None:
        connection = await asyncpg.connect(stack.database_url_of("postgres"))
        try:
            await connection.execute(f"CREATE ROLE {_OWNER} LOGIN NOSUPERUSER NOBYPASSRLS CREATEROLE")
            await connection.execute(f"CREATE DATABASE {_TEMPLATE} OWNER {_OWNER}")
        finally:
            await connection.close()
        await migrate(_as_owner(stack.database_url_of(_TEMPLATE)))

    asyncio.run(make())
    return _TEMPLATE


@pytest.fixture
async def database_url(stack: Stack, database_template: str) -> AsyncIterator[str]:
    """A migrated database with nothing in it, for this test alone."""
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(stack.database_url_of("postgres"))
    try:
        # Copying files instead of logging pages is ten times as fast where nothing is synced.
        await connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {database_template} OWNER {_OWNER} STRATEGY file_copy"
        )
        yield _as_owner(stack.database_url_of(name))
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


def _as_owner(url: str) -> str:
    return urlsplit(url)._replace(netloc=f"{_OWNER}@").geturl()
