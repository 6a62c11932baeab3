"""Lists of actors: each by the last hour it was there in, and a page begins where the last one ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from streamgauge.errors import InputError
from streamgauge.people.actors import within
from streamgauge.people.history import latest_missing
from streamgauge.people.listing import Seen, picked
from streamgauge.summaries.calendar import Interval

SECOND = 1_000_000
HOURS = st.dictionaries(st.integers(0, 23), st.frozensets(st.integers(0, 9)), max_size=8)


@given(
    HOURS,
    st.frozensets(st.integers(0, 9)),
    st.integers(0, 23),
    st.none() | st.builds(Seen, st.integers(0, 23), st.integers(0, 9)),
)
def test_everybody_is_listed_by_the_last_hour_and_behind_the_cursor(
    hours: dict[int, frozenset[int]], fresh: frozenset[int], start: int, after: Seen | None
) -> None:
    by_hour = {hour: BitMap(ids) for hour, ids in hours.items()}
    last = {
        actor: max(hour for hour, ids in hours.items() if actor in ids and hour >= start)
        for actor in fresh
        if any(actor in ids and hour >= start for hour, ids in hours.items())
    }
    rows = sorted(
        (Seen(hour, actor) for actor, hour in last.items()), key=lambda each: (-each.hour, each.actor_id)
    )
    if after is not None:
        rows = [each for each in rows if (-each.hour, each.actor_id) > (-after.hour, after.actor_id)]
    assert picked(by_hour, BitMap(fresh), start, after) == rows
    assert {hour: frozenset(ids) for hour, ids in by_hour.items()} == hours  # nothing given is changed


def test_an_hour_that_lacks_its_events_is_told_only_when_it_was_read_whole() -> None:
    hours = [Interval(7200, 10800), Interval(3600, 7200), Interval(0, 3600)]
    end = 10800 * SECOND
    assert latest_missing(hours, {7200, 3600, 0}, 0, end) is None
    assert latest_missing(hours, {7200, 0}, 0, end) == 7200 * SECOND
    assert latest_missing(hours, {3600}, 5000 * SECOND, end) == end
    assert latest_missing(hours, {7200}, 5000 * SECOND, end) is None
    assert latest_missing(hours, {3600, 0}, 0, end - 1) is None


@pytest.mark.parametrize("text", ["", "d", "0d", "366d", "49h", "7w", "-1d", "٣d", "1.5h", "7D"])
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="active_within"):
        within(text)


def test_spans_of_hours_and_days_are_understood() -> None:
    assert [within(text) for text in ("1h", "48h", "1d", "365d")] == [
        (1, "h"),
        (48, "h"),
        (1, "d"),
        (365, "d"),
    ]
