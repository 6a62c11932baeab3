"""Promises about the servers a command gets."""

from pathlib import Path

import asyncpg
import pytest

from streamgauge.errors import SchemaError
from streamgauge.settings import Settings
from streamgauge_cli import session
from streamgauge_local.stack import Stack
from streamgauge_migrations import check
from tests.integration.local.held import until_gone


async def test_a_command_alone_gets_servers_of_its_own_with_the_schema_in_place(tmp_path: Path) -> None:
    async with session.servers(Settings(data_dir=tmp_path / "data")) as endpoints:
        await check(endpoints.database_url)
    assert until_gone(tmp_path / "data", 0)


async def test_a_given_database_without_the_schema_is_refused_and_left_as_it_is(
    stack: Stack, redis_url: str
) -> None:
    connection = await asyncpg.connect(stack.database_url_of("postgres"))
    try:
        await connection.execute("DROP DATABASE IF EXISTS somebodys")
        await connection.execute("CREATE DATABASE somebodys")
    finally:
        await connection.close()
    settings = Settings(redis_url=redis_url, database_url=stack.database_url_of("somebodys"))
    with pytest.raises(SchemaError, match="streamgauge migrate"):
        async with session.servers(settings):
            pass
    async with session.servers(settings, check_schema=False) as endpoints:
        connection = await asyncpg.connect(endpoints.database_url)
        try:
            assert (
                await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
            )
        finally:
            await connection.close()


async def test_a_given_database_with_the_schema_is_used(redis_url: str, database_url: str) -> None:
    settings = Settings(redis_url=redis_url, database_url=database_url)
    async with session.servers(settings) as endpoints:
        assert endpoints.source == "given"
