"""Whose events a gauge's are, unless a request or a call says otherwise."""

from dataclasses import dataclass
from uuid import UUID

from streamgauge.capture.context import Known

LONGEST_IDENTIFIER = 512  # characters of an actor, a session or a group
LONGEST_TENANT = 100  # characters

#: What an identifier may be given as: everything but a text becomes one.
Identifier = str | int | UUID


@dataclass(frozen=True, slots=True)
class Identity:
    """As given to the gauge: constants, or functions of the request, which only the middleware can ask."""

    tenant: Known = None
    actor: Known = None
    session: Known = None


def text_of(given: object) -> str:
    """An identifier as text; what cannot be one is empty, and so refused."""
    if isinstance(given, str):
        return str.__str__(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return int.__repr__(given)
    return str(given) if isinstance(given, UUID) else ""
