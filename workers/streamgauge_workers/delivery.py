"""Which entries of a read are new: rules P2, P3, P10 and P11 of the delivery protocol, without I/O or a clock.

The worker judges a read, then commits what is fresh together with the new lane states, all under one token. A verdict
is worth nothing once that token has moved: judge again from what PostgreSQL says then.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamgauge.entry import Announcement, Batch, Entry, EntryId, Unreadable
from streamgauge.ranges import Ranges


@dataclass(slots=True)
class LaneState:
    """What PostgreSQL keeps of one lane in one shard. Times are Unix milliseconds."""

    #: Numbers processed: applied, rejected, repeated by key or dead-lettered.
    done: Ranges = field(default_factory=Ranges)
    #: The highest end in an announcement read so far; `done` may reach beyond it.
    end: int = 0
    #: An announcement said that nothing will follow.
    closed: bool = False
    #: When an entry of the lane was last read, by PostgreSQL's clock.
    touched: int = 0
    #: When the lane was made, by its producer's clock.
    born: int = 0
    #: Unknown when first read and born before the horizon: what it lacks may have been processed and forgotten.
    stray: bool = False
    #: An import or the replay of a dead letter: never a stray and never forgotten.
    trusted: bool = False
    #: The loss for which the stream was already read again (rule P11).
    scanned: int = 0

    @property
    def lost(self) -> int:
        """Announced events that are not processed; 0 for a stray, of which nothing is known (rules P3, P10)."""
        return 0 if self.stray else self.end - self.done.size_below(self.end)

    @property
    def settled(self) -> bool:
        """Closed with nothing missing. A lane forgotten before that is listed by name (rule P10)."""
        return self.closed and not self.stray and self.done.prefix >= max(self.end, self.done.top)

    def copy(self) -> "LaneState":
        """An independent copy."""
        return replace(self, done=self.done.copy())


@dataclass(slots=True)
class Verdict:
    """What a read amounts to. Position becomes the last entry's id, or 0-0 in a new epoch when `rescan` is set."""

    #: Batches to apply, in stream order.
    fresh: list[tuple[EntryId, Batch]] = field(default_factory=list)
    #: Batches whose numbers are all done: count them, apply nothing.
    duplicates: list[tuple[EntryId, Batch]] = field(default_factory=list)
    #: Batches of which only a part is done: dead-letter them, apply nothing. See `judge`.
    conflicts: list[tuple[EntryId, Batch]] = field(default_factory=list)
    #: Entries that are not ours or are damaged: dead-letter them.
    unreadable: list[tuple[EntryId, Unreadable]] = field(default_factory=list)
    #: New states of every lane in the read.
    lanes: dict[bytes, LaneState] = field(default_factory=dict)
    #: There is a new hole: read once more from the oldest retained entry before raising the alarm (rule P11).
    rescan: bool = False
    #: Per lane and reason, events dropped before numbering. Cumulative, so keep the greater of this and the stored.
    drops: dict[bytes, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ledger:
    """A lane's transport ledger in events: announced = processed + pending + lost."""

    announced: int
    processed: int
    pending: int
    lost: int


def judge(
    lanes: Mapping[bytes, LaneState],
    entries: Sequence[Entry],
    now: int,
    horizon: int,
    trusted: Container[bytes] = (),
) -> Verdict:
    """Tell fresh batches from duplicates, and follow the lanes' numbers.

    `lanes` holds the stored state of every lane that has one among the entries, read under the token that the commit
    will swap; it is not changed. `now` and `horizon` = now - max_lateness - 1 day are Unix milliseconds of PostgreSQL's
    clock. `trusted` tells the lanes of imports and dead-letter replays.

    A batch is a duplicate when all its numbers are done, even if its payload differs: the first one processed wins.
    A batch of which only a part is done is a conflict. Our producers cannot cause one: a lane numbers its events once,
    consecutively and in one process, and a frozen batch is never cut again, so two ranges of a lane are equal or
    disjoint. Either way of applying a conflict could be wrong - all of it counts events twice, none of it loses some -
    so it is left to a human. Its numbers stay open, so the batch they belong to is still welcome.
    """
    verdict = Verdict()
    for entry_id, record in entries:
        if isinstance(record, Unreadable):
            verdict.unreadable.append((entry_id, record))
            continue
        lane = _lane_of(record, verdict, lanes, horizon, trusted)
        lane.touched = max(lane.touched, now)
        if isinstance(record, Announcement):
            _hear(record, lane, verdict)
        else:
            _place(entry_id, record, lane, verdict)
    # After the whole read: a hole that a later entry of the same read fills needs no other read.
    for lane in verdict.lanes.values():
        verdict.rescan |= lane.lost > lane.scanned
        lane.scanned = lane.lost
    return verdict


def forgettable(lane: LaneState, now: int, idle: int) -> bool:
    """Whether a lane may be forgotten: untouched for more than `idle` milliseconds, and not trusted (rule P10).

    `idle` must be at least max_lateness + 1 day. A late copy then comes back as a stray whose events are all too late.
    """
    return not lane.trusted and now - lane.touched > idle


def ledger(lane: LaneState, caught_up: bool) -> Ledger:
    """The transport ledger of a lane, from what the worker has read and nothing else.

    The worker cannot see what a producer holds or what waits unread in the stream; that much is the stream's lag and
    the producer's own counters. Of what it has read it knows two bounds. Numbers below an announced end were settled
    by the producer *before* it announced: each is in the stream in front of the announcement, or will not come again
    by itself. So when the position has passed the announcement, a hole below that end is lost, and above it pending:
    batches may be sent side by side, and a later one overtake an earlier one.

    `caught_up` says that the position, in its present epoch, has reached the end the stream had when the epoch began.
    Until then announcements remembered from before have not been passed again: after a rewind (a new history, a
    re-read) every hole counts as pending, since the entries that fill it may lie ahead.

    A loss is taken back when its events turn up after all, from a spool or an old primary. Nothing is known to miss
    from a stray: it has announced what was processed.
    """
    processed = lane.done.size
    if lane.stray:
        return Ledger(announced=processed, processed=processed, pending=0, lost=0)
    announced = max(lane.end, lane.done.top)
    lost = lane.lost if caught_up else 0
    return Ledger(announced, processed, announced - processed - lost, lost)


def _lane_of(
    record: Batch | Announcement,
    verdict: Verdict,
    lanes: Mapping[bytes, LaneState],
    horizon: int,
    trusted: Container[bytes],
) -> LaneState:
    lane = verdict.lanes.get(record.lane)
    if lane is None:
        known = lanes.get(record.lane)
        if known is not None:
            lane = known.copy()
        else:
            trust = record.lane in trusted
            lane = LaneState(born=record.born, trusted=trust, stray=record.born < horizon and not trust)
        verdict.lanes[record.lane] = lane
    return lane


def _hear(announcement: Announcement, lane: LaneState, verdict: Verdict) -> None:
    # Late copies of earlier announcements say less, never more.
    lane.end = max(lane.end, announcement.end)
    lane.closed |= announcement.closed
    if announcement.drops:
        drops = verdict.drops.setdefault(announcement.lane, {})
        for reason, count in announcement.drops.items():
            drops[reason] = max(count, drops.get(reason, 0))


def _place(entry_id: EntryId, batch: Batch, lane: LaneState, verdict: Verdict) -> None:
    if lane.done.covers(batch.first, batch.end):
        verdict.duplicates.append((entry_id, batch))
    elif lane.done.overlaps(batch.first, batch.end):
        verdict.conflicts.append((entry_id, batch))
    else:
        lane.done.add(batch.first, batch.end)
        verdict.fresh.append((entry_id, batch))
