"""What is declared, as a report: event types with purposes, metrics with units, and the limits of a question."""

from collections.abc import Mapping
from dataclasses import dataclass

from streamgauge.read.date_range import MOST_DAYS, RELATIVE
from streamgauge.read.dimensions import TIME, TIME_GRAINS, dimensions_of
from streamgauge.read.filters import COMBINATIONS, COMPARISONS, MOST_FILTERS
from streamgauge.read.metrics import METRICS
from streamgauge.read.query import MOST_BYTES, MOST_DIMENSIONS, MOST_METRICS, MOST_RESULTS
from streamgauge.summaries.rollups import Catalogue, Condition


@dataclass(frozen=True, slots=True)
class DeclaredProperty:
    """A property that events of a type may have; `unit` as UCUM writes it."""

    name: str
    type: str
    unit: str | None
    purpose: str


@dataclass(frozen=True, slots=True)
class Failed:
    """When an event counts as failed: its property is at least this, or one of these; with neither, when it is there at all."""

    property: str
    at_least: int | None
    one_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeclaredEvent:
    """An event type: nothing but the properties named here is kept of its events."""

    name: str
    purpose: str
    failed: Failed | None
    properties: tuple[DeclaredProperty, ...]


@dataclass(frozen=True, slots=True)
class DeclaredMetric:
    """A metric: the rollup it is computed from, and what it can be broken down by beside time."""

    name: str
    rollup: str
    unit: str
    description: str
    dimensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Declared:
    """Everything that is recorded, and everything that can be asked."""

    events: tuple[DeclaredEvent, ...]
    metrics: tuple[DeclaredMetric, ...]
    dimensions: tuple[str, ...]
    date_ranges: tuple[str, ...]
    operators: tuple[str, ...]
    limits: Mapping[str, int]


def declared(catalogue: Catalogue, cardinality_limit: int) -> Declared:
    """The report."""
    rollups = {rollup.metric: tuple(dimensions_of(rollup)) for rollup in catalogue.rollups}
    events = tuple(
        DeclaredEvent(
            each.name, each.purpose, _failed(each.failed),
            tuple(
                DeclaredProperty(name, known.type.__name__, known.unit or None, known.purpose)
                for name, known in each.properties.items()
            ),
        )
        for each in catalogue.event_types
    )  # fmt: skip
    metrics = tuple(
        DeclaredMetric(each.name, each.rollup, each.unit, each.description, rollups[each.rollup])
        for each in METRICS.values()
        if each.rollup in rollups
    )
    dimensions = sorted({name for names in rollups.values() for name in names} | {TIME, *TIME_GRAINS})
    limits = {
        "bytes": MOST_BYTES, "metrics": MOST_METRICS, "dimensions": MOST_DIMENSIONS, "filters": MOST_FILTERS,
        "results": MOST_RESULTS, "days": MOST_DAYS, "values_per_dimension_and_day": cardinality_limit,
    }  # fmt: skip
    return Declared(events, metrics, tuple(dimensions), RELATIVE, (*COMPARISONS, *COMBINATIONS), limits)


def _failed(condition: Condition | None) -> Failed | None:
    return None if condition is None else Failed(condition.property, condition.at_least, condition.one_of)
