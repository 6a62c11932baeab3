"""A tenant's part of the system metrics: its requests, errors, throughput, people, and events that were not counted. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from streamgauge.domains.web.declarations import ERROR_TYPE, ROUTE, STATUS
from streamgauge.read.api.ledger import Outcomes
from streamgauge.read.metrics import METRICS
from streamgauge.read.report import Answer
from streamgauge.read.tally import Number, rounded
from streamgauge.summaries.rollups import Catalogue

MOST_ROUTES: Final = 50
MOST_ERROR_TYPES: Final = 50
EXCEPTIONS: Final = "exceptions"
_LATENCIES: Final = ("p50_duration", "p95_duration", "p99_duration")
REQUESTS: Final = ("requests", "errors", "error_rate", *_LATENCIES)

Question = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds within which so many percent of the requests were answered, within 0.8 %; null where none was."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class RouteMetrics:
    """The requests of one route; errors are those answered with a status of 500 or more."""

    route: str
    requests: int
    errors: int
    error_rate: float | None
    latency: Latency


@dataclass(frozen=True, slots=True)
class ErrorStatus:
    """Errors with one response status."""

    status: str
    errors: int


@dataclass(frozen=True, slots=True)
class ErrorType:
    """Requests that an exception of this class ended."""

    type: str
    requests: int


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of all routes: how many, the share of the requests, and what they were; the most frequent first, 50 at most.

    `types` are classes of exceptions, of requests that one ended; null where the installation keeps no such summary.
    """

    count: int
    rate: float | None
    statuses: tuple[ErrorStatus, ...]
    types: tuple[ErrorType, ...] | None


@dataclass(frozen=True, slots=True)
class Throughput:
    """Events of any name that happened in the last local hour that is over, and how many that is a second, to 3 decimals."""

    hour_start: str
    hour_end: str
    events: int
    events_per_second: float


@dataclass(frozen=True, slots=True)
class Drops:
    """Events that reached the server and were not counted, by reason, in the last UTC hours in which they were processed.

    What a producer gave up before sending is known of the whole installation only.
    """

    since: str
    rejected: Mapping[str, int]
    dead_lettered: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TenantMetrics:
    """Requests and people of the last local hours, the current one included.

    `routes`: the 50 with the most requests, of equal ones by name; `routes_total` is how many there are. `active_users`: distinct
    actors of events of any name; `active_users_are` is `distinct`, or `sum_daily_actors` over several days where visitors are known by
    a salt that changes every day.
    """

    period_start: str
    period_end: str
    hours: int
    time_zone: str
    requests: int
    latency: Latency
    routes: tuple[RouteMetrics, ...]
    routes_total: int
    errors: Errors
    throughput: Throughput
    active_users: int
    active_users_are: str
    drops: Drops


def questions(
    period: Sequence[str], last_hour: Sequence[str], catalogue: Catalogue
) -> Mapping[str, Question]:
    """What is asked for each part, as `POST /api/v1/query` takes it."""
    within = {"date_range": list(period)}
    asked: dict[str, Question] = {
        "requests": {"metrics": REQUESTS, **within},
        "routes": {
            "metrics": REQUESTS, "dimensions": [ROUTE], **within, "pagination": {"limit": MOST_ROUTES}, "include": {"total_rows": True},
        },
        "statuses": {"metrics": ["errors"], "dimensions": [STATUS], **within, "pagination": {"limit": MOST_ERROR_TYPES}},
        "users": {"metrics": ["actors"], **within},
        "hour": {"metrics": ["events"], "date_range": list(last_hour)},
    }  # fmt: skip
    kept = METRICS.get(EXCEPTIONS)
    if kept is not None and catalogue.rollup(kept.rollup) is not None:
        limit = {"pagination": {"limit": MOST_ERROR_TYPES}}
        asked["types"] = {"metrics": [EXCEPTIONS], "dimensions": [ERROR_TYPE], **within, **limit}
    return asked


def tenant_metrics(
    answers: Mapping[str, Answer], hours: int, seconds: int, outcomes: Outcomes, since: str
) -> TenantMetrics:
    """The report: an answer to each question, the length of the hour that throughput is of, and the ledger from `since` on."""
    whole, routes = answers["requests"], answers["routes"]
    (found,) = _routes(whole)
    start, end = whole.query["date_range"]
    users = answers["users"]
    return TenantMetrics(
        period_start=start,
        period_end=end,
        hours=hours,
        time_zone=whole.meta["time_zone"],
        requests=found.requests,
        latency=found.latency,
        routes=_routes(routes),
        routes_total=routes.meta["total_rows"],
        errors=_errors(found, answers),
        throughput=_throughput(answers["hour"], seconds),
        active_users=int(users.results[0].metrics[0] or 0),
        active_users_are="sum_daily_actors" if "actors" in users.meta["metric_warnings"] else "distinct",
        drops=Drops(since, outcomes.rejected, outcomes.dead_lettered),
    )


def _routes(answer: Answer) -> tuple[RouteMetrics, ...]:
    """The rows of an answer; the one of an answer without dimensions has no name."""
    return tuple(_route("".join(row.dimensions), row.metrics) for row in answer.results)


def _route(name: str, metrics: Sequence[Number]) -> RouteMetrics:
    requests, errors, rate, p50, p95, p99 = metrics
    return RouteMetrics(name, int(requests or 0), int(errors or 0), rate, Latency(p50, p95, p99))


def _errors(whole: RouteMetrics, answers: Mapping[str, Answer]) -> Errors:
    statuses = tuple(
        ErrorStatus(row.dimensions[0], int(row.metrics[0]))
        for row in answers["statuses"].results
        if row.metrics[0]
    )
    types = None
    if "types" in answers:
        types = tuple(
            ErrorType(row.dimensions[0], int(row.metrics[0] or 0)) for row in answers["types"].results
        )
    return Errors(whole.errors, whole.error_rate, statuses, types)


def _throughput(hour: Answer, seconds: int) -> Throughput:
    start, end = hour.query["date_range"]
    events = int(hour.results[0].metrics[0] or 0)
    return Throughput(start, end, events, rounded(Fraction(events, seconds)))
