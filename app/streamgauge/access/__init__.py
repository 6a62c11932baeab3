"""Who asks: credentials, roles, what they may do, and the guard in front of every route."""

from streamgauge.access.callers import Caller
from streamgauge.access.guard import require

__all__ = ["Caller", "require"]
