"""What a forked process must do about what it inherited.

A child has its parent's objects, but none of its threads: locks may be held for ever, and events and connections are the
parent's. Registered objects are told before and after every fork; they are registered weakly.
"""

import contextlib
import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """Something that lives through forks."""

    def before_fork(self) -> None:
        """In the process that forks: bring everything to a rest, within a moment."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Forget what is the parent's."""


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
