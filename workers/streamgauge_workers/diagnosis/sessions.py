"""Sessions of PostgreSQL that keep others waiting: locks, transactions that nobody ends, and snapshots that hold cleaning up back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streamgauge_workers.diagnosis.findings import Finding, ok, problem, warning
from streamgauge_workers.diagnosis.wording import counted, duration, listed
from streamgauge_workers.leases import APPLICATION_NAME

#: Seconds that waiting for a lock, or holding a table, may take without being worth a word.
LONG_LOCK = 5.0
#: The same of a worker's transaction in which nothing happens.
LONG_IDLE = 10.0
#: The same of a snapshot.
LONG_SNAPSHOT = 900.0


@dataclass(frozen=True, slots=True)
class Session:
    """A session of our database that is in a transaction. Times in seconds."""

    pid: int
    name: str  #: of its program, as that calls itself
    host: str
    idle: bool  #: it waits for its program, in the middle of the transaction
    open: float  #: since its transaction began
    since: float  #: since its state changed: for so long it has been idle, or at its statement
    holds_back: bool  #: it has a snapshot or has written, and PostgreSQL removes nothing that is newer
    #: Sessions whose locks it waits for.
    blocked_by: Sequence[int] = ()
    #: Tables that nobody else may even read because of it.
    locked: Sequence[str] = ()

    @property
    def of_worker(self) -> bool:
        """Whether it is a worker's: these begin their name so."""
        return self.name.startswith(APPLICATION_NAME)

    def __str__(self) -> str:
        return f"session {self.pid} ({self.name or 'unnamed'} on {self.host})"


def sessions(found: Sequence[Session]) -> Iterator[Finding]:
    """Locks, idle workers and long snapshots."""
    told = [*_locks(found), *_zombies(found), *_snapshots(found)]
    yield from told
    if not told:
        yield ok("locks", "Nobody keeps others waiting in PostgreSQL.")


def _locks(found: Sequence[Session]) -> Iterator[Finding]:
    for first in _holders(found):
        waiting = [each for each in found if first in each.blocked_by and each.since >= LONG_LOCK]
        session = next((each for each in found if each.pid == first), None)
        if session is not None and session.blocked_by:
            continue  # whom it waits for is the one to name
        locked = session.locked if session is not None and session.open >= LONG_LOCK else ()
        if not waiting and not locked:
            continue
        who = str(session) if session is not None else f"session {first}"
        how_long = f", whose transaction is open for {duration(session.open)}," if session is not None else ""
        tables = f" has locked {listed(list(locked))}" if locked else ""
        keeps = ""
        if waiting:
            longest = max(each.since for each in waiting)
            names = listed(sorted({each.name or "unnamed" for each in waiting}))
            keeps = (
                f" keeps {counted(len(waiting), 'session')} ({names}) waiting for up to {duration(longest)}"
            )
        level = problem if locked or any(each.of_worker for each in waiting) else warning
        yield level(
            "locks",
            f"{who[0].upper()}{who[1:]}{how_long}{' and'.join(part for part in (tables, keeps) if part)}; nothing is lost, what "
            "is not counted waits in Redis.",
            f"Let it end (a migration, a dump or an ALTER does by itself), or end it: SELECT pg_terminate_backend({first}).",
        )


def _holders(found: Sequence[Session]) -> list[int]:
    blockers = {pid for each in found for pid in each.blocked_by}
    return sorted(blockers | {each.pid for each in found if each.locked})


def _zombies(found: Sequence[Session]) -> Iterator[Finding]:
    silent = [each for each in found if each.of_worker and each.idle and each.since >= LONG_IDLE]
    if silent:
        longest = max(each.since for each in silent)
        yield warning(
            "zombies",
            f"{counted(len(silent), 'session')} of workers stopped in the middle of a transaction up to {duration(longest)} ago "
            f"({listed([f'{each.pid} on {each.host}' for each in silent])}): the process hangs or its machine is cut off. It can "
            "commit nothing that another worker has taken over, but may hold its rows.",
            "End that process. If its machine cannot be reached, end the session: "
            f"SELECT pg_terminate_backend({silent[0].pid}).",
        )


def _snapshots(found: Sequence[Session]) -> Iterator[Finding]:
    for each in found:
        if each.holds_back and each.open >= LONG_SNAPSHOT:
            yield warning(
                "vacuum",
                f"The transaction of {each} is open for {duration(each.open)}: as long as it is, PostgreSQL cannot remove old "
                "versions of rows, and tables that change much grow.",
                f"Let it end if it is a `verify`, a `rebuild` or a dump; else end it: SELECT pg_terminate_backend({each.pid}).",
            )
