"""Closing what was left open when the process ends."""

import atexit
import sys
import time
from typing import Final, Protocol
from weakref import WeakSet

#: For all together. A short program has its client loaded, and its first connection made, in that time; on a busy machine.
SECONDS: Final = 5.0


class Closable(Protocol):
    """Something that has to be closed."""

    def begin_to_close(self, seconds: float) -> None:
        """Begin, and return at once."""

    def finish_closing(self, seconds: float) -> None:
        """Wait for the end at most so long."""


_open: WeakSet[Closable] = WeakSet()
_watching = False


def close_at_exit(each: Closable) -> None:
    """Close it when the process ends, if it still lives then."""
    global _watching
    _open.add(each)
    if not _watching:
        _watching = True
        atexit.register(_close_all)


def watch_multiprocessing() -> None:
    """Close at the end of a child of `multiprocessing` too, which ends without atexit. Call it in the child."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # It knows by itself in which process it was registered.
        util.Finalize(None, _close_all, exitpriority=0)


def leave_open(each: Closable) -> None:
    """It has been closed."""
    _open.discard(each)


def _close_all() -> None:
    left = list(_open)
    until = time.monotonic() + SECONDS
    for each in left:  # all at once, or a hung Redis would take its time from each of them in turn
        each.begin_to_close(SECONDS)
    for each in left:
        each.finish_closing(until - time.monotonic())
