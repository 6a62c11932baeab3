"""What a token of the host's identity provider says about somebody, and where in it that stands."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, Self, cast

from streamgauge.access.roles import ROLES, Role
from streamgauge.errors import SettingsError, StreamgaugeError

MOST_GROUPS: Final = 500
LONGEST_SUBJECT: Final = 512  # characters, as everywhere an external identifier is given
LONGEST_NAME: Final = 100  # characters of a tenant or a group
MOST_BRACKETS: Final = 500  # of JSON objects and lists in a token, nested or not
_SETTING = "STREAMGAUGE_JWT_CLAIMS"
# What neither UTF-8 nor PostgreSQL can hold.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class RefusedTokenError(StreamgaugeError):
    """A token is not to be believed. The reason is for the log of whoever runs this, never for who sent the token."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    subject: str  #: the person's external identifier
    tenant: str
    role: Role  #: never owner
    #: Those an analyst is limited to, with no such claim none at all; None: the whole tenant.
    groups: frozenset[str] | None
    expires_at: datetime  #: UTC


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Which claims hold what: each a way into the token's object, empty where nothing is to be looked for."""

    actor: tuple[str, ...] = ()
    tenant: tuple[str, ...] = ()
    role: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @classmethod
    def from_setting(cls, text: str) -> Self:
        """The names in a text such as `actor=sub,tenant=org.id,role=role,groups=groups`.

        A dot goes into an object. A name with `://` in it, as some providers want for claims of one's own, is taken as it stands.

        Raises:
            SettingsError: actor, tenant or role is missing, something else is named, or a name is empty or given twice.
        """
        known = [field.name for field in fields(cls)]
        found: dict[str, tuple[str, ...]] = {}
        for part in text.split(","):
            what, _, claim = (each.strip() for each in part.partition("="))
            way = (claim,) if "://" in claim else tuple(claim.split("."))
            if what not in known or what in found or not all(way):
                raise SettingsError(
                    f"{_SETTING} holds {part.strip()!r}: give each of {', '.join(known)} once, such as role=realm_access.role"
                )
            found[what] = way
        if missing := [what for what in known[:3] if what not in found]:
            raise SettingsError(f"{_SETTING} does not say which claim is {missing[0]}: add {missing[0]}=...")
        return cls(**found)


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object in a part of a token: UTF-8, no name twice in an object, no NaN, at most MOST_BRACKETS objects and lists.

    Raises RefusedTokenError for anything else.
    """
    if data.count(b"{") + data.count(b"[") > MOST_BRACKETS:
        raise RefusedTokenError(f"it has more than {MOST_BRACKETS} objects and lists")
    try:
        found = json.loads(data.decode(), object_pairs_hook=_each_once, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedTokenError(f"a part of it is not JSON in UTF-8 ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise RefusedTokenError("a part of it is not a JSON object")
    return found


def read_claims(payload: Mapping[str, Any], names: ClaimNames, expires_at: float) -> Claims:
    """Who somebody is by a verified payload; `expires_at` in seconds of POSIX time.

    Raises RefusedTokenError where something is missing or is not what it should be: nobody gets a role by default.
    """
    role = _role(_at(payload, names.role))
    groups = _groups(_at(payload, names.groups)) if names.groups else None
    return Claims(
        _text(_at(payload, names.actor), LONGEST_SUBJECT, "actor"),
        _text(_at(payload, names.tenant), LONGEST_NAME, "tenant"),
        role,
        groups if role == "analyst" else None,
        datetime.fromtimestamp(expires_at, UTC),
    )


def _role(found: Any) -> Role:
    """The role, or of a list the one role in it: what a provider lists beside it is none of ours. Two of ours contradict each other."""
    listed = found if isinstance(found, list) else [found]
    if not all(isinstance(each, str) for each in listed):
        raise RefusedTokenError("the claim of the role is neither a text nor a list of texts")
    ours = set(listed).intersection(ROLES)
    if len(ours) != 1 or "owner" in ours:
        raise RefusedTokenError(
            "the claim of the role does not hold exactly one of member, analyst, admin, writer"
        )
    return cast(Role, ours.pop())


def _groups(found: Any) -> frozenset[str]:
    if found is None:
        return frozenset()
    if not isinstance(found, list) or len(found) > MOST_GROUPS:
        raise RefusedTokenError(f"the claim of the groups is not a list of at most {MOST_GROUPS} texts")
    return frozenset(_text(each, LONGEST_NAME, "groups") for each in found)


def _text(found: Any, longest: int, what: str) -> str:
    if not isinstance(found, str) or not 0 < len(found) <= longest or _UNSTORABLE.search(found):
        raise RefusedTokenError(f"the claim of the {what} is not a text of 1 to {longest} characters")
    return found


def _at(payload: Mapping[str, Any], way: tuple[str, ...]) -> Any:
    """What stands there; None where nothing does."""
    found: Any = payload
    for name in way:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
