"""One statement as one event of the learning domain, or why it is none. Pure.

Read are the identifiers, times, numbers and types that an event has a place for. Names, descriptions, answers (`result.response`) and
attachments are never looked at, so that they cannot get any further.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from streamgauge.capture.identity import LONGEST_IDENTIFIER
from streamgauge.capture.properties import is_storable
from streamgauge.domains.learning import declarations as learning
from streamgauge.errors import InputError
from streamgauge.event import Value
from streamgauge.ingest.items import instant
from streamgauge.xapi.durations import microseconds_of
from streamgauge.xapi.scores import progress_of, score_of
from streamgauge.xapi.vocabulary import (
    CMI5_SESSION,
    EVENT_OF,
    LESSONS,
    OBJECT_OF,
    WITH_SCORE,
    type_of,
    verb_of,
)

Reason = Literal[
    "invalid_statement",  # a member that xAPI asks for is missing, or of another type
    "invalid_actor",  # a group, or somebody without exactly one identifier
    "invalid_time",
    "invalid_result",  # a duration, score or progress that cannot be read
    "unmapped_verb",  # no event of ours means the same
    "unmapped_activity",  # the verb is known, and says nothing of this type of activity
    "cannot_void",  # what was accepted is counted, and cannot be taken back
]


class RefusedError(Exception):
    """A statement that is no event of ours: why, and which member is to blame."""

    def __init__(self, reason: Reason, field: str, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.field = field
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as an event."""

    id: str | None
    actor: str  #: the person's identifier outside
    name: str
    properties: Mapping[str, Value]
    occurred_at: str | None  #: RFC 3339, as it was given
    session: str | None
    left_out: tuple[str, ...]  #: members that say something we have no place for


@dataclass(frozen=True, slots=True)
class Voiding:
    """A statement that takes another one back."""

    id: str | None
    target: str


def id_of(given: Any) -> str | None:
    """A statement's id in lower case, None when it has none. Raises RefusedError when it is no UUID."""
    if not isinstance(given, dict):
        raise RefusedError("invalid_statement", "statement", "a statement is a JSON object")
    return None if given.get("id") is None else _uuid(given["id"], "id")


def read_statement(given: Any) -> Statement | Voiding:
    """What a statement says. Raises RefusedError."""
    statement_id = id_of(given)
    verb, target = _verb(given), _member(given, "object", needed=True)
    if verb == "voided":
        if target.get("objectType") != "StatementRef":
            raise RefusedError("invalid_statement", "object", "what is voided is named by a StatementRef")
        return Voiding(statement_id, _uuid(target.get("id"), "object.id"))
    if verb not in EVENT_OF:
        raise RefusedError(
            "unmapped_verb", "verb.id", f"of verbs, these are understood: {', '.join(EVENT_OF)}"
        )
    if target.get("objectType", "Activity") != "Activity" or not isinstance(target.get("id"), str):
        raise RefusedError("invalid_statement", "object", "the object has to be an activity with its id")
    context = _member(given, "context")
    name = EVENT_OF[verb]
    kind = _kind(target)
    if verb == "completed":
        if kind == "course":
            raise RefusedError(
                "unmapped_activity",
                "object",
                "that a course is completed follows from its lessons: send those",
            )
        name = learning.LESSON_PROGRESSED.name if kind in LESSONS else name
    properties, left_out = _properties(name, verb, target, kind, _member(given, "result"))
    course = properties.get(learning.COURSE) or _course_of(target, kind, context)
    if course is not None:
        properties[learning.COURSE] = course
    session = _member(context, "extensions", "context.extensions").get(CMI5_SESSION)
    return Statement(
        statement_id,
        actor_of(given.get("actor")),
        name,
        properties,
        _time_of(given),
        session if isinstance(session, str) and is_storable(session, LONGEST_IDENTIFIER) else None,
        left_out,
    )


def actor_of(given: Any) -> str:
    """The identifier of a person: the name of the account, the address of the mailbox, or the OpenID. Raises RefusedError."""
    if not isinstance(given, dict) or given.get("objectType", "Agent") != "Agent":
        raise RefusedError("invalid_actor", "actor", "the actor has to be one person: an Agent, no Group")
    found = {name for name in ("account", "mbox", "openid", "mbox_sha1sum") if given.get(name) is not None}
    if len(found) != 1:
        raise RefusedError("invalid_actor", "actor", "give one of account, mbox, openid and mbox_sha1sum")
    (name,) = found
    text = _member(given, "account", "actor.account").get("name") if name == "account" else given[name]
    if name == "mbox" and isinstance(text, str):
        text = text[len("mailto:") :] if text[: len("mailto:")].lower() == "mailto:" else None
    if not isinstance(text, str) or not is_storable(text, LONGEST_IDENTIFIER):
        raise RefusedError(
            "invalid_actor", f"actor.{name}", f"it is no identifier of 1 to {LONGEST_IDENTIFIER} characters"
        )
    return text


def _properties(
    name: str, verb: str, target: Mapping[str, Any], kind: str | None, result: Mapping[str, Any]
) -> tuple[dict[str, Value], tuple[str, ...]]:
    properties: dict[str, Value] = {}
    left_out: tuple[str, ...] = ()
    if name in OBJECT_OF:
        properties[OBJECT_OF[name]] = target["id"]
    if OBJECT_OF.get(name) == learning.MATERIAL and kind is not None:
        properties[learning.MATERIAL_TYPE] = kind
    try:
        if name in WITH_SCORE:
            score, left_out = score_of(_member(result, "score", "result.score"))
            properties |= score
        elif name == learning.LESSON_PROGRESSED.name:
            extensions = _member(result, "extensions", "result.extensions")
            properties[learning.PERCENT] = 100 if verb == "completed" else progress_of(extensions)
        elif name == learning.SESSION_ENDED.name and result.get("duration") is not None:
            properties[learning.DURATION] = microseconds_of(str(result["duration"]))
    except InputError as error:
        raise RefusedError("invalid_result", f"result.{error.field}", str(error)) from None
    return properties, left_out


def _verb(given: Mapping[str, Any]) -> str:
    found = _member(given, "verb", needed=True).get("id")
    if not isinstance(found, str):
        raise RefusedError("invalid_statement", "verb.id", "a verb has an id")
    return verb_of(found)


def _kind(activity: Mapping[str, Any]) -> str | None:
    found = _member(activity, "definition", "object.definition").get("type")
    return type_of(found) if isinstance(found, str) else None


def _course_of(target: Mapping[str, Any], kind: str | None, context: Mapping[str, Any]) -> str | None:
    """The activity itself, or the first of its grouping, then its parents, that is called a course; else the first of them."""
    if kind == "course":
        return str(target["id"])
    activities = _member(context, "contextActivities", "context.contextActivities")
    around: list[Mapping[str, Any]] = []
    for name in ("grouping", "parent"):
        found = activities.get(name) or []
        around += found if isinstance(found, list) else [found]
    if not all(isinstance(each, dict) and isinstance(each.get("id"), str) for each in around):
        raise RefusedError(
            "invalid_statement", "context.contextActivities", "grouping and parent hold activities with ids"
        )
    chosen = next((each for each in around if _kind(each) == "course"), around[0] if around else None)
    return None if chosen is None else str(chosen["id"])


def _time_of(given: Mapping[str, Any]) -> str | None:
    found = given.get("timestamp")
    field = "timestamp" if found is not None else "stored"
    found = given.get(field)
    if found is None:
        return None
    try:
        instant(found)
    except InputError:
        raise RefusedError(
            "invalid_time", field, f"{field} is an instant with its offset, such as 2026-03-01T12:00:00Z"
        ) from None
    return str(found)


def _member(
    given: Mapping[str, Any], name: str, field: str = "", *, needed: bool = False
) -> Mapping[str, Any]:
    """A member that is an object, empty when it is not given. Raises RefusedError."""
    found = given.get(name)
    if found is None and not needed:
        return {}
    if not isinstance(found, dict):
        raise RefusedError("invalid_statement", field or name, f"{field or name} is a JSON object")
    return found


def _uuid(given: Any, field: str) -> str:
    try:
        # Without its hyphens a UUID is none in xAPI.
        if not isinstance(given, str) or len(given) != 36:
            raise ValueError
        return str(UUID(given))
    except ValueError:
        raise RefusedError("invalid_statement", field, f"{field} is a UUID") from None
