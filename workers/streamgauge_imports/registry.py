"""Imports by what they bring in: which lane each has, with which options it was begun, and whether all of it arrived."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

import orjson

from streamgauge.database import Connection
from streamgauge.entry import LANE_BYTES
from streamgauge.errors import InputError
from streamgauge_imports.queries import SQL
from streamgauge_imports.tenants import Tenant

#: What options are called where the user sets them.
_SETTINGS = {
    "format": "--format",
    "routes": "the file given with --routes",
    "shards": "STREAMGAUGE_SHARDS",
    "generation": "STREAMGAUGE_GENERATION",
    "key": "the keyring (STREAMGAUGE_KEYRING)",
    "version": "the version of Streamgauge",
}


@dataclass(frozen=True, slots=True)
class Import:
    """One import as the database knows it."""

    lane: bytes
    started_at: datetime
    finished_at: datetime | None
    counts: Mapping[str, Any]


def lane_of(tenant: Tenant, digest: bytes) -> bytes:
    """The lane of an import: the same content for the same tenant always has the same, so a repetition is a duplicate."""
    parts = (tenant.name.encode(), tenant.identity, digest)
    joined = b"".join(b"%d:" % len(part) + part for part in parts)
    return blake2b(joined, digest_size=LANE_BYTES, person=b"sg import").digest()


async def begin(
    connection: Connection, tenant: Tenant, digest: bytes, source: str, options: Mapping[str, object]
) -> Import:
    """Register an import, or find it. From then on its lane is trusted: its events may be as old as they are.

    Raises InputError when it was begun with other options and is not finished: its frames would be other ones, and numbers that
    are taken would name other events.
    """
    lane = lane_of(tenant, digest)
    await connection.execute(
        SQL["import_begin"], tenant.tenant_id, digest, lane, source, orjson.dumps(options).decode()
    )
    row = await connection.fetchrow(SQL["import"], tenant.tenant_id, digest)
    assert row is not None  # noqa: S101 - just registered
    found = Import(row["lane"], row["started_at"], row["finished_at"], orjson.loads(row["counts"]))
    if found.finished_at is None:
        _check_options(orjson.loads(row["options"]), options, found.started_at)
    return found


async def finish(connection: Connection, lane: bytes, counts: Mapping[str, object]) -> None:
    """Say that everything is in the tables. History changed, so the tenant's revision moves in the same transaction."""
    async with connection.transaction():
        tenant_id = await connection.fetchval(SQL["import_finish"], lane, orjson.dumps(counts).decode())
        if tenant_id is not None:
            await connection.execute(SQL["tenant_revised"], tenant_id)


async def forget(connection: Connection, lane: bytes) -> None:
    """Nothing could be sent: the same content may be tried with other options."""
    await connection.execute(SQL["import_forget"], lane)


def _check_options(begun: dict[str, Any], now: Mapping[str, object], started_at: datetime) -> None:
    differing = [name for name in {**begun, **now} if begun.get(name) != now.get(name)]
    if not differing:
        return
    told = "; ".join(
        f"{_SETTINGS.get(name, name)} was {begun.get(name) or 'not given'!s}, is {now.get(name) or 'not given'!s}"
        for name in differing
    )
    raise InputError(
        f"this was begun on {started_at:%Y-%m-%d %H:%M} UTC and not finished, with other options ({told}): finish it with the "
        "same ones",
        "options",
    )
