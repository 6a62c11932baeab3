"""The version of a tenant's data: while it stays the same, so does every answer."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from streamgauge.database import Connection, Pool
from streamgauge.errors import InputError
from streamgauge.read.connections import lent_platform
from streamgauge.sql import named_queries

SQL = named_queries("streamgauge.read.api")
REMEMBERED = 0.1  # seconds; however many ask
MOST_REMEMBERED = 10_000  # tenants
_PARTS = ("tenant_id", "revision", "zones", "tokens", "verified")


@dataclass(frozen=True, slots=True)
class Version:
    """What a tenant's data are at, and the database's clock in Unix seconds."""

    digest: str
    clock: int


class Versions:
    """Looks versions up, each at most ten times a second."""

    def __init__(self, pool: Pool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._monotonic = monotonic
        #: By tenant: when it was asked for, and what the database said.
        self._known: dict[str, tuple[float, Version]] = {}
        self._looking: dict[str, asyncio.Task[Version]] = {}

    async def of(self, tenant: str) -> Version:
        """A tenant's version, at most REMEMBERED old.

        Raises InputError when there is no such tenant any more, ServerError when the database cannot be asked.
        """
        known = self._known.get(tenant)
        if known is not None and self._monotonic() < known[0] + REMEMBERED:
            return known[1]
        task = self._looking.get(tenant)
        if task is None:
            task = self._looking[tenant] = asyncio.create_task(self._look(tenant))
            task.add_done_callback(lambda _: self._looking.pop(tenant, None))
        # Shielded: the others must not lose their answer when the first one goes away.
        return await asyncio.shield(task)

    async def read(self, connection: Connection, tenant: str) -> Version:
        """The version that a connection sees, of a snapshot if it is in one. Raises InputError as `of`."""
        began = self._monotonic()
        row = await connection.fetchrow(SQL["version"], tenant)
        if row is None:
            raise InputError(f"tenant {tenant!r} is not known any more", "tenant")
        content = "\n".join(str(row[part]) for part in _PARTS)
        version = Version(blake2b(content.encode(), digest_size=16).hexdigest(), row["clock"])
        if began >= self._known.get(tenant, (began, None))[0]:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[tenant] = began, version
        return version

    async def _look(self, tenant: str) -> Version:
        async with lent_platform(self._pool) as connection:
            return await self.read(connection, tenant)
