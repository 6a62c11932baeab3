"""Migrations: whole or not at all, once, by whoever comes first, and never over something they do not understand."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest
from asyncpg.types import ServerVersion

from streamgauge.errors import SchemaError, ServerError
from streamgauge_local.stack import Stack
from streamgauge_migrations import apply, check, migrate, versions
from streamgauge_migrations.apply import Migration, require_supported
from tests.integration.program import Program

NUMBERS = itertools.count(1)
Ship = Callable[..., None]


@pytest.fixture
async def empty(stack: Stack) -> AsyncIterator[str]:
    """A database with nothing in it."""
    name = f"migrations_{next(NUMBERS)}"
    connection = await asyncpg.connect(stack.database_url_of("postgres"))
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield stack.database_url_of(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch) -> Ship:
    """Makes this program ship other migrations: version and SQL in turn."""

    def replace(**migrations: str) -> None:
        shipped = [
            Migration(name, sql, hashlib.sha256(sql.encode()).hexdigest()) for name, sql in migrations.items()
        ]
        monkeypatch.setattr(apply, "versions", lambda: shipped)

    return replace


async def fetch(database_url: str, query: str) -> list[object]:
    connection = await asyncpg.connect(database_url)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def tables(database_url: str) -> list[object]:
    return await fetch(
        database_url, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    )


async def test_an_empty_database_gets_every_migration_and_a_second_time_none(empty: str) -> None:
    with pytest.raises(SchemaError, match="no Streamgauge tables: run `streamgauge migrate`"):
        await check(empty)
    shipped = [migration.version for migration in versions()]
    assert await migrate(empty) == shipped
    await check(empty)
    assert await migrate(empty) == []
    assert await fetch(empty, "SELECT version FROM schema_migrations ORDER BY 1") == shipped


async def test_generations_of_before_the_overflow_get_one_each_that_is_retired_if_they_are(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = versions()
    with monkeypatch.context() as patched:
        patched.setattr(apply, "versions", lambda: [each for each in shipped if each.version < "0007"])
        await migrate(empty)
    await fetch(
        empty,
        "INSERT INTO shards (shard, generation, number, retired_at) VALUES (0, 3, 0, 'epoch'), (1, 3, 1, 'epoch'), (2, 4, 0, NULL) "
        "RETURNING shard",
    )
    await migrate(empty)
    added = "SELECT (shard, generation, number, retired_at IS NULL)::text FROM shards WHERE overflow ORDER BY shard"
    assert await fetch(empty, added) == ["(3,3,2,f)", "(4,4,1,t)"]
    assert await fetch(empty, "SELECT count(*)::int FROM shards WHERE NOT overflow") == [3]


async def test_migrating_side_by_side_applies_every_migration_once(empty: str, ship: Ship) -> None:
    # Slow, so that they would be in each other's way.
    ship(a="CREATE TABLE a (); SELECT pg_sleep(0.2)", b="CREATE TABLE b ()")
    done = await asyncio.gather(*(migrate(empty) for _ in range(4)))
    assert sorted(version for versions in done for version in versions) == ["a", "b"]


async def test_programs_that_migrate_at_the_same_time_apply_every_migration_once(
    empty: str, tmp_path: Path
) -> None:
    given = {"STREAMGAUGE_DATABASE_URL": empty}
    with ExitStack() as running:
        programs = [
            running.enter_context(Program("migrate", log=tmp_path / str(number), **given))
            for number in range(3)
        ]
        codes = [await asyncio.to_thread(program.ended) for program in programs]
        said = [program.output for program in programs]
    assert codes == [0, 0, 0], said
    first = versions()[0].version
    assert sum(f"Applied {first}." in text for text in said) == 1
    assert all("which this program needs" in text for text in said)


async def test_the_command_tells_before_and_after_and_changes_nothing_with_check(
    empty: str, tmp_path: Path
) -> None:
    given = {"STREAMGAUGE_DATABASE_URL": empty}

    async def run(*arguments: str) -> tuple[int, str]:
        with Program("migrate", *arguments, log=tmp_path / "log", **given) as program:
            return await asyncio.to_thread(program.ended), program.output

    code, said = await run("--check")
    assert code == 1
    assert "run `streamgauge migrate`" in said
    assert await tables(empty) == []
    code, said = await run()
    assert (code, "Applied 0001_kernel." in said) == (0, True)
    code, said = await run("--check")
    assert (code, "Applied" in said, "is at version" in said) == (0, False, True)


async def test_a_migration_that_fails_half_way_leaves_nothing_and_those_before_it_stay(
    empty: str, ship: Ship
) -> None:
    ship(a="CREATE TABLE a ()", b="CREATE TABLE b (); SELECT 1 / 0")
    with pytest.raises(SchemaError, match=r"migration b was not applied \(division by zero\)"):
        await migrate(empty)
    assert await tables(empty) == ["a", "schema_migrations"]
    with pytest.raises(SchemaError, match="lacks migration b"):
        await check(empty)
    ship(a="CREATE TABLE a ()", b="CREATE TABLE b ()")
    assert await migrate(empty) == ["b"]


async def test_when_the_first_migration_fails_there_is_nothing_at_all(empty: str, ship: Ship) -> None:
    ship(a="CREATE TABLE a (); SELECT 1 / 0")
    with pytest.raises(SchemaError):
        await migrate(empty)
    assert await tables(empty) == []


async def test_a_migration_whose_contents_changed_is_refused(empty: str, ship: Ship) -> None:
    ship(a="CREATE TABLE a ()")
    await migrate(empty)
    ship(a="CREATE TABLE a (x int)", b="CREATE TABLE b ()")
    for act in (migrate, check):
        with pytest.raises(SchemaError, match="migration a was applied with other contents"):
            await act(empty)
    assert await tables(empty) == ["a", "schema_migrations"]


async def test_a_newer_database_is_refused(empty: str, ship: Ship) -> None:
    ship(a="CREATE TABLE a ()", b="CREATE TABLE b ()")
    await migrate(empty)
    ship(a="CREATE TABLE a ()")
    for act in (migrate, check):
        with pytest.raises(SchemaError, match=r"at migration b, which this program does not know.*upgrade"):
            await act(empty)


async def test_a_gap_is_refused(empty: str, ship: Ship) -> None:
    ship(b="CREATE TABLE b ()")
    await migrate(empty)
    ship(a="CREATE TABLE a ()", b="CREATE TABLE b ()")
    for act in (migrate, check):
        with pytest.raises(SchemaError, match="migration a is missing though a later one was applied"):
            await act(empty)
    assert await tables(empty) == ["b", "schema_migrations"]


async def test_a_database_migrated_by_hand_is_refused_and_stays_as_it_is(empty: str) -> None:
    connection = await asyncpg.connect(empty)
    await connection.execute("CREATE TABLE shards (mine int); INSERT INTO shards VALUES (7)")
    await connection.close()
    with pytest.raises(SchemaError, match=r"relation \"shards\" already exists.*by hand or half-way"):
        await migrate(empty)
    assert await tables(empty) == ["shards"]
    assert await fetch(empty, "SELECT mine FROM shards") == [7]


@pytest.mark.parametrize(("version", "good"), [((13, 14), False), ((14, 0), True), ((18, 1), True)])
def test_a_postgresql_that_is_too_old_is_refused_with_what_to_do(
    version: tuple[int, int], good: bool
) -> None:
    found = ServerVersion(*version, 0, "final", 0)
    if good:
        require_supported(found)
        return
    with pytest.raises(ServerError, match=r"PostgreSQL 13\.14 is too old: Streamgauge needs 14"):
        require_supported(found)


async def test_a_migration_gives_up_when_a_reader_holds_a_lock_and_nothing_is_changed(
    empty: str, ship: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(apply, "MOST_TRIES", 2)
    monkeypatch.setattr(apply, "PAUSE", 0.01)
    ship(a="CREATE TABLE a ()")
    await migrate(empty)
    ship(a="CREATE TABLE a ()", b="CREATE TABLE b (); ALTER TABLE a ADD x int")
    reader = await asyncpg.connect(empty)
    try:
        async with reader.transaction():
            await reader.fetch("SELECT * FROM a")
            with pytest.raises(ServerError, match=r"held a lock.*nothing was changed.*try again"):
                await migrate(empty)
        assert await tables(empty) == ["a", "schema_migrations"]
        assert await migrate(empty) == ["b"]
    finally:
        await reader.close()


async def test_a_user_who_may_not_create_tables_is_told_which_right_is_missing(
    empty: str, stack: Stack
) -> None:
    connection = await asyncpg.connect(empty)
    await connection.execute("DROP ROLE IF EXISTS reader_only; CREATE ROLE reader_only LOGIN")
    await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        with pytest.raises(ServerError, match="GRANT CREATE ON SCHEMA public"):
            await migrate(empty.replace("streamgauge@", "reader_only@"))
    finally:
        await connection.execute("DROP ROLE reader_only")
        await connection.close()


async def test_a_server_that_is_away_or_a_database_that_is_not_there_is_a_clear_error(stack: Stack) -> None:
    for address in ("postgresql://me:hunter2@127.0.0.1:1/x", stack.database_url_of("no_such_database")):
        for act in (migrate, check):
            with pytest.raises(ServerError, match="check STREAMGAUGE_DATABASE_URL") as raised:
                await act(address)
            assert "hunter2" not in str(raised.value)
