"""Spools of processes that are no more: found, locked, and told what their lanes said last (rules P3 and P4)."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from streamgauge.capture.kept_segment import KeptSegment, LaneKey, key_of
from streamgauge.capture.segment import Contents, Label, read
from streamgauge.capture.spool import Spool
from streamgauge.capture.spool_folder import SpoolFolder
from streamgauge.entry import Announcement, Batch
from streamgauge.errors import NewerFrameError
from streamgauge.failpoints import reach

Meet = Callable[[str, str], None]


@dataclass(eq=False, slots=True)
class HeldSpool:
    """A spool whose lock this process holds: its own or an adopted one."""

    spool: Spool
    #: How far its lanes got, to be said once nothing of them is left; of an adopted spool only.
    farewells: dict[LaneKey, Announcement] = field(default_factory=dict)
    adopted: bool = False
    #: What is acknowledged has been asked for since it was opened.
    asked: bool = False
    #: When that was; monotonic seconds.
    asked_at: float = 0.0

    def may_send(self) -> bool:
        """Whether sending makes sense: a dead process's durable batches may all be acknowledged long since."""
        return self.asked or not (self.adopted and self.spool.label.durable)

    def closings(self) -> list[tuple[LaneKey, Announcement]]:
        """The last words of the lanes of which nothing is left."""
        kept = self.spool.kept_lanes()
        return [(key, said) for key, said in self.farewells.items() if key not in kept]


def abandoned(root: Path, label: Label, known: set[Path], meet: Meet) -> Iterator[HeldSpool]:
    """Adopt what can be adopted; `known` folders are passed by, and learns of those that are not for us.

    `label` tells the prefix that they must have been written for, and is taken for that of a spool which lost its own.
    """
    try:
        for folder in SpoolFolder.abandoned(root, known):
            held = _adopted(folder, label, known, meet)
            if held is not None:
                yield held
    except OSError as error:
        meet("spool_failed", f"the spools in {root} cannot be adopted: {error.strerror or error}")


def _adopted(folder: SpoolFolder, label: Label, known: set[Path], meet: Meet) -> HeldSpool | None:
    held = HeldSpool(Spool(folder.path.parent, label, 0, meet), adopted=True)
    try:
        labels = [found for path in folder.segments() if (found := _load(held, path, meet)) is not None]
        reach("spool.adopted")
    except (OSError, NewerFrameError) as error:
        known.add(folder.path)
        folder.disown()
        meet("spool_not_adopted", f"{folder.path}: {error}")
        return None
    if labels and labels[0].prefix != label.prefix:
        known.add(folder.path)
        folder.disown()
        return None
    held.spool.label = labels[0] if labels else label
    held.spool.folder = folder
    return held


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
