"""Requests that no middleware sees, recorded with typed arguments: the pattern of every domain's calls."""

from datetime import datetime
from typing import TYPE_CHECKING

from streamgauge.domains.web.declarations import (
    AUTHENTICATED,
    BYTES,
    DURATION,
    ERROR_TYPE,
    METHOD,
    REQUEST,
    REQUEST_BYTES,
    ROUTE,
    STATUS,
)

if TYPE_CHECKING:
    from streamgauge.capture.gauge import Streamgauge
    from streamgauge.capture.pending import Ticket


class Requests:
    """What `gauge.requests` is."""

    def __init__(self, gauge: "Streamgauge") -> None:
        self._gauge = gauge

    def record(
        self,
        route: str,
        *,
        method: str,
        status: int,
        duration_us: int,
        response_bytes: int | None = None,
        request_bytes: int | None = None,
        error_type: str | None = None,
        authenticated: bool | None = None,
        actor: str | int | None = None,
        session: str | int | None = None,
        group: str | int | None = None,
        idempotency_key: str | None = None,
        occurred_at: datetime | int | None = None,
        tenant: str | None = None,
    ) -> "Ticket":
        """Record one finished request, such as a remote procedure call's, a task's or a WebSocket message's. Never raises.

        Args:
            route: the template, never a path with somebody's identifiers in it: "/lessons/{id}".
            method: such as GET; of what has none, a name of its own.
            status: of HTTP, or the number that comes nearest; from 500 on it counts as failed.
            duration_us: microseconds.
            response_bytes, request_bytes: of the bodies.
            error_type: class of the exception that ended it, never its message.
            authenticated: whether it came with a known actor.
            actor, session, group, idempotency_key, occurred_at, tenant: as `Streamgauge.track` takes them.
        """
        properties = {
            ROUTE: route,
            METHOD: method,
            STATUS: status,
            DURATION: duration_us,
            BYTES: response_bytes,
            REQUEST_BYTES: request_bytes,
            ERROR_TYPE: error_type,
            AUTHENTICATED: authenticated,
        }
        given = {name: value for name, value in properties.items() if value is not None}
        return self._gauge.record(
            REQUEST.name, given, actor, session, group, idempotency_key, occurred_at, tenant
        )
