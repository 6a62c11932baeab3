"""Real-time, privacy-first analytics for Python web applications.

    gauge = Streamgauge(Settings.from_environ(os.environ))
    gauge.instrument(app)
    gauge.track("lesson.progressed", actor=user.id, percent=40)

Importing this loads none of it before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamgauge.capture.gauge import Streamgauge
    from streamgauge.capture.idempotency import idempotency_key
    from streamgauge.capture.pending import Ticket
    from streamgauge.settings import Settings
    from streamgauge.summaries.rollups import EventType, Property

__all__ = ["EventType", "Property", "Settings", "Streamgauge", "Ticket", "idempotency_key"]

_HOMES = {
    "EventType": "streamgauge.summaries.rollups",
    "Property": "streamgauge.summaries.rollups",
    "Settings": "streamgauge.settings",
    "Streamgauge": "streamgauge.capture.gauge",
    "Ticket": "streamgauge.capture.pending",
    "idempotency_key": "streamgauge.capture.idempotency",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
