"""Turns: who had a draft's ring, from when to when.

A hold begins when the ring is passed to somebody, and ends at the next event of the draft that is a pass (to whomever, oneself included) or a
publication; it is open while there is none. Creating a draft gives nobody the ring. Events are in the order of their times, and those
of one time in the order of their ids, so a late event puts right what was told before.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from streamgauge.domains.collaboration.declarations import TO, TURNS
from streamgauge.entities.tallies import Tallies
from streamgauge.event import DAILY, PSEUDONYM_BYTES
from streamgauge.summaries.tallies import Moment, State, TallyKey

SECOND: Final = 1_000_000  # microseconds
_DIGITS: Final = frozenset("0123456789abcdef")


class Turn(NamedTuple):
    """An event that ends a turn. `holder`: whose turn it is from then on; None after a publication, and for nobody known."""

    moment: Moment
    holder: bytes | None


class Hold(NamedTuple):
    """A stretch of UTC microseconds in which somebody had a draft's ring. `until` is None while it is open."""

    holder: bytes
    since: int
    until: int | None

    def length(self, now: int) -> int:
        """Microseconds: of an open hold up to `now`, a Unix second; 0 when it begins only then."""
        return max((now * SECOND if self.until is None else self.until) - self.since, 0)


async def turns_of(tallies: Tallies, draft: str) -> list[Turn]:
    """A draft's turns, in their order. `tallies` must be everybody's: turns are no actor's."""
    return in_order(await tallies.states(TURNS.name, part=draft))


def in_order(states: Mapping[TallyKey, State]) -> list[Turn]:
    """The turns of one draft's rows of the journal."""
    turns = (Turn(state.last, holder_of(state.said.get(TO))) for state in states.values())
    return sorted(turns, key=lambda turn: (turn.moment, turn.holder or b""))


def holds(turns: Iterable[Turn]) -> list[Hold]:
    """The holds of a draft's turns, in their order."""
    following = pairwise((*turns, None))
    return [
        Hold(turn.holder, turn.moment.at, None if after is None else after.moment.at)
        for turn, after in following
        if turn is not None and turn.holder is not None
    ]


def holder_of(text: object) -> bytes | None:
    """The pseudonym of a holder as an event names it; None for what is none, as somebody else's software may send."""
    if not isinstance(text, str) or len(text) != 2 * PSEUDONYM_BYTES or not _DIGITS.issuperset(text):
        return None
    return known(bytes.fromhex(text))


def known(actor: bytes | None) -> bytes | None:
    """An actor with an identity; None for a visitor, who is known for a day only and would be another the next day."""
    return None if actor is None or actor[0] == DAILY else actor
