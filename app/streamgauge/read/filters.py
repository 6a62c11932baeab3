"""Filters: which rows of the summaries count. `["is", "http.route", ["/a", "/b"]]`, `["and", [f, g]]`, `["not", f]`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from streamgauge.errors import InputError
from streamgauge.read.naming import near, shown

COMPARISONS = ("is", "is_not", "contains", "contains_not")
COMBINATIONS = ("and", "or", "not")

MOST_DEPTH = 8
MOST_FILTERS = 50
MOST_VALUES = 200
MOST_VALUE_LENGTH = 2_000  # characters


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares one dimension's value, as text, with some values: `is` any of them, `contains` any of them, or none."""

    operator: str
    dimension: str
    values: tuple[str, ...]

    def matches(self, row: Mapping[str, str]) -> bool:
        """Whether a row, as a mapping of dimension to value, passes."""
        value = row[self.dimension]
        if self.operator in ("is", "is_not"):
            return (value in self.values) == (self.operator == "is")
        return any(part in value for part in self.values) == (self.operator == "contains")

    def dimensions(self) -> Iterator[str]:
        """The dimensions it looks at."""
        yield self.dimension

    def plain(self) -> list[object]:
        """The filter as it is written in JSON."""
        return [self.operator, self.dimension, list(self.values)]


@dataclass(frozen=True, slots=True)
class Combination:
    """All of some filters (`and`), any of them (`or`), or the opposite of one (`not`)."""

    operator: str
    filters: tuple["Filter", ...]

    def matches(self, row: Mapping[str, str]) -> bool:
        """Whether a row, as a mapping of dimension to value, passes."""
        if self.operator == "not":
            return not self.filters[0].matches(row)
        passed = (part.matches(row) for part in self.filters)
        return all(passed) if self.operator == "and" else any(passed)

    def dimensions(self) -> Iterator[str]:
        """The dimensions it looks at."""
        for part in self.filters:
            yield from part.dimensions()

    def plain(self) -> list[object]:
        """The filter as it is written in JSON."""
        parts = [part.plain() for part in self.filters]
        return [self.operator, parts[0] if self.operator == "not" else parts]


Filter = Comparison | Combination


def parse_filters(raw: object) -> tuple[Filter, ...]:
    """The filters of a query, all of which must hold.

    Raises InputError, naming the place such as `filters[0][1]`, for anything that is not a filter or exceeds a limit.
    """
    if not isinstance(raw, list):
        raise InputError(f"filters is {shown(raw)}: give a list of filters, such as {EXAMPLE}", "filters")
    parsed = tuple(_parse(part, f"filters[{place}]", 1) for place, part in enumerate(raw))
    count = sum(1 for part in parsed for _ in part.dimensions())
    if count > MOST_FILTERS:
        raise InputError(f"filters holds {count} comparisons: up to {MOST_FILTERS} are allowed", "filters")
    return parsed


EXAMPLE = '[["is", "http.request.method", ["GET"]]]'


def _parse(raw: object, field: str, depth: int) -> Filter:
    if depth > MOST_DEPTH:
        raise InputError(f"{field} is nested too deep: up to {MOST_DEPTH} levels are allowed", field)
    if not isinstance(raw, list) or not raw or not isinstance(raw[0], str):
        raise InputError(f"{field} is {shown(raw)}: give a filter, such as {EXAMPLE[1:-1]}", field)
    operator = raw[0]
    if operator in COMBINATIONS:
        return _combination(raw, operator, field, depth)
    if operator in COMPARISONS:
        return _comparison(raw, operator, field)
    known = (*COMPARISONS, *COMBINATIONS)
    raise InputError(f"{field} has the operator {shown(operator)}: {near(operator, known)}", field)


def _combination(raw: list[object], operator: str, field: str, depth: int) -> Combination:
    if len(raw) != 2:
        raise InputError(
            f"{field}: {operator!r} takes exactly one thing behind it, not {len(raw) - 1}", field
        )
    if operator == "not":
        return Combination(operator, (_parse(raw[1], f"{field}[1]", depth + 1),))
    parts = raw[1]
    if not isinstance(parts, list) or not parts:
        raise InputError(
            f"{field}: {operator!r} takes a list of at least one filter, not {shown(parts)}", field
        )
    return Combination(
        operator, tuple(_parse(part, f"{field}[1][{place}]", depth + 1) for place, part in enumerate(parts))
    )


def _comparison(raw: list[object], operator: str, field: str) -> Comparison:
    if len(raw) != 3 or not isinstance(raw[1], str):
        raise InputError(
            f"{field} is {shown(raw)}: {operator!r} takes a dimension and a list of values, such as {EXAMPLE[1:-1]}",
            field,
        )
    values = raw[2]
    if not isinstance(values, list) or not 1 <= len(values) <= MOST_VALUES:
        raise InputError(
            f"{field}[2] is {shown(values)}: give a list of 1 to {MOST_VALUES} values", f"{field}[2]"
        )
    return Comparison(operator, raw[1], tuple(_texts(values, f"{field}[2]")))


def _texts(values: Sequence[object], field: str) -> Iterator[str]:
    for place, value in enumerate(values):
        # A status may be written as the number it is; true and false are numbers to Python alone.
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InputError(f"{field}[{place}] is {shown(value)}: give a text or a whole number", field)
        if len(str(value)) > MOST_VALUE_LENGTH:
            raise InputError(f"{field}[{place}] is longer than {MOST_VALUE_LENGTH} characters", field)
        yield str(value)
