"""Keys in the database: made, listed, revoked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streamgauge.access.callers import SQL
from streamgauge.access.keys import Key, make_key
from streamgauge.access.roles import ALLOWED, ROLES, SCOPES, Role, role_of
from streamgauge.database import Connection
from streamgauge.errors import InputError
from streamgauge.event import Source

LONGEST_LABEL = 200  # characters
MOST_DAYS = 3_650
MOST_GROUPS = 500


@dataclass(frozen=True, slots=True)
class Listed:
    """What can be told of a key: all but itself."""

    key_id: str
    tenant: str | None  #: None for an owner's
    scopes: tuple[str, ...]
    role: Role
    groups: tuple[str, ...] | None
    has_actor: bool
    source: str
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    usable: bool


async def create(
    connection: Connection,
    tenant: str | None,
    scopes: Sequence[str],
    *,
    role: Role | None = None,
    groups: Sequence[str] | None = None,
    actor: bytes | None = None,
    source: Source = "server",
    label: str = "",
    expires_in_days: int | None = None,
) -> Key:
    """A new key of a tenant, or of the platform without one, whose text is shown now or never.

    `role` follows from the scopes where it is not given. `groups` limit an analyst to them.

    Raises InputError for scopes that do not exist or that the role cannot have, groups of anybody but an analyst, a member without an
    actor, a label or a life that is too long, and a tenant that is not there.
    """
    given = role or role_of(frozenset(scopes))
    _check(given, scopes, groups, actor, tenant)
    if len(label) > LONGEST_LABEL or "\0" in label:
        raise InputError(f"a label has up to {LONGEST_LABEL} characters", "label")
    if expires_in_days is not None and not 1 <= expires_in_days <= MOST_DAYS:
        raise InputError(f"a key expires in 1 to {MOST_DAYS} days", "expires_in_days")
    key = make_key()
    arguments = (
        sorted(set(scopes)), actor, source, label, expires_in_days, given, None if groups is None else sorted(set(groups)),
    )  # fmt: skip
    made = await connection.fetchval(SQL["key_store"], key.key_id, key.digest, tenant, *arguments)
    if made is None:
        raise InputError(f"tenant {tenant!r} is not known: create it first", "tenant")
    return key


def _check(
    role: Role,
    scopes: Sequence[str],
    groups: Sequence[str] | None,
    actor: bytes | None,
    tenant: str | None,
) -> None:
    if not scopes or not set(scopes) <= set(SCOPES):
        raise InputError(f"a key has at least one scope of {', '.join(SCOPES)}", "scopes")
    if role not in ROLES:
        raise InputError(f"a role is one of {', '.join(ROLES)}", "role")
    if not set(scopes) <= ALLOWED[role]:
        allowed = ", ".join(sorted(ALLOWED[role]))
        raise InputError(f"the role {role} can have these scopes alone: {allowed}", "scopes")
    if (role == "owner") != (tenant is None):
        raise InputError("an owner's key is of no tenant, and everybody else's of one", "tenant")
    if role == "member" and actor is None:
        raise InputError("a member's key needs the actor whose data it is", "actor")
    if groups is not None and (role != "analyst" or len(groups) > MOST_GROUPS):
        raise InputError(f"an analyst alone is limited to groups, at most {MOST_GROUPS} of them", "groups")


async def listed(connection: Connection, tenant: str | None = None) -> list[Listed]:
    """Every key, or every key of a tenant, the newest last."""
    return [
        Listed(
            **{
                **dict(row),
                "scopes": tuple(row["scopes"]),
                "groups": None if row["groups"] is None else tuple(row["groups"]),
            }
        )
        for row in await connection.fetch(SQL["keys"], tenant)
    ]


async def revoke(connection: Connection, key_id: str) -> int:
    """Make a key unusable, everywhere within five seconds; returns the number of its tenant, 0 for an owner's. Twice is fine.

    Raises InputError when there is no such key.
    """
    row = await connection.fetchrow(SQL["key_revoke"], key_id)
    if row is None:
        raise InputError(f"there is no key {key_id!r}: `streamgauge keys list` shows them all", "key_id")
    return int(row["tenant_id"] or 0)


async def is_usable(connection: Connection, key: Key, tenant: str) -> bool:
    """Whether this very key may be used for the tenant."""
    row = await connection.fetchrow(SQL["key"], key.key_id)
    return row is not None and row["tenant"] == tenant and bytes(row["digest"]) == key.digest
