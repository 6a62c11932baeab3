"""How much of a tenant's events go the usual way: what is above waits behind everybody else's, so that one tenant's flood is its own."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

#: So many seconds' worth may come at once, after as many of silence.
BURST_SECONDS: Final = 5
#: So many tenants are remembered before those are looked for that need not be.
MANY: Final = 1_000


class Quota:
    """A token bucket of events for each tenant, of one process. Not for several threads."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_second`: events of one tenant, in the long run; 0: any number. `clock` gives seconds that never go back."""
        self._rate = per_second
        self._most = per_second * BURST_SECONDS
        self._clock = clock
        #: What each tenant has used and not got back yet, and when that was so. A tenant that is not here has its whole burst.
        self._used: dict[str, tuple[float, float]] = {}
        self._many = MANY

    def grant(self, tenant: str, events: int) -> int:
        """How many of so many events are within the tenant's quota; they are taken from it."""
        if not self._rate:
            return events
        now = self._clock()
        used = self._used_by(tenant, now)
        granted = min(events, int(self._most - used))
        if granted:
            self._used[tenant] = used + granted, now
            self._forget(now)
        return granted

    def shares(self, tenants: Iterable[str]) -> "Shares":
        """What is granted of these events, given by their tenants."""
        wanted = Counter(tenants)
        return Shares({tenant: self.grant(tenant, events) for tenant, events in wanted.items()})

    def _used_by(self, tenant: str, now: float) -> float:
        used, at = self._used.get(tenant, (0.0, now))
        return max(used - (now - at) * self._rate, 0.0)

    def _forget(self, now: float) -> None:
        """Drop tenants that have their whole burst again: no more are kept than were busy within the last seconds."""
        if len(self._used) > self._many:
            self._used = {
                tenant: (used, at)
                for tenant, (used, at) in self._used.items()
                if used - (now - at) * self._rate > 0
            }
            self._many = max(MANY, 2 * len(self._used))


class Shares:
    """Which of some events are within their tenants' quotas: the first ones."""

    def __init__(self, granted: Mapping[str, int]) -> None:
        self._left = dict(granted)

    def take(self, tenant: str) -> bool:
        """Whether the tenant's next event is within its quota."""
        left = self._left[tenant]
        self._left[tenant] = left - 1
        return left > 0
