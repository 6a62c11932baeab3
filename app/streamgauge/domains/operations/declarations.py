"""The operations domain's event: the one that `streamgauge doctor --probe` sends."""

from streamgauge.summaries.rollups import EventType

PROBE = EventType(
    name="probe.sent",
    purpose="seeing whether events get from an application into the answers; about nobody",
)
#: A tenant of its own, so that nobody's figures change. Reserved: it is made with the first probe.
PROBE_TENANT = "streamgauge-probe"

EVENT_TYPES = (PROBE,)
