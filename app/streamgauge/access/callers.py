"""Who asks: keys and tokens looked up, compared in constant time, remembered for a few seconds."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Generic, Protocol, TypeVar, cast

import asyncpg

from streamgauge.access.keys import parse_key
from streamgauge.access.roles import OF_TOKENS, Permission, Role, Scope, permitted
from streamgauge.access.tenancy import platform_transaction
from streamgauge.database import Pool
from streamgauge.errors import ServerError, SettingsError
from streamgauge.event import Source
from streamgauge.sql import named_queries

SQL = named_queries("streamgauge.access")
REMEMBERED = 4.0  # seconds; with the look-up itself, a revoked key is refused within five
MOST_REMEMBERED = 10_000
PATIENCE = 3.0  # seconds
T = TypeVar("T")

#: (tenant, external identifier) -> the actor's pseudonym.
PseudonymOf = Callable[[str, str], bytes]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the credential says; nothing in a request can change it."""

    key_id: str  #: names the credential in logs and in the audit log: a key's public name, or jwt: and a part of the pseudonym
    tenant: str  #: empty for an owner
    tenant_id: int  #: 0 for an owner
    role: Role
    scopes: frozenset[Scope]
    actor: bytes | None = (
        None  #: its own pseudonym: whom events sent with it are about, whose data a member may see
    )
    groups: frozenset[str] | None = None  #: those an analyst is limited to; None: the whole tenant
    source: Source = "server"  #: what events sent with it are marked as
    suspended: bool = False  #: its tenant is
    people: bool = True  #: its tenant lets analysts and admins read rows about people
    budget: int | None = (
        None  #: requests a minute of its tenant, all credentials together; None: no more than their own limits
    )

    def may(self, permission: Permission) -> bool:
        """Whether it may do this."""
        return permitted(permission, self.role, self.scopes, self.groups)


class Claims(Protocol):
    """What a verified token says."""

    @property
    def subject(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def role(self) -> Role: ...
    @property
    def groups(self) -> frozenset[str] | None: ...


class Tokens(Protocol):
    """What tells the claims of a token; see `streamgauge.access.tokens`."""

    async def verify(self, credential: str) -> Claims | None:
        """The claims; None for a token that is not to be believed. Raises ServerError when that cannot be found out."""


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes
    caller: Caller


class _Remembered(Generic[T]):
    """What was looked up, for a few seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[str, tuple[float, T | None]] = {}

    async def get(self, name: str, look_up: Callable[[str], Any]) -> T | None:
        now = self._clock()
        until, known = self._until.get(name, (now, None))
        if until > now:
            return known
        found: T | None = await look_up(name)
        # The oldest goes: names that nobody has must not push out all the others at once.
        self._until.pop(name, None)
        while len(self._until) >= MOST_REMEMBERED:
            self._until.pop(next(iter(self._until)))
        # Counted from before the look-up: what was changed since then must be seen in time.
        self._until[name] = now + REMEMBERED, found
        return found


class Callers:
    """The callers of one server process."""

    def __init__(
        self,
        pool: Pool,
        clock: Callable[[], float] = time.monotonic,
        *,
        tokens: Tokens | None = None,
        pseudonym_of: PseudonymOf | None = None,
    ) -> None:
        """Without `tokens` and `pseudonym_of`, keys are all there is."""
        self._pool = pool
        self._tokens = tokens
        self._pseudonym_of = pseudonym_of
        self._keys: _Remembered[_Known] = _Remembered(clock)
        self._tenants: _Remembered[Mapping[str, Any]] = _Remembered(clock)

    async def identify(self, credential: str) -> Caller | None:
        """The caller that has this key or token; None for one that is malformed, unknown, wrong, expired or revoked.

        Raises ServerError when the database or the tokens' issuer cannot be asked: nobody gets in without them.
        """
        key = parse_key(credential)
        if key is None:
            return await self._of_token(credential)
        known = await self._keys.get(key.key_id, self._look_up_key)
        # Compared in any case, so that a wrong secret and an unknown name take the same time.
        matches = compare_digest(key.digest, known.digest if known else bytes(32))
        return known.caller if known is not None and matches else None

    async def _of_token(self, credential: str) -> Caller | None:
        if self._tokens is None or self._pseudonym_of is None:
            return None
        claims = await self._tokens.verify(credential)
        if claims is None:
            return None
        tenant = await self._tenants.get(claims.tenant, self._look_up_tenant)
        if tenant is None:
            return None
        # Reading the keyring may mean reading a file.
        try:
            actor = await asyncio.to_thread(self._pseudonym_of, claims.tenant, claims.subject)
        except SettingsError as error:
            raise ServerError("the keyring cannot be used: the server's log says why") from error
        return Caller(
            f"jwt:{actor.hex()[2:14]}",
            claims.tenant,
            tenant["tenant_id"],
            claims.role,
            OF_TOKENS[claims.role],
            actor,
            claims.groups,
            suspended=tenant["status"] != "active",
            people=tenant["people"],
            budget=tenant["budget"],
        )

    async def _look_up_key(self, key_id: str) -> _Known | None:
        row = await self._ask(SQL["key"], key_id)
        if row is None:
            return None
        caller = Caller(
            key_id,
            row["tenant"] or "",
            row["tenant_id"] or 0,
            cast(Role, row["role"]),
            frozenset(row["scopes"]),
            None if row["actor"] is None else bytes(row["actor"]),
            None if row["groups"] is None else frozenset(row["groups"]),
            cast(Source, row["source"]),
            suspended=row["status"] not in (None, "active"),
            people=row["people"],
            budget=row["budget"],
        )
        return _Known(bytes(row["digest"]), caller)

    async def _look_up_tenant(self, name: str) -> Mapping[str, Any] | None:
        return await self._ask(SQL["tenant_of_token"], name)

    async def _ask(self, query: str, name: str) -> Mapping[str, Any] | None:
        try:
            async with asyncio.timeout(PATIENCE), platform_transaction(self._pool) as connection:
                row = await connection.fetchrow(query, name)
                return None if row is None else dict(row)
        except (OSError, TimeoutError, ServerError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ServerError(
                f"the credential cannot be looked up: PostgreSQL does not answer ({type(error).__name__})"
            ) from error
