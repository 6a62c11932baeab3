"""Waiting at the start for servers that are away: a host's programs may all start at the same time."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import asyncpg
import structlog

from streamgauge.errors import UnreachableError
from streamgauge.logs import redacted

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds
#: As told by our own code, and as told by PostgreSQL's client when a connection is lost again at once.
AWAY = (UnreachableError, ConnectionError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError,
        asyncpg.TooManyConnectionsError, asyncpg.AdminShutdownError)  # fmt: skip

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Waiting:
    """What a program waits for, if it does; told by its health."""

    def __init__(self) -> None:
        self.reason: str | None = None

    async def until_there(
        self,
        attempt: Callable[[], Awaitable[T]],
        meanwhile: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> T:
        """Try until no server is away, the last times inside of `meanwhile`.

        Raises what else goes wrong: a setting that has to be changed is told at once.
        """
        try:
            return await attempt()
        except AWAY as error:
            self._tell(error)
        with meanwhile():
            found = await self._again(attempt)
        self.reason = None
        log.info("the server is there")
        return found

    async def _again(self, attempt: Callable[[], Awaitable[T]]) -> T:
        pause = FIRST_PAUSE
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            pause = min(pause * 2, LONGEST_PAUSE)
            try:
                return await attempt()
            except AWAY as error:
                self._tell(error)

    def _tell(self, error: Exception) -> None:
        self.reason = redacted(str(error) or type(error).__name__)
        log.warning("waiting for a server", detail=self.reason)
