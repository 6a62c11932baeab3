"""What a forked process must do about what it inherited.

A child has its parent's objects, but none of its threads: locks may be held for ever, and events and connections are the
parent's. Registered objects are told before and after every fork; they are registered weakly.
"""

import contextlib
import os
import threading
from typing import Final, Protocol
from weakref import WeakSet

#: How long a fork waits for modules that are being loaded, and for files in use, in seconds. Loading ends by itself; half a
#: module would break, or for ever block, whoever needs it in the child. A file may lie on a disk that hangs.
LOADING_PATIENCE: Final = 30.0
FILES_PATIENCE: Final = 1.0


class Forked(Protocol):
    """Something that lives through forks."""

    def before_fork(self) -> None:
        """In the process that forks: bring everything to a rest, within a moment."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Forget what is the parent's."""


class Undisturbed:
    """What a thread of ours holds while it does something that a fork must not cut in two."""

    def __init__(self) -> None:
        self.loading = threading.Lock()  #: modules
        self.files = threading.Lock()  #: a child would hold their locks as long as it lives
        self._held: list[threading.Lock] = []

    def hold(self) -> None:
        """Wait until nothing of it is going on, and keep it so. Bounded."""
        for lock, patience in ((self.loading, LOADING_PATIENCE), (self.files, FILES_PATIENCE)):
            if lock.acquire(timeout=patience):
                self._held.append(lock)

    def let_go(self) -> None:
        """Let it go on."""
        while self._held:
            self._held.pop().release()


_registered: WeakSet[Forked] = WeakSet()
_watching = False


def register(each: Forked) -> None:
    """Tell it about every fork from now on, for as long as it lives."""
    global _watching
    _registered.add(each)
    if not _watching:
        _watching = True
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    for each in _all():
        with contextlib.suppress(Exception):
            each.before_fork()


def _in_parent() -> None:
    for each in _all():
        with contextlib.suppress(Exception):
            each.after_fork_in_parent()


def _in_child() -> None:
    for each in _all():
        with contextlib.suppress(Exception):
            each.after_fork_in_child()


def _all() -> list[Forked]:
    try:
        return list(_registered)
    except RuntimeError:  # another thread registered one at this very moment
        return list(_registered)
