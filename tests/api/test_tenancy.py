"""Row-level security: the database itself keeps tenants apart, whatever a query forgets."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2 as httpx
import pytest

from streamgauge.access.keys import make_key
from streamgauge.access.tenancy import (
    API_ROLE,
    PLATFORM_ROLE,
    become,
    become_platform,
    platform_transaction,
    tenant_transaction,
)
from streamgauge.database import Pool, open_connection, open_pool
from streamgauge.errors import ServerError
from streamgauge.server import create_server
from streamgauge_migrations import require_current
from tests.api.server import bearer, open_api
from tests.integration.engine import EVERY_KIND, generate, open_engine

TENANTS = {"berlin": "Europe/Berlin", "kolkata": "Asia/Kolkata"}
#: What an entry of holds events of several tenants, and so is let through for each of them.
MIXED = "event_log"


@pytest.fixture
async def pool(redis_url: str, database_url: str) -> AsyncIterator[Pool]:
    """The server's connections, to a database in which two tenants have rows in every table."""
    async with open_engine(redis_url, database_url, TENANTS, EVERY_KIND) as engine:
        await engine.publish(generate(3, 400, tuple(TENANTS)))
        await engine.drain()
        connection = engine.connection
        for number, tenant in enumerate(TENANTS):
            tenant_id = await connection.fetchval("SELECT tenant_id FROM tenants WHERE name = $1", tenant)
            for statement in FILLING:
                await connection.execute(statement, tenant_id, bytes([number]))
    pool = await open_pool(database_url, 1, role=API_ROLE)
    try:
        yield pool
    finally:
        await pool.close()


FILLING = (
    "INSERT INTO imports (tenant_id, digest, lane, source, options) SELECT $1, $2::bytea, decode(md5($1::int::text), 'hex'), 'test', '{}'",
    "INSERT INTO dead_letters (tenant_id, shard, content_id, reason) SELECT $1, 0, $2::bytea, 'test'",
    "INSERT INTO dead_letters_counted SELECT 0, $1::int, 'late', now(), 1 WHERE $2::bytea IS NOT NULL",
    "INSERT INTO dimension_overflow SELECT 0, $1::int, 'http.route', now() WHERE $2::bytea IS NOT NULL",
    "INSERT INTO verifications (tenant_id, revision, positions, differences) SELECT $1, 0, '{}', 0 WHERE $2::bytea IS NOT NULL",
    (
        "INSERT INTO access_keys (key_id, digest, tenant_id, scopes, role) "
        "SELECT substr(md5($1::int::text), 1, 12), sha256($2::bytea), $1, '{read}', 'analyst'"
    ),
    "INSERT INTO recent_actors SELECT 0, $1::int, now(), 0, $2::bytea",
    "INSERT INTO groups (tenant_id, group_id) SELECT $1, 'class' WHERE $2::bytea IS NOT NULL",
    "INSERT INTO courses (tenant_id, course_id, parts) SELECT $1, 'course', 0 WHERE $2::bytea IS NOT NULL",
    "INSERT INTO group_members (tenant_id, group_id, actor) SELECT $1, 'class', '\\x01' || substring(sha256($2::bytea) FOR 16)",
    "INSERT INTO audit_log SELECT $1, 1, 0, 'entry', sha256($2::bytea)",
    "INSERT INTO audit_heads SELECT $1, 1, sha256($2::bytea)",
)
TABLES = (
    "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE a.attname = 'tenant_id' AND a.attnum > 0 "
    "AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
)


async def everything_of(pool: Pool, connection: Any) -> dict[str, int]:
    """Rows that a connection sees, by table, of those it may read at all."""
    found = {}
    for row in await connection.fetch(TABLES):
        if await connection.fetchval("SELECT has_table_privilege($1, 'SELECT')", row["relname"]):
            found[row["relname"]] = await connection.fetchval(f"SELECT count(*) FROM {row['relname']}")
    return found


async def test_every_table_that_holds_a_tenant_forces_row_level_security(database_url: str) -> None:
    connection = await open_connection(database_url)
    try:
        tables = [row["relname"] for row in await connection.fetch(TABLES)]
        assert len(tables) >= 20
        rows = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relname = ANY($1::text[]) AND NOT (relrowsecurity AND relforcerowsecurity)",
            [*tables, MIXED],
        )
        assert [row["relname"] for row in rows] == []
        limited = await connection.fetch(
            "SELECT tablename FROM pg_policies WHERE roles = ARRAY[$1::name] AND qual LIKE '%streamgauge.tenant_id%'",
            API_ROLE,
        )
        assert sorted(row["tablename"] for row in limited) == sorted([*tables, MIXED])
    finally:
        await connection.close()


async def test_the_servers_roles_own_nothing_and_pass_by_nothing(pool: Pool) -> None:
    rows = await pool.fetch(
        "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolcanlogin AS mighty, "
        "(SELECT count(*) FROM pg_class WHERE relowner = r.oid) AS owned FROM pg_roles r WHERE rolname = ANY($1::text[])",
        [API_ROLE, PLATFORM_ROLE],
    )
    assert [tuple(row) for row in rows] == [(False, 0), (False, 0)]
    assert await pool.fetchval("SELECT current_user") == API_ROLE


async def test_a_transaction_sees_its_own_tenant_alone(pool: Pool) -> None:
    async with platform_transaction(pool) as connection:
        ids = [row["tenant_id"] for row in await connection.fetch("SELECT tenant_id FROM tenants ORDER BY 1")]
    assert len(ids) == 2
    for tenant_id in ids:
        async with tenant_transaction(pool, tenant_id, read_only=True) as connection:
            seen = await everything_of(pool, connection)
            for table in seen:
                others = await connection.fetchval(
                    f"SELECT count(*) FROM {table} WHERE tenant_id IS DISTINCT FROM $1", tenant_id
                )
                assert (table, others) == (table, 0)
        assert [table for table, rows in seen.items() if rows == 0] == []


async def test_without_a_tenant_nothing_is_seen_also_on_a_connection_that_had_one(pool: Pool) -> None:
    async with platform_transaction(pool) as connection:
        process = await connection.fetchval("SELECT pg_backend_pid()")
        tenant_id = await connection.fetchval("SELECT min(tenant_id) FROM tenants")
    async with tenant_transaction(pool, tenant_id) as connection:
        assert sum((await everything_of(pool, connection)).values()) > 20
    async with pool.acquire() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") == process
        assert sum((await everything_of(pool, connection)).values()) == 0
        assert await connection.fetchval(f"SELECT count(*) FROM {MIXED}") == 0
        assert await connection.fetchval("SELECT current_user") == API_ROLE


async def test_a_tenant_ends_with_its_transaction_before_the_pool_clears_the_connection(pool: Pool) -> None:
    async with pool.acquire() as connection:
        async with connection.transaction():
            await become(connection, 1)
            assert await connection.fetchval("SELECT count(*) FROM tenants") == 1
        assert await connection.fetchval("SELECT count(*) FROM tenants") == 0
        async with connection.transaction():
            await become_platform(connection)
        assert await connection.fetchval("SELECT current_user") == API_ROLE


async def test_a_failed_transaction_leaves_neither_tenant_nor_platform_behind(pool: Pool) -> None:
    for opened in (tenant_transaction(pool, 1), platform_transaction(pool)):
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with opened as connection:
                await connection.execute("SELECT 1/0")
        assert await pool.fetchval("SELECT count(*) FROM tenants") == 0
        assert await pool.fetchval("SELECT current_user") == API_ROLE


async def test_the_log_shows_entries_that_hold_an_event_of_the_tenant(pool: Pool) -> None:
    async with platform_transaction(pool) as connection:
        ids = [row["tenant_id"] for row in await connection.fetch("SELECT tenant_id FROM tenants ORDER BY 1")]
    for tenant_id in ids:
        async with tenant_transaction(pool, tenant_id) as connection:
            assert await connection.fetchval(f"SELECT count(*) FROM {MIXED}") > 0
            assert (
                await connection.fetchval(
                    f"SELECT count(*) FROM {MIXED} WHERE NOT tenants @> ARRAY[$1::int]", tenant_id
                )
                == 0
            )
    async with pool.acquire() as connection, connection.transaction():
        await become(connection, 999_999)
        assert await connection.fetchval(f"SELECT count(*) FROM {MIXED}") == 0


FORBIDDEN = (
    "UPDATE audit_log SET entry = 'nothing happened'",
    "DELETE FROM audit_log",
    "DELETE FROM audit_heads",
    "SELECT digest FROM access_keys",
    "UPDATE access_keys SET scopes = '{admin}'",
    "UPDATE tenants SET status = 'active'",
    "UPDATE tenants SET budgets = '{}', name = 'other'",
    "DELETE FROM event_log",
    "UPDATE dead_letters SET events = 0",
    "DELETE FROM dead_letters",
    "SELECT processed FROM shard_stops",
    "INSERT INTO hourly_summary SELECT * FROM hourly_summary",
    "DROP POLICY one_tenant ON tenants",
    "CREATE TABLE mine (n int)",
)


async def test_the_server_may_change_no_history_no_status_and_no_tables(pool: Pool) -> None:
    async with platform_transaction(pool) as connection:
        tenant_id = await connection.fetchval("SELECT min(tenant_id) FROM tenants")
    for statement in FORBIDDEN:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with tenant_transaction(pool, tenant_id) as connection:
                await connection.execute(statement)


async def test_a_row_cannot_be_written_for_another_tenant(pool: Pool) -> None:
    async with platform_transaction(pool) as connection:
        mine, other = [
            row["tenant_id"] for row in await connection.fetch("SELECT tenant_id FROM tenants ORDER BY 1")
        ]
    for statement in (
        "INSERT INTO groups (tenant_id, group_id) VALUES ($1, 'planted')",
        "UPDATE groups SET tenant_id = $1",
        "INSERT INTO audit_log VALUES ($1, 9, 0, 'planted', sha256('x'))",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with tenant_transaction(pool, mine) as connection:
                await connection.execute(statement, other)
    key = make_key()
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with tenant_transaction(pool, mine) as connection:
            await connection.execute(
                "INSERT INTO access_keys (key_id, digest, tenant_id, scopes, role) VALUES ($1, $2, $3, '{read}', 'analyst')",
                key.key_id, key.digest, other,
            )  # fmt: skip


async def test_the_server_runs_as_a_login_that_is_a_member_of_nothing_else(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with open_api(redis_url, database_url, tmp_path, TENANTS) as api:
        connection = api.engine.connection
        await connection.execute("CREATE ROLE server_alone LOGIN NOINHERIT")
        try:
            await connection.execute("GRANT streamgauge_api, streamgauge_platform TO server_alone")
            url = urlsplit(database_url)._replace(netloc="server_alone@").geturl()
            app = create_server(
                dataclasses.replace(api.app.state.settings, database_url=url), require_current
            )
            key, owner = await api.key("berlin", "read", "admin", "write"), await api.key(None, "platform")
            async with app.router.lifespan_context(app):
                assert await app.state.pool.fetchval("SELECT session_user") == "server_alone"
                transport = httpx.ASGITransport(app, raise_app_exceptions=False)
                async with httpx.AsyncClient(transport=transport, base_url="http://streamgauge") as client:
                    for path, given in (
                        ("/health/ready", None), ("/metrics", None), ("/api/v1/summary", key), ("/api/v1/dashboard", key),
                        ("/api/v1/realtime", key), ("/api/v1/ledger", key), ("/api/v1/pipeline", key), ("/api/v1/actors", key),
                        ("/api/v1/events", key), ("/api/v1/tenants/berlin/groups", key), ("/api/v1/tenants", owner),
                    ):  # fmt: skip
                        reply = await client.get(path, headers=bearer(given))
                        assert reply.status_code == 200, (path, reply.text)
                    made = await client.post("/api/v1/tenants", json={"id": "new"}, headers=bearer(owner))
                    assert made.status_code == 201, made.text
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await app.state.pool.execute("RESET ROLE; SELECT count(*) FROM hourly_summary")
        finally:
            await connection.execute("DROP ROLE server_alone")


async def test_a_database_without_the_roles_is_a_clear_error(database_url: str) -> None:
    with pytest.raises(ServerError, match="run `streamgauge migrate`"):
        await open_pool(database_url, 1, role="streamgauge_unheard_of")
    with pytest.raises(ServerError, match="GRANT streamgauge_api, streamgauge_platform"):
        await open_pool(database_url, 1, role="streamgauge")
