"""What happened: the one small type everything else is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Source = Literal["server", "browser", "import"]
Value = int | float | str | bool

PSEUDONYM_BYTES = 17  # one byte of key version, sixteen of keyed digest
DAILY = 0  # the key version of visitors known by a salt that is destroyed after its day


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as it is frozen into a frame.

    Identifiers are pseudonyms by the time an event exists: `actor` is a key version byte and a 16-byte keyed digest (version 0:
    a daily-salted visitor), or None.
    """

    name: str  #: `object.verb`, such as `http.request`
    occurred_at: int  #: UTC, microseconds since 1970
    tenant: str
    actor: bytes | None = None
    session: str | None = None
    group: str | None = None  #: class, team
    device: str | None = None
    source: Source = "server"
    properties: Mapping[str, Value] = field(default_factory=dict)
    key: bytes | None = (
        None  #: 16-byte id made from a caller's idempotency key; None: the event is its place in its lane
    )
