"""The board: who is on it with which score, and what is told of it. Pure: it reads through the port `Tallies`.

What it costs: one row read for each actor, kind of event and (for momentum) local day, added up by PostgreSQL from the tallies' rows of the
span: those of the whole tenant, or of a group's members. More than 100,000 such sums are refused.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from streamgauge.domains.collaboration.declarations import CONTRIBUTIONS, CREATED, HOLDERS, WORK
from streamgauge.domains.collaboration.scores import (
    OLDEST,
    Deeds,
    Metric,
    collaboration,
    consistency,
    momentum,
    shown,
)
from streamgauge.domains.collaboration.turns import holder_of, known
from streamgauge.entities.tallies import Span, Tallies, Total
from streamgauge.summaries.calendar import FIRST_DATE, Calendar

YOU: Final = "You"
#: Of so many members or fewer, each is asked for its rings by itself; else everybody's are read.
FEW: Final = 100


@dataclass(frozen=True, slots=True)
class Placing:
    """A place on the board. `name`: "You" for the caller. `id`: null unless the caller may see the actor."""

    rank: int
    id: str | None
    name: str
    score: int | float


@dataclass(frozen=True, slots=True)
class CollaborationBoard:
    """Users by score, the greatest first, of equal scores the smaller id first; so nobody shares a rank.

    `days`: local days that count, today included; null: all up to the end of today. `participants`: all whose score is above 0, visitors
    without an identity apart. Momentum is ordered by 2^-32 points and shown with 3 decimals, so different scores may look alike. `you`:
    the caller's place, wherever it is; null for who has none.
    """

    metric: Metric
    group: str | None
    days: int | None
    participants: int
    entries: tuple[Placing, ...]
    you: Placing | None


@dataclass(frozen=True, slots=True)
class Scored:
    """Somebody's score, momentum in 2^-32 points."""

    actor: bytes
    score: int


@dataclass(frozen=True, slots=True)
class Readers:
    """Whose rows are read. `ranked`: rows of those who may be on the board; `everybody`: the tenant's; `among`: who may be on it, None: all."""

    ranked: Tallies
    everybody: Tallies
    among: frozenset[bytes] | None = None


async def scored(
    readers: Readers, metric: Metric, days: int | None, calendar: Calendar, now: int
) -> list[Scored]:
    """Everybody with a score above 0 in the last local days as of `now`, in the board's order. Raises InputError for too many rows."""
    today = calendar.date_of(now)
    if metric == "momentum":
        span = span_of(calendar, today, min(days or OLDEST, OLDEST))
        found = await _momenta(readers.ranked, span, calendar, today)
    else:
        span = span_of(calendar, today, days)
        deeds = await _deeds(readers, metric, span)
        formula = collaboration if metric == "collaboration" else consistency
        found = {actor: formula(each) for actor, each in deeds.items()}
    return sorted(
        (
            Scored(actor, score)
            for actor, score in found.items()
            if score > 0 and known(actor) is not None and (readers.among is None or actor in readers.among)
        ),
        key=lambda each: (-each.score, each.actor),
    )


def span_of(calendar: Calendar, today: date, days: int | None) -> Span:
    """The last local days, today included; None: everything up to the end of today."""
    first = None if days is None else max(today - timedelta(days - 1), FIRST_DATE)
    return Span(0 if first is None else calendar.day_start(first), calendar.day_start(today + timedelta(1)))


def board_report(
    order: Sequence[Scored],
    metric: Metric,
    group: str | None,
    days: int | None,
    limit: int,
    placing: "Placer",
) -> CollaborationBoard:
    """What is told of a board: its first places, and the caller's."""
    ranked = list(enumerate(order, 1))
    own = next((place for place in ranked if place[1].actor == placing.own), None)
    return CollaborationBoard(
        metric,
        group,
        days,
        len(ranked),
        tuple(placing.of(metric, *place) for place in ranked[:limit]),
        None if own is None else placing.of(metric, *own),
    )


@dataclass(frozen=True, slots=True)
class Placer:
    """Shows places to a caller. `own`: the caller's actor; `seen`: whom it may see, None: everybody; `names`: of all others shown."""

    own: bytes | None
    seen: Collection[bytes] | None
    names: Mapping[bytes, str]

    def of(self, metric: Metric, rank: int, each: Scored) -> Placing:
        """A place as the caller is shown it."""
        visible = each.actor == self.own or self.seen is None or each.actor in self.seen
        name = YOU if each.actor == self.own else self.names[each.actor]
        return Placing(rank, each.actor.hex() if visible else None, name, shown(metric, each.score))


async def _deeds(readers: Readers, metric: Metric, span: Span) -> dict[bytes, Deeds]:
    found: dict[bytes, Deeds] = {}
    for group, total in (await readers.ranked.totals(WORK.name, ["actor", 2], span)).items():
        if group.actor is not None:
            _add(found.setdefault(group.actor, Deeds()), group.parts[0], total)
    for group, total in (await readers.ranked.totals(CONTRIBUTIONS.name, ["actor"], span)).items():
        if group.actor is not None:
            found.setdefault(group.actor, Deeds()).contributed = total.entities
    if metric == "collaboration":
        for actor, rings in (await _rings(readers, span)).items():
            found.setdefault(actor, Deeds()).rings = rings
    return found


async def _rings(readers: Readers, span: Span) -> dict[bytes, int]:
    """How often a ring was passed to each."""
    if readers.among is not None and len(readers.among) <= FEW:
        found = {}
        for actor in sorted(readers.among):
            totals = await readers.everybody.totals(HOLDERS.name, (), span, part=actor.hex())
            found[actor] = sum(total.count for total in totals.values())
        return found
    totals = await readers.everybody.totals(HOLDERS.name, [1], span)
    named = ((holder_of(group.parts[0]), total.count) for group, total in totals.items())
    return {actor: count for actor, count in named if actor is not None}


async def _momenta(ranked: Tallies, span: Span, calendar: Calendar, today: date) -> dict[bytes, int]:
    days: dict[bytes, dict[int, Deeds]] = {}
    for group, total in (await ranked.totals(WORK.name, ["bucket", "actor", 2], span)).items():
        if group.actor is not None and group.bucket is not None:
            _add(days.setdefault(group.actor, {}).setdefault(group.bucket, Deeds()), group.parts[0], total)
    buckets = {bucket for each in days.values() for bucket in each}
    ages = {bucket: (today - calendar.date_of(bucket)).days for bucket in buckets}
    return {
        actor: momentum((ages[bucket], deeds) for bucket, deeds in each.items())
        for actor, each in days.items()
    }


def _add(deeds: Deeds, event: str, total: Total) -> None:
    if event == CREATED.name:
        deeds.created = total.entities
    else:
        deeds.segments = total.count
