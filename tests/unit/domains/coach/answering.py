"""What the query API answers about events, without servers: the fold's rows in memory, as the tables would have them."""

import random
from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from streamgauge.catalogue import CATALOGUE
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.read.plan import Grain, Plan, Source, make_plan
from streamgauge.read.query import parse_query
from streamgauge.read.report import Answer, Context, report
from streamgauge.read.rows import Cell, Rows
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import Scope, SeriesKey, fold
from streamgauge.summaries.measures import Measures
from streamgauge.table import thaw

TENANT = 1


class Answering:
    """Rows of one tenant: an hour's and a day's of each series, however the events came."""

    def __init__(self, events: Iterable[Event], zone: str = "UTC", seed: int | None = None) -> None:
        """An event with a key that was met before counts no more. With a `seed` events come in an order and in batches of its choosing."""
        self.zone = zone
        self.calendar = Calendar([(None, zone)])
        self.rows: dict[tuple[SeriesKey, Grain, int], Measures] = {}
        kept, keys = list[Event](), set[bytes | None]()
        for event in events:
            if event.key is None or event.key not in keys:
                kept.append(event)
                keys.add(event.key)
        edges = [0, len(kept)]
        if seed is not None:
            order = random.Random(seed)
            order.shuffle(kept)
            edges = sorted([*edges, *(order.randrange(len(kept) + 1) for _ in range(3))])
        people = sorted({event.actor for event in kept if event.actor is not None})
        for first, end in pairwise(edges):
            if first < end:
                self._add(kept[first:end], people)

    def ask(self, question: Mapping[str, Any], now: str) -> Answer:
        """The answer to a question without required dimensions."""
        query = parse_query({**question, "tenant": "school", "now": now}, CATALOGUE)
        instant = query.instant()
        assert instant is not None
        plan = make_plan(query, CATALOGUE, self.calendar, int(instant.timestamp()), None)
        cells = {source.metric: list(self._cells(plan, source)) for source in plan.sources}
        nobody: dict[str, list[Cell]] = {name: [] for name in cells}
        rows = Rows(cells, nobody, frozenset(), {}, None, None)
        return report(rows, plan, Context(self.zone, timedelta(days=7), 1_000))

    def _add(self, events: list[Event], people: list[bytes]) -> None:
        table = thaw(freeze(events))
        numbers = np.array([people.index(each) + 1 for each in table.actor.values] + [-1], np.int64)
        scopes = [Scope(TENANT, self.calendar)]

        def admit(tenant: int, dimension: str, day: int, values: list[str]) -> list[bool]:
            return [True] * len(values)

        for group in fold(table, numbers[table.actor.codes], scopes, CATALOGUE, admit):
            starts: tuple[tuple[Grain, int], ...] = (("hourly", group.hour), ("daily", group.day))
            for grain, start in starts:
                self.rows.setdefault((group.key, grain, start), Measures()).merge(group.measures)

    def _cells(self, plan: Plan, source: Source) -> Iterable[Cell]:
        buckets = {(span.grain, bucket.start): bucket for span in plan.spans for bucket in span.buckets}
        for (key, grain, start), measures in self.rows.items():
            bucket = buckets.get((grain, start))
            if bucket is not None and (key.metric, key.grouping) == (source.metric, source.grouping):
                values = tuple(key.dimensions[place - 1] for place in source.places)
                yield Cell(bucket.period, bucket.day if source.by_day else None, values, measures)
