"""Which shards' server did not take something lately, and when it is asked again."""

import math
import random
import time

from streamgauge.capture.publisher import FIRST_DELAY, LONGEST_DELAY


class Absences:
    """What is for an absent shard goes to the spool at once; one old batch at a time finds out whether its server is back."""

    def __init__(self) -> None:
        self._delays: dict[int, float] = {}
        self._again: dict[int, float] = {}
        #: How often a server was found to have been away, or to have failed for a moment: it may have lost what it had.
        self.stumbles = 0

    def fail(self, shard: int) -> None:
        """Something for this shard was not taken."""
        ceiling = self._delays.get(shard, FIRST_DELAY)
        self._delays[shard] = min(ceiling * 2, LONGEST_DELAY)
        # Jitter, or all hosts of one outage would come back at once.
        self._again[shard] = time.monotonic() + random.uniform(ceiling / 4, ceiling)  # noqa: S311 - not a secret

    def end(self, shard: int) -> bool:
        """Something for this shard was taken; whether it had been absent."""
        self._again.pop(shard, None)
        was_absent = self._delays.pop(shard, None) is not None
        self.stumbles += was_absent
        return was_absent

    def stumble(self) -> None:
        """Something was not taken at once."""
        self.stumbles += 1

    def holds(self, shard: int) -> bool:
        """Whether this shard is absent, as far as is known."""
        return shard in self._delays

    def may_try(self, shard: int) -> bool:
        """Whether it is time to send to this shard."""
        return time.monotonic() >= self._again.get(shard, -math.inf)

    def due(self, shard: int) -> float:
        """When that is; monotonic seconds."""
        return self._again.get(shard, -math.inf)
