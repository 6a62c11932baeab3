"""What somebody is, what a credential was made for, and what follows from both. Whatever is not listed is not allowed."""

from typing import Final, Literal, get_args

Role = Literal["member", "analyst", "admin", "writer", "owner"]
Scope = Literal["read", "write", "admin", "platform"]
#: What routes ask for: `read` figures of a whole tenant, `people` rows about people, `admin` a tenant's settings, `platform` tenants,
#: `tenants` either of the last two, `any` nothing of anybody's.
Permission = Literal["write", "read", "people", "admin", "tenants", "platform", "any"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

#: Which scopes a role may have at all.
ALLOWED: Final[dict[Role, frozenset[Scope]]] = {
    "member": frozenset({"read", "write"}),
    "analyst": frozenset({"read", "write"}),
    "admin": frozenset({"read", "write", "admin"}),
    "writer": frozenset({"write"}),
    "owner": frozenset({"platform"}),
}
#: The scopes of somebody who comes with a token instead of a key.
OF_TOKENS: Final[dict[Role, frozenset[Scope]]] = {
    "member": frozenset({"read"}),
    "analyst": frozenset({"read"}),
    "admin": frozenset({"read", "admin"}),
    "writer": frozenset({"write"}),
    "owner": frozenset(),
}


def permitted(
    permission: Permission, role: Role, scopes: frozenset[Scope], groups: frozenset[str] | None
) -> bool:
    """Whether somebody of this role may do it with these scopes; `groups` are those an analyst is limited to, None: to none."""
    reads = not scopes.isdisjoint({"read", "admin"})
    if permission == "any":
        return True
    if permission == "write":
        return "write" in scopes
    if permission == "read":
        # Figures are of the whole tenant: who may see some groups alone may not see those.
        return reads and role in ("analyst", "admin") and groups is None
    if permission == "people":
        return reads and role in ("member", "analyst", "admin")
    admin, owner = role == "admin" and "admin" in scopes, role == "owner" and "platform" in scopes
    if permission == "tenants":
        return admin or owner
    return admin if permission == "admin" else owner


def role_of(scopes: frozenset[str]) -> Role:
    """The role of a key that was asked for by its scopes alone."""
    if "platform" in scopes:
        return "owner"
    if "admin" in scopes:
        return "admin"
    return "analyst" if "read" in scopes else "writer"
