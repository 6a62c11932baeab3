"""What of an event counts for its actor's report, taken out of columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamgauge.catalogue import EVENTS
from streamgauge.domains.web.declarations import ROUTE
from streamgauge.event import Event, Value
from streamgauge.summaries.rollups import Catalogue, Condition
from streamgauge.table import Ints, Labels, Table


@dataclass(frozen=True, slots=True)
class Note:
    """One event of an actor. Times and durations in microseconds."""

    at: int
    name: str
    failed: bool = False
    duration: int | None = None
    session: str | None = None
    route: str | None = None


def notes(table: Table, rows: Ints, catalogue: Catalogue) -> list[Note]:
    """Notes of these rows, in their order."""
    names, sessions = _labels(table.name, rows), _labels(table.session, rows)
    durations, routes = _values(table, EVENTS.value or "", "i", rows), _values(table, ROUTE, "s", rows)
    failed = [False] * len(rows)
    for declared in catalogue.event_types:
        if declared.failed is not None and declared.name in names:
            for place, holds in enumerate(_hold(table, declared.failed, rows)):
                failed[place] |= holds and names[place] == declared.name
    return [
        Note(*each)
        for each in zip(
            table.occurred_at[rows].tolist(), names, failed, durations, sessions, routes, strict=True
        )
    ]


def has_failed(event: Event, catalogue: Catalogue) -> bool:
    """Whether an event's type is declared to have failed with these properties; as the fold decides it."""
    declared = catalogue.event_type(event.name)
    if declared is None or declared.failed is None:
        return False
    value = event.properties.get(declared.failed.property)
    if isinstance(value, float):  # the fold knows none as texts
        return False
    return _holds(declared.failed, value if type(value) is int else None, _text(value))


def declared_properties(event: Event, catalogue: Catalogue) -> Mapping[str, Value]:
    """The properties that the event's type declares, in the declaration's order and of its types; of no type, none."""
    declared = catalogue.event_type(event.name)
    if declared is None:
        return {}
    return {
        name: event.properties[name]
        for name, known in declared.properties.items()
        if name in event.properties and _fits(event.properties[name], known.type)
    }


def _fits(value: Value, declared: type) -> bool:
    return type(value) is declared or (declared is float and type(value) is int)


def _hold(table: Table, condition: Condition, rows: Ints) -> list[bool]:
    numbers = _values(table, condition.property, "i", rows)
    texts: list[str | None] = [_text(number) for number in numbers]
    for kind in "sb":
        for place, value in enumerate(_values(table, condition.property, kind, rows)):
            if value is not None:
                texts[place] = _text(bool(value) if kind == "b" else value)
    return [_holds(condition, number, text) for number, text in zip(numbers, texts, strict=True)]


def _holds(condition: Condition, number: int | None, text: str | None) -> bool:
    if condition.at_least is not None:
        return number is not None and number >= condition.at_least
    return text is not None and (not condition.one_of or text in condition.one_of)


def _text(value: Value | None) -> str | None:
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _labels(labels: Labels, rows: Ints) -> list[Any]:
    return [None if code < 0 else labels.values[code] for code in labels.codes[rows].tolist()]


def _values(table: Table, name: str, kind: str, rows: Ints) -> list[Any]:
    column = table.columns.get((name, kind))
    if column is None or not len(column.rows):
        return [None] * len(rows)
    places = np.minimum(np.searchsorted(column.rows, rows), len(column.rows) - 1)
    found = zip((column.rows[places] == rows).tolist(), column.values[places].tolist(), strict=True)
    dictionary = column.dictionary
    if dictionary is None:
        return [value if there else None for there, value in found]
    return [dictionary[value] if there else None for there, value in found]
