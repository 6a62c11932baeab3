"""What is told about one draft. Pure: it reads through the port `Tallies`, and knows nobody's rights."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from streamgauge.domains.collaboration.declarations import (
    CONTRIBUTIONS,
    DRAFTS,
    PUBLISHED,
    RING_PASSED,
    SEGMENT_ADDED,
    SHARED,
    VIEWED,
)
from streamgauge.domains.collaboration.turns import known, turns_of
from streamgauge.entities.tallies import Tallies
from streamgauge.entities.view import instant


@dataclass(frozen=True, slots=True)
class RingHolder:
    """Who has the ring now."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class DraftReport:
    """One draft, from all its events. Instants are RFC 3339 in UTC, to the second.

    `views`, `shares`, `segments`, `ring_passes`: events of that kind. `contributors`: different actors who created it or wrote a segment;
    visitors without an identity are not among them. `held`: whether anybody has the ring; who gets it has it until the next pass or
    publication. `holder`: who has it, null unless the caller may see them. `last_activity`: its latest event, of whatever kind.
    `published_at`: its first publication, null where `published` is false.
    """

    id: str
    views: int
    shares: int
    segments: int
    contributors: int
    ring_passes: int
    held: bool
    holder: RingHolder | None
    last_activity: str
    published: bool
    published_at: str | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as it is known. `counts`: events by name; times are UTC microseconds; `held_by`: all who ever had the ring."""

    id: str
    counts: Mapping[str, int]
    last_at: int
    published_at: int | None
    contributors: frozenset[bytes]
    held_by: frozenset[bytes]
    holder: bytes | None

    def involves(self, actors: Collection[bytes] | None) -> bool:
        """Whether one of these created it, wrote for it or ever had its ring. None: everybody."""
        return actors is None or any(each in actors for each in self.contributors | self.held_by)


async def read_draft(everybody: Tallies, id: str) -> Draft | None:
    """A draft; None where no event names it. The same three questions are asked in either case."""
    kinds = await everybody.totals(DRAFTS.name, [2], part=id)
    contributions = await everybody.totals(CONTRIBUTIONS.name, ["actor"], part=id)
    turns = await turns_of(everybody, id)
    if not kinds:
        return None
    named = {group.parts[0]: total for group, total in kinds.items()}
    published = named.get(PUBLISHED.name)
    return Draft(
        id,
        {name: total.count for name, total in named.items()},
        max(total.last_at for total in named.values()),
        None if published is None else published.first_at,
        frozenset(actor for group in contributions if (actor := known(group.actor)) is not None),
        frozenset(turn.holder for turn in turns if turn.holder is not None),
        turns[-1].holder if turns else None,
    )


def draft_report(draft: Draft, holder: RingHolder | None) -> DraftReport:
    """What is told about a draft. `holder`: who has the ring, if the caller may see them."""
    counts = draft.counts
    return DraftReport(
        draft.id,
        counts.get(VIEWED.name, 0),
        counts.get(SHARED.name, 0),
        counts.get(SEGMENT_ADDED.name, 0),
        len(draft.contributors),
        counts.get(RING_PASSED.name, 0),
        draft.holder is not None,
        holder,
        instant(draft.last_at),
        draft.published_at is not None,
        None if draft.published_at is None else instant(draft.published_at),
    )
