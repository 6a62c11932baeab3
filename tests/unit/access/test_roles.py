"""Promises about who may do what: all of it written down once more, by hand."""

from itertools import combinations
from typing import get_args

import pytest

from streamgauge.access.roles import ALLOWED, OF_TOKENS, ROLES, SCOPES, Permission, Role, Scope, permitted

#: Role, scopes that suffice each by itself, permissions they give. Whatever is not here is not allowed.
GIVEN: tuple[tuple[Role, frozenset[Scope], frozenset[Permission]], ...] = (
    ("member", frozenset({"read"}), frozenset({"people"})),
    ("member", frozenset({"write"}), frozenset({"write"})),
    ("analyst", frozenset({"read"}), frozenset({"read", "people"})),
    ("analyst", frozenset({"write"}), frozenset({"write"})),
    ("admin", frozenset({"read"}), frozenset({"read", "people"})),
    ("admin", frozenset({"write"}), frozenset({"write"})),
    ("admin", frozenset({"admin"}), frozenset({"read", "people", "admin", "tenants"})),
    ("writer", frozenset({"write"}), frozenset({"write"})),
    ("owner", frozenset({"platform"}), frozenset({"platform", "tenants"})),
)


def expected(role: Role, scopes: frozenset[Scope]) -> set[Permission]:
    found: set[Permission] = {"any"}
    for whose, sufficing, permissions in GIVEN:
        if whose == role and sufficing <= scopes:
            found |= permissions
    return found


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_with_scopes_it_can_have_what_the_table_says_and_nothing_else(role: Role) -> None:
    allowed = sorted(ALLOWED[role])
    for size in range(len(allowed) + 1):
        for chosen in combinations(allowed, size):
            scopes = frozenset(chosen)
            may = {each for each in get_args(Permission) if permitted(each, role, scopes, None)}
            assert may == expected(role, scopes), (role, scopes)


def test_an_analyst_limited_to_groups_sees_people_and_no_figures_of_the_whole_tenant() -> None:
    for groups in (frozenset({"7b"}), frozenset[str]()):
        assert not permitted("read", "analyst", frozenset({"read"}), groups)
        assert permitted("people", "analyst", frozenset({"read"}), groups)


def test_nobody_gets_the_platform_or_a_scope_beyond_their_role_from_a_token() -> None:
    for role in ROLES:
        assert OF_TOKENS[role] <= ALLOWED[role]
        assert not permitted("platform", role, OF_TOKENS[role], None)
    assert set().union(*ALLOWED.values()) == set(SCOPES)
