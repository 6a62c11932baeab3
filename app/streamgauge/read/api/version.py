"""The version of a tenant's data: while it stays the same, so does every answer."""

import asyncio
import time
from dataclasses import dataclass
from hashlib import blake2b

from streamgauge.database import Pool
from streamgauge.errors import InputError
from streamgauge.sql import named_queries

SQL = named_queries("streamgauge.read.api")
REMEMBERED = 0.1  # seconds; however many ask
MOST_REMEMBERED = 10_000  # tenants


@dataclass(frozen=True, slots=True)
class Version:
    """A tenant, what its data are at, and the database's clock in Unix seconds."""

    tenant_id: int
    digest: str
    clock: int


class Versions:
    """Looks versions up, each at most ten times a second."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[str, tuple[float, Version]] = {}
        self._looking: dict[str, asyncio.Task[Version]] = {}

    async def of(self, tenant: str) -> Version:
        """A tenant's version. Raises InputError when there is no such tenant any more."""
        known = self._known.get(tenant)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        if tenant not in self._looking:
            task = self._looking[tenant] = asyncio.create_task(self._look(tenant))
            task.add_done_callback(lambda _: self._looking.pop(tenant, None))
        # Shielded: the others must not lose their answer when the first one goes away.
        return await asyncio.shield(self._looking[tenant])

    async def _look(self, tenant: str) -> Version:
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(SQL["version"], tenant)
        if row is None:
            raise InputError(f"tenant {tenant!r} is not known any more", "tenant")
        parts = [str(row[name]) for name in ("tenant_id", "revision", "zones", "tokens", "verified")]
        version = Version(
            row["tenant_id"], blake2b("\n".join(parts).encode(), digest_size=16).hexdigest(), row["clock"]
        )
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[tenant] = time.monotonic() + REMEMBERED, version
        return version
