"""What a report reads of boards: a port with two implementations, of scores in memory (here) and in PostgreSQL (`stored_standings`).

The order of a board: the greater score first; of equal scores, the smaller identity. So a rank is nobody else's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Frame(NamedTuple):
    """A board in one of its timeframes; see `streamgauge.summaries.boards.Place`."""

    board: str
    timeframe: str
    bucket: int


class Score(NamedTuple):
    """An actor and its score."""

    actor: bytes
    score: int


class Rank(NamedTuple):
    """Where an actor is, counted from 1, among how many."""

    rank: int
    participants: int
    score: int


class Standings(Protocol):
    """The boards of one tenant, among the actors that are looked at together."""

    async def best(self, frame: Frame, limit: int) -> list[Score]:
        """The first of the order."""

    async def participants(self, frame: Frame) -> int:
        """How many have a score."""

    async def rank(self, frame: Frame, actor: bytes) -> Rank | None:
        """An actor's; None for who has no score."""

    async def above(self, frame: Frame, of: Score, limit: int) -> list[Score]:
        """Those before an actor in the order, the nearest first."""

    async def below(self, frame: Frame, of: Score, limit: int) -> list[Score]:
        """Those behind an actor, the nearest first."""


@dataclass(frozen=True, slots=True)
class MemoryStandings:
    """Scores in memory: what reports are tested with, and how a group is ranked, whose members are few."""

    scores: Mapping[Frame, Mapping[bytes, int]]

    def ordered(self, frame: Frame) -> list[Score]:
        """The whole order."""
        scores = self.scores.get(frame, {})
        return [Score(*each) for each in sorted(scores.items(), key=lambda each: (-each[1], each[0]))]

    async def best(self, frame: Frame, limit: int) -> list[Score]:
        return self.ordered(frame)[:limit]

    async def participants(self, frame: Frame) -> int:
        return len(self.scores.get(frame, {}))

    async def rank(self, frame: Frame, actor: bytes) -> Rank | None:
        order = self.ordered(frame)
        for place, each in enumerate(order, 1):
            if each.actor == actor:
                return Rank(place, len(order), each.score)
        return None

    async def above(self, frame: Frame, of: Score, limit: int) -> list[Score]:
        return [each for each in reversed(self.ordered(frame)) if _key(each) < _key(of)][:limit]

    async def below(self, frame: Frame, of: Score, limit: int) -> list[Score]:
        return [each for each in self.ordered(frame) if _key(each) > _key(of)][:limit]


def _key(score: Score) -> tuple[int, bytes]:
    return -score.score, score.actor
