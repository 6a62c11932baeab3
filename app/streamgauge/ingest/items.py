"""One event as it was sent, and every reason for which it can be refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from streamgauge.capture.properties import InvalidPropertyError, Vocabulary, is_storable
from streamgauge.errors import InputError
from streamgauge.event import Value

Reason = Literal[
    "invalid_event",  # no object, or with a member that is none of an event
    "undeclared_event",
    "invalid_property",
    "invalid_identity",  # session, group or idempotency_key is no text of a usable length
    "invalid_time",
    "late",
    "future",
]

MEMBERS = ("name", "event_type", "properties", "occurred_at", "session", "group", "idempotency_key")
MOST_PROPERTIES = 64
LONGEST_IDENTIFIER = 512  # characters
AHEAD = timedelta(minutes=5)  # what workers accept
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Item:
    """An event that can be taken. `undeclared` properties were left out."""

    name: str
    occurred_at: int  #: UTC microseconds
    properties: Mapping[str, Value]
    undeclared: tuple[str, ...]
    session: str | None
    group: str | None
    key: str | None
    #: Whom it is about, as their host knows them; None: whom the credential is about.
    actor: str | None = None


class RejectedError(Exception):
    """An event that cannot be taken: why, and which member is to blame."""

    def __init__(self, reason: Reason, field: str, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.field = field
        self.detail = detail


def parse(given: Any, vocabulary: Vocabulary, now: datetime, max_lateness: timedelta) -> Item:
    """An event from its JSON. Raises RejectedError."""
    if not isinstance(given, dict):
        raise RejectedError("invalid_event", "event", "an event is a JSON object")
    for member in given:
        if member not in MEMBERS:
            own = " (it comes with the key)" if member in ("actor", "tenant", "source") else ""
            raise RejectedError(
                "invalid_event",
                member[:80],
                f"{member[:80]!r} is no member of an event{own}: {', '.join(MEMBERS)}",
            )
    name = _name(given)
    declaration = vocabulary.declarations.get(name)
    if declaration is None:
        raise RejectedError(
            "undeclared_event", "name", f"no event type {name[:100]!r} is declared: GET /api/v1/catalogue"
        )
    properties = given.get("properties") or {}
    if not isinstance(properties, dict) or len(properties) > MOST_PROPERTIES:
        raise RejectedError(
            "invalid_property", "properties", f"properties is an object of up to {MOST_PROPERTIES} members"
        )
    try:
        kept, _, undeclared = declaration.admit(properties)
    except InvalidPropertyError as error:
        raise RejectedError("invalid_property", "properties", f"property {error}") from None
    return Item(
        name,
        _occurred_at(given.get("occurred_at"), now, max_lateness),
        kept,
        tuple(each[:100] for each in undeclared),
        *(_identifier(given, field) for field in ("session", "group", "idempotency_key")),
    )


def _name(given: Mapping[str, Any]) -> str:
    named = [member for member in ("name", "event_type") if member in given]
    if len(named) != 1 or not isinstance(given[named[0]], str):
        raise RejectedError(
            "invalid_event", "name", "give the event's name as a text in name (or event_type), once"
        )
    name: str = given[named[0]]
    return name


def _identifier(given: Mapping[str, Any], field: str) -> str | None:
    text = given.get(field)
    if text is None:
        return None
    if not isinstance(text, str) or not is_storable(text, LONGEST_IDENTIFIER):
        raise RejectedError(
            "invalid_identity", field, f"{field} is a text of 1 to {LONGEST_IDENTIFIER} characters"
        )
    return text


def _occurred_at(given: Any, now: datetime, max_lateness: timedelta) -> int:
    if given is None:
        return _microseconds(now)
    try:
        at = instant(given)
    except InputError as error:
        raise RejectedError("invalid_time", "occurred_at", str(error)) from None
    if at < now - max_lateness:
        raise RejectedError("late", "occurred_at", f"it lies more than {max_lateness.days} days back")
    if at > now + AHEAD:
        raise RejectedError("future", "occurred_at", "it lies more than five minutes ahead")
    return _microseconds(at)


def instant(given: Any) -> datetime:
    """An RFC 3339 instant with its offset. Raises InputError."""
    try:
        found = datetime.fromisoformat(given) if isinstance(given, str) and len(given) <= 40 else None
        if found is None or found.tzinfo is None:
            raise ValueError
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(
            "occurred_at is an RFC 3339 instant with its offset, such as 2026-03-01T12:00:00+01:00",
            "occurred_at",
        ) from None


def _microseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)
