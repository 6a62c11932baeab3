"""Every metric that can be asked for, as data: which rollup's rows it is computed from, and which of their measures.

A new domain adds rows here, no code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from streamgauge.catalogue import EVENTS
from streamgauge.domains.coach.declarations import ENDINGS, INPUT_TOKENS, MESSAGES, OUTPUT_TOKENS, RATINGS
from streamgauge.domains.web.declarations import (
    BOT_DURATION_METRIC,
    BYTES,
    DURATION_METRIC,
    EXCEPTIONS,
    REQUEST_BYTES,
    REQUESTS,
)

Measure = Literal[
    "count", "error_count", "error_rate", "success_rate", "distinct", "daily_distinct", "total", "total_average", "average", "minimum", "maximum",
    "quantile",
]  # fmt: skip
Unit = Literal[
    "requests", "events", "visitors", "actors", "fraction", "bytes", "ms", "messages", "conversations", "ratings", "tokens", "points",
]  # fmt: skip


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
_REQUEST_BYTES = REQUESTS.totals.index(REQUEST_BYTES)


def _duration_quantile(percent: int) -> Metric:
    return Metric(
        f"p{percent}_duration", DURATION_METRIC, "quantile", "ms",
        f"{percent} % of the requests were answered within this time", Fraction(percent, 100),
    )  # fmt: skip


def _event_quantile(percent: int) -> Metric:
    return Metric(
        f"p{percent}_event_duration", EVENTS.metric, "quantile", "ms",
        f"{percent} % of the events that have a duration took no longer", Fraction(percent, 100),
    )  # fmt: skip


def _latency_quantile(percent: int) -> Metric:
    return Metric(
        f"p{percent}_coach_latency", MESSAGES.metric, "quantile", "ms",
        f"{percent} % of the assistant's answers took no longer", Fraction(percent, 100),
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
    Metric(
        "request_bytes", DURATION_METRIC, "total", "bytes", "bytes of the requests' bodies", place=_REQUEST_BYTES
    ),
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
    Metric("failed_events", EVENTS.metric, "error_count", "events", "events that their declaration counts as failed"),
    Metric("success_rate", EVENTS.metric, "success_rate", "fraction", "1 - failed_events / events"),
    Metric("min_event_duration", EVENTS.metric, "minimum", "ms", "shortest duration of events that have one"),
    Metric("avg_event_duration", EVENTS.metric, "average", "ms", "mean duration of events that have one"),
    Metric("max_event_duration", EVENTS.metric, "maximum", "ms", "longest duration of events that have one"),
    *(_event_quantile(percent) for percent in (50, 95, 99)),
    Metric("bot_requests", BOT_DURATION_METRIC, "count", "requests", "requests of known bots, which count nowhere else"),
    Metric("bot_errors", BOT_DURATION_METRIC, "error_count", "requests", "of these, answered with a status of 500 or more"),
    Metric("bot_bytes", BOT_DURATION_METRIC, "total", "bytes", "bytes of the responses' bodies sent to known bots"),
    Metric("avg_bot_duration", BOT_DURATION_METRIC, "average", "ms", "mean time to the last byte of bots' requests"),
    Metric("exceptions", EXCEPTIONS.metric, "count", "requests", "requests that an exception ended, by its class"),
    Metric("coach_messages", MESSAGES.metric, "count", "messages", "messages exchanged with the assistant"),
    *(_latency_quantile(percent) for percent in (50, 95, 99)),
    Metric(
        "coach_input_tokens", MESSAGES.metric, "total", "tokens", "tokens put into models", place=MESSAGES.totals.index(INPUT_TOKENS)
    ),
    Metric(
        "coach_output_tokens", MESSAGES.metric, "total", "tokens", "tokens that came out", place=MESSAGES.totals.index(OUTPUT_TOKENS)
    ),
    Metric("coach_endings", ENDINGS.metric, "count", "conversations", "conversations that ended"),
    Metric("coach_ratings", RATINGS.metric, "count", "ratings", "ratings of the assistant"),
    Metric("avg_coach_rating", RATINGS.metric, "average", "points", "mean rating, from 1 to 5"),
)  # fmt: skip

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _DECLARED}
