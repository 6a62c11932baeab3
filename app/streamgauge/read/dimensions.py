"""What answers can be broken down by: dimensions the rows carry, dimensions derived from them, and time."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streamgauge.domains.web.declarations import STATUS
from streamgauge.summaries.rollups import Catalogue, Rollup

STATUS_CLASS = "http.response.status_class"

TIME = "time"  #: a grain fitting the range
TIME_GRAINS: Mapping[str, str] = {f"time:{grain}": grain for grain in ("hour", "day", "week", "month")}


def status_class(status: str) -> str:
    """`404` is `4xx`; `(none)`, `(other)` and anything that is no status stay themselves."""
    return f"{status[0]}xx" if re.fullmatch(r"[1-5][0-9]{2}", status) else status


@dataclass(frozen=True, slots=True)
class Derived:
    """A dimension computed from a stored one at read time."""

    base: str
    value: Callable[[str], str]


DERIVED: Mapping[str, Derived] = {STATUS_CLASS: Derived(STATUS, status_class)}


def is_time(dimension: str) -> bool:
    """Whether it is a time dimension."""
    return dimension == TIME or dimension in TIME_GRAINS


def base_of(dimension: str) -> str:
    """The stored dimension it is read from."""
    return DERIVED[dimension].base if dimension in DERIVED else dimension


def dimensions_of(rollup: Rollup) -> list[str]:
    """What a rollup's rows can be broken down by, derived dimensions included, time aside."""
    stored = {name for grouping in rollup.groupings for name in grouping}
    return sorted(stored | {name for name, derived in DERIVED.items() if derived.base in stored})


def known_dimensions(catalogue: Catalogue) -> list[str]:
    """Every dimension of a catalogue, time aside."""
    return sorted({name for rollup in catalogue.rollups for name in dimensions_of(rollup)})
