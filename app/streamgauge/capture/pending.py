"""An event between the host's call and its sending: still with the host's own identifiers, which never leave the process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from streamgauge.errors import SettingsError
from streamgauge.event import Source, Value

#: Why an event was not taken, or was given up before it was sent. Every one of them is counted, and announced unless `disabled`.
DropReason = Literal[
    "disabled",  # STREAMGAUGE_ENABLED is false
    "closed",  # the gauge was closed
    "sampled_out",  # its actor is not among STREAMGAUGE_CAPTURE_PERCENT
    "undeclared_event",  # no event type of that name
    "invalid_property",  # a declared property of another type, too large, or a text that cannot be stored
    "invalid_identity",  # tenant, actor, session or group is not a text of a usable length
    "too_many_tenants",  # its tenant is new, and the keyring holds as many as events may bring it to
    "buffer_full",  # STREAMGAUGE_BUFFER_EVENTS or STREAMGAUGE_BUFFER_BYTES are waiting
    "spool_full",  # STREAMGAUGE_SPOOL_BYTES are in use while Redis is away, and the buffer is full too
    "spool_failed",  # the spool's disk refuses while Redis is away, and the buffer is full too
    "not_configured",  # no address of Redis is known
    "unsendable",  # its frame could not be made: a defect
    "undelivered",  # Redis did not take it before the process ended
]


class Pending(NamedTuple):
    """What `track` and the middleware hand to the buffer. Pseudonyms are made when it is sent."""

    name: str
    occurred_at: int  #: UTC, microseconds since 1970
    tenant: str
    actor: str | None  #: the host's identifier
    session: str | None  #: the host's identifier: often a secret, so it leaves as a keyed digest too
    group: str | None
    device: str | None
    source: Source
    properties: Mapping[str, Value]
    key: str | None = None  #: the caller's idempotency key
    visitor: tuple[str, str] | None = (
        None  #: (address, user agent) of somebody without an actor; for today's salt
    )
    size: int = 0  #: estimated bytes


@dataclass(frozen=True, slots=True)
class Ticket:
    """What became of an event as far as the caller can know: `accepted`, or dropped for `reason`."""

    accepted: bool
    reason: DropReason | None = None

    def __bool__(self) -> bool:
        return self.accepted

    async def durable(self) -> bool:
        """Wait until the event is on this machine's disk; False, with the `reason`, when it is not and will not be.

        Raises SettingsError where nothing is ever written first: STREAMGAUGE_CAPTURE_MODE is not durable, or the event waits until
        the response for what an async function knows of its request.
        """
        return self._never_durable()

    def durable_within(self, seconds: float) -> bool:
        """The same for code without an event loop; False too when it takes longer. Raises SettingsError likewise."""
        return self._never_durable()

    def _never_durable(self) -> bool:
        if not self.accepted:
            return False
        raise SettingsError(
            "this event is not written to disk before it is sent: set STREAMGAUGE_CAPTURE_MODE=durable, and track it where "
            "tenant, actor and session are known at once"
        )


ACCEPTED = Ticket(True)
