"""The fixtures other tests build on."""

import asyncpg
import redis.asyncio


async def test_a_database_fixture_is_migrated_and_its_rows_are_gone_in_the_next(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM schema_migrations") > 0
        await connection.execute("CREATE TABLE left_by_a_test ()")
    finally:
        await connection.close()


async def test_a_second_database_fixture_does_not_see_what_the_first_left(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT to_regclass('left_by_a_test') IS NULL")
    finally:
        await connection.close()


async def test_a_redis_fixture_can_be_written(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.set("left_by_a_test", 1)


async def test_a_second_redis_fixture_is_empty(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
