"""A question, in the shape of Plausible's Stats API v2, and every reason for which it can be refused."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, SkipValidation, ValidationError, field_validator

from streamgauge.errors import InputError
from streamgauge.read.date_range import RELATIVE, parse_instant
from streamgauge.read.dimensions import TIME, TIME_GRAINS, dimensions_of, is_time, known_dimensions
from streamgauge.read.filters import Filter, parse_filters
from streamgauge.read.metrics import METRICS
from streamgauge.read.naming import near, shown
from streamgauge.summaries.rollups import Catalogue

MOST_BYTES = 65_536  # of a query's text
MOST_METRICS = 20
MOST_DIMENSIONS = 6
MOST_RESULTS = 10_000

#: What may be given, for messages: by field.
ALLOWED: Mapping[str, str] = {
    "tenant": "give the tenant's name, a text of 1 to 100 characters",
    "metrics": f"give a list of 1 to {MOST_METRICS} metrics' names, such as [\"requests\"]",
    "date_range": "give two dates such as [\"2015-05-17\", \"2015-05-20\"] (both included), two RFC 3339 instants, or one of "
    + ", ".join(RELATIVE),
    "dimensions": f"give a list of up to {MOST_DIMENSIONS} dimensions' names, such as [\"http.route\"]",
    "filters": "give a list of filters",
    "order_by": 'give a list of pairs, such as [["requests", "desc"]]; the second is "asc" or "desc"',
    "pagination": f'give {{"limit": 1 to {MOST_RESULTS}, "offset": 0 to 1000000000}}',
    "include": 'give {"time_labels": true or false, "total_rows": true or false}',
    "now": "give an RFC 3339 instant, such as 2015-05-21T00:00:00Z",
}  # fmt: skip


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Pagination(_Shape):
    """Which of the ordered results are wanted."""

    limit: int = Field(default=MOST_RESULTS, ge=1, le=MOST_RESULTS)
    offset: int = Field(default=0, ge=0, le=10**9)


class Include(_Shape):
    """What else the answer's `meta` should hold: every bucket's label, how many results there are without pagination."""

    time_labels: bool = False
    total_rows: bool = False


class Query(_Shape):
    """A question about one tenant. Made by `parse_query`, which has checked every name in it."""

    tenant: str = Field(min_length=1, max_length=100)
    metrics: tuple[str, ...] = Field(min_length=1, max_length=MOST_METRICS)
    date_range: str | tuple[str, str]
    dimensions: tuple[str, ...] = Field(default=(), max_length=MOST_DIMENSIONS)
    filters: SkipValidation[tuple[Filter, ...]] = ()
    order_by: tuple[tuple[str, Literal["asc", "desc"]], ...] = ()
    pagination: Pagination = Pagination()
    include: Include = Include()
    now: str | None = None

    @field_validator("filters", mode="before")
    @classmethod
    def _filters(cls, raw: object) -> tuple[Filter, ...]:
        return parse_filters(raw)

    def instant(self) -> datetime | None:
        """The instant that relative ranges count from, or None for the database's clock."""
        return None if self.now is None else parse_instant(self.now, "now")


def parse_query(given: bytes | str | Mapping[str, Any], catalogue: Catalogue) -> Query:
    """A question from JSON or from an object read from it.

    Raises InputError that names the field, what was given and what is allowed.
    """
    text, raw = _decoded(given)
    try:
        query = Query.model_validate_json(text)
    except ValidationError as error:
        raise _explained(error, raw) from None
    _check_names(query, catalogue)
    query.instant()
    return query


def _decoded(given: bytes | str | Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    try:
        text = given.encode() if isinstance(given, str) else given
        text = text if isinstance(text, bytes) else orjson.dumps(text)
    except (UnicodeEncodeError, TypeError) as error:
        raise InputError(f"the query is not JSON: {error}", "query") from None
    if len(text) > MOST_BYTES:
        raise InputError(f"the query is {len(text)} bytes long: up to {MOST_BYTES} are allowed", "query")
    try:
        raw = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError(f"the query is not JSON: {error}", "query") from None
    if not isinstance(raw, dict):
        raise InputError(f"the query is {shown(raw)}: give a JSON object", "query")
    for field, value in raw.items():
        if _holds_nul(value):
            raise InputError(
                f"{field} holds the character \\u0000, which no stored text can hold: leave it out", field
            )
    return text, raw


def _holds_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    parts: Sequence[object] = [*value, *value.values()] if isinstance(value, dict) else []
    return any(_holds_nul(part) for part in (value if isinstance(value, list) else parts))


def _explained(error: ValidationError, raw: dict[str, Any]) -> InputError:
    first = error.errors(include_url=False, include_context=False)[0]
    top = str(first["loc"][0]) if first["loc"] else "query"
    if first["type"] == "missing":
        return InputError(f"{top} is missing: {ALLOWED[top]}", top)
    if first["type"] == "extra_forbidden":
        known = list(Query.model_fields) if len(first["loc"]) == 1 else _members(top)
        name = ".".join(map(str, first["loc"]))
        return InputError(
            f"{shown(name)} is not a field of a query: {near(str(first['loc'][-1]), known)}", name
        )
    given = raw.get(top)
    if isinstance(given, list) and top != "date_range":
        return InputError(f"{top} cannot be used ({first['msg']}; {len(given)} given): {ALLOWED[top]}", top)
    return InputError(f"{top} is {shown(given)}: {ALLOWED.get(top, first['msg'])}", top)


def _members(field: str) -> list[str]:
    return list((Pagination if field == "pagination" else Include).model_fields)


def _check_names(query: Query, catalogue: Catalogue) -> None:
    for name in query.metrics:
        if name not in METRICS:
            raise InputError(
                f"metrics holds the unknown metric {shown(name)}: {near(name, list(METRICS))}", "metrics"
            )
    stored = known_dimensions(catalogue)
    every = [TIME, *TIME_GRAINS, *stored]
    for name in query.dimensions:
        if name not in every:
            raise InputError(
                f"dimensions holds the unknown dimension {shown(name)}: {near(name, every)}", "dimensions"
            )
    for name in (name for part in query.filters for name in part.dimensions()):
        if is_time(name):
            raise InputError(f"filters compares {name!r}: narrow date_range instead", "filters")
        if name not in stored:
            raise InputError(
                f"filters holds the unknown dimension {shown(name)}: {near(name, stored)}", "filters"
            )
    _check_once("dimensions", query.dimensions)
    _check_once("order_by", [name for name, _ in query.order_by])
    if len([name for name in query.dimensions if is_time(name)]) > 1:
        raise InputError("dimensions holds more than one time dimension: keep one of them", "dimensions")
    for name, _ in query.order_by:
        if name not in query.metrics and name not in query.dimensions:
            asked = [*query.metrics, *query.dimensions]
            raise InputError(
                f"order_by names {shown(name)}, which is not asked for: {near(name, asked)}", "order_by"
            )
    _check_fit(query, catalogue)


def _check_once(field: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{field} holds {name!r} twice: keep one of them", field)


def _check_fit(query: Query, catalogue: Catalogue) -> None:
    """Every metric's rollup must have every dimension asked for."""
    asked = [("dimensions", name) for name in query.dimensions if not is_time(name)]
    asked += [("filters", name) for part in query.filters for name in part.dimensions()]
    for metric in query.metrics:
        rollup = catalogue.rollup(METRICS[metric].rollup)
        if rollup is None:
            raise InputError(
                f"metrics holds {metric!r}, whose rollup is not kept by this installation", "metrics"
            )
        known = dimensions_of(rollup)
        for field, name in asked:
            if name not in known:
                raise InputError(
                    f"{field} names {name!r}, which {metric!r} is not kept by: {metric!r} has {', '.join(known)}",
                    field,
                )
