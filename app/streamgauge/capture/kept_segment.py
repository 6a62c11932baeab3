"""What is known of one file of a spool without reading it: which numbers of which lanes it still has to keep, and to send."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from streamgauge.capture.segment import Stowed
from streamgauge.entry import Batch, Record
from streamgauge.ranges import Ranges

#: A durable batch that is not acknowledged is sent again after so many seconds; then after twice as many, and so on: while no worker
#: runs at all, sending again helps nobody.
RESEND_SECONDS: Final = 30.0
LONGEST_RESEND: Final = 3_600.0


#: Generation and shard.
Stream = tuple[int, int]


class LaneKey(NamedTuple):
    """A lane, and the stream its entries go to."""

    generation: int
    shard: int
    lane: bytes

    @property
    def stream(self) -> Stream:
        """Where its entries go."""
        return self.generation, self.shard


def key_of(shard: int, record: Record) -> LaneKey:
    """The lane of an entry."""
    return LaneKey(record.generation, shard, record.lane)


@dataclass(eq=False, slots=True)
class KeptSegment:
    """Numbers are kept as ranges: a backlog of many batches takes no more memory than one of few."""

    path: Path
    written_at: int  #: Unix milliseconds of its first entry
    bytes: int = 0
    batches: int = 0
    #: Whether its own process has left last words in it, for whoever adopts it.
    has_farewells: bool = False
    kept: dict[LaneKey, Ranges] = field(default_factory=dict)
    unsent: dict[LaneKey, Ranges] = field(default_factory=dict)
    #: When what is kept is sent again; monotonic seconds. None: it has not been sent, or never need be.
    resend_at: float | None = None
    resend_after: float = field(default_factory=lambda: RESEND_SECONDS)
    #: Not read before, since reading it failed; monotonic seconds.
    readable_at: float = 0.0

    def add(self, stowed: Stowed, live: bool = False) -> None:
        """It holds this batch, which has to be sent from here unless it is just being sent `live`."""
        assert isinstance(stowed.record, Batch)  # noqa: S101 - announcements have no numbers to keep
        key, batch = key_of(stowed.shard, stowed.record), stowed.record
        for ranges in (self.kept,) if live else (self.kept, self.unsent):
            ranges.setdefault(key, Ranges()).add(batch.first, batch.end)
        self.batches += 1

    def owe(self, key: LaneKey, batch: Batch) -> None:
        """This batch of its has to be sent from here after all."""
        self.unsent.setdefault(key, Ranges()).add(batch.first, batch.end)

    def has(self, key: LaneKey, batch: Batch) -> bool:
        """Whether it keeps this batch."""
        return key in self.kept and self.kept[key].overlaps(batch.first, batch.end)

    def wants(self, key: LaneKey, batch: Batch) -> bool:
        """Whether this batch of its has to be sent."""
        return key in self.unsent and self.unsent[key].overlaps(batch.first, batch.end)

    def sent(self, key: LaneKey, batch: Batch, now: float) -> None:
        """This batch is in the stream, for the time being."""
        _remove(self.unsent, key, batch.first, batch.end)
        self.resend_at = now + self.resend_after

    def release(self, key: LaneKey, first: int, end: int) -> None:
        """These numbers need not be kept any more."""
        _remove(self.unsent, key, first, end)
        _remove(self.kept, key, first, end)

    def resend_if_due(self, now: float) -> None:
        """Let everything that is kept be sent again, if it is time for that."""
        if self.resend_at is not None and now >= self.resend_at and not self.unsent:
            self.unsent = {key: ranges.copy() for key, ranges in self.kept.items()}
            self.resend_at = None
            self.resend_after = min(self.resend_after * 2, LONGEST_RESEND)

    def resend_soon(self, now: float) -> None:
        """Something happened in which what was sent may have been lost: wait no longer than at first."""
        self.resend_after = RESEND_SECONDS
        if self.resend_at is not None:
            self.resend_at = min(self.resend_at, now + RESEND_SECONDS)

    @property
    def events(self) -> int:
        """How many events it keeps."""
        return sum(ranges.size for ranges in self.kept.values())


def _remove(lanes: dict[LaneKey, Ranges], key: LaneKey, first: int, end: int) -> None:
    ranges = lanes.get(key)
    if ranges is not None:
        ranges.remove(first, end)
        if not ranges:
            del lanes[key]
