"""Which actors are measured when not all are: the same ones in every process, always."""

import random
from zlib import crc32

from streamgauge.capture.pending import Pending


class Sample:
    """A share of actors. Whoever is in 10 % is in 20 % too, so that a changed share keeps what it can."""

    __slots__ = ("_limit", "everybody")

    def __init__(self, percent: int) -> None:
        """`percent` from 0 to 100."""
        self.everybody = percent >= 100
        self._limit = percent * 2**32 // 100

    def holds(self, pending: Pending) -> bool:
        """Whether this event is measured: decided by its actor, else session, else visitor, else key; else by chance."""
        if pending.actor is not None:
            about = pending.actor
        elif pending.session is not None:
            about = pending.session
        elif pending.visitor is not None:
            about = "\0".join(pending.visitor)
        elif pending.key is not None:
            about = pending.key
        else:
            return random.random() * 2**32 < self._limit  # noqa: S311 - not a secret
        return crc32(about.encode("utf-8", "surrogatepass")) < self._limit
