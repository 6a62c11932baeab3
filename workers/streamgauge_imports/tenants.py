"""The tenant that events are brought in for: found, or made."""

from dataclasses import dataclass
from typing import TypeAlias

from streamgauge.database import Connection
from streamgauge.errors import InputError
from streamgauge.summaries.zones import load_zone
from streamgauge_imports.queries import SQL

LONGEST_NAME = 100  # characters
DEFAULT_ZONE = "UTC"
#: Unix second from which each zone holds, None for the first, and its name.
Zones: TypeAlias = tuple[tuple[int | None, str], ...]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant of the database."""

    tenant_id: int
    name: str
    #: Random; tells this tenant from one of the same name in another database, or before it was deleted.
    identity: bytes
    zones: Zones

    @property
    def time_zone(self) -> str:
        """The zone it has now."""
        return self.zones[-1][1]


def check_name(name: str) -> None:
    """Raise InputError unless a tenant can be called so."""
    if not 0 < len(name) <= LONGEST_NAME or name != name.strip() or not name.isprintable():
        raise InputError(
            f"tenant {name[:LONGEST_NAME]!r}: a name has 1 to {LONGEST_NAME} printable characters, and no space at its ends",
            "tenant",
        )


async def require_tenant(connection: Connection, name: str, time_zone: str | None) -> Tenant:
    """The tenant of that name, made when there is none, with `time_zone` or UTC.

    Raises InputError for a name or zone that cannot be, and when the tenant has another zone than the given one.
    """
    check_name(name)
    if time_zone is not None:
        load_zone(time_zone)
    row = await connection.fetchrow(SQL["tenant"], name)
    if row is None:
        await connection.execute(SQL["tenant_create"], name, time_zone or DEFAULT_ZONE)
        row = await connection.fetchrow(SQL["tenant"], name)
        if row is None:
            raise InputError(f"tenant {name!r} is being deleted: try again once it is gone", "tenant")
    zones = tuple(zip(row["effective"], row["zones"], strict=True))
    tenant = Tenant(row["tenant_id"], name, row["cardinality_key"], zones)
    if time_zone not in (None, tenant.time_zone):
        raise InputError(
            f"tenant {name!r} has the time zone {tenant.time_zone!r}, not {time_zone!r}: leave --time-zone out, or use "
            "another tenant",
            "time_zone",
        )
    return tenant
