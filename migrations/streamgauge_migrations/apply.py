"""Apply the numbered SQL files and tell whether a database is at the version this program needs.

A file is recorded with its checksum in the transaction that runs it, so a migration is there whole or not at all; a changed,
unknown or missing one is told apart and named.

A migration waits only briefly for a lock, since whoever comes after it waits behind it; it gives up what it has locked and tries again.

A file with the line `-- additive` in its head changes nothing that the program before it reads or writes: new tables, new indexes, new
columns that have defaults. That program goes on over such a database, and can be gone back to. Over others it refuses.
"""

import asyncio
import hashlib
import random
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from streamgauge.database import Connection, open_connection
from streamgauge.errors import SchemaError, ServerError

OLDEST_POSTGRESQL = 140000  # multirange types
ADVISORY_LOCK = 0x5354474D  # "STGM"; one migrating program at a time
APPLICATION_NAME = "streamgauge migrate"
LOCK_TIMEOUT = "200ms"  # for each lock; readers and writers that come meanwhile wait as long
MOST_TRIES = 40  # about a minute in all
PAUSE = 1.5  # seconds between tries, on average
BLOCKERS = 3  # named in the message
ADDITIVE = "-- additive"
DUPLICATES = (
    asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError, asyncpg.DuplicateFunctionError,
    asyncpg.DuplicateColumnError, asyncpg.DuplicateSchemaError, asyncpg.UniqueViolationError,
)  # fmt: skip

HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
)"""
HAS_MARK = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'schema_migrations'::regclass AND attname = 'additive')"
MARK = "ALTER TABLE schema_migrations ADD additive boolean NOT NULL DEFAULT false"
# A database of before the mark has no such column.
APPLIED = "SELECT version, checksum, coalesce((to_jsonb(m) ->> 'additive')::boolean, false) AS additive FROM schema_migrations m"
HOLDERS = """
SELECT pid, coalesce(nullif(application_name, ''), 'unnamed') AS name, extract(epoch FROM clock_timestamp() - xact_start)::int AS seconds
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - interval '1 second'
ORDER BY xact_start LIMIT $1"""


@dataclass(frozen=True)
class Migration:
    """One numbered file: its version (the file's stem), its SQL and the SHA-256 of that."""

    version: str
    sql: str
    checksum: str

    @property
    def additive(self) -> bool:
        """Whether the program before this migration goes on over it: the mark is a line of the comment that the file begins with."""
        for line in self.sql.splitlines():
            if not line.startswith("--"):
                return False
            if line.strip() == ADDITIVE:
                return True
        return False


@dataclass(frozen=True)
class Applied:
    """A migration that a database has."""

    checksum: str
    additive: bool = False


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
        while (version := await _patiently(connection)) is not None:
            done.append(version)
    finally:
        await connection.close()
    return done


async def _patiently(connection: Connection) -> str | None:
    """Apply the first pending migration, trying again while others hold what it has to lock."""
    for _ in range(MOST_TRIES - 1):
        try:
            return await _apply_next(connection)
        except LockedError:
            # Not at regular times: what holds the locks may come regularly as well.
            await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
    try:
        return await _apply_next(connection)
    except LockedError as error:
        rows = await connection.fetch(HOLDERS, BLOCKERS)
        holders = ", ".join(f"{row['name']} (process {row['pid']}, for {row['seconds']} s)" for row in rows)
        raise ServerError(f"{error}; open transactions: {holders or 'none longer than a second'}") from None


class LockedError(ServerError):
    """Somebody held a lock that a migration needs."""


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
            if not await connection.fetchval(HAS_MARK):
                await connection.execute(MARK)
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, checksum, additive) VALUES ($1, $2, $3)",
                migration.version,
                migration.checksum,
                migration.additive,
            )
            return migration.version
    except asyncpg.PostgresError as error:
        raise explain(error, migration.version if migration else None) from error


def explain(error: asyncpg.PostgresError, version: str | None) -> ServerError:
    """What to do about an error that PostgreSQL raised in a migration; nothing of that migration was kept."""
    said = f"migration {version} was not applied ({error})" if version else f"not migrated ({error})"
    if isinstance(error, asyncpg.LockNotAvailableError):
        return LockedError(
            f"{said}: another program held a lock on a table for longer than {LOCK_TIMEOUT}, {MOST_TRIES} times; "
            "nothing was changed; end long transactions and try again"
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


async def applied(connection: Connection) -> dict[str, Applied]:
    """The migrations the database has, by version."""
    if not await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL"):
        return {}
    rows = await connection.fetch(APPLIED)
    return {row["version"]: Applied(row["checksum"], row["additive"]) for row in rows}


def compare(have: dict[str, Applied], shipped: list[Migration]) -> list[Migration]:
    """The migrations still to apply, in order; SchemaError when history and program disagree.

    Later ones that this program does not know are none of its business, if they are marked as additive.
    """
    known = {migration.version: migration for migration in shipped}
    for version, found in sorted(have.items()):
        if version not in known:
            if found.additive and shipped and version > shipped[-1].version:
                continue
            raise SchemaError(
                f"the database is at migration {version}, which this program does not know: it is newer; "
                "upgrade this program before you start it"
            )
        if known[version].checksum != found.checksum:
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
