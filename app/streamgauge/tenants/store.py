"""Tenants in the database: made, found, changed, left. Who may do so is decided by who opened the transaction."""

from uuid import UUID

import asyncpg
import orjson

from streamgauge.database import Connection
from streamgauge.errors import InputError
from streamgauge.sql import named_queries
from streamgauge.summaries.zones import load_zone
from streamgauge.tenants.records import (
    LONGEST_ID,
    Budgets,
    NewTenant,
    NextZone,
    Policies,
    Receipt,
    Tenant,
    TenantChange,
)

SQL = named_queries("streamgauge.tenants")
MOST_LISTED = 100


class ExistsError(InputError):
    """A tenant of that id is there already."""


async def listed(connection: Connection, after: str | None = None, limit: int = MOST_LISTED) -> list[Tenant]:
    """The tenants that the transaction sees, by id, after one of them."""
    return [_tenant(row) for row in await connection.fetch(SQL["tenants"], None, after, limit)]


async def found(connection: Connection, name: str) -> Tenant | None:
    """A tenant that the transaction sees."""
    row = await connection.fetchrow(SQL["tenants"], name, None, 1)
    return None if row is None else _tenant(row)


async def id_of(connection: Connection, name: str) -> int | None:
    """The number that a tenant has in this database."""
    row = await connection.fetchrow(SQL["tenants"], name, None, 1)
    return None if row is None else int(row["tenant_id"])


async def make(connection: Connection, new: NewTenant) -> int:
    """Make a tenant; returns its number. Raises InputError for an id or zone that cannot be, ExistsError where there is one."""
    check_id(new.id)
    check_text(new.name, "name")
    load_zone(new.time_zone)
    tenant_id = await connection.fetchval(
        SQL["tenant_make"], new.id, new.name, new.retention_days, _json(new.policies), _json(new.budgets)
    )
    if tenant_id is None:
        raise ExistsError(f"there is a tenant {new.id!r} already: change it, or choose another id", "id")
    await connection.execute(SQL["tenant_zone_first"], tenant_id, new.time_zone)
    return int(tenant_id)


async def change(connection: Connection, name: str, wanted: TenantChange) -> Tenant | None:
    """Change a tenant; returns it as it is then, None when the transaction sees none. Raises InputError for what cannot be."""
    known, tenant_id = await found(connection, name), await id_of(connection, name)
    if known is None or tenant_id is None:
        return None
    if known.status == "deleting":
        raise InputError(f"tenant {name!r} is being deleted", "id")
    given = wanted.model_fields_set
    if wanted.name is not None:
        check_text(wanted.name, "name")
    if given & {"name", "retention_days", "policies"}:
        await connection.execute(
            SQL["tenant_describe"],
            tenant_id,
            known.name if wanted.name is None else wanted.name,
            wanted.retention_days if "retention_days" in given else known.retention_days,
            _json(wanted.policies or known.policies),
        )
    if given & {"status", "budgets"}:
        await connection.execute(
            SQL["tenant_govern"],
            tenant_id,
            wanted.status or known.status,
            _json(wanted.budgets or known.budgets),
        )
    if wanted.time_zone is not None and wanted.time_zone != known.time_zone:
        load_zone(wanted.time_zone)
        await connection.execute(SQL["tenant_zone_forget"], tenant_id)
        await connection.execute(SQL["tenant_zone_next"], tenant_id, wanted.time_zone)
    return await found(connection, name)


async def leave(connection: Connection, name: str, by: str) -> Receipt | None:
    """Let a tenant be deleted by a worker; returns the receipt, of before if that was asked for before, None without such a tenant."""
    made = await connection.fetchval(SQL["tenant_leave"], name, by)
    if made is not None:
        return await receipt(connection, made)
    if await found(connection, name) is None:
        return None
    row = await connection.fetchrow(SQL["receipt_of"], name)
    return None if row is None else _receipt(row)


async def receipt(connection: Connection, receipt_id: UUID) -> Receipt | None:
    """What became of a deletion."""
    row = await connection.fetchrow(SQL["receipt"], receipt_id)
    return None if row is None else _receipt(row)


def check_id(name: str) -> None:
    """Raise InputError unless a tenant or group can be called so."""
    if not 0 < len(name) <= LONGEST_ID or name != name.strip() or not name.isprintable():
        raise InputError(
            f"an id has 1 to {LONGEST_ID} printable characters, and no space at its ends: {name[:LONGEST_ID]!r}",
            "id",
        )


def check_text(text: str, field: str) -> None:
    """Raise InputError for a text that cannot be shown."""
    if not text.isprintable():
        raise InputError(f"{field} holds characters that cannot be shown", field)


def _tenant(row: asyncpg.Record) -> Tenant:
    following = None
    if row["next_zone"] is not None:
        following = NextZone(time_zone=row["next_zone"], effective_from=row["next_from"])
    return Tenant(
        id=row["name"],
        name=row["display_name"] or row["name"],
        status=row["status"],
        time_zone=row["time_zone"],
        next_time_zone=following,
        retention_days=row["retention_days"],
        policies=Policies(**orjson.loads(row["policies"])),
        budgets=Budgets(**orjson.loads(row["budgets"])),
        created_at=row["created_at"],
    )


def _receipt(row: asyncpg.Record) -> Receipt:
    content = None if row["content"] is None else orjson.loads(row["content"])
    return Receipt(**{**dict(row), "receipt_id": str(row["receipt_id"]), "content": content})


def _json(model: Policies | Budgets) -> str:
    return model.model_dump_json()
