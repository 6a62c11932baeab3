"""The guard in front of routes: `Depends(require("read"))`."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from streamgauge.access.callers import Caller, Callers

Scope = Literal["read", "write", "admin"]

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="An access key: `streamgauge keys create --tenant NAME --read`",
)
_REFUSED = "a valid access key is needed: Authorization: Bearer sg_..."


def require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency that gives the caller, or answers 401 without a usable key and 403 when it may not do this.

    Every unusable key gets the same answer, whether it is malformed, unknown, expired or revoked.
    """

    async def guard(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> Caller:
        caller = (
            None if credentials is None else await callers_of(request.app).identify(credentials.credentials)
        )
        if caller is None:
            raise HTTPException(401, _REFUSED, {"WWW-Authenticate": "Bearer"})
        if not caller.may(scope):
            raise HTTPException(
                403, f"this key lacks the scope {scope!r}: it has {', '.join(sorted(caller.scopes))}"
            )
        return caller

    return guard


def callers_of(app: FastAPI) -> Callers:
    """The application's callers; its pool has to be open."""
    found = getattr(app.state, "callers", None)
    if not isinstance(found, Callers):
        found = app.state.callers = Callers(app.state.pool)
    return found
