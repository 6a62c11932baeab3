"""The report: what was read and an instant in, the answer out. Pure: equal rows and instants give equal bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from streamgauge.read.dimensions import is_time
from streamgauge.read.metrics import METRICS, Metric
from streamgauge.read.plan import Plan
from streamgauge.read.rows import Rows
from streamgauge.read.tally import FIRST_VISITOR, Key, Number, Tally, tally
from streamgauge.summaries.histogram import RELATIVE_ERROR

GRACE = timedelta(minutes=1)  # after the accepted lateness, before a bucket is final


@dataclass(frozen=True, slots=True)
class Result:
    """One row of an answer, in the order of the question's dimensions and metrics."""

    dimensions: tuple[str, ...]
    metrics: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its rows, what there is to know about them, and the question as it was understood."""

    results: tuple[Result, ...]
    meta: Mapping[str, Any]
    query: Mapping[str, Any]

    def json(self) -> bytes:
        """One JSON object."""
        return orjson.dumps(self)


@dataclass(frozen=True, slots=True)
class Context:
    """What else an answer depends on: the tenant's zone, the accepted lateness, values kept per dimension and day."""

    time_zone: str
    max_lateness: timedelta
    cardinality_limit: int


def report(rows: Rows, plan: Plan, context: Context) -> Answer:
    """The answer to a planned question."""
    tallies = tally(rows, plan)
    metrics, warnings = _answerable(plan, tallies)
    keys = _ordered(_keys(plan, tallies), tallies, metrics, plan)
    page = plan.query.pagination
    results = tuple(
        Result(_labels(key, plan), _values(tallies.get(key, {}), metrics))
        for key in keys[page.offset : page.offset + page.limit]
    )
    meta: dict[str, Any] = {
        "as_of": None if rows.applied_at is None else rfc3339(rows.applied_at),
        "final": plan.range.end + (context.max_lateness + GRACE).total_seconds() < plan.now,
        "time_zone": context.time_zone,
        "verification": _verification(rows),
        "approximations": _approximations(rows, plan, metrics, context),
        "metric_warnings": warnings,
    }
    if rows.left_out:
        meta["left_out"] = {"dimensions": _required(plan), "events": rows.left_out}
    if plan.query.include.total_rows:
        meta["total_rows"] = len(keys)
    if plan.query.include.time_labels and plan.time is not None:
        meta["time_labels"] = [plan.calendar.local_iso(period.start) for period in plan.periods]
    return Answer(results, meta, _understood(plan, metrics))


def _answerable(
    plan: Plan, tallies: Mapping[Key, Mapping[str, Tally]]
) -> tuple[tuple[Metric, ...], dict[str, dict[str, str]]]:
    """The metrics, with distinct counts that nobody can know replaced by what can be known, and a warning for each of those."""
    if len(plan.days) == 1 or plan.time in ("time:hour", "time:day"):
        return plan.metrics, {}
    metrics, warnings = [], {}
    for metric in plan.metrics:
        found = [row[metric.rollup].measures.members for row in tallies.values() if metric.rollup in row]
        if metric.daily is not None and any(members and members.max() >= FIRST_VISITOR for members in found):
            warnings[metric.name] = {
                "code": "daily_salted_visitors",
                "warning": f"{metric.name} known by a salt that changes every day cannot be told from each other across days: "
                f"{metric.daily} is answered instead; ask for 'time:day', or for one day, to have {metric.name}",
            }
            metric = METRICS[metric.daily]
        metrics.append(metric)
    return tuple(metrics), warnings


def _keys(plan: Plan, tallies: Mapping[Key, Mapping[str, Tally]]) -> list[Key]:
    """The rows of the answer. By time alone, or by nothing, rows without events are there too; periods yet to begin are not."""
    keys = dict.fromkeys(tallies)
    if all(is_time(name) for name in plan.dimensions):
        for place, period in enumerate(plan.periods):
            if plan.time is None or period.start <= plan.now:
                keys.setdefault((place, ()))
    return list(keys)


def _values(row: Mapping[str, Tally], metrics: Sequence[Metric]) -> tuple[Number, ...]:
    return tuple(row.get(metric.rollup, EMPTY).value(metric) for metric in metrics)


EMPTY = Tally()


def _labels(key: Key, plan: Plan) -> tuple[str, ...]:
    period, values = key
    rest = iter(values)
    return tuple(
        plan.calendar.local_iso(plan.periods[period].start) if is_time(name) else next(rest)
        for name in plan.dimensions
    )


def order(plan: Plan, metrics: Sequence[Metric]) -> tuple[tuple[str, str], ...]:
    """What the rows are ordered by: as asked; else by time, or by the first metric from the greatest; then by every dimension."""
    named = dict(zip(plan.query.metrics, (metric.name for metric in metrics), strict=True))
    named |= dict(zip(plan.query.dimensions, plan.dimensions, strict=True))
    asked = tuple((named[name], direction) for name, direction in plan.query.order_by)
    if not asked:
        asked = ((metrics[0].name, "desc"),) if plan.time is None else ((plan.time, "asc"),)
    first: dict[str, str] = {}
    for name, direction in (*asked, *((name, "asc") for name in plan.dimensions)):
        first.setdefault(name, direction)
    return tuple(first.items())


def _ordered(
    keys: list[Key], tallies: Mapping[Key, Mapping[str, Tally]], metrics: Sequence[Metric], plan: Plan
) -> list[Key]:
    others = [name for name in plan.dimensions if not is_time(name)]
    by_name = {metric.name: metric for metric in metrics}
    # Sorting is stable, so the last criterion goes first. Rows without a value come last in either direction.
    for name, direction in reversed(order(plan, metrics)):
        if name in by_name:
            metric = by_name[name]
            values = {key: tallies.get(key, {}).get(metric.rollup, EMPTY).value(metric) for key in keys}
            sign = -1 if direction == "desc" else 1
            keys = sorted(keys, key=lambda key: _place(values[key], sign))
        elif is_time(name):
            keys = sorted(keys, key=lambda key: key[0], reverse=direction == "desc")
        else:
            at = others.index(name)
            keys = sorted(keys, key=lambda key: key[1][at], reverse=direction == "desc")
    return keys


def _place(value: Number, sign: int) -> tuple[bool, int | float]:
    return (True, 0) if value is None else (False, sign * value)


def _verification(rows: Rows) -> dict[str, str | None]:
    found = rows.verification
    if found is None:
        return {"state": "unverified", "verified_at": None}
    state = "differences" if found.differences else "stale" if found.stale else "verified"
    return {"state": state, "verified_at": rfc3339(found.verified_at)}


def _approximations(
    rows: Rows, plan: Plan, metrics: Sequence[Metric], context: Context
) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    quantiles = [metric.name for metric in metrics if metric.measure == "quantile"]
    if quantiles:
        found.append(
            {"code": "histogram", "metrics": quantiles, "relative_error": round(RELATIVE_ERROR + 5e-6, 5)}
        )
    for dimension in plan.stored:
        days = sorted(day for name, day in rows.overflow if name == dimension)
        if days:
            dates = [plan.calendar.date_of(day).isoformat() for day in (days[0], days[-1])]
            found.append(
                {
                    "code": "cardinality_limit", "dimension": dimension, "limit": context.cardinality_limit,
                    "days": len(days), "first_day": dates[0], "last_day": dates[1],
                }
            )  # fmt: skip
    return found


def _required(plan: Plan) -> list[str]:
    if plan.left_out is None:
        return []
    everything, complete = (source.dimensions for source in plan.left_out)
    return [name for name in plan.stored if name in complete and name not in everything]


def _understood(plan: Plan, metrics: Sequence[Metric]) -> dict[str, Any]:
    """The question with everything relative made definite. Asked again as it stands, it has the same results."""
    query = plan.query
    return {
        "tenant": query.tenant,
        "metrics": [metric.name for metric in metrics],
        "date_range": [plan.calendar.local_iso(second) for second in plan.range],
        "dimensions": list(plan.dimensions),
        "filters": [part.plain() for part in query.filters],
        "order_by": [list(criterion) for criterion in order(plan, metrics)],
        "pagination": {"limit": query.pagination.limit, "offset": query.pagination.offset},
        "include": {"time_labels": query.include.time_labels, "total_rows": query.include.total_rows},
        "now": rfc3339(datetime.fromtimestamp(plan.now, UTC)),
    }


def rfc3339(instant: datetime) -> str:
    """An instant in RFC 3339, in UTC."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
