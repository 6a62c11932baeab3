"""The log: only what is wanted of an entry that mixes everything, steps that leave nothing out, the newest of whatever is offered."""

from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import FrameError
from streamgauge.event import Event
from streamgauge.event_log.activity import Step, days_before, grouped
from streamgauge.event_log.entries import Entry, Place, content_of, digest
from streamgauge.event_log.walk import FIRST_TOGETHER, MOST_TOGETHER, applied_since, together
from streamgauge.event_log.wanted import Wanted
from streamgauge.frame import freeze
from streamgauge.outcomes import APPLIED, LATE
from streamgauge.people.newest import Newest
from streamgauge.summaries.calendar import Calendar, Interval
from streamgauge.table import thaw

ACTORS = [bytes([1]) + bytes([each]) * 16 for each in range(8)]
EVENTS = st.lists(
    st.builds(
        Event,
        name=st.sampled_from(["a.b", 'quote"d', "é"]),
        occurred_at=st.integers(0, 50),
        tenant=st.sampled_from(["mine", "theirs", "mine2"]),
        actor=st.none() | st.sampled_from(ACTORS),
        session=st.none() | st.sampled_from(["s", "\\"]),
        properties=st.dictionaries(
            st.sampled_from(["mine", "s"]), st.sampled_from(["mine", "a.b"]), max_size=1
        ),
    ),
    min_size=1,
    max_size=15,
)
WANTED = st.builds(
    Wanted,
    tenant=st.sampled_from(["mine", "theirs", "nobody"]),
    actors=st.none() | st.frozensets(st.sampled_from(ACTORS)),
    name=st.none() | st.sampled_from(["a.b", 'quote"d', "é"]),
    session=st.none() | st.sampled_from(["s", "\\"]),
)


def entry_of(events: list[Event], outcomes: bytes | None = None, first: int = 0) -> tuple[Entry, bytes]:
    content = freeze(events)
    made = Entry(
        date(2026, 1, 1), 1, bytes(16), first, len(events), outcomes, digest(content, outcomes), 1, 0
    )
    return made, content


@given(EVENTS, WANTED, st.integers(0, 50), st.integers(0, 50), st.data())
def test_nothing_but_what_is_wanted_comes_out_of_a_mixed_entry(
    events: list[Event], wanted: Wanted, start: int, end: int, data: st.DataObject
) -> None:
    outcomes = bytes(
        data.draw(st.lists(st.sampled_from([APPLIED, LATE]), min_size=len(events), max_size=len(events)))
    )
    entry, content = entry_of(events, outcomes)
    rows = wanted.rows(entry.table(content), entry.applied(), start, end).tolist()
    assert rows == [
        place
        for place, event in enumerate(events)
        if event.tenant == wanted.tenant
        and start <= event.occurred_at < end
        and outcomes[place] == APPLIED
        and (wanted.actors is None or event.actor in wanted.actors)
        and (wanted.name is None or event.name == wanted.name)
        and (wanted.session is None or event.session == wanted.session)
    ]
    # Looking at the bytes first never hides anything.
    assert not rows or wanted.may_be_in(content)


def test_an_entry_whose_bytes_hold_no_actor_that_is_wanted_need_not_be_decoded() -> None:
    _, content = entry_of([Event("a.b", 0, "mine", ACTORS[0])])
    assert Wanted("mine", frozenset({ACTORS[0]})).may_be_in(content)
    assert not Wanted("mine", frozenset({ACTORS[1]})).may_be_in(content)
    assert not Wanted("mine", frozenset()).may_be_in(content)
    assert not Wanted("theirs").may_be_in(content)


def test_an_entry_that_is_not_what_was_stored_is_refused() -> None:
    entry, content = entry_of([Event("a.b", 0, "mine"), Event("a.b", 1, "mine")])
    assert entry.table(content).n == 2
    for changed in (replace(entry, digest=bytes(16)), replace(entry, outcomes=bytes(2)), replace(entry, n=3)):
        with pytest.raises(FrameError):
            changed.table(content)
    short = replace(entry, outcomes=b"\0")
    with pytest.raises(FrameError, match="1 outcomes for 2 events"):
        short.applied()
    packed = zstandard.ZstdCompressor().compress(content)
    assert content_of(packed) == content
    for damaged in (packed[:-3], b"no", b""):
        with pytest.raises(FrameError):
            content_of(damaged)


def test_an_entry_that_says_it_is_enormous_is_not_decompressed() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(65 * 1024 * 1024))
    assert len(bomb) < 10_000
    with pytest.raises(FrameError, match="may be"):
        content_of(bomb)


@given(
    st.integers(0, 40), st.integers(1, 60), st.dictionaries(st.integers(0, 99), st.integers(1, 30)), st.integers(1, 40), st.booleans()
)  # fmt: skip
def test_steps_cover_all_of_the_time_without_gaps_and_every_hour(
    start: int, length: int, counts: dict[int, int], per_step: int, split: bool
) -> None:
    end = start + length
    first = start // 10 * 10
    hours = sorted(
        ((Interval(at, at + 10), count) for at, count in ((place * 10, n) for place, n in counts.items()) if first <= at < end),
        reverse=True,
    )  # fmt: skip
    found = list(grouped(hours, start, end, per_step, split=split))
    assert (found[0].end, found[-1].start) == (end, start)
    assert all(later.start == earlier.end for later, earlier in pairwise(found))
    for moment in range(start, end):
        (step,) = [each for each in found if each.start <= moment < each.end]
        busy = any(hour.start <= moment < hour.end for hour, _ in hours)
        assert busy == any(hour.start <= moment < hour.end for hour in step.hours)


def test_busy_hours_are_taken_one_by_one_or_in_parts_and_quiet_ones_together() -> None:
    hours = [(Interval(at, at + 3600), count) for at, count in ((10800, 3), (7200, 4), (3600, 100))]
    whole = list(grouped(hours, 0, 14400, 10, split=False))
    assert [(step.start, step.end, step.events) for step in whole] == [(7200, 14400, 7), (0, 7200, 100)]
    parts = list(grouped(hours[2:], 3600, 7200, 50, split=True))
    assert parts == [
        Step(5400, 7200, (Interval(5400, 7200),), 50),
        Step(3600, 5400, (Interval(3600, 5400),), 50),
    ]


@given(st.lists(st.integers(1, 3_000_000), max_size=60))
def test_entries_are_fetched_together_up_to_a_number_and_a_size(sizes: list[int]) -> None:
    base, _ = entry_of([Event("a.b", 0, "mine")])
    entries = [replace(base, first=place, size=size) for place, size in enumerate(sizes)]
    parts = list(together(entries))
    assert [entry for part, _ in parts for entry in part] == entries
    for number, (part, following) in enumerate(parts):
        assert len(part) <= min(FIRST_TOGETHER << number, MOST_TOGETHER)
        assert len(part) == 1 or sum(entry.size for entry in part) <= 4 * 1024 * 1024
        assert following == (parts[number + 1][0][0] if number + 1 < len(parts) else None)


@given(st.lists(EVENTS, max_size=5), st.integers(1, 6), st.integers(0, 60), st.integers(0, 50), st.data())
def test_the_newest_are_kept_in_whatever_order_entries_come(
    batches: list[list[Event]], most: int, upto: int, since: int, data: st.DataObject
) -> None:
    entries, first = [], 0
    for events in batches:
        entries.append((*entry_of(events, first=first), events))
        first += len(events)
    every = [
        (Place(event.occurred_at, 1, bytes(16), entry.first + row), event)
        for entry, _, events in entries
        for row, event in enumerate(events)
    ]
    bound = Place(upto, -1, b"", -1)
    before = data.draw(st.sampled_from([bound, *(place for place, _ in every)]))
    newest = Newest(most, before, since)
    for entry, content, events in data.draw(st.permutations(entries)):
        newest.take(entry, thaw(content), np.arange(len(events)))
    expected = sorted(
        ((place, event) for place, event in every if place < before and place.at >= since),
        key=lambda each: each[0],
        reverse=True,
    )[:most]
    assert [(each.place, each.event) for each in newest.since(0)] == expected
    full = len(expected) == most
    assert newest.full_from(0) == full
    assert not newest.full_from(51)


def test_an_event_may_have_been_applied_the_day_before_it_occurred() -> None:
    midnight = 1_767_225_600  # 2026-01-01T00:00:00Z
    assert applied_since(midnight) == date(2025, 12, 31)
    assert applied_since(midnight + 3600) == date(2026, 1, 1)


@given(
    st.integers(1, 4_000_000_000),
    st.integers(1, 9),
    st.sampled_from(["UTC", "Pacific/Apia", "America/New_York"]),
)
def test_days_before_a_moment_begin_before_it_even_in_1970_and_where_the_clock_skipped_a_day(
    second: int, days: int, zone: str
) -> None:
    calendar = Calendar([(None, zone)])
    begin = days_before(calendar, second, days)
    assert begin < second
    assert begin < 0 or begin == calendar.day_of(begin)
