"""The audit log: whatever is done to a chain of it is found."""

import asyncio
import re

import pytest

from streamgauge.access import audit
from streamgauge.access.callers import Caller
from streamgauge.access.tenancy import API_ROLE
from streamgauge.database import Connection, open_connection, open_pool
from tests.integration.engine import open_engine

DAMAGES = {
    "UPDATE audit_log SET entry = replace(entry, 'ann', 'bob') WHERE sequence = 3": "entry 3 was changed",
    "UPDATE audit_log SET at = at + 1 WHERE sequence = 2": "entry 2 was changed",
    "DELETE FROM audit_log WHERE sequence = 4": "entry 4 is missing",
    "DELETE FROM audit_log WHERE sequence = 5": "entries at the end are missing",
    "DELETE FROM audit_log WHERE sequence = 1": "entry 1 is missing",
    "DELETE FROM audit_log": "entries at the end are missing",
    "DELETE FROM audit_heads": "entries at the end are missing",
    "INSERT INTO audit_log SELECT tenant_id, 6, at, entry, digest FROM audit_log WHERE sequence = 5": "entry 6 was changed",
    "UPDATE audit_log SET digest = sha256(digest || convert_to(sequence || '|' || at || '|' || entry, 'UTF8')) WHERE sequence = 2":
        "entry 2 was changed",
}  # fmt: skip


def caller(tenant_id: int) -> Caller:
    return Caller("abc", "berlin", tenant_id, "admin", frozenset({"admin"}))


async def written(connection: Connection, tenant_id: int) -> None:
    for number in range(5):
        await audit.append(
            connection, caller(tenant_id), "people.read", f"/actors/{number}", {"of": "ann", "ü": "\u2028"}
        )


async def test_a_chain_that_nobody_touched_is_unbroken(database_url: str) -> None:
    connection = await open_connection(database_url)
    try:
        await written(connection, 7)
        await audit.append_command(connection, 0, "keys.create", "/keys/abc")
        await audit.append(connection, caller(7), "too.long", "/", {"text": "x" * 20_000})
        chains = await audit.check(connection)
        assert [(each.tenant_id, each.entries, each.broken_at) for each in chains] == [
            (0, 1, None),
            (7, 6, None),
        ]
        assert (
            await connection.fetchval("SELECT digest FROM audit_heads WHERE tenant_id = 7") == chains[1].head
        )
        kept = await connection.fetchval("SELECT entry FROM audit_log WHERE sequence = 6")
        assert kept.endswith('"detail":{"too_long":20083}}')
    finally:
        await connection.close()


@pytest.mark.parametrize("page", [2, 10_000])
async def test_every_damage_is_found_and_named(
    database_url: str, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(audit, "_PAGE", page)
    connection = await open_connection(database_url)
    try:
        await written(connection, 7)
        await written(connection, 8)
        for damage, problem in DAMAGES.items():
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(damage)
            found = {each.tenant_id: each for each in await audit.check(connection)}
            await transaction.rollback()
            assert found[7].problem == problem, damage
        assert {each.broken_at for each in await audit.check(connection)} == {None}
    finally:
        await connection.close()


async def test_those_who_append_at_the_same_time_take_turns(redis_url: str, database_url: str) -> None:
    async with open_engine(redis_url, database_url, {"berlin": "UTC"}) as engine:
        tenant_id = await engine.connection.fetchval("SELECT tenant_id FROM tenants")
        pool = await open_pool(database_url, 8, role=API_ROLE)
        try:
            await asyncio.gather(
                *(audit.record(pool, caller(tenant_id), "people.read", f"/{number}") for number in range(60))
            )
        finally:
            await pool.close()
        (chain,) = await audit.check(engine.connection)
        assert (chain.tenant_id, chain.entries, chain.broken_at) == (tenant_id, 60, None)


async def test_what_is_rolled_back_leaves_no_line(database_url: str) -> None:
    connection = await open_connection(database_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await audit.append(connection, caller(7), "tenants.change", "/")
        await transaction.rollback()
        await audit.append(connection, caller(7), "tenants.change", "/")
        (chain,) = await audit.check(connection)
        assert (chain.entries, chain.broken_at) == (1, None)
        assert re.fullmatch(r"[0-9a-f]{64}", chain.head.hex())
    finally:
        await connection.close()
