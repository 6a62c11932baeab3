"""Keys in the database: made, listed, revoked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streamgauge.access.callers import SQL
from streamgauge.access.keys import Key, make_key
from streamgauge.database import Connection
from streamgauge.errors import InputError
from streamgauge.event import Source

SCOPES = ("read", "write", "admin")
LONGEST_LABEL = 200  # characters
MOST_DAYS = 3_650


@dataclass(frozen=True, slots=True)
class Listed:
    """What can be told of a key: all but itself."""

    key_id: str
    tenant: str
    scopes: tuple[str, ...]
    has_actor: bool
    source: str
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    usable: bool


async def create(
    connection: Connection,
    tenant: str,
    scopes: Sequence[str],
    *,
    actor: bytes | None = None,
    source: Source = "server",
    label: str = "",
    expires_in_days: int | None = None,
) -> Key:
    """A new key of a tenant, whose text is shown now or never.

    Raises InputError for scopes that do not exist, a label or a life that is too long, and a tenant that is not there.
    """
    if not scopes or not set(scopes) <= set(SCOPES):
        raise InputError(f"a key has at least one scope of {', '.join(SCOPES)}", "scopes")
    if len(label) > LONGEST_LABEL or "\0" in label:
        raise InputError(f"a label has up to {LONGEST_LABEL} characters", "label")
    if expires_in_days is not None and not 1 <= expires_in_days <= MOST_DAYS:
        raise InputError(f"a key expires in 1 to {MOST_DAYS} days", "expires_in_days")
    key = make_key()
    arguments = (sorted(set(scopes)), actor, source, label, expires_in_days)
    made = await connection.fetchval(SQL["key_store"], key.key_id, key.digest, tenant, *arguments)
    if made is None:
        raise InputError(f"tenant {tenant!r} is not known: create it first", "tenant")
    return key


async def listed(connection: Connection, tenant: str | None = None) -> list[Listed]:
    """Every key, or every key of a tenant, the newest last."""
    return [
        Listed(**{**dict(row), "scopes": tuple(row["scopes"])})
        for row in await connection.fetch(SQL["keys"], tenant)
    ]


async def revoke(connection: Connection, key_id: str) -> None:
    """Make a key unusable, everywhere within five seconds. Twice is fine. Raises InputError when there is no such key."""
    if await connection.fetchval(SQL["key_revoke"], key_id) is None:
        raise InputError(f"there is no key {key_id!r}: `streamgauge keys list` shows them all", "key_id")


async def is_usable(connection: Connection, key: Key, tenant: str) -> bool:
    """Whether this very key may be used for the tenant."""
    row = await connection.fetchrow(SQL["key"], key.key_id)
    return row is not None and row["tenant"] == tenant and bytes(row["digest"]) == key.digest
