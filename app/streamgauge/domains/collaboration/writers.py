"""What is told about one user's part in drafts. Pure: it reads through the port `Tallies`."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from streamgauge.domains.collaboration.declarations import (
    CONTRIBUTIONS,
    CREATED,
    HOLDERS,
    SEGMENT_ADDED,
    WORK,
)
from streamgauge.domains.collaboration.turns import SECOND, Hold, holds, turns_of
from streamgauge.entities.tallies import Tallies
from streamgauge.read.tally import rounded

#: Drafts whose turns one answer reads: each is a question of its own, of about half a millisecond.
MOST_DRAFTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class WriterReport:
    """One user's part in drafts, of all time.

    `drafts_created`: different drafts it created. `drafts_contributed`: different drafts it created or wrote a segment of. `segments`: how
    many it wrote. `rings_held`: how often a ring was passed to it. `mean_hold_time`: seconds from getting a ring until the draft's next pass or
    publication, until now for those that it still has; rounded to 3 decimals, null without any. `open_holds`: rings it still has.
    Having created a draft is not having its ring. `complete`: false for who had rings of more than 1,000 drafts: then hold times and open
    holds are of those that it got a ring of last (at the same time: those whose id is smaller).
    """

    id: str
    name: str
    drafts_created: int
    drafts_contributed: int
    segments: int
    rings_held: int
    mean_hold_time: float | None
    open_holds: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Writer:
    """A user's numbers, and its holds."""

    created: int
    contributed: int
    segments: int
    rings_held: int
    holds: tuple[Hold, ...]
    complete: bool


async def read_writer(own: Tallies, everybody: Tallies, actor: bytes) -> Writer:
    """A user's part. `own`: this actor's rows; `everybody`: the tenant's, since passing a ring is the act of who had it before."""
    work = {group.parts[0]: total for group, total in (await own.totals(WORK.name, [2])).items()}
    contributions = await own.totals(CONTRIBUTIONS.name)
    rings = await everybody.totals(HOLDERS.name, [2], part=actor.hex())
    drafts = {group.parts[0]: total for group, total in rings.items()}
    latest = sorted(drafts, key=lambda draft: (-drafts[draft].last_at, draft))[:MOST_DRAFTS]
    found: list[Hold] = []
    for draft in latest:
        found += [hold for hold in holds(await turns_of(everybody, draft)) if hold.holder == actor]
    return Writer(
        work[CREATED.name].entities if CREATED.name in work else 0,
        sum(total.entities for total in contributions.values()),
        work[SEGMENT_ADDED.name].count if SEGMENT_ADDED.name in work else 0,
        sum(total.count for total in drafts.values()),
        tuple(sorted(found, key=lambda hold: hold.since)),
        len(latest) == len(drafts),
    )


def writer_report(writer: Writer, id: str, name: str, now: int) -> WriterReport:
    """What is told about a user as of `now`, a Unix second."""
    lengths = [hold.length(now) for hold in writer.holds]
    return WriterReport(
        id,
        name,
        writer.created,
        writer.contributed,
        writer.segments,
        writer.rings_held,
        rounded(Fraction(sum(lengths), len(lengths) * SECOND)) if lengths else None,
        sum(hold.until is None for hold in writer.holds),
        writer.complete,
    )
