"""Boards: scores of actors by day, week, month and for all time, declared as data.

    Board("xp", (Points("xp.earned", "amount"),))

A score is a sum over events, so scores merge in any order. They are kept per actor and not per stripe, because an order over actors needs
the whole of a score: an actor's events may come through several stripes, as when the number of shards changes.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, NamedTuple, get_args

from streamgauge.errors import SettingsError

Timeframe = Literal["day", "week", "month", "all"]
TIMEFRAMES: Final[tuple[Timeframe, ...]] = get_args(Timeframe)
#: Of one event, before its weight: scores have to stay numbers that JSON and doubles hold exactly.
MOST_POINTS: Final = 1_000_000_000
MOST_WEIGHT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Points:
    """What an event adds to its actor's score: `weight`, times a whole-number property where one is named."""

    event: str
    property: str | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Season:
    """A stretch of whole local days, first and last included, that has an order of its own."""

    name: str
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Board:
    """One order over actors."""

    name: str
    points: tuple[Points, ...]
    seasons: tuple[Season, ...] = ()

    def __post_init__(self) -> None:
        if not self.points:
            raise SettingsError(f"board {self.name!r} needs points")
        if not all(1 <= each.weight <= MOST_WEIGHT for each in self.points):
            raise SettingsError(f"board {self.name!r}: a weight is a whole number from 1 to {MOST_WEIGHT}")
        names = [season.name for season in self.seasons]
        if len(set(names)) < len(names) or not all(season.first <= season.last for season in self.seasons):
            raise SettingsError(
                f"board {self.name!r}: seasons have names of their own, and end after they begin"
            )


class Place(NamedTuple):
    """An actor on a board in one of its timeframes. `timeframe` is one of TIMEFRAMES, or "season:" and its name.

    `bucket` is the UTC second at which the timeframe begins where the tenant is, ALL_TIME for all time.
    """

    tenant_id: int
    board: str
    timeframe: str
    bucket: int
    actor: bytes
