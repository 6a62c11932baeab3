"""Typed calls for the gamification domain's events."""

from datetime import datetime
from typing import TYPE_CHECKING

from streamgauge.domains.gamification.declarations import REASON, XP, XP_EARNED

if TYPE_CHECKING:
    from streamgauge.capture.gauge import Streamgauge
    from streamgauge.capture.pending import Ticket


class Gamification:
    """What `gauge.gamification` is."""

    def __init__(self, gauge: "Streamgauge") -> None:
        self._gauge = gauge

    def xp_earned(
        self,
        xp: int,
        *,
        reason: str | None = None,
        actor: str | int | None = None,
        session: str | int | None = None,
        group: str | int | None = None,
        idempotency_key: str | None = None,
        occurred_at: datetime | int | None = None,
        tenant: str | None = None,
    ) -> "Ticket":
        """Record points that somebody gets. Never raises.

        Args:
            xp: how many, 0 to 1,000,000. Points are not taken away again.
            reason: what for, such as a quest's name.
            actor, session, group, idempotency_key, occurred_at, tenant: as `Streamgauge.track` takes them. Give a key: the same
                points for the same thing then count once, however often they are sent.
        """
        given = {XP: xp} if reason is None else {XP: xp, REASON: reason}
        return self._gauge.record(
            XP_EARNED.name, given, actor, session, group, idempotency_key, occurred_at, tenant
        )
