"""Finds the entry that a worker cannot get past, so that it can be dead-lettered and the rest goes on.

Two ways of failing are told apart. An error that is caught says which entries were being applied: from then on they are taken one at a
time, until the one that fails alone has failed often enough. A process that dies says nothing, so an attempt is counted in the shard's
row *before* it is made: many attempts without a commit make the next worker careful too.
"""

from collections.abc import Sequence

import asyncpg

from streamgauge.entry import Entry, EntryId
from streamgauge.errors import FencedError, NewerFrameError, ServerError
from streamgauge.logs import redacted
from streamgauge_workers.plausibility import ImplausibleError

FAILURES_ALLOWED = 3  # of one entry, caught
CRASHES_SUSPECT, CRASHES_ALLOWED = 3, 20  # attempts that ended neither in a commit nor in a caught error

POISON_IN_A_ROW = 3  # more entries in a row that cannot be applied are no accident of theirs

# Classes of SQLSTATE that an entry can cause: data, integrity, a program's limits. Any other (a lost connection, a full disk, a
# missing column or right) is the servers' condition.
ENTRY_CLASSES = ("22", "23", "54")


class Suspicion:
    """What one shard's worker suspects."""

    def __init__(self) -> None:
        self.careful_until: EntryId | None = None
        self.failures: dict[EntryId, list[str]] = {}
        self.poisoned = 0  #: entries dead-lettered since one was applied
        self.caught = (
            0  #: attempts that ended in a caught error, no crash, and could not be taken off the row's count
        )

    @property
    def careful(self) -> bool:
        """Whether entries are to be taken one at a time."""
        return self.careful_until is not None

    def look(self, entries: Sequence[Entry], attempts: int) -> None:
        """Become careful about these entries if that many attempts were counted without a commit."""
        if attempts - self.caught >= CRASHES_SUSPECT and self.careful_until is None:
            self.careful_until = entries[-1][0]

    def verdict(self, entry_id: EntryId, attempts: int) -> str | None:
        """Why an entry, taken alone, is to be dead-lettered; None if it is to be tried (again)."""
        failures = self.failures.get(entry_id, [])
        if self.poisoned >= POISON_IN_A_ROW:
            return None
        if len(failures) >= FAILURES_ALLOWED:
            return f"failed {len(failures)} times: {failures[-1]}"
        crashes = attempts - self.caught - 1
        if crashes >= CRASHES_ALLOWED:
            return f"{crashes} attempts at it ended without a commit or an error"
        return None

    def failed(self, entries: Sequence[Entry], error: Exception, counted: bool) -> None:
        """An attempt ended in an error; `counted` tells whether the row still counts it."""
        self.caught += counted
        if transient(error):
            return
        self.careful_until = max(self.careful_until or entries[-1][0], entries[-1][0])
        # A newer version is nobody's failure: what is in front of it is applied, then the shard waits (rule P12).
        if len(entries) == 1 and not isinstance(error, NewerFrameError):
            reason = redacted(f"{type(error).__name__}: {error}")
            self.failures.setdefault(entries[0][0], []).append(reason)

    def passed(self, last: EntryId, poison: bool) -> None:
        """Everything up to `last` is done, as `poison` or applied; the row's count is back at zero."""
        self.poisoned = self.poisoned + 1 if poison else 0
        self.caught = 0
        self.failures.pop(last, None)
        if self.careful_until is not None and last >= self.careful_until:
            self.careful_until = None

    def forget(self) -> None:
        """Entry ids mean nothing any more: the history changed."""
        self.careful_until = None
        self.failures.clear()


def transient(error: Exception) -> bool:
    """Whether an error is the servers' condition rather than the entries' doing."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "XX")[:2] not in ENTRY_CLASSES
    # InternalClientError: what asyncpg raises when its backend was killed in the middle of a reply.
    broken = asyncpg.InterfaceError | asyncpg.InternalClientError
    return isinstance(error, ServerError | FencedError | ImplausibleError | OSError | TimeoutError | broken)
