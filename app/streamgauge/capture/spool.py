"""A spool: frozen batches in files, oldest first, until they are in the stream, or acknowledged (rule P4)."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from streamgauge.capture.forks import Undisturbed
from streamgauge.capture.kept_segment import KeptSegment, LaneKey, Stream, key_of
from streamgauge.capture.pending import DropReason
from streamgauge.capture.segment import Contents, Label, Stowed, read
from streamgauge.capture.segment_writer import SegmentWriter
from streamgauge.capture.spool_folder import SpoolFolder
from streamgauge.entry import Batch, Record
from streamgauge.errors import NewerFrameError
from streamgauge.failpoints import reach

SEGMENT_BYTES: Final = 4 * 1024 * 1024
#: A durable segment is ended after so many seconds: what is sent again is a whole segment's, and should not be brand-new.
SEGMENT_SECONDS: Final = 30.0
#: How long a disk that failed is left alone, in seconds.
RETRY_SECONDS: Final = 1.0
#: Bytes that a file's beginning may take.
BEGINNING: Final = 256

#: Numbers `[first, end)` of a lane.
Numbers = tuple[LaneKey, int, int]


class Spool:
    """One process's files, used by one thread. Nothing here raises: what the disk refuses stays with the caller, and is told."""

    def __init__(
        self,
        root: Path,
        label: Label,
        most_bytes: int,
        meet: Callable[[str, str], None],
        undisturbed: Undisturbed | None = None,
    ) -> None:
        """`most_bytes` bounds the files; `meet` is told what went wrong. The folder is made with the first entry.

        `undisturbed` is held for that moment: a child forked then would keep the folder locked as long as it lives.
        """
        self.label = label
        #: Its segments, the oldest first.
        self.segments: list[KeptSegment] = []
        #: Of its files.
        self.bytes = 0
        #: Why the last entries were not taken: spool_full or spool_failed.
        self.refusal: DropReason | None = None
        self.folder: SpoolFolder | None = None
        self._root = root
        self._most_bytes = most_bytes
        self._segment_bytes = min(SEGMENT_BYTES, most_bytes // 4)
        self._meet = meet
        self._undisturbed = undisturbed or Undisturbed()
        self._writer: SegmentWriter | None = None
        self._number = 0
        self._unsynced: list[tuple[int, Batch]] = []
        self._retry_at = 0.0

    def status(self) -> dict[str, float]:
        """Bytes and batches of its files, and how old the oldest is, in seconds. Any thread may ask."""
        segments = list(self.segments)
        oldest = min((segment.written_at for segment in segments if segment.kept), default=None)
        age = 0.0 if oldest is None else max(time.time() - oldest / 1000, 0.0)
        return {
            "bytes": self.bytes,
            "batches": sum(segment.batches for segment in segments),
            "oldest_seconds": round(age, 3),
        }

    @staticmethod
    def nothing() -> dict[str, float]:
        """The status of having none."""
        return {"bytes": 0, "batches": 0, "oldest_seconds": 0.0}

    def write(self, entries: Sequence[tuple[int, Record]], live: bool = False) -> int:
        """Write entries with their shards; how many of them, from the first on, it keeps now. `refusal` tells why not all.

        Those that are `live` are sent by the caller, who says `sent` or `owe` of each.
        """
        if time.monotonic() < self._retry_at:
            return 0
        self.refusal = None
        taken, now = 0, time.time_ns() // 1_000_000
        try:
            for shard, record in entries:
                if not self._put(Stowed(shard, now, record), live):
                    self.refusal = "spool_full"
                    break
                taken += 1
            if self._writer is not None:
                self._writer.flush()
            reach("spool.written")
        except OSError as error:
            self._fail(error)
            self._release(entries[:taken])
            return 0
        return taken

    def sync(self) -> bool:
        """Wait until the disk has everything that was written; whether it has. What it has not is not kept."""
        try:
            if self._writer is not None and self._unsynced:
                self._writer.sync()
            reach("spool.synced")
        except OSError as error:
            # What a failed fsync leaves in the file is anybody's guess: nothing is added to it any more.
            self._fail(error)
            self._release(self._unsynced)
        self._unsynced.clear()
        return self.refusal != "spool_failed"

    def owe(self, shard: int, batch: Batch) -> bool:
        """A live batch has to be sent from here; False when it is not kept any more: PostgreSQL has it."""
        key, kept = key_of(shard, batch), False
        for segment in self.segments:
            if segment.has(key, batch):
                segment.owe(key, batch)
                kept = True
        return kept

    def sent(self, shard: int, batch: Batch) -> None:
        """A batch of its is in the stream."""
        key, now = key_of(shard, batch), time.monotonic()
        for segment in self.segments:
            if segment.has(key, batch):
                segment.sent(key, batch, now)
                if not self.label.durable:
                    segment.release(key, batch.first, batch.end)

    def acknowledge(self, key: LaneKey, prefix: int) -> None:
        """All numbers of a lane below `prefix` are in PostgreSQL for good (rule P9)."""
        for segment in self.segments:
            segment.release(key, 0, prefix)

    def kept_lanes(self) -> set[LaneKey]:
        """Lanes of which it keeps something."""
        return {key for segment in self.segments for key in segment.kept}

    def unsent_streams(self) -> set[Stream]:
        """Streams for which something has to be sent."""
        return {key.stream for segment in self.segments for key in segment.unsent}

    def owed(self, streams: Collection[Stream]) -> tuple[list[Stowed], list[Numbers]]:
        """What the oldest segment that owes these streams something has for them; and numbers it lost, which nobody can send any more."""
        now = time.monotonic()
        for segment in self.segments if streams else ():
            owing = [key for key in segment.unsent if key.stream in streams]
            if not owing or now < segment.readable_at or (contents := self._contents(segment)) is None:
                continue
            lost = list(_missing(segment, contents, owing))
            for key, first, end in lost:
                segment.release(key, first, end)
            if lost:
                self._meet("spool_damaged", f"numbers of {len(lost)} batches are no longer in {segment.path}")
            return [each for each in contents.stowed if _is_wanted(segment, each, streams)], lost
        return [], []

    def finished(self) -> list[KeptSegment]:
        """Segments that need not be kept any more."""
        return [segment for segment in self.segments if not segment.kept and not segment.has_farewells]

    def remove(self, segment: KeptSegment) -> None:
        """Delete a segment's file."""
        if self._writer is not None and self._writer.segment is segment:
            self._writer.close()
            self._writer = None
        self.segments.remove(segment)
        self.bytes -= segment.bytes
        with contextlib.suppress(OSError):  # one day it is adopted, and its entries are copies
            segment.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files: what they still keep is for another process."""
        try:
            self._end_segment()
        except OSError as error:
            self._fail(error)
        if self.folder is not None:
            self.folder.leave()
            self.folder = None

    def disown(self) -> None:
        """In a forked child, whose parent goes on with it."""
        if self._writer is not None:
            self._writer.close()
        if self.folder is not None:
            self.folder.disown()

    def _put(self, stowed: Stowed, live: bool) -> bool:
        if self.bytes + BEGINNING > self._most_bytes:
            return False
        writer = self._ready()
        framed = writer.framed(stowed)
        if self.bytes + len(framed) > self._most_bytes:
            return False
        writer.add(framed)
        self.bytes += len(framed)
        if isinstance(stowed.record, Batch):
            writer.segment.add(stowed, live)
            if self.label.durable:
                self._unsynced.append((stowed.shard, stowed.record))
        else:
            writer.segment.has_farewells = True
        return True

    def _ready(self) -> SegmentWriter:
        """A writer with room, of a file that is still there."""
        if self._writer is not None and self._is_done(self._writer):
            self._end_segment()
        if self._writer is None:
            if self.folder is not None and not self.folder.path.is_dir():  # somebody removed it
                self.folder.disown()
                self.folder = None
            if self.folder is None:
                with self._undisturbed.files:
                    self.folder = SpoolFolder.make(self._root)
            self._number += 1
            self._writer = SegmentWriter(self.folder, self._number, self.label)
            self.segments.append(self._writer.segment)
            self.bytes += self._writer.segment.bytes
        return self._writer

    def _is_done(self, writer: SegmentWriter) -> bool:
        old = self.label.durable and time.monotonic() - writer.opened_at >= SEGMENT_SECONDS
        return writer.is_gone() or old or writer.segment.bytes >= self._segment_bytes

    def _end_segment(self) -> None:
        if self._writer is not None:
            try:
                if self._unsynced:
                    self._writer.sync()
                else:
                    self._writer.flush()
            finally:
                self._writer.close()
                self._writer = None

    def _release(self, entries: Sequence[tuple[int, Record]]) -> None:
        for shard, record in entries:
            if isinstance(record, Batch):
                for segment in self.segments:
                    segment.release(key_of(shard, record), record.first, record.end)
        # What is left of a failure takes no room: neither on the disk, which may be full, nor of what the spool may use.
        for segment in self.finished():
            self.remove(segment)

    def _fail(self, error: OSError) -> None:
        self.refusal = "spool_failed"
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self._meet("spool_failed", f"the spool in {self._root}: {error.strerror or error}")
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _contents(self, segment: KeptSegment) -> Contents | None:
        try:
            return read(segment.path.read_bytes())
        except (FileNotFoundError, NewerFrameError):  # removed; or damaged, since its version was ours before
            return Contents()
        except OSError as error:
            segment.readable_at = time.monotonic() + RETRY_SECONDS
            self._meet("spool_failed", f"{segment.path} cannot be read: {error.strerror}")
            return None


def _is_wanted(segment: KeptSegment, stowed: Stowed, streams: Collection[Stream]) -> bool:
    key, record = key_of(stowed.shard, stowed.record), stowed.record
    return isinstance(record, Batch) and key.stream in streams and segment.wants(key, record)


def _missing(segment: KeptSegment, contents: Contents, keys: Collection[LaneKey]) -> Iterator[Numbers]:
    """Numbers that the segment should keep and that its file does not hold."""
    left = {key: segment.kept[key].copy() for key in keys}
    for stowed in contents.stowed:
        key, record = key_of(stowed.shard, stowed.record), stowed.record
        if key in left and isinstance(record, Batch):
            left[key].remove(record.first, record.end)
    for key, ranges in left.items():
        for first, end in ranges:
            yield key, first, end
