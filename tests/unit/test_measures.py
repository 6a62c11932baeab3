"""Measures: merging two rows gives the row of all events, in any order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from streamgauge.summaries.histogram import Histogram
from streamgauge.summaries.measures import Measures

#: (value or none, failed, actor or none) of one event.
EVENTS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 10**9), st.booleans(), st.none() | st.integers(0, 20) | st.just(2**32 - 1)
    ),
    max_size=20,
)
Events = list[tuple[int | None, bool, int | None]]


def of(events: Events) -> Measures:
    values = [value for value, _, _ in events if value is not None]
    return Measures(
        len(events), sum(failed for _, failed, _ in events), len(values), sum(values), min(values, default=None),
        max(values, default=None), Histogram.of(np.array(values, np.int64)) if values else None,
        BitMap([actor for _, _, actor in events if actor is not None]),
        (sum(values) if values else None, len(events)) if events else (),
    )  # fmt: skip


def merged(*parts: Measures) -> Measures:
    whole = Measures()
    for part in parts:
        whole.merge(part)
    return whole


@given(EVENTS, EVENTS)
def test_a_merge_is_the_row_of_all_events_in_either_order(left: Events, right: Events) -> None:
    assert merged(of(left), of(right)) == merged(of(right), of(left)) == of(left + right)


@given(EVENTS, EVENTS, EVENTS)
def test_merging_is_associative(a: Events, b: Events, c: Events) -> None:
    assert merged(merged(of(a), of(b)), of(c)) == merged(of(a), merged(of(b), of(c))) == of(a + b + c)


@given(EVENTS)
def test_an_empty_row_changes_nothing(events: Events) -> None:
    assert merged(of(events), Measures()) == merged(Measures(), of(events)) == of(events)


@given(EVENTS, EVENTS)
def test_a_merge_leaves_the_other_row_alone(left: Events, right: Events) -> None:
    other = of(right)
    whole = merged(of(left), other, other)
    whole.merge(of(left))
    assert other == of(right)


@settings(max_examples=30)
@given(st.permutations(list(range(6))), st.lists(EVENTS, min_size=6, max_size=6))
def test_any_order_of_many_rows_gives_the_same(order: list[int], parts: list[Events]) -> None:
    whole = [event for part in parts for event in part]
    assert merged(*[of(parts[place]) for place in order]) == of(whole)


def test_extremes_of_rows_without_values_are_unknown_and_not_zero() -> None:
    found = merged(of([(None, True, 3)]), of([(None, False, None)]))
    assert (found.count, found.errors, found.observed, found.min, found.max) == (2, 1, 0, None, None)
    assert found.histogram is None


def test_negative_values_count() -> None:
    low, high = Measures(1, 0, 1, -7, -7, -7), Measures(1, 0, 1, 2, 2, 2)
    assert merged(low, high) == Measures(2, 0, 2, -5, -7, 2)
