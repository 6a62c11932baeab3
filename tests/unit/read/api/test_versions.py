"""Versions: looked up at most ten times a second, never older than that, and never replaced by an older one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from streamgauge.errors import InputError, ServerError
from streamgauge.read.api.version import MOST_REMEMBERED, REMEMBERED, Versions


class Database:
    """A pool whose rows the test decides."""

    def __init__(self) -> None:
        self.token = "one"
        self.looks = 0
        self.gate: asyncio.Event | None = None
        self.unknown: set[str] = set()
        self.away = False

    async def acquire(self, timeout: float) -> "Database":  # noqa: ASYNC109 - as asyncpg has it
        if self.away:
            raise OSError("away")
        return self

    async def release(self, _: object) -> None:
        """Nothing to give back."""

    @asynccontextmanager
    async def transaction(self, **_: object) -> AsyncIterator[None]:
        """As good as none."""
        yield

    async def execute(self, _: str) -> None:
        """Roles are PostgreSQL's."""

    async def fetchrow(self, _: str, tenant: str) -> dict[str, Any] | None:
        self.looks += 1
        token = self.token
        if self.gate is not None:
            await self.gate.wait()
        if tenant in self.unknown:
            return None
        return {
            "tenant_id": len(tenant),
            "revision": 0,
            "zones": "UTC",
            "tokens": token,
            "verified": None,
            "clock": 7,
        }


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Database, Clock, Versions]]:
    database, clock = Database(), Clock()
    yield database, clock, Versions(cast(Any, database), clock)


async def test_a_version_is_remembered_for_a_moment_and_then_looked_up_again() -> None:
    async with opened() as (database, clock, versions):
        first = await versions.of("t")
        database.token = "two"
        clock.now += REMEMBERED * 0.9
        assert await versions.of("t") == first
        assert database.looks == 1
        clock.now += REMEMBERED * 0.2
        assert (await versions.of("t")).digest != first.digest
        assert database.looks == 2


async def test_every_part_of_a_version_counts_and_tenants_have_their_own() -> None:
    async with opened() as (database, _, versions):
        assert await versions.of("t") != await versions.of("uu")
        assert database.looks == 2


async def test_those_who_look_together_look_once() -> None:
    async with opened() as (database, _, versions):
        found = await asyncio.gather(*(versions.of("t") for _ in range(30)))
        assert (database.looks, len(set(found))) == (1, 1)


async def test_who_goes_away_takes_nobody_elses_version_along() -> None:
    async with opened() as (database, _, versions):
        database.gate = asyncio.Event()
        first, second = (asyncio.create_task(versions.of("t")) for _ in range(2))
        while not database.looks:  # noqa: ASYNC110 - nothing tells when a look is begun
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        database.gate.set()
        assert (await second).clock == 7
        assert database.looks == 1


async def test_the_moment_counts_from_before_the_look_up() -> None:
    async with opened() as (database, clock, versions):
        database.gate = asyncio.Event()
        looking = asyncio.create_task(versions.of("t"))
        while not database.looks:  # noqa: ASYNC110 - nothing tells when a look is begun
            await asyncio.sleep(0)
        clock.now += 2 * REMEMBERED  # the answer took that long
        database.gate.set()
        await looking
        database.token = "two"
        await versions.of("t")
        assert database.looks == 2


async def test_a_slow_look_does_not_replace_what_a_later_one_found() -> None:
    async with opened() as (database, clock, versions):
        gate = database.gate = asyncio.Event()
        slow = asyncio.create_task(versions.read(cast(Any, database), "t"))
        await asyncio.sleep(0)
        database.gate, database.token = None, "two"
        clock.now += 0.01
        newer = await versions.read(cast(Any, database), "t")
        gate.set()
        assert await slow != newer
        assert await versions.of("t") == newer


async def test_a_version_read_with_an_answer_is_remembered_too() -> None:
    async with opened() as (database, _, versions):
        found = await versions.read(cast(Any, database), "t")
        assert await versions.of("t") == found
        assert database.looks == 1


async def test_a_tenant_that_is_gone_and_a_database_that_is_away_are_told_and_not_remembered() -> None:
    async with opened() as (database, _, versions):
        database.unknown = {"t"}
        with pytest.raises(InputError, match="not known any more"):
            await versions.of("t")
        database.unknown = set()
        database.away = True
        with pytest.raises(ServerError, match="PostgreSQL does not answer"):
            await versions.of("t")
        database.away = False
        assert (await versions.of("t")).clock == 7


async def test_what_is_remembered_is_bounded() -> None:
    async with opened() as (database, _, versions):
        for number in range(MOST_REMEMBERED + 5):
            await versions.read(cast(Any, database), str(number))
        assert len(versions._known) <= MOST_REMEMBERED
