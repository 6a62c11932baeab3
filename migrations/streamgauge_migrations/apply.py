"""Apply the numbered SQL files and tell whether a database is at the version this program needs.

A file is recorded with its checksum in the transaction that runs it, so a migration is there whole or not at all; a changed,
unknown or missing one is told apart and named.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from streamgauge.database import Connection, open_connection
from streamgauge.errors import SchemaError, ServerError

OLDEST_POSTGRESQL = 140000  # multirange types
ADVISORY_LOCK = 0x5354474D  # "STGM"; one migrating program at a time
APPLICATION_NAME = "streamgauge migrate"
LOCK_TIMEOUT = "5s"  # a migration gives up rather than queueing every reader behind itself
DUPLICATES = (
    asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError, asyncpg.DuplicateFunctionError,
    asyncpg.DuplicateColumnError, asyncpg.DuplicateSchemaError, asyncpg.UniqueViolationError,
)  # fmt: skip

HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
)"""


@dataclass(frozen=True)
class Migration:
    """One numbered file: its version (the file's stem), its SQL and the SHA-256 of that."""

    version: str
    sql: str
    checksum: str


def versions() -> list[Migration]:
    """The migrations this program ships, oldest first."""
    found = []
    for file in files("streamgauge_migrations").iterdir():
        if file.name.endswith(".sql"):
            sql = file.read_text("utf-8")
            found.append(
                Migration(file.name.removesuffix(".sql"), sql, hashlib.sha256(sql.encode()).hexdigest())
            )
    return sorted(found, key=lambda migration: migration.version)


async def migrate(database_url: str) -> list[str]:
    """Bring the database to this program's version; returns the versions applied now.

    Raises ServerError for a PostgreSQL that cannot be reached, is too old or refuses, SchemaError for a database that this
    program cannot migrate. What was applied before the error stays, what failed leaves nothing.
    """
    connection = await open_connection(database_url, application_name=APPLICATION_NAME)
    done: list[str] = []
    try:
        require_supported(connection.get_server_version())
        while (version := await _apply_next(connection)) is not None:
            done.append(version)
    finally:
        await connection.close()
    return done


async def _apply_next(connection: Connection) -> str | None:
    """Apply the first pending migration; returns its version, None when nothing is pending."""
    migration: Migration | None = None
    try:
        async with connection.transaction():
            # Of the transaction, not of the session, so that it holds behind a connection pooler too.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", ADVISORY_LOCK)
            pending = compare(await applied(connection), versions())
            if not pending:
                return None
            migration = pending[0]
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            await connection.execute(HISTORY)
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, checksum) VALUES ($1, $2)",
                migration.version,
                migration.checksum,
            )
            return migration.version
    except asyncpg.PostgresError as error:
        raise explain(error, migration.version if migration else None) from error


def explain(error: asyncpg.PostgresError, version: str | None) -> ServerError:
    """What to do about an error that PostgreSQL raised in a migration; nothing of that migration was kept."""
    said = f"migration {version} was not applied ({error})" if version else f"not migrated ({error})"
    if isinstance(error, asyncpg.LockNotAvailableError):
        return ServerError(
            f"{said}: another program held a lock on a table for longer than {LOCK_TIMEOUT}; nothing was changed; "
            "end long transactions and try again"
        )
    if isinstance(error, DUPLICATES):
        return SchemaError(
            f"{said}: the database holds already what it wants to create, so it was migrated by hand or half-way; "
            "use an empty database, or restore schema_migrations to match the tables"
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return ServerError(
            f"{said}: the user may not create tables; give it the right (GRANT CREATE ON SCHEMA public TO ...), "
            "or put another user into STREAMGAUGE_DATABASE_URL"
        )
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return ServerError(
            f"{said}: this PostgreSQL only reads, as a replica does; put the primary into STREAMGAUGE_DATABASE_URL"
        )
    if isinstance(error, asyncpg.DiskFullError):
        return ServerError(f"{said}: the disk of PostgreSQL is full; free some and try again")
    return SchemaError(f"{said}: nothing of it was kept")


async def check(database_url: str) -> None:
    """Raise SchemaError unless the database is exactly at this program's version, ServerError when it cannot be asked."""
    connection = await open_connection(database_url, application_name=APPLICATION_NAME)
    try:
        await require_current(connection)
    finally:
        await connection.close()


async def require_current(connection: Connection) -> None:
    """Raise SchemaError unless a connection's database is exactly at this program's version."""
    require_supported(connection.get_server_version())
    have = await applied(connection)
    if not have:
        raise SchemaError("the database has no Streamgauge tables: run `streamgauge migrate`")
    pending = compare(have, versions())
    if pending:
        raise SchemaError(
            f"the database lacks migration {pending[0].version}: run `streamgauge migrate`, then start again"
        )


def require_supported(version: "asyncpg.types.ServerVersion") -> None:
    """Raise ServerError when PostgreSQL is older than we can use."""
    number = version.major * 10000 + version.minor
    if number < OLDEST_POSTGRESQL:
        raise ServerError(
            f"PostgreSQL {version.major}.{version.minor} is too old: Streamgauge needs 14 or newer; "
            "upgrade it, or point STREAMGAUGE_DATABASE_URL at a newer one"
        )


async def applied(connection: Connection) -> dict[str, str]:
    """Checksums of the migrations the database has, by version."""
    if not await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL"):
        return {}
    rows = await connection.fetch("SELECT version, checksum FROM schema_migrations")
    return {row["version"]: row["checksum"] for row in rows}


def compare(have: dict[str, str], shipped: list[Migration]) -> list[Migration]:
    """The migrations still to apply, in order; SchemaError when history and program disagree."""
    known = {migration.version: migration for migration in shipped}
    for version, checksum in sorted(have.items()):
        if version not in known:
            raise SchemaError(
                f"the database is at migration {version}, which this program does not know: it is newer; "
                "upgrade this program before you start it"
            )
        if known[version].checksum != checksum:
            raise SchemaError(
                f"migration {version} was applied with other contents than this program ships: "
                "the database was migrated by another build; restore it or migrate an empty one"
            )
    pending = [migration for migration in shipped if migration.version not in have]
    if have and pending and pending[0].version < max(have):
        raise SchemaError(
            f"migration {pending[0].version} is missing though a later one was applied: the database is half-migrated; "
            "restore it from a backup or migrate an empty one"
        )
    return pending
