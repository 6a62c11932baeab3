"""What a dead letter is, as people and programs see it."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from asyncpg import Record
from pydantic import BaseModel, ConfigDict, Field

from streamgauge.dead_letters.content import frame_of, read
from streamgauge.dead_letters.replay import Replay
from streamgauge.dead_letters.store import MOST_AT_ONCE, State
from streamgauge.event import Event, Value
from streamgauge.outcomes import WHOLE

#: Why something is kept here.
KeptFor = Literal[
    "unknown_tenant", "invalid_value", "invalid_text", "invalid_time", "late", "future", "undecodable", "range_conflict", "poison",
]  # fmt: skip
EXCERPT: Final = 256  # bytes
MOST_NAMES: Final = 20
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXAMPLE: Final[dict[str, Any]] = {
    "id": 17, "tenant": "riverside", "reason": "late", "state": "open", "events": 1, "refused_at": "2026-01-01T00:00:00Z", "detail": None,
    "requested_at": None, "requested_by": None, "decided_at": None, "decided_by": None,
}  # fmt: skip


class DeadLetter(BaseModel):
    """A refused event, or a whole entry of several that could not be read or applied."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: int
    tenant: str | None = Field(
        description="Null: nobody's, since its tenant is unknown or it could not be read."
    )
    reason: str
    state: State = Field(
        description="`replayed`: its events are in the event log; `discarded`: its content is gone."
    )
    events: int
    refused_at: datetime
    detail: str | None = Field(description="What went wrong, where the reason does not say it.")
    requested_at: datetime | None = Field(description="When a replay was last asked for, and by whom.")
    requested_by: str | None
    decided_at: datetime | None = Field(description="When it was replayed or discarded, and by whom.")
    decided_by: str | None


class LetterEvent(BaseModel):
    """What an event said. Numbers that JSON does not have are texts."""

    name: str
    occurred_at: datetime | None = Field(description="Null: outside of the calendar; see `occurred_at_us`.")
    occurred_at_us: int = Field(description="Microseconds since 1970.")
    tenant: str
    actor: str | None
    session: str | None
    group: str | None
    source: str
    properties: dict[str, Value]


class Excerpt(BaseModel):
    """What is known of a whole entry. Its events may be several tenants', so they are not shown."""

    bytes_kept: int
    bytes_refused: int
    first_bytes: str = Field(
        description=f"Hexadecimal, up to {EXCERPT}, of what is no frame of events; else empty."
    )
    readable: bool
    names: list[str] = Field(description=f"Of its events, up to {MOST_NAMES}.")
    tenants: list[str]


class OneDeadLetter(DeadLetter):
    """A dead letter with what it holds."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_EXAMPLE, "event": None, "entry": None, "hidden": False}]}
    )

    event: LetterEvent | None = Field(description="Null: it is a whole entry, or nothing is kept.")
    entry: Excerpt | None
    hidden: bool = Field(description="The tenant's policy `people` lets nobody read rows about people.")


class DeadLetters(BaseModel):
    """Dead letters, the newest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dead_letters": [_EXAMPLE], "next_cursor": None}]}
    )

    dead_letters: list[DeadLetter]
    next_cursor: str | None


class Several(BaseModel):
    """Which open ones of a reason; the newest first, up to `limit`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "late", "limit": 100}]}
    )

    reason: KeptFor
    limit: int = Field(default=MOST_AT_ONCE, ge=1, le=MOST_AT_ONCE)


class Requested(BaseModel):
    """What was sent again; a worker makes it `replayed`. `unready`: why others cannot be now, and how many."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"letters": 3, "events": 3, "unready": {}}]})

    letters: int
    events: int
    unready: dict[str, int]


class Discarded(BaseModel):
    """What lost its content; the counts stay in the ledger."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"letters": 3, "events": 3}]})

    letters: int
    events: int


def shown(letter: Record) -> dict[str, Any]:
    """The fields of `DeadLetter`."""
    names = ("tenant", "reason", "state", "events", "detail", "requested_at", "requested_by", "decided_at", "decided_by")  # fmt: skip
    return {"id": letter["dead_letter_id"], "refused_at": letter["at"], **{name: letter[name] for name in names}}  # fmt: skip


def opened(letter: Record, content: Record, people: bool = True) -> OneDeadLetter:
    """A letter with what it holds; without the event where rows about people may not be read."""
    frame = frame_of(letter, content)
    table = None if frame is None else read(frame)
    event, entry = None, None
    if letter["reason"] not in WHOLE:
        event = _event(table.event(0)) if table is not None and people else None
    elif content["raw"] is not None:
        raw: bytes = content["raw"]
        size = letter["cut_from"] or len(raw)
        names, tenants = ([], []) if table is None else (table.name.values, table.tenant.values)
        excerpt = raw[:EXCERPT].hex() if table is None else ""
        entry = Excerpt(
            bytes_kept=len(raw), bytes_refused=size, first_bytes=excerpt, readable=table is not None,
            names=names[:MOST_NAMES], tenants=tenants[:MOST_NAMES],
        )  # fmt: skip
    return OneDeadLetter(**shown(letter), event=event, entry=entry, hidden=not people)


def requested(replay: Replay) -> Requested:
    """What a replay sends, and what it does not."""
    why: dict[str, int] = {}
    for reason in replay.unready.values():
        why[reason] = why.get(reason, 0) + 1
    events = sum(each.events for each in replay.sending)
    return Requested(letters=len(replay.sending), events=events, unready=why)


def _event(event: Event) -> LetterEvent:
    try:
        at: datetime | None = EPOCH + timedelta(microseconds=event.occurred_at)
    except OverflowError:
        at = None
    return LetterEvent(
        name=event.name, occurred_at=at, occurred_at_us=event.occurred_at, tenant=event.tenant,
        actor=None if event.actor is None else event.actor.hex(), session=event.session, group=event.group,
        source=event.source, properties=_sayable(event.properties),
    )  # fmt: skip


def _sayable(properties: Mapping[str, Value]) -> dict[str, Value]:
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in properties.items()
    }
