"""Leaderboards: the first of a board's order, and where one is oneself. Pure; ranks come through the port `Standings`.

The order: the greater score first; of equal scores, the smaller id. So nobody shares a rank.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Final

from streamgauge.entities.standings import Frame, Rank, Score, Standings
from streamgauge.errors import InputError
from streamgauge.read.tally import rounded
from streamgauge.summaries.boards import Board, Season
from streamgauge.summaries.calendar import Calendar

NEIGHBOURS: Final = 2  # on either side
YOU: Final = "You"
LONGEST_SHOWN: Final = 100  # characters of a name in a message


@dataclass(frozen=True, slots=True)
class Entry:
    """A place on the board. `name`: "You" for oneself. `id`: of an actor whom the caller may see, else null."""

    rank: int
    name: str
    score: int
    is_you: bool
    id: str | None


@dataclass(frozen=True, slots=True)
class Own:
    """Where one is oneself.

    `percentile`: how many of the other participants are behind in the order, in percent; 100 for the first, 0 for the last, 100 for who is
    alone. `to_next_rank`: the fewest points more with which one would be a rank higher; null for the first. `above` and `below`: up to two
    neighbours on either side, in the board's order.
    """

    rank: int
    score: int
    percentile: float
    to_next_rank: int | None
    above: tuple[Entry, ...]
    below: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Participants by score, the greatest first, of equal scores the smaller id first.

    A score is the sum over the events of the timeframe, which are whole local days: those of the day, of the week (from Monday) or of the month
    that it is, of a season, or of all time. `starts`: its first local day, null for all time. `participants`: how many brought
    any event that the board counts, among the group's members where a group was asked for. `you`: null for who is none of them.
    """

    metric: str
    timeframe: str
    season: str | None
    starts: date | None
    supportive: bool
    participants: int
    entries: tuple[Entry, ...]
    you: Own | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a board in one snapshot. `above` and `below`: the nearest first."""

    best: Sequence[Score]
    participants: int
    own: Rank | None = None
    above: Sequence[Score] = ()
    below: Sequence[Score] = ()

    @property
    def actors(self) -> list[bytes]:
        """Everybody in it."""
        return list(
            dict.fromkeys(each.actor for part in (self.best, self.above, self.below) for each in part)
        )


@dataclass(frozen=True, slots=True)
class Audience:
    """Who looks. `actor`: its own; `sees`: whose ids it may know, None: everybody's; `names`: what those on the board are called."""

    actor: bytes | None
    sees: Collection[bytes] | None
    names: Mapping[bytes, str]

    def entry(self, rank: int, score: Score) -> Entry:
        """A place, as it is shown."""
        own = score.actor == self.actor
        visible = own or self.sees is None or score.actor in self.sees
        return Entry(
            rank,
            YOU if own else self.names[score.actor],
            score.score,
            own,
            score.actor.hex() if visible else None,
        )


async def read(standings: Standings, frame: Frame, actor: bytes | None, limit: int) -> Reading:
    """The top page, and where an actor is."""
    best = await standings.best(frame, limit)
    own = None if actor is None else await standings.rank(frame, actor)
    if actor is None or own is None:
        return Reading(best, await standings.participants(frame))
    place = Score(actor, own.score)
    above = await standings.above(frame, place, NEIGHBOURS)
    return Reading(best, own.participants, own, above, await standings.below(frame, place, NEIGHBOURS))


def leaderboard(reading: Reading, frame: Frame, calendar: Calendar, audience: Audience) -> Leaderboard:
    """What was read, as it is shown."""
    timeframe, season, starts = described(frame, calendar)
    entries = tuple(audience.entry(rank, each) for rank, each in enumerate(reading.best, 1))
    you = None if reading.own is None else _own(reading, reading.own, audience)
    return Leaderboard(frame.board, timeframe, season, starts, False, reading.participants, entries, you)


def described(frame: Frame, calendar: Calendar) -> tuple[str, str | None, date | None]:
    """A frame for people: its timeframe, the season's name, its first local day."""
    timeframe, _, season = frame.timeframe.partition(":")
    starts = None if timeframe == "all" else calendar.date_of(frame.bucket)
    return timeframe, season or None, starts


def board_named(boards: Sequence[Board], name: str) -> Board:
    """The declared board of that name. Raises InputError that names the known ones."""
    found = next((board for board in boards if board.name == name), None)
    if found is None:
        known = ", ".join(sorted(board.name for board in boards))
        raise InputError(
            f"metric {name!r:.{LONGEST_SHOWN}} is no board: there are {known or 'none'}", "metric"
        )
    return found


def season_frame(board: Board, name: str, calendar: Calendar) -> Frame:
    """A board in one of its seasons. Raises InputError that names the known ones."""
    found: Season | None = next((season for season in board.seasons if season.name == name), None)
    if found is None:
        known = ", ".join(sorted(season.name for season in board.seasons))
        raise InputError(
            f"season {name!r:.{LONGEST_SHOWN}} is none of {board.name}'s: there are {known or 'none'}",
            "season",
        )
    return Frame(board.name, f"season:{found.name}", calendar.day_start(found.first))


def _own(reading: Reading, own: Rank, audience: Audience) -> Own:
    nearest = reading.above[0] if reading.above else None
    return Own(
        own.rank,
        own.score,
        percentile(own),
        None if nearest is None else _to_pass(nearest, own.score, audience.actor or b""),
        tuple(audience.entry(own.rank - place, each) for place, each in enumerate(reading.above, 1))[::-1],
        tuple(audience.entry(own.rank + place, each) for place, each in enumerate(reading.below, 1)),
    )


def percentile(own: Rank) -> float:
    """How many of the other participants are behind in the order, in percent; 100 for who is alone."""
    others = own.participants - 1
    return rounded(Fraction(100 * (own.participants - own.rank), others)) if others else 100.0


def _to_pass(ahead: Score, score: int, actor: bytes) -> int:
    # With equal scores the smaller id is ahead.
    return ahead.score - score + (ahead.actor < actor)
