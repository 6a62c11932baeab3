"""When a process works on the overflow, which holds what is above tenants' quotas: after everybody else's events, and never not at all.

While a regular shard of this process is behind, the overflow gets one small transaction a second. While regular shards have something
to do and keep up with it, it gets small transactions and a share of the time: all shards of a process take turns on one processor, and
one long transaction of the overflow would be everybody's delay. Else it is worked on like any other.
"""

import time
from collections.abc import Callable
from typing import Final

SMALL: Final = 2_000  #: events of a transaction that regular shards have to wait for
EVERY: Final = 1.0  #: seconds from one to the next while a regular shard is behind
#: Seconds of pause for each second of work, while regular shards keep up.
REST: Final = 3.0
#: Seconds for which a regular shard that had something to do is expected to have so again.
RECENT: Final = 1.0


class Pacing:
    """What the shards of one process tell of themselves, and what their overflow may do."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds that never go back."""
        self._clock = clock
        self._behind: set[int] = set()
        # What regular shards have is not known yet.
        self._busy_until = clock() + RECENT
        self._worked_at = float("-inf")
        self._worked = 0.0

    def read(self, shard: int, behind: bool) -> None:
        """A regular shard has something to do; `behind`: and there is more than one transaction takes."""
        self._busy_until = self._clock() + RECENT
        if behind:
            self._behind.add(shard)
        else:
            self._behind.discard(shard)

    def rest(self, shard: int) -> None:
        """A regular shard has nothing to do, cannot do it, or is another process's: nobody has to wait for it."""
        self._behind.discard(shard)

    def worked(self, seconds: float) -> None:
        """A transaction of the overflow took so long, and has ended now."""
        self._worked, self._worked_at = seconds, self._clock()

    def pause(self) -> float:
        """Seconds for which the overflow has to wait."""
        if self._behind:
            rest = EVERY
        elif self._is_busy:
            rest = min(self._worked * REST, EVERY)
        else:
            return 0.0
        return max(self._worked_at + rest - self._clock(), 0.0)

    def most_events(self, limit: int) -> int:
        """How many events a transaction of the overflow may take, of so many at most."""
        return min(limit, SMALL) if self._behind or self._is_busy else limit

    @property
    def _is_busy(self) -> bool:
        return self._clock() < self._busy_until
