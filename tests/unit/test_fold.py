"""The fold against loops over dictionaries, and the law that makes streaming, batch and replay the same."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from streamgauge.catalogue import CATALOGUE
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.summaries.admission import Admission, rank
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import MOST_EVENTS, Scope, SeriesKey, fold, touched_days
from streamgauge.summaries.histogram import Histogram
from streamgauge.summaries.measures import Measures
from streamgauge.summaries.rollups import Catalogue, Condition, Dimension, EventType, Rollup
from streamgauge.table import Table, join, thaw

from ..oracles import event_counts as oracle
from ..oracles.event_counts import Place, Summary

ZONES = {
    "delhi": "Asia/Kolkata", "chatham": "Pacific/Chatham", "howe": "Australia/Lord_Howe", "york": "America/New_York", "utc": "UTC",
}  # fmt: skip
IDS = {tenant: place for place, tenant in enumerate(ZONES, start=7)}
SCORE = Rollup(
    "quiz.score", "quiz.tried", (Dimension("course"), Dimension("http.route", required=True)),
    ((), ("course",), ("course", "http.route")), value="score", actors=True,
)  # fmt: skip
CHOSEN = CATALOGUE.extended(SCORE)
SUMMARIES = [
    Summary(
        rollup.metric, rollup.event, rollup.groupings, rollup.value,
        frozenset(dimension.property for dimension in rollup.dimensions if dimension.required), rollup.actors, rollup.histogram, rollup.totals,
    )
    for rollup in CHOSEN.rollups
]  # fmt: skip
KEY = bytes(range(16))
KEYS = dict.fromkeys(ZONES, KEY)

Found = dict[Place, Measures]


@cache
def calendar(zone: str) -> Calendar:
    return Calendar([(None, zone)])


@dataclass
class Stripe:
    """What a worker does around the fold, in memory: actor ids, admission."""

    limit: int = 10**9
    offered: dict[tuple[int, str, int], Admission] = field(default_factory=dict)

    def admit(self, tenant_id: int, dimension: str, day: int, values: list[str]) -> list[bool]:
        admission = self.offered.setdefault((tenant_id, dimension, day), Admission(self.limit))
        for value in values:
            admission.offer(value, rank(KEY, dimension, value))
        return [value in admission.ranks for value in values]


def actor_ids(table: Table) -> Any:
    # One id per pseudonym over all tenants is as good as any here.
    ids = np.array([int.from_bytes(each[-2:], "big") for each in table.actor.values] + [-1], np.int64)
    return ids[table.actor.codes]


def scopes(table: Table) -> list[Scope]:
    return [Scope(IDS[tenant], calendar(ZONES[tenant])) for tenant in table.tenant.values]


def folded(table: Table, stripe: Stripe | None = None, catalogue: Catalogue = CHOSEN) -> Found:
    tenants = {IDS[tenant]: tenant for tenant in ZONES}
    rows: Found = {}
    stripe = stripe or Stripe()
    for group in fold(table, actor_ids(table), scopes(table), catalogue, stripe.admit):
        for grain, bucket in (("h", group.hour), ("d", group.day)):
            key = group.key
            place = Place(grain, tenants[key.tenant_id], key.metric, key.grouping, key.dimensions, bucket)
            rows.setdefault(place, Measures()).merge(group.measures)
    return rows


def counted(events: Sequence[Event], **limits: Any) -> Found:
    """The oracle's cells as measures."""
    plain: list[oracle.Event] = [
        {"name": e.name, "at": e.occurred_at, "tenant": e.tenant, "actor": e.actor, "properties": e.properties} for e in events
    ]  # fmt: skip
    with_histogram = {summary.metric for summary in SUMMARIES if summary.histogram}
    return {
        place: Measures(
            cell.count, cell.errors, len(cell.values), sum(cell.values), min(cell.values, default=None),
            max(cell.values, default=None), _histogram(cell.values) if place.metric in with_histogram else None,
            BitMap([int.from_bytes(actor[-2:], "big") for actor in cell.actors]), tuple(cell.totals),
        )
        for place, cell in oracle.recount(plain, ZONES, SUMMARIES, **limits).items()
    }  # fmt: skip


def _histogram(values: list[int]) -> Histogram | None:
    counts = sorted(oracle.histogram(values).items())
    if not counts:
        return None
    return Histogram(np.array([b for b, _ in counts], np.uint16), np.array([n for _, n in counts], np.int64))


def second(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


# An hour on either side of every kind of change, and the midnights around.
CHANGES = [
    second("2026-03-08 07:00"),  # New York springs forward
    second("2026-11-01 06:00"),  # and falls back
    second("2026-04-04 15:00"),  # Lord Howe goes back by half an hour
    second("2026-10-03 15:30"),  # and forward
    second("2026-04-04 14:00"),  # Chatham goes back
    second("2026-06-01 18:30"),  # midnight in Delhi
]
TIMES = st.builds(
    lambda change, off: change * 1_000_000 + off,
    st.sampled_from(CHANGES),
    st.integers(-7_300_000_000, 7_300_000_000)
    | st.sampled_from([0, -1, 1, 3_600_000_000, 1_800_000_000, 1_799_999_999]),
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "http.route": st.sampled_from(["/", "/a", "/b", "/c", "/d", "(other)", "(none)", "é" * 30]),
        "http.request.method": st.sampled_from(["GET", "POST"]),
        "http.response.status_code": st.sampled_from([200, 404, 500, 503, "200", True]),
        "url.path": st.sampled_from(["/a?b", "/x", "/y", "/z"]),
        "duration": st.integers(0, 2**48 - 1) | st.integers(0, 300) | st.just(1.5) | st.just("long"),
        "http.response.body.size": st.integers(0, 2**48 - 1),
        "course": st.sampled_from(["maths", "art", 7, True, 1.5, "7"]),
        "score": st.integers(0, 100),
    },
)
EVENTS = st.builds(
    Event,
    name=st.sampled_from(["http.request", "http.request", "quiz.tried", "draft.sent"]),
    occurred_at=TIMES,
    tenant=st.sampled_from(sorted(ZONES)),
    actor=st.none() | st.integers(0, 5).map(lambda each: bytes([1]) + each.to_bytes(16, "big")),
    properties=PROPERTIES,
)
BATCHES = st.lists(EVENTS, min_size=1, max_size=40)


@settings(max_examples=40)
@given(BATCHES)
def test_the_fold_counts_as_the_dictionary_does(events: list[Event]) -> None:
    assert folded(thaw(freeze(events))) == counted(events)


@pytest.mark.parametrize("seed", [1, 2])
def test_many_events_in_few_rows_are_counted_as_the_dictionary_does(seed: int) -> None:
    chosen = random.Random(seed)
    events = [
        Event(
            chosen.choice(["http.request", "quiz.tried"]), (CHANGES[0] + chosen.randrange(-4_000, 4_000)) * 1_000_000,
            chosen.choice(["york", "delhi"]), bytes([1]) + chosen.randrange(20).to_bytes(16, "big"),
            properties={
                "http.route": chosen.choice(["/", "/a"]), "duration": chosen.randrange(10**chosen.randrange(1, 9)),
                "http.response.status_code": chosen.choice([200, 499, 500, 501]), "score": chosen.randrange(9), "course": "art",
            },
        )
        for _ in range(1_500)
    ]  # fmt: skip
    assert folded(thaw(freeze(events))) == counted(events)


@settings(max_examples=25)
@given(BATCHES, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(events: list[Event], order: Any) -> None:
    shuffled = list(events)
    order.shuffle(shuffled)
    assert folded(thaw(freeze(shuffled))) == folded(thaw(freeze(events)))


@settings(max_examples=40)
@given(BATCHES, st.lists(st.integers(0, 40), max_size=5))
def test_folding_parts_and_merging_is_folding_the_whole(events: list[Event], cuts: list[int]) -> None:
    edges = sorted({0, len(events), *[cut for cut in cuts if cut < len(events)]})
    parts = [events[first:last] for first, last in pairwise(edges)]
    merged: Found = {}
    for part in parts:
        for place, measures in folded(thaw(freeze(part))).items():
            merged.setdefault(place, Measures()).merge(measures)
    whole = folded(thaw(freeze(events)))
    assert merged == whole
    assert folded(join([thaw(freeze(part)) for part in parts])) == whole


@settings(max_examples=40)
@given(BATCHES, st.data())
def test_rows_left_out_of_a_table_leave_no_trace(events: list[Event], data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    kept = [event for event, chosen in zip(events, mask, strict=True) if chosen]
    stripe, alone = Stripe(), Stripe()
    selected = thaw(freeze(events)).select(np.array(mask))
    assert folded(selected, stripe) == counted(kept)
    if kept:
        folded(thaw(freeze(kept)), alone)
    assert {cell: set(each.ranks) for cell, each in stripe.offered.items()} == {
        cell: set(each.ranks) for cell, each in alone.offered.items()
    }


@settings(max_examples=40)
@given(BATCHES, st.lists(st.integers(0, 40), max_size=4), st.randoms(use_true_random=False))
def test_which_values_are_offered_for_admission_does_not_depend_on_batches(
    events: list[Event], cuts: list[int], order: Any
) -> None:
    def offered(parts: list[list[Event]]) -> dict[tuple[int, str, int], set[str]]:
        stripe = Stripe()
        for part in parts:
            folded(thaw(freeze(part)), stripe)
        return {cell: set(admission.ranks) for cell, admission in stripe.offered.items()}

    shuffled = list(events)
    order.shuffle(shuffled)
    edges = sorted({0, len(events), *[cut for cut in cuts if cut < len(events)]})
    parts = [shuffled[first:last] for first, last in pairwise(edges)]
    assert offered(parts) == offered([events])


@settings(max_examples=40)
@given(BATCHES, st.integers(1, 3))
def test_with_a_limit_the_smallest_ranks_stay_and_the_rest_is_other(events: list[Event], limit: int) -> None:
    table = thaw(freeze(events))
    everything = Stripe(limit)
    folded(table, everything)  # so that all values are known, as they are to `verify`
    assert folded(table, everything) == counted(events, limit=limit, keys=KEYS)


def test_the_properties_of_events_outside_a_rollup_take_no_place_in_its_limit() -> None:
    at = second("2026-06-01 12:00") * 1_000_000
    requests = [Event("http.request", at, "utc", properties={"http.route": f"/{each}"}) for each in range(3)]
    others = [Event("draft.sent", at, "utc", properties={"http.route": f"/x{each}"}) for each in range(50)]
    together, apart = Stripe(3), Stripe(3)
    folded(thaw(freeze([*requests, *others])), together, CATALOGUE)
    folded(thaw(freeze(requests)), apart, CATALOGUE)
    folded(thaw(freeze(others)), apart, CATALOGUE)
    day = second("2026-06-01 00:00")
    routes = [set(each.offered[IDS["utc"], "http.route", day].ranks) for each in (together, apart)]
    assert routes == [{"/0", "/1", "/2"}] * 2


def test_a_missing_property_takes_no_place_in_the_limit() -> None:
    at = second("2026-06-01 12:00") * 1_000_000
    events = [Event("http.request", at, "utc", properties={"http.route": each}) for each in ("/a", "/b")]
    events.append(Event("http.request", at, "utc"))
    rows = folded(thaw(freeze(events)), Stripe(2))
    routes = {place.dimensions[0] for place in rows if len(place.dimensions) == 3}
    assert routes == {"/a", "/b", "(none)"}


def test_touched_days_are_the_local_days_of_the_events_of_each_tenant() -> None:
    at = second("2026-06-01 19:00") * 1_000_000
    table = thaw(
        freeze([Event("a", at, "delhi"), Event("a", at, "utc"), Event("a", at + 86_400_000_000, "utc")])
    )
    assert touched_days(table, scopes(table)) == {
        (IDS["delhi"], second("2026-06-01 18:30")), (IDS["utc"], second("2026-06-01 00:00")), (IDS["utc"], second("2026-06-02 00:00")),
    }  # fmt: skip


def test_lord_howes_hour_of_ninety_minutes_is_one_row() -> None:
    # 01:00 daylight time to 02:00, which is 01:30 standard time, to 02:00.
    start = second("2026-04-04 14:00")
    events = [Event("a", (start + minutes * 60) * 1_000_000, "howe") for minutes in range(-1, 91)]
    rows = folded(thaw(freeze(events)))
    hours = {place.bucket: row.count for place, row in rows.items() if place.grain == "h"}
    assert hours == {start - 3_600: 1, start: 90, start + 5_400: 1}


def test_an_empty_table_gives_nothing() -> None:
    table = thaw(freeze([Event("a", 0, "utc")])).select(np.array([False]))
    assert list(fold(table, np.array([], np.int64), scopes(table), CHOSEN, Stripe().admit)) == []


def test_a_fold_takes_32768_events_of_the_greatest_value_and_no_more() -> None:
    events = [
        Event("quiz.tried", row, "utc", properties={"duration": 2**48 - 1, "score": -(2**48) + 1})
        for row in range(MOST_EVENTS)
    ]
    table = thaw(freeze(events))
    rows = folded(table)
    total = rows[Place("d", "utc", "events", 0, ("quiz.tried",), 0)]
    assert (total.count, total.sum) == (MOST_EVENTS, MOST_EVENTS * (2**48 - 1))
    assert rows[Place("h", "utc", "quiz.score", 0, (), 0)].sum == -MOST_EVENTS * (2**48 - 1)
    more = join([table, thaw(freeze(events[:1]))])
    with pytest.raises(ValueError, match="32768"):
        folded(more)


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        (Condition("x", at_least=5), {5, 6}),
        (Condition("x", one_of=("5", "no", "true")), {5, "no", True}),
        (Condition("x"), {4, 5, 6, "no", "yes", True}),
    ],
)
def test_what_failed_is_what_the_condition_says(condition: Condition, wanted: set[Any]) -> None:
    catalogue = Catalogue((EventType("a", "test", failed=condition),), (Rollup("all", "*"),))
    for value in (4, 5, 6, "no", "yes", True, None):
        properties = {} if value is None else {"x": value}
        events = [Event("a", 0, "utc", properties=properties), Event("b", 0, "utc", properties=properties)]
        table = thaw(freeze(events))
        (group,) = fold(table, actor_ids(table), scopes(table), catalogue, Stripe().admit)
        assert group.key == SeriesKey(IDS["utc"], "all", 0, ())
        assert group.measures.errors == any(value == each and type(value) is type(each) for each in wanted)


@settings(max_examples=40)
@given(BATCHES)
def test_hours_add_up_to_days_and_groupings_to_totals(events: list[Event]) -> None:
    rows: Mapping[Place, Measures] = folded(thaw(freeze(events)))
    sums: dict[Any, Measures] = {}
    for place, measures in rows.items():
        if place.grain == "h":
            day = calendar(ZONES[place.tenant]).day_of(place.bucket)
            sums.setdefault(place._replace(grain="d", bucket=day), Measures()).merge(measures)
    assert sums == {place: measures for place, measures in rows.items() if place.grain == "d"}
    for metric, grouping in (("http.server.request.duration", 1), ("quiz.score", 1)):
        totals = {p._replace(dimensions=(), grouping=0): Measures() for p in rows if p.metric == metric}
        for place, measures in rows.items():
            if place.metric == metric and place.grouping == grouping:
                totals[place._replace(dimensions=(), grouping=0)].merge(measures)
        assert totals == {p: m for p, m in rows.items() if p.metric == metric and p.grouping == 0}
