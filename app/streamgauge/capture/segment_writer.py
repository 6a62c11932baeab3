"""The file of a spool that is being written."""

import contextlib
import os
import time

from streamgauge.capture.kept_segment import KeptSegment
from streamgauge.capture.segment import Label, Stowed, begin, frame, salt_of
from streamgauge.capture.spool_folder import SpoolFolder


class SegmentWriter:
    """Appends frames. Everything raises OSError as the disk does; what was added since the last `flush` may then be in the file or not."""

    def __init__(self, folder: SpoolFolder, number: int, label: Label) -> None:
        """Makes the file, which nobody but its owner may read."""
        self.opened_at = time.monotonic()
        self.segment = KeptSegment(folder.segment(number), time.time_ns() // 1_000_000)
        self._folder = folder
        self._named = False  # whether the disk is known to know of the file
        header = begin(label)
        self._waiting = bytearray(header)
        self._salt = salt_of(header)
        self._file: int | None = os.open(
            self.segment.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self.segment.bytes = len(self._waiting)

    def framed(self, stowed: Stowed) -> bytes:
        """An entry as it will be in the file."""
        return frame(self._salt, stowed)

    def add(self, framed: bytes) -> None:
        """Let the next `flush` write this."""
        self._waiting += framed
        self.segment.bytes += len(framed)

    def flush(self) -> None:
        """Hand everything to the system, which keeps it if the process dies."""
        assert self._file is not None  # noqa: S101 - nobody uses a closed one
        left = memoryview(bytes(self._waiting))
        while left:
            left = left[os.write(self._file, left) :]
        self._waiting.clear()

    def sync(self) -> None:
        """Wait until the disk has everything, which keeps it if the machine dies."""
        self.flush()
        assert self._file is not None  # noqa: S101 - as above
        os.fsync(self._file)
        if not self._named:
            self._folder.sync()
            self._named = True

    def is_gone(self) -> bool:
        """Whether somebody removed the file: what is written into it then is kept by nobody."""
        return self._file is None or not os.fstat(self._file).st_nlink

    def close(self) -> None:
        """Twice is fine; in a forked child too, whose parent goes on writing."""
        # Forgotten first: even where closing it fails, its number is free, and the host's next file or socket may have it.
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                os.close(file)
