"""Parameters that several routes have: how they are read, and the errors of those that are none."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
from fastapi import Query, Request

from streamgauge.errors import InputError
from streamgauge.read.date_range import RELATIVE
from streamgauge.read.naming import near, shown

MOST_NAME = 80  # characters of a parameter's name in a message
LONGEST_INSTANT = 40  # characters
LONGEST_LIST = 2_000  # characters
LONGEST_FILTERS = 8_000  # of an address; longer ones fit a body

DateRange = Annotated[
    str | None,
    Query(
        max_length=LONGEST_INSTANT,
        description=f"One of {', '.join(RELATIVE)}: calendar days, months or years that end with the current one, hours for `24h`. "
        "`7d` unless `from` and `to` are given.",
        examples=["30d"],
    ),
]
From = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=LONGEST_INSTANT,
        description="The first date, or an RFC 3339 instant at which an hour of the tenant's time zone begins. Needs `to`.",
        examples=["2015-05-17"],
    ),
]
To = Annotated[
    str | None,
    Query(
        max_length=LONGEST_INSTANT,
        description="The last date, which is included; or the instant at which the last hour ends. Needs `from`.",
        examples=["2015-05-20"],
    ),
]
Metrics = Annotated[
    str,
    Query(
        max_length=LONGEST_LIST,
        description="1 to 20 metrics' names, separated by commas; `GET /api/v1/catalogue` tells all of them.",
        examples=["requests,error_rate,p95_duration"],
    ),
]
Filters = Annotated[
    str | None,
    Query(
        max_length=LONGEST_FILTERS,
        description="A list of filters as JSON, all of which must hold; as in `POST /api/v1/query`.",
        examples=['[["is","http.request.method",["GET"]]]'],
    ),
]


def refuse_strangers(request: Request) -> None:
    """Raise InputError for a query parameter that the route does not have, or one that is given twice."""
    known = sorted(_names(request.scope["route"].dependant))
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            known_ones = near(name, known) if known else "there are none"
            raise InputError(f"{shown(name)} is no parameter here: {known_ones}", name[:MOST_NAME] or "query")
        if given.count(name) > 1:
            raise InputError(f"{name} is given {given.count(name)} times: give it once", name)


def _names(dependant: Any) -> set[str]:
    own = {each.alias for each in dependant.query_params}
    return own.union(*(_names(each) for each in dependant.dependencies))


def texts(given: str, field: str) -> Sequence[str]:
    """A list of names separated by commas. Raises InputError when one is empty."""
    found = [part.strip() for part in given.split(",")]
    if not all(found):
        raise InputError(f"{field} is {shown(given)}: give names separated by commas", field)
    return found


def between(date_range: str | None, since: str | None, to: str | None) -> str | Sequence[str]:
    """The range of a question from three parameters. Raises InputError for half of one, or two."""
    if since is None and to is None:
        return "7d" if date_range is None else date_range
    if date_range is not None:
        raise InputError("date_range is given beside from and to: give one of the two", "date_range")
    if since is None or to is None:
        missing = "from" if since is None else "to"
        raise InputError(f"{missing} is missing: give both from and to, or date_range", missing)
    return [since, to]


def filters_of(text: str | None) -> Any:
    """Filters from a parameter. Raises InputError when it is no JSON."""
    try:
        return [] if text is None else orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError(f"filters is not JSON: {error}", "filters") from None


@contextmanager
def named_here(names: Mapping[str, str]) -> Iterator[None]:
    """Let errors about a question's field name the parameter that it was made from."""
    try:
        yield
    except InputError as error:
        if error.field is None or error.field not in names:
            raise
        here = names[error.field]
        raise InputError(str(error).replace(error.field, here, 1), here) from None
