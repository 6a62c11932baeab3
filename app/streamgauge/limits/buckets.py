"""Rate limits in this process alone, for while Redis is away. The same algorithm as in rate.lua, in bounded memory."""

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

MICROSECONDS: Final = 1_000_000
MOST_BUCKETS: Final = 10_000
#: Whoever comes while all buckets are in use shares this one: neither turned away at once nor without a limit.
EVERYBODY_ELSE: Final = ""
_SWEEP_SECONDS = 1.0


class Level(NamedTuple):
    """How full a bucket is."""

    allowed: bool
    owed: float  #: microseconds until it is as if nobody had ever asked
    left: int  #: requests that may be made now
    wait: int  #: microseconds until one more may be made; 0 when the bucket lacks nothing


def decide(owed: float, interval: float, burst: int, cost: int) -> Level:
    """What becomes of a request for `cost` units (0: only look), by the generic cell rate algorithm (ITU-T I.371, annex A.1).

    Args:
        owed: microseconds by which the bucket is behind.
        interval: microseconds in which one unit comes back.
        burst: units that may be taken at once.
        cost: units asked for.
    """
    most, slack = interval * burst, interval / 100
    owed = min(max(owed, 0.0), most)
    allowed = owed + interval * max(cost, 1) <= most + slack
    if allowed:
        owed += interval * cost
    left = max(math.floor((most - owed + slack) / interval), 0)
    wait = owed - (burst - left - 1) * interval if left < burst else 0.0
    return Level(allowed, owed, left, math.ceil(max(wait, 0.0)))


class Buckets:
    """Buckets by name, at most `most` of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST_BUCKETS) -> None:
        self._clock = clock
        self._most = most
        #: When each will owe nothing, in microseconds of the clock.
        self._full_at: dict[str, float] = {}
        self._swept = -math.inf

    def take(self, name: str, per_minute: float, burst: int, cost: int) -> Level:
        """What becomes of a request; see `decide`."""
        now = self._clock() * MICROSECONDS
        if name not in self._full_at and len(self._full_at) >= self._most:
            self._sweep(now)
            if len(self._full_at) >= self._most:
                name = EVERYBODY_ELSE
        level = decide(self._full_at.get(name, now) - now, 60 * MICROSECONDS / per_minute, burst, cost)
        if level.owed > 0:
            self._full_at[name] = now + level.owed
        return level

    def __len__(self) -> int:
        return len(self._full_at)

    def _sweep(self, now: float) -> None:
        # Not for every stranger: whoever sends them would have us look through all buckets each time.
        if now - self._swept >= _SWEEP_SECONDS * MICROSECONDS:
            self._swept = now
            self._full_at = {name: full_at for name, full_at in self._full_at.items() if full_at > now}
