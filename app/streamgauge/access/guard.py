"""The guard in front of routes: `Depends(require("read"))`."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from streamgauge.access.callers import Caller, Callers
from streamgauge.access.roles import Permission
from streamgauge.limits.guarding import take_of_key

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="An access key (`streamgauge keys create --tenant NAME --read`), or a token of your identity provider",
)
_REFUSED = "a valid access key or token is needed: Authorization: Bearer sg_..."
#: What is told to who may not do something: what it would take.
_NEEDED: dict[Permission, str] = {
    "write": "it takes a key with the scope write",
    "read": "figures of a whole tenant are for its admins, and for analysts who are not limited to groups",
    "people": "it takes a member, an analyst or an admin who may read",
    "admin": "it takes an admin of the tenant",
    "tenants": "it takes an admin of the tenant, or an owner of the platform",
    "any": "it takes a credential",
    "platform": "it takes an owner of the platform",
}


def require(permission: Permission) -> Callable[..., Awaitable[Caller]]:
    """A dependency that gives the caller, or answers 401 without a usable credential and 403 when it may not do this.

    Every unusable credential gets the same answer, whether it is malformed, unknown, expired or revoked.
    """

    async def guard(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> Caller:
        caller = (
            None if credentials is None else await callers_of(request.app).identify(credentials.credentials)
        )
        if caller is None:
            raise HTTPException(401, _REFUSED, {"WWW-Authenticate": "Bearer"})
        await take_of_key(request, caller.key_id, caller.tenant, caller.budget)
        if not caller.may(permission):
            held = f"role {caller.role}, scopes {', '.join(sorted(caller.scopes)) or 'none'}"
            raise HTTPException(
                403,
                f"this credential may not do this ({held}): {_NEEDED[permission]} (lacking: {permission!r})",
            )
        if caller.suspended:
            raise HTTPException(403, "this tenant is suspended: ask whoever runs the platform")
        if permission == "people" and not caller.people and caller.role != "member":
            raise HTTPException(403, "this tenant's policy `people` lets nobody read rows about others")
        return caller

    # What the tests' matrix reads: which permission each route asks for.
    guard.permission = permission  # type: ignore[attr-defined]  # functions have no declared attributes
    return guard


def callers_of(app: FastAPI) -> Callers:
    """The application's callers; its pool has to be open."""
    found = getattr(app.state, "callers", None)
    if not isinstance(found, Callers):
        found = app.state.callers = Callers(
            app.state.pool,
            tokens=getattr(app.state, "tokens", None),
            pseudonym_of=getattr(app.state, "pseudonym_of", None),
        )
    return found
