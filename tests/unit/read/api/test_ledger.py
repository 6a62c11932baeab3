"""The ledger's report: sums that are checked against each other."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import InputError
from streamgauge.read.api.ledger import MOST_HOURS, Entry, between, entered, outcomes_of, transport
from streamgauge.summaries.calendar import Interval
from streamgauge.summaries.grid import HOUR

KINDS = [
    ("applied", ""), ("repeated_key", ""), ("rejected", "invalid_value"), ("rejected", "invalid_text"), ("dead_lettered", "late"),
]  # fmt: skip
MOVED = {
    "announced": 9,
    "processed": 5,
    "pending": 3,
    "lost": 1,
    "redelivered": 4,
    "lost_by_forgotten_lanes": 2,
}
COUNTED = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(KINDS), st.integers(1, 99)))


def entries(counted: list[tuple[int, tuple[str, str], int]]) -> list[Entry]:
    """What the database says: one entry per kind, and one without outcome per hour."""
    whole: Counter[int] = Counter()
    for hour, _, events in counted:
        whole[hour] += events
    found = [Entry(hour * HOUR, outcome, reason, events) for hour, (outcome, reason), events in counted]
    return found + [Entry(hour * HOUR, None, None, events) for hour, events in whole.items()]


@given(COUNTED)
def test_what_was_processed_is_the_sum_of_what_became_of_it(
    counted: list[tuple[int, tuple[str, str], int]],
) -> None:
    found = entered(Interval(0, 4 * HOUR), entries(counted), transport(MOVED, {}))
    for each in [found.total, *(hour.outcomes for hour in found.hours)]:
        others = sum(each.rejected.values()) + sum(each.dead_lettered.values())
        assert each.processed == each.applied + each.repeated_key + others
        assert each.balanced
    assert found.total.processed == sum(events for *_, events in counted)
    expected: Counter[tuple[str, str]] = Counter()
    for _, kind, events in counted:
        expected[kind] += events
    assert found.total.applied == expected["applied", ""]
    assert found.total.repeated_key == expected["repeated_key", ""]
    assert found.total.rejected == {r: n for (o, r), n in expected.items() if o == "rejected"}
    assert found.total.dead_lettered == {r: n for (o, r), n in expected.items() if o == "dead_lettered"}
    assert [hour.hour for hour in found.hours] == sorted(
        {f"1970-01-01T0{hour}:00:00Z" for hour, *_ in counted}
    )


@given(COUNTED.filter(bool), st.data())
def test_an_event_more_or_less_than_was_processed_is_no_balance(
    counted: list[tuple[int, tuple[str, str], int]], data: st.DataObject
) -> None:
    found = entries(counted)
    place = data.draw(st.integers(0, len(found) - 1))
    found[place] = found[place]._replace(events=found[place].events + data.draw(st.sampled_from([-1, 1])))
    assert not outcomes_of(found).balanced


def test_transport_is_balanced_when_all_that_was_announced_is_somewhere() -> None:
    assert transport(MOVED, {"buffer_full": 3}).balanced
    for name in ("announced", "processed", "pending", "lost"):
        assert not transport({**MOVED, name: MOVED[name] + 1}, {}).balanced
    # These are beside the equation, not in it.
    for name in ("redelivered", "lost_by_forgotten_lanes"):
        assert transport({**MOVED, name: 77}, {}).balanced


NOW = 1_000_000 * HOUR // HOUR * HOUR + 1_234


def test_the_last_day_ends_with_the_current_hour() -> None:
    hour = NOW // HOUR * HOUR
    assert between(None, None, NOW) == (hour - 23 * HOUR, hour + HOUR)
    assert between(hour - 5 * HOUR, None, NOW) == (hour - 5 * HOUR, hour + HOUR)
    assert between(None, hour, NOW) == (hour - 24 * HOUR, hour)


@pytest.mark.parametrize(("first", "last"), [(HOUR, HOUR), (2 * HOUR, HOUR), (0, (MOST_HOURS + 1) * HOUR)])
def test_a_period_that_is_empty_or_too_long_is_refused(first: int, last: int) -> None:
    with pytest.raises(InputError) as raised:
        between(first, last, NOW)
    assert raised.value.field == "from"


def test_the_longest_period_is_a_leap_year() -> None:
    assert between(0, MOST_HOURS * HOUR, NOW) == (0, 366 * 24 * HOUR)
