"""Tallies: what is kept of each learner, lesson or draft. Declared as data, merged in any order, read by pure reports.

    Tally("learning.lessons", events=("lesson.progressed",), by=(ACTOR, "course.id", "lesson.id"), last=("percent",))

A rollup counts by a few dimensions and knows how many actors there were; a tally has a row for each entity, and knows when it was first
and last met, and what its last event said. With `EVENT` among its parts it is a journal: a row for every event.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from streamgauge.errors import SettingsError
from streamgauge.event import Value

#: Parts of a key that are not properties; `rollups.EVENT_NAME` is another.
ACTOR: Final = "actor"
GROUP: Final = "group"
SESSION: Final = "session"
EVENT: Final = "event.id"
MOST_PARTS: Final = 4
MOST_MEASURES: Final = 8
#: The bucket of what is kept for all time.
ALL_TIME: Final = 0

Grain = Literal["all", "day", "hour"]


@dataclass(frozen=True, slots=True)
class Tally:
    """One table's worth of rows: of which events, by what, and what is measured of them.

    An event that lacks a part of the key is left out. `sums` and `greatest` are over whole-number properties; `last` holds what the
    entity's last event said, by (occurred_at, event id), so that a late older event changes nothing.
    """

    name: str
    events: tuple[str, ...]
    by: tuple[str, ...]
    grain: Grain = "all"
    sums: tuple[str, ...] = ()
    greatest: tuple[str, ...] = ()
    last: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.events or not self.by:
            raise SettingsError(f"tally {self.name!r} needs events, and something they are kept by")
        if len(self.by) > MOST_PARTS:
            raise SettingsError(
                f"tally {self.name!r} has {len(self.by)} parts in its key; it can have {MOST_PARTS}"
            )
        if max(len(self.sums), len(self.greatest), len(self.last)) > MOST_MEASURES:
            raise SettingsError(f"tally {self.name!r} can have {MOST_MEASURES} of each measure")

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the key that are texts: all but the actor."""
        return tuple(part for part in self.by if part != ACTOR)


class TallyKey(NamedTuple):
    """A row. `bucket` is the UTC second at which its local day or hour begins, or ALL_TIME."""

    tenant_id: int
    tally: str
    bucket: int
    actor: bytes | None
    parts: tuple[str, ...]


class Moment(NamedTuple):
    """Where an event is in the order of events: UTC microseconds, then its id."""

    at: int
    event_id: bytes


@dataclass(slots=True)
class State:
    """What is kept of an entity. Merging is commutative and associative."""

    count: int
    sums: tuple[int, ...]
    greatest: tuple[int | None, ...]
    first: Moment
    last: Moment
    said: Mapping[str, Value]  #: by the last event, of the properties that it carried

    def merge(self, other: "State") -> None:
        """Add what another stripe or batch has of the same entity."""
        self.count += other.count
        self.sums = tuple(one + more for one, more in zip(self.sums, other.sums, strict=True))
        self.greatest = tuple(map(_greater, self.greatest, other.greatest))
        self.first = min(self.first, other.first)
        if other.last > self.last:
            self.last, self.said = other.last, other.said


def add_states(found: dict[TallyKey, State], states: Iterable[tuple[TallyKey, State]]) -> None:
    """Merge states into those found so far."""
    for key, state in states:
        if key in found:
            found[key].merge(state)
        else:
            found[key] = replace(state)


def merged(states: Iterable[tuple[TallyKey, State]]) -> dict[TallyKey, State]:
    """States by key."""
    found: dict[TallyKey, State] = {}
    add_states(found, states)
    return found


def _greater(one: int | None, other: int | None) -> int | None:
    return max((each for each in (one, other) if each is not None), default=None)
