"""When events became visible, worked out from when each was tracked and what a poller saw when.

Markers of one name are tracked by one actor, so they pass through one shard in order: the first answer that counts `n` of them
shows the n-th. Its delay is counted to the moment that answer had arrived, so the poller's own time is part of it. How much that
overstates is told too: the answer before was asked for when the marker was not yet there.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from benchmarks.record import percentiles


@dataclass
class Sightings:
    """What one poller saw. Moments are nanoseconds of the system's monotonic clock, which processes share."""

    asked: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    counts: list[Mapping[str, int]] = field(default_factory=list)

    def see(self, asked: int, answered: int, counts: Mapping[str, int]) -> None:
        """Note one answer."""
        self.asked.append(asked)
        self.answered.append(answered)
        self.counts.append(counts)

    def delays(self, tracked: Mapping[str, Sequence[int]], since: int = 0, until: float = inf) -> "Delays":
        """How long markers took to be seen, given when those of each name were tracked, in order.

        Only those that were tracked from `since` on and before `until`.
        """
        delays = Delays()
        for name, moments in tracked.items():
            seen = [counts.get(name, 0) for counts in self.counts]
            for number, moment in enumerate(moments, start=1):
                if not since <= moment < until:
                    continue
                # Counts only grow.
                place = bisect_left(seen, number)
                if place == len(seen):
                    delays.unseen += 1
                    continue
                delays.nanoseconds.append(self.answered[place] - moment)
                if place:
                    delays.overstated.append(self.answered[place] - max(self.asked[place - 1], moment))
        return delays


@dataclass
class Delays:
    """From track() to visible."""

    nanoseconds: list[int] = field(default_factory=list)
    overstated: list[int] = field(default_factory=list)  #: by at most so much
    unseen: int = 0

    def as_json(self) -> dict[str, float]:
        """Figures in milliseconds."""
        return {
            "markers": len(self.nanoseconds),
            "unseen": self.unseen,
            **percentiles(self.nanoseconds),
            "overstated_by_at_most_p50_ms": percentiles(self.overstated)["p50_ms"],
        }
