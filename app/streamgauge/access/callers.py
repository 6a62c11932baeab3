"""Look-up of keys: by public name, compared in constant time, remembered for a few seconds."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from typing import cast

import asyncpg

from streamgauge.access.keys import Key, parse_key
from streamgauge.database import Pool
from streamgauge.errors import ServerError
from streamgauge.event import Source
from streamgauge.sql import named_queries

SQL = named_queries("streamgauge.access")
REMEMBERED = 4.0  # seconds; with the look-up itself, a revoked key is refused within five
MOST_REMEMBERED = 10_000
PATIENCE = 3.0  # seconds


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the credential says; nothing in a request can change it."""

    key_id: str
    tenant: str
    scopes: frozenset[str]
    actor: bytes | None  #: whom events sent with it are about, as a pseudonym
    source: Source  #: what events sent with it are marked as

    def may(self, scope: str) -> bool:
        """Whether it may do what the scope names."""
        return scope in self.scopes or (scope == "read" and "admin" in self.scopes)


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes
    caller: Caller


class Callers:
    """The callers of one server process."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        #: By public name: what the database said, and when it is to be asked again.
        self._remembered: dict[str, tuple[float, _Known | None]] = {}

    async def identify(self, credential: str) -> Caller | None:
        """The caller that has this key; None for one that is malformed, unknown, wrong, expired or revoked.

        Raises ServerError when the database cannot be asked: nobody gets in without it.
        """
        key = parse_key(credential)
        if key is None:
            return None
        known = await self._find(key)
        # Compared in any case, so that a wrong secret and an unknown name take the same time.
        matches = compare_digest(key.digest, known.digest if known else bytes(32))
        return known.caller if known is not None and matches else None

    async def _find(self, key: Key) -> _Known | None:
        now = self._clock()
        until, known = self._remembered.get(key.key_id, (now, None))
        if until > now:
            return known
        known = await self._ask(key.key_id)
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[key.key_id] = now + REMEMBERED, known
        return known

    async def _ask(self, key_id: str) -> _Known | None:
        try:
            async with asyncio.timeout(PATIENCE), self._pool.acquire() as connection:
                row = await connection.fetchrow(SQL["key"], key_id)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ServerError(
                f"the key cannot be looked up: PostgreSQL does not answer ({type(error).__name__})"
            ) from error
        if row is None:
            return None
        actor = None if row["actor"] is None else bytes(row["actor"])
        caller = Caller(key_id, row["tenant"], frozenset(row["scopes"]), actor, cast(Source, row["source"]))
        return _Known(bytes(row["digest"]), caller)
