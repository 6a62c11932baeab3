"""What a server asks PostgreSQL, statement by statement."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import asyncpg

from streamgauge.database import SETTINGS, Pool

#: What a connection says besides what it was asked to say; it looks at types, too, when it meets them first.
_CHORES = (
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SET LOCAL",
    "pg_advisory_unlock_all",
    "typeinfo",
    "current_setting",
)


class Statements:
    """The statements since the last `clear`, in order, without those that only open and close transactions."""

    def __init__(self) -> None:
        self._heard: list[str] = []

    def hear(self, record: Any) -> None:
        """What asyncpg calls for every statement."""
        if not any(each in record.query for each in _CHORES):
            self._heard.append(record.query)

    async def clear(self) -> None:
        """Forget what was asked so far."""
        await self.asked()
        self._heard.clear()

    async def asked(self) -> list[str]:
        """What was asked."""
        await asyncio.sleep(0)  # asyncpg tells of a statement in the loop's next round
        return list(self._heard)

    def about(self, statements: list[str], *tables: str) -> list[str]:
        """Those of some statements that name one of the tables."""
        return [each for each in statements if any(table in each for table in tables)]


@contextmanager
def heard() -> Iterator[Statements]:
    """Hear every statement of servers that start meanwhile."""
    statements = Statements()

    async def open_pool(url: str, size: int, **settings: str) -> Pool:
        async def listen(connection: Any) -> None:
            connection.add_query_logger(statements.hear)

        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            server_settings=SETTINGS | settings,
            command_timeout=30,
            init=listen,
        )

    with patch("streamgauge.read.server.open_pool", open_pool):
        yield statements
