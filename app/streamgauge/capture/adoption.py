"""Spools of processes that are no more: found, locked, and told what their lanes said last (rules P3 and P4)."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streamgauge.capture.kept_segment import KeptSegment, LaneKey, key_of
from streamgauge.capture.segment import Contents, Label, read
from streamgauge.capture.spool import Spool
from streamgauge.capture.spool_folder import SpoolFolder
from streamgauge.entry import Announcement, Batch
from streamgauge.errors import NewerFrameError
from streamgauge.failpoints import reach

#: Each of them takes a file descriptor, of which the host may not have many.
MOST_HELD: Final = 16

Meet = Callable[[str, str], None]


@dataclass(eq=False, slots=True)
class HeldSpool:
    """A spool whose lock this process holds: its own or an adopted one."""

    spool: Spool
    #: How far its lanes got, to be said once nothing of them is left; of an adopted spool only.
    farewells: dict[LaneKey, Announcement] = field(default_factory=dict)
    adopted: bool = False
    #: Files of an adopted spool that were not looked into yet.
    unread: list[Path] = field(default_factory=list)
    #: Whether what it was written for is known.
    labelled: bool = False
    #: What is acknowledged has been asked for since it was opened.
    asked: bool = False
    #: When that was; monotonic seconds.
    asked_at: float = 0.0

    def may_send(self) -> bool:
        """Whether sending makes sense: a dead process's durable batches may all be acknowledged long since."""
        return not self.unread and (self.asked or not (self.adopted and self.spool.label.durable))

    def closings(self) -> list[tuple[LaneKey, Announcement]]:
        """The last words of the lanes of which nothing is left."""
        kept = self.spool.kept_lanes()
        return [(key, said) for key, said in self.farewells.items() if key not in kept]


def abandoned(root: Path, label: Label, known: set[Path], meet: Meet) -> Iterator[HeldSpool]:
    """Lock what can be adopted, the oldest first, to be read with `read_on`; `known` folders are passed by.

    `label` is taken for that of a spool which lost its own.
    """
    for folder in SpoolFolder.abandoned(root, known, meet):
        held = HeldSpool(Spool(root, label, 0, meet), adopted=True)
        held.spool.folder = folder
        try:
            held.unread = folder.segments()
        except OSError as error:
            _decline(held, known)
            meet("spool_not_adopted", f"{folder.path}: {error.strerror}")
        else:
            yield held


def read_on(held: HeldSpool, prefix: str, known: set[Path], meet: Meet) -> bool:
    """Look into the next file of an adopted spool, one at a time: there may be very many. False when it is not for us, but left alone.

    `prefix`: of the streams that it must have been written for. `known` learns of what is not for us.
    """
    try:
        label = _load(held, held.unread[0], meet)
    except (OSError, NewerFrameError) as error:
        meet("spool_not_adopted", f"{held.unread[0]}: {error}")
        _decline(held, known)
        return False
    if label is not None and not held.labelled:
        if label.prefix != prefix:
            _decline(held, known)
            return False
        held.spool.label, held.labelled = label, True
    del held.unread[0]
    if not held.unread:
        reach("spool.adopted")
    return True


def _decline(held: HeldSpool, known: set[Path]) -> None:
    if held.spool.folder is not None:
        known.add(held.spool.folder.path)
        held.spool.disown()


def _load(held: HeldSpool, path: Path, meet: Meet) -> Label | None:
    data = path.read_bytes()
    contents = read(data)
    if contents.damaged:
        meet("spool_damaged", f"{contents.damaged} bytes of {path} belong to no entry")
    segment = KeptSegment(path, _first_written(contents), len(data))
    for stowed in contents.stowed:
        key, record = key_of(stowed.shard, stowed.record), stowed.record
        if isinstance(record, Batch):
            segment.add(stowed)
        before = held.farewells.get(key)
        drops = before.drops if before is not None else {}
        end = max(record.end, before.end if before is not None else 0)
        said = drops if isinstance(record, Batch) else record.drops
        held.farewells[key] = Announcement(record.lane, record.born, record.generation, end, True, said)
    held.spool.segments.append(segment)
    held.spool.bytes += segment.bytes
    return contents.label


def _first_written(contents: Contents) -> int:
    return contents.stowed[0].written_at if contents.stowed else time.time_ns() // 1_000_000
