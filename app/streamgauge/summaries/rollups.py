"""Declarations: what an event type is, and which summaries are kept of it. Data, not code.

A rollup of your own takes five lines and no migration:

    Rollup(
        metric="quiz.score", event="quiz.attempted", value="score",
        dimensions=(Dimension("quiz.id"),), groupings=((), ("quiz.id",)),
    )
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streamgauge.errors import SettingsError
from streamgauge.summaries.boards import Board
from streamgauge.summaries.tallies import Tally

ANY = "*"
NONE = "(none)"  #: an event without the dimension's property
OTHER = "(other)"  #: values beyond the cardinality limit
MOST_TOTALS = 4
EVENT_NAME = "event.name"  #: the dimension of an event's own name

Kind = Literal["i", "f", "s", "b"]
KINDS: Mapping[type, Kind] = {int: "i", float: "f", str: "s", bool: "b"}


@dataclass(frozen=True, slots=True)
class Property:
    """One declared property: its type, what it is kept for, and its unit if it has one.

    An `identity` names somebody, as the host knows them: it leaves the host as the pseudonym that this actor has (hexadecimal).
    A whole number may have to be from `least` to `most`.
    """

    type: type
    purpose: str
    unit: str = ""
    identity: bool = False
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds for an event whose property is at least `at_least`, or equals one of `one_of`, or is there at all."""

    property: str
    at_least: int | None = None
    one_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventType:
    """An event type, declared once: allow-list, validator, documentation and record of processing.

    `failed` says which of its events are errors; it is declared here and not per rollup, so that no two metrics can disagree.
    `within` names pairs of whole numbers of which the first may not be above the second, such as a score and the most there was.
    """

    name: str
    purpose: str
    properties: Mapping[str, Property] = field(default_factory=dict)
    failed: Condition | None = None
    within: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Dimension:
    """What a summary is broken down by: a property's text, whole number or flag.

    With `required`, an event without the property is left out of groupings that hold this dimension; else it counts as "(none)".
    """

    property: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Rollup:
    """One summary: which events, broken down how, and what is measured of them."""

    metric: str  #: its name in the tables
    event: str  #: event type's name, or "*" for every event
    dimensions: tuple[Dimension, ...] = ()
    groupings: tuple[tuple[str, ...], ...] = ((),)  #: combinations of dimensions that get rows of their own
    value: str | None = None  #: whole-number property that sum, min, max (and the histogram) are over
    totals: tuple[str, ...] = ()  #: further whole-number properties of which only the sum is kept
    histogram: bool = False
    actors: bool = True  #: whether distinct actors are counted

    def __post_init__(self) -> None:
        if len(self.totals) > MOST_TOTALS:
            raise SettingsError(
                f"rollup {self.metric!r} keeps {len(self.totals)} totals; it can keep {MOST_TOTALS}"
            )
        known = {dimension.property for dimension in self.dimensions}
        for grouping in self.groupings:
            if unknown := set(grouping) - known:
                raise SettingsError(
                    f"rollup {self.metric!r}: grouping names {sorted(unknown)}, not among its dimensions"
                )


@dataclass(frozen=True)
class Catalogue:
    """All declared event types, rollups, tallies and boards of an installation."""

    event_types: tuple[EventType, ...]
    rollups: tuple[Rollup, ...]
    tallies: tuple[Tally, ...] = ()
    boards: tuple[Board, ...] = ()

    def __post_init__(self) -> None:
        for what, names in (
            ("event type", [declared.name for declared in self.event_types]),
            ("rollup, tally or board", self.summaries),
        ):
            if twice := {name for name in names if names.count(name) > 1}:
                raise SettingsError(f"{what} {min(twice)!r} is declared twice")

    def extended(self, *declared: EventType | Rollup | Tally | Board) -> "Catalogue":
        """This catalogue with more declarations, such as a user's own."""
        types = tuple(item for item in declared if isinstance(item, EventType))
        rollups = tuple(item for item in declared if isinstance(item, Rollup))
        tallies = tuple(item for item in declared if isinstance(item, Tally))
        boards = tuple(item for item in declared if isinstance(item, Board))
        return Catalogue(
            self.event_types + types, self.rollups + rollups, self.tallies + tallies, self.boards + boards
        )

    @property
    def summaries(self) -> list[str]:
        """What can be rebuilt, by name: rollups by their metrics, tallies and boards. They share one set of names."""
        return [
            *(rollup.metric for rollup in self.rollups),
            *(tally.name for tally in self.tallies),
            *(board.name for board in self.boards),
        ]

    def event_type(self, name: str) -> EventType | None:
        """The declaration of an event type, or None."""
        return next((declared for declared in self.event_types if declared.name == name), None)

    def rollup(self, metric: str) -> Rollup | None:
        """The rollup of that metric, or None."""
        return next((rollup for rollup in self.rollups if rollup.metric == metric), None)
