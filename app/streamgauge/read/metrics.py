"""Every metric that can be asked for, as data: which rollup's rows it is computed from, and which of their measures.

A new domain adds rows here, no code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from streamgauge.catalogue import EVENTS
from streamgauge.domains.web.declarations import BYTES, DURATION_METRIC, REQUESTS

Measure = Literal[
    "count", "error_count", "error_rate", "distinct", "daily_distinct", "total", "total_average", "average", "minimum", "maximum",
    "quantile",
]  # fmt: skip
Unit = Literal["requests", "events", "visitors", "actors", "fraction", "bytes", "ms"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: the measure of a rollup that answers it, its unit, and what it means in a sentence."""

    name: str
    rollup: str
    measure: Measure
    unit: Unit
    description: str
    quantile: Fraction | None = None
    place: int = 0  #: which of the rollup's totals
    #: What answers instead where a distinct count over several days would count daily-salted visitors more than once.
    daily: str | None = None


_BYTES = REQUESTS.totals.index(BYTES)


def _duration_quantile(percent: int) -> Metric:
    return Metric(
        f"p{percent}_duration", DURATION_METRIC, "quantile", "ms",
        f"{percent} % of the requests were answered within this time", Fraction(percent, 100),
    )  # fmt: skip


_DECLARED = (
    Metric("requests", DURATION_METRIC, "count", "requests", "requests answered"),
    Metric("errors", DURATION_METRIC, "error_count", "requests", "requests answered with a status of 500 or more"),
    Metric("error_rate", DURATION_METRIC, "error_rate", "fraction", "errors / requests"),
    Metric(
        "visitors", DURATION_METRIC, "distinct", "visitors", "distinct visitors of the whole range",
        daily="sum_daily_visitors",
    ),
    Metric(
        "sum_daily_visitors", DURATION_METRIC, "daily_distinct", "visitors",
        "distinct visitors of each local day, added up: who comes on three days counts three times",
    ),
    Metric("bytes", DURATION_METRIC, "total", "bytes", "bytes of the responses' bodies", place=_BYTES),
    Metric("avg_bytes", DURATION_METRIC, "total_average", "bytes", "bytes / requests", place=_BYTES),
    Metric("min_duration", DURATION_METRIC, "minimum", "ms", "shortest time to the last byte"),
    Metric("avg_duration", DURATION_METRIC, "average", "ms", "mean time to the last byte"),
    Metric("max_duration", DURATION_METRIC, "maximum", "ms", "longest time to the last byte"),
    *(_duration_quantile(percent) for percent in (50, 75, 90, 95, 99)),
    Metric("events", EVENTS.metric, "count", "events", "events of any name"),
    Metric(
        "actors", EVENTS.metric, "distinct", "actors", "distinct actors of events of any name", daily="sum_daily_actors"
    ),
    Metric(
        "sum_daily_actors", EVENTS.metric, "daily_distinct", "actors", "distinct actors of each local day, added up"
    ),
)  # fmt: skip

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _DECLARED}
