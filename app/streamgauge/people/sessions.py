"""Sessions of one actor: what carries the same session's id, and of the rest what lies at most half an hour apart. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streamgauge.people.notes import Note

#: As analytics tools have counted visits since log files: half an hour of nothing ends one.
GAP_MINUTES: Final = 30
GAP: Final = GAP_MINUTES * 60 * 1_000_000  # microseconds


@dataclass(frozen=True, slots=True, order=True)
class Session:
    """Microseconds since 1970. Ordered by start; `id` is empty where events carry none."""

    start: int
    id: str
    end: int
    events: int
    errors: int
    routes: int  #: distinct templates of routes


def sessions(notes: Iterable[Note]) -> list[Session]:
    """The sessions, newest first. Whatever order the notes come in, they are the same."""
    named: dict[str, list[Note]] = {}
    loose: list[Note] = []
    for note in notes:
        if note.session:
            named.setdefault(note.session, []).append(note)
        else:
            loose.append(note)
    found = [_session(name, each) for name, each in named.items()]
    visit: list[Note] = []
    for note in sorted(loose, key=lambda each: each.at):
        if visit and note.at - visit[-1].at > GAP:
            found.append(_session("", visit))
            visit = []
        visit.append(note)
    if visit:
        found.append(_session("", visit))
    return sorted(found, reverse=True)


def _session(name: str, notes: list[Note]) -> Session:
    return Session(
        start=min(note.at for note in notes),
        id=name,
        end=max(note.at for note in notes),
        events=len(notes),
        errors=sum(note.failed for note in notes),
        routes=len({note.route for note in notes if note.route is not None}),
    )
