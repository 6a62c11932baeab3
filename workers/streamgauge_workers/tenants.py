"""The tenants a worker knows, by the name their events carry."""

import asyncio
from dataclasses import dataclass

import structlog

from streamgauge.database import Connection
from streamgauge.errors import InputError
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import Scope
from streamgauge_workers.queries import SQL

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant: its scope for the fold, and the key that decides between too many dimension values."""

    name: str
    scope: Scope
    cardinality_key: bytes


class Tenants:
    """Read again whenever an unknown name turns up and every few seconds, so that a new tenant is known at once."""

    REFRESH_SECONDS = 5.0

    def __init__(self) -> None:
        self.by_name: dict[str, Tenant] = {}
        self.by_id: dict[int, Tenant] = {}
        self.calendars: dict[tuple[tuple[int | None, str], ...], Calendar] = {}
        self.loaded_at = float("-inf")
        #: Ids of tenants that are being deleted, by name. The dictionaries above hold them for as long as a transaction may need them.
        self.deleting: dict[str, int] = {}
        #: Names of tenants that are being deleted or are gone: from when on (microseconds) events may be of another tenant
        #: that bears the name now, None where there is none.
        self.deleted: dict[str, int | None] = {}
        self._loading = asyncio.Lock()

    async def require(self, connection: Connection, names: list[str], at: float, anew: bool = False) -> None:
        """Make sure these names are known if they exist. `at` is a monotonic clock's seconds; `anew`: whatever is known."""
        old = at - self.loaded_at > self.REFRESH_SECONDS
        if anew or old or any(name not in self.by_name for name in names):
            await self.load(connection)
            self.loaded_at = at

    async def load(self, connection: Connection) -> None:
        """Read all tenants."""
        # One at a time: what shows a deletion must not be overwritten by an answer from before it.
        async with self._loading:
            await self._load(connection)

    async def _load(self, connection: Connection) -> None:
        tenants = []
        for row in await connection.fetch(SQL["tenants"]):
            zones = tuple(zip(row["effective"], row["zones"], strict=True))
            try:
                calendar = self.calendars.setdefault(zones, Calendar(zones))
            except InputError as error:
                # The others must not suffer: this tenant's events are rejected as unknown until its zone is mended.
                log.error("tenant left out", tenant_id=row["tenant_id"], reason=str(error))
                continue
            tenants.append(Tenant(row["name"], Scope(row["tenant_id"], calendar), row["cardinality_key"]))
        # Second, so that a deletion that begins in between is seen.
        gone = await connection.fetch(SQL["tenants_deleted"])
        self.deleting = {row["name"]: row["deleting"] for row in gone if row["deleting"] is not None}
        self.deleted = {row["name"]: row["again"] for row in gone}
        self.by_name = {tenant.name: tenant for tenant in tenants}
        self.by_id = {tenant.scope.tenant_id: tenant for tenant in tenants}
