"""Whose events a gauge's are, unless a request or a call says otherwise."""

from dataclasses import dataclass

from streamgauge.capture.context import Known

LONGEST_IDENTIFIER = 512  # characters of an actor, a session or a group
LONGEST_TENANT = 100  # characters


@dataclass(frozen=True, slots=True)
class Identity:
    """As given to the gauge: constants, or functions of the request, which only the middleware can ask."""

    tenant: Known = None
    actor: Known = None
    session: Known = None
