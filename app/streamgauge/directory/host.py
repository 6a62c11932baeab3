"""A host application's side of the directory: a FastAPI router that tells Streamgauge's server the names it asks for.

    app.include_router(directory.host.router(gauge.settings, names=names, search=search, token=TOKEN))

The server is told where it is, and the same token: STREAMGAUGE_DIRECTORY_URL=https://app.example.org/streamgauge/directory and
STREAMGAUGE_DIRECTORY_TOKEN. Its questions name people by pseudonyms, which this router computes with the host's own keyring.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hmac import compare_digest
from typing import Annotated, Final, Protocol, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from streamgauge.capture.host_keys import HostKeys
from streamgauge.capture.identity import LONGEST_TENANT
from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge.capture.route_template import UNCOUNTED
from streamgauge.errors import SettingsError
from streamgauge.settings import Settings

PREFIX: Final = "/streamgauge/directory"
MOST_ASKED: Final = 200  # actors of one question
MOST_FOUND: Final = 100
LEAST_TOKEN: Final = 16  # characters
MOST_REMEMBERED: Final = 1_000_000  # people whose pseudonyms are computed once
T = TypeVar("T")

#: Names by external identifier of everybody in a tenant, or of nobody where it is none of the host's; sync or async.
Names = Callable[[str], Mapping[str, str] | Awaitable[Mapping[str, str]]]
#: External identifiers of up to so many people of a tenant that a text finds; sync or async.
Search = Callable[[str, str, int], Sequence[str] | Awaitable[Sequence[str]]]
Tenant = Annotated[str, Field(min_length=1, max_length=LONGEST_TENANT)]


class Keys(Protocol):
    """Where a tenant's keys come from: the keyring."""

    def tenant(self, name: str, /) -> TenantKeys:
        """Raises SettingsError when there are none to be had."""


class NamesQuestion(BaseModel):
    """Whose names: pseudonyms in hexadecimal digits."""

    model_config = ConfigDict(extra="forbid")

    tenant: Tenant
    actors: Annotated[list[Annotated[str, Field(pattern="^[0-9a-f]{34}$")]], Field(max_length=MOST_ASKED)]


class NamesAnswer(BaseModel):
    """Names by pseudonym; who is not known is left out."""

    names: dict[str, str]


class SearchQuestion(BaseModel):
    """Who is looked for."""

    model_config = ConfigDict(extra="forbid")

    tenant: Tenant
    q: Annotated[str, Field(min_length=1, max_length=200)]
    limit: Annotated[int, Field(ge=1, le=MOST_FOUND)] = 20


class SearchAnswer(BaseModel):
    """Who was found."""

    external_ids: list[str]


def router(
    settings: Settings,
    *,
    names: Names,
    search: Search,
    token: str,
    prefix: str = PREFIX,
    keys: Keys | None = None,
) -> APIRouter:
    """A router with `POST {prefix}` for names and `POST {prefix}/search`, for Streamgauge's server alone.

    Both functions are given the tenant's name first; they are asked for each question, and what they answer is not kept. Requests
    are not counted as the application's, and who does not show the token gets 401.

    Args:
        settings: the gauge's, whose keyring the pseudonyms are made with.
        names: names by external identifier, of everybody who may have one.
        search: external identifiers that a text finds.
        token: at least 16 characters that the server shows, too.
        keys: instead of the keyring; for tests.

    Raises SettingsError for a token that is too short to be a secret.
    """
    if len(token) < LEAST_TOKEN:
        raise SettingsError(f"a directory's token has at least {LEAST_TOKEN} characters: give a random one")
    expected = f"Bearer {token}".encode()

    def guard(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not compare_digest(given, expected):
            raise HTTPException(401, "the directory's token is needed", {"WWW-Authenticate": "Bearer"})

    index = _Index(HostKeys(settings) if keys is None else keys)
    found = APIRouter(
        prefix=prefix, tags=["streamgauge"], include_in_schema=False, dependencies=[Depends(guard)]
    )

    @found.post("")
    async def tell_names(question: NamesQuestion) -> NamesAnswer:
        """The names of actors."""
        people = await _asked(names, question.tenant)
        asked = frozenset(question.actors)
        told = await run_in_threadpool(index.names, question.tenant, people, asked)
        return NamesAnswer(names=told)

    @found.post("/search")
    async def find(question: SearchQuestion) -> SearchAnswer:
        """Who is meant by a text."""
        told = await _asked(search, question.tenant, question.q, question.limit)
        return SearchAnswer(external_ids=[str(each) for each in told][: question.limit])

    for endpoint in (tell_names, find):
        setattr(endpoint, UNCOUNTED, True)
    return found


class _Index:
    """Pseudonyms of external identifiers, each computed once."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[tuple[str, str, str], str] = {}

    def names(self, tenant: str, people: Mapping[str, str], asked: frozenset[str]) -> dict[str, str]:
        """The names of those who are asked for."""
        if not people:
            return {}  # no keys are made for a tenant that is none of the host's
        keys = self._keys.tenant(tenant)
        if len(self._known) > MOST_REMEMBERED:
            self._known.clear()
        found = {}
        for external, name in people.items():
            # With the fingerprint: a rotated key gives everybody another pseudonym.
            place = tenant, keys.fingerprint, external
            pseudonym = self._known.get(place)
            if pseudonym is None:
                pseudonym = self._known[place] = keys.pseudonym("actor", external).hex()
            if pseudonym in asked:
                found[pseudonym] = name
        return found


async def _asked(function: Callable[..., T | Awaitable[T]], *arguments: object) -> T:
    """What a host's function answers; a plain one may block, so it is asked in a thread."""
    if inspect.iscoroutinefunction(function):
        told: T = await function(*arguments)
        return told
    answer = await run_in_threadpool(function, *arguments)
    return await answer if inspect.isawaitable(answer) else answer
