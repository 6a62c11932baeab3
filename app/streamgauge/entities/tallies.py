"""What a report reads of tallies: a port with two implementations, of rows in memory (here) and in PostgreSQL (`stored`)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from streamgauge.summaries.calendar import END_SECOND
from streamgauge.summaries.tallies import State, TallyKey

#: What rows are added up by: time, actor, and parts of the key by their places (the actor is none of them).
By = Literal["bucket", "actor", 1, 2, 3, 4]
MOST_SUMS: Final = 4  # of a tally that is added up


class Span(NamedTuple):
    """Buckets from the UTC second `since` to before `until`."""

    since: int = 0
    until: int = END_SECOND


EVER: Final = Span()


class Group(NamedTuple):
    """What is added up together. None, and no parts, where rows were not kept apart by it."""

    bucket: int | None = None
    actor: bytes | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Total:
    """Rows added up. `entities`: different keys, whatever their bucket; times are UTC microseconds."""

    count: int
    actors: int
    entities: int
    sums: tuple[int, ...]
    first_at: int
    last_at: int


@dataclass(frozen=True, slots=True)
class Saying:
    """What entities' last events said of a number: its sum, and how many said as much as was asked for."""

    entities: int
    actors: int
    sum: int
    reached: int


class Tallies(Protocol):
    """The rows of one tenant, of the actors that may be seen. All methods raise InputError for more rows than a report may read."""

    async def states(
        self, tally: str, span: Span = EVER, *, part: str | None = None
    ) -> dict[TallyKey, State]:
        """Rows as they are. `part`: only those whose first part is this."""

    async def totals(
        self, tally: str, by: Collection[By] = (), span: Span = EVER, *, part: str | None = None
    ) -> dict[Group, Total]:
        """Rows added up. Nothing in it where there are no rows."""

    async def sayings(
        self,
        tally: str,
        property: str,
        at_least: int,
        by: Collection[By] = (),
        span: Span = EVER,
        *,
        part: str | None = None,
    ) -> dict[Group, Saying]:
        """What the last event of every entity said of a whole number. `by` may not name the bucket; entities that said nothing are left out."""


def parts_of(by: Collection[By]) -> list[int]:
    """The places of the parts, in order."""
    return sorted(each for each in by if isinstance(each, int))


@dataclass(frozen=True, slots=True)
class MemoryTallies:
    """Rows in memory: what reports are tested with, and what a reader who has folded events has."""

    rows: dict[TallyKey, State]
    tenant_id: int
    actors: frozenset[bytes] | None = None

    async def states(
        self, tally: str, span: Span = EVER, *, part: str | None = None
    ) -> dict[TallyKey, State]:
        return dict(self._rows(tally, span, part))

    async def totals(
        self, tally: str, by: Collection[By] = (), span: Span = EVER, *, part: str | None = None
    ) -> dict[Group, Total]:
        found = self._grouped(self._rows(tally, span, part), by)
        return {group: _total(rows) for group, rows in found.items()}

    async def sayings(
        self,
        tally: str,
        property: str,
        at_least: int,
        by: Collection[By] = (),
        span: Span = EVER,
        *,
        part: str | None = None,
    ) -> dict[Group, Saying]:
        latest: dict[TallyKey, State] = {}
        for key, state in self._rows(tally, span, part):
            entity = key._replace(bucket=0)
            if entity not in latest or state.last > latest[entity].last:
                latest[entity] = state
        said = [row for row in latest.items() if row[1].said.get(property) is not None]
        return {group: _saying(rows, property, at_least) for group, rows in self._grouped(said, by).items()}

    def _rows(self, tally: str, span: Span, part: str | None) -> Iterable[tuple[TallyKey, State]]:
        for key, state in self.rows.items():
            if (key.tenant_id, key.tally) != (self.tenant_id, tally):
                continue
            if self.actors is not None and key.actor not in self.actors:
                continue
            if span.since <= key.bucket < span.until and part in (None, *key.parts[:1]):
                yield key, state

    def _grouped(
        self, rows: Iterable[tuple[TallyKey, State]], by: Collection[By]
    ) -> dict[Group, list[tuple[TallyKey, State]]]:
        found: dict[Group, list[tuple[TallyKey, State]]] = {}
        for key, state in rows:
            group = Group(
                key.bucket if "bucket" in by else None,
                key.actor if "actor" in by else None,
                tuple(key.parts[place - 1] for place in parts_of(by)),
            )
            found.setdefault(group, []).append((key, state))
        return found


def _total(rows: Sequence[tuple[TallyKey, State]]) -> Total:
    states = [state for _, state in rows]
    return Total(
        count=sum(state.count for state in states),
        actors=len({key.actor for key, _ in rows if key.actor is not None}),
        entities=len({(key.actor, key.parts) for key, _ in rows}),
        sums=tuple(map(sum, zip(*(state.sums for state in states), strict=True))),
        first_at=min(state.first.at for state in states),
        last_at=max(state.last.at for state in states),
    )


def _saying(rows: Sequence[tuple[TallyKey, State]], property: str, at_least: int) -> Saying:
    values = [int(state.said[property]) for _, state in rows]
    actors = len({key.actor for key, _ in rows if key.actor is not None})
    return Saying(len(rows), actors, sum(values), sum(value >= at_least for value in values))
