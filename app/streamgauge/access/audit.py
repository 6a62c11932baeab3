"""The audit log: who read personal data, who changed keys, groups and policies. Appended to, and chained by hashes.

Each row's digest is SHA-256 over the digest before it and the row itself, as in Schneier and Kelsey, "Secure audit logs to support
computer forensics", 1999: who changes, removes or slips in a row has to recompute all that follow. Somebody who may write to the
whole database can do that, so note a chain's end (`streamgauge verify` prints it) where they cannot.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import orjson

from streamgauge.access.callers import SQL, Caller
from streamgauge.access.tenancy import platform_transaction, tenant_transaction
from streamgauge.database import Connection, Pool

BEGINNING: Final = bytes(32)
LONGEST_ENTRY: Final = 10_000  # characters
COMMAND: Final = "command line"
_PAGE = 10_000  # rows looked at together


@dataclass(frozen=True, slots=True)
class Chain:
    """One tenant's chain, as it was found. `broken_at` is the sequence of the first row that does not fit, None: all do."""

    tenant_id: int  #: 0: the platform's
    entries: int
    head: bytes
    broken_at: int | None
    problem: str = ""


async def append(
    connection: Connection,
    caller: Caller,
    action: str,
    resource: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write down what the caller does, in the connection's transaction: it is there if and only if what was done is.

    Args:
        action: what is done, such as `keys.create`.
        resource: to what, such as `/api/v1/keys`; never an external identifier.
        detail: filters and values that say more; cut where it is too long.
    """
    who = {"by": caller.key_id, "role": caller.role}
    await _store(connection, caller.tenant_id, who, action, resource, detail)


async def append_command(
    connection: Connection,
    tenant_id: int,
    action: str,
    resource: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """The same of somebody at the command line, whom the operating system knows."""
    await _store(connection, tenant_id, {"by": COMMAND, "role": "owner"}, action, resource, detail)


async def record(
    pool: Pool, caller: Caller, action: str, resource: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Write down, in a transaction of its own, what is about to be read: before it is, so that nothing is read unseen."""
    opened = tenant_transaction(pool, caller.tenant_id) if caller.tenant_id else platform_transaction(pool)
    async with opened as connection:
        await append(connection, caller, action, resource, detail)


async def check(connection: Connection) -> list[Chain]:
    """Look through every chain. The connection has to see all tenants, in one snapshot."""
    heads = {row["tenant_id"]: dict(row) for row in await connection.fetch(SQL["audit_heads"])}
    found = []
    for tenant_id in sorted(
        {*heads, *(row["tenant_id"] for row in await connection.fetch(SQL["audit_tenants"]))}
    ):
        found.append(await _check_one(connection, tenant_id, heads.get(tenant_id)))
    return found


async def _check_one(connection: Connection, tenant_id: int, head: Mapping[str, Any] | None) -> Chain:
    digest, sequence = BEGINNING, 0
    while rows := await connection.fetch(SQL["audit_page"], tenant_id, sequence, _PAGE):
        for row in rows:
            expected = sequence + 1
            if row["sequence"] != expected:
                return Chain(tenant_id, sequence, digest, expected, f"entry {expected} is missing")
            digest = link(digest, expected, row["at"], row["entry"])
            if digest != bytes(row["digest"]):
                return Chain(tenant_id, sequence, digest, expected, f"entry {expected} was changed")
            sequence = expected
    if head is None or head["sequence"] != sequence or bytes(head["digest"]) != digest:
        return Chain(tenant_id, sequence, digest, sequence + 1, "entries at the end are missing")
    return Chain(tenant_id, sequence, digest, None)


def link(previous: bytes, sequence: int, at: int, entry: str) -> bytes:
    """The digest of a row. The database computes the same when it stores one: see the query `audit_append`."""
    return sha256(previous + f"{sequence}|{at}|{entry}".encode()).digest()


async def _store(
    connection: Connection,
    tenant_id: int,
    who: Mapping[str, str],
    action: str,
    resource: str,
    detail: Mapping[str, Any] | None,
) -> None:
    entry = {**who, "action": action, "resource": resource}
    text = orjson.dumps({**entry, "detail": dict(detail or {})}, default=str).decode()
    if len(text) > LONGEST_ENTRY:
        text = orjson.dumps({**entry, "detail": {"too_long": len(text)}}).decode()
    at = int(datetime.now(UTC).timestamp() * 1_000_000)
    await connection.execute(SQL["audit_append"], tenant_id, at, text)
