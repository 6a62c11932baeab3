"""A small world to ask questions about: requests in memory, and the rows a perfect worker would have made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import orjson
from pyroaring import BitMap

from streamgauge.catalogue import CATALOGUE
from streamgauge.domains.web.declarations import DURATION_METRIC
from streamgauge.read.plan import Plan, Source, make_plan
from streamgauge.read.query import parse_query
from streamgauge.read.report import Context, report
from streamgauge.read.rows import Cell, Crowded, Rows, Verification
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.histogram import Histogram
from streamgauge.summaries.measures import Measures

NOW = "2024-04-20T12:00:00Z"
SALTED = 1 << 31


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when (Unix seconds), what, how long (microseconds), how large (bytes), by whom (dense id)."""

    at: int
    route: str = "/"
    method: str = "GET"
    status: int = 200
    path: str | None = None
    duration: int | None = None
    size: int | None = None
    actor: int | None = None
    shard: int = 0

    def dimension(self, name: str) -> str | None:
        """The value of a stored dimension."""
        return {
            "http.route": self.route,
            "http.request.method": self.method,
            "http.response.status_code": str(self.status),
            "url.path": self.path,
            "event.name": "http.request",
        }[name]


@dataclass(frozen=True, slots=True)
class World:
    """Requests of one tenant, and a way to ask about them without a database."""

    calendar: Calendar
    requests: Sequence[Request]
    excess: Mapping[Crowded, frozenset[str]]
    reverse: bool = False
    applied_at: datetime | None = None
    verification: Verification | None = None
    left_out: int = 0

    def ask(self, metrics: str, date_range: object = "all", **more: object) -> dict[str, Any]:
        """The answer, as read from its JSON."""
        question = {"tenant": "t", "metrics": metrics.split(), "date_range": date_range, "now": NOW, **more}
        answer: dict[str, Any] = orjson.loads(self.answer(question))
        return answer

    def rows(
        self, metrics: str, date_range: object = "all", **more: object
    ) -> dict[tuple[str, ...], list[Any]]:
        """The answer's results as a mapping of dimensions to metrics, in their order."""
        results = self.ask(metrics, date_range, **more)["results"]
        return {tuple(row["dimensions"]): row["metrics"] for row in results}

    def total(self, metric: str, date_range: object = "all", **more: object) -> Any:
        """The one number of a question without dimensions."""
        return self.rows(metric, date_range, **more)[()][0]

    def answer(self, question: Mapping[str, object]) -> bytes:
        """The answer's bytes."""
        plan = self.plan(question)
        return report(self.read(plan), plan, Context("zone", timedelta(days=7), 1000)).json()

    def plan(self, question: Mapping[str, object]) -> Plan:
        """The plan of a question."""
        query = parse_query(question, CATALOGUE)
        instant = query.instant()
        assert instant is not None
        dates = [self.calendar.date_of(request.at) for request in self.requests]
        extent = (min(dates), max(dates)) if dates else None
        return make_plan(query, CATALOGUE, self.calendar, int(instant.timestamp()), extent)

    def read(self, plan: Plan) -> Rows:
        """What the tables would hold for a plan: every shard, period and day a cell of its own."""
        cells = {source.metric: self._cells(plan, source) for source in plan.sources}
        members = {
            name: [cell for cell in found if cell.measures.members] if source.members else []
            for (name, found), source in zip(cells.items(), plan.sources, strict=True)
        }
        plain = {
            name: [
                Cell(cell.period, cell.day, cell.values, _without_members(cell.measures)) for cell in found
            ]
            for name, found in cells.items()
        }
        bare = {
            name: [
                Cell(cell.period, cell.day, cell.values, Measures(members=cell.measures.members))
                for cell in found
            ]
            for name, found in members.items()
        }
        return Rows(
            plain,
            bare,
            frozenset(self.excess),
            self.excess,
            self.applied_at,
            self.verification,
            self.left_out,
        )

    def _cells(self, plan: Plan, source: Source) -> list[Cell]:
        groups: dict[tuple[int, int, int, tuple[str, ...]], list[Request]] = {}
        grain = {bucket.start: bucket for span in plan.spans for bucket in span.buckets}
        hourly = {bucket.start for span in plan.spans if span.grain == "hourly" for bucket in span.buckets}
        for request in self.requests:
            hour, day = self.calendar.hour_of(request.at), self.calendar.day_of(request.at)
            bucket = grain.get(hour) if hour in hourly else grain.get(day) if day not in hourly else None
            values = [request.dimension(name) for name in source.dimensions]
            known = tuple(value for value in values if value is not None)
            if bucket is not None and len(known) == len(values):
                groups.setdefault((bucket.period, bucket.day, request.shard, known), []).append(request)
        cells = [
            Cell(period, day, values, _measures(found, source.metric))
            for (period, day, _, values), found in groups.items()
        ]
        return cells[::-1] if self.reverse else cells


def _measures(requests: Sequence[Request], metric: str) -> Measures:
    observed = [request.duration for request in requests if request.duration is not None]
    sizes = [request.size for request in requests if request.size is not None]
    return Measures(
        count=len(requests),
        errors=sum(request.status >= 500 for request in requests),
        observed=len(observed),
        sum=sum(observed),
        min=min(observed, default=None),
        max=max(observed, default=None),
        histogram=Histogram.of(np.array(observed, np.int64)) if observed else None,
        totals=(sum(sizes) if sizes else None,) if metric == DURATION_METRIC else (),
        members=BitMap([request.actor for request in requests if request.actor is not None]),
    )


def _without_members(measures: Measures) -> Measures:
    found = Measures()
    found.merge(measures)
    found.members = BitMap()
    return found


def utc(text: str) -> int:
    """Unix seconds of a time written as `2024-04-05 13:00` in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def world(requests: Sequence[Request] = (), zone: str = "UTC", **more: Any) -> World:
    """A world of these requests in a time zone."""
    return World(_calendar(zone), requests, more.pop("excess", {}), **more)


@cache
def _calendar(zone: str) -> Calendar:
    return Calendar([(None, zone)])


def dates(first: date, days: int) -> list[str]:
    """A range of so many days, as a question has it."""
    return [first.isoformat(), (first + timedelta(days - 1)).isoformat()]
