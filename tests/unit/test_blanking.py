"""What a frame still says once events were taken out of it: everything about the others, nothing about them."""

from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.table import thaw
from streamgauge_workers.blanking import blank, refreeze

from .event_strategies import BATCHES

AT = datetime(2026, 5, 4, tzinfo=UTC)
AT_MICROSECONDS = int(AT.timestamp()) * 1_000_000
GONE = Event(
    "secret.event", 7, "secret tenant", b"\x01" + b"S" * 16, "secret session", "secret group", "secret device",
    properties={"secret property": "secret text", "route": "secret route", "size": 77777}, key=b"secret key 12345",
)  # fmt: skip
STAYS = Event("page.viewed", 9, "acme", properties={"route": "/", "size": 5}, key=b"another key 1234")


@given(BATCHES)
def test_a_frame_that_is_thawed_and_frozen_again_is_the_same_bytes(events: list[Event]) -> None:
    payload = freeze(events)
    assert refreeze(thaw(payload)) == payload


@given(st.data(), BATCHES)
def test_events_that_stay_keep_everything_and_the_others_only_their_place(
    data: st.DataObject, events: list[Event]
) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    found = thaw(refreeze(blank(thaw(freeze(events)), np.array(mask), AT)))
    assert found.n == len(events)
    times = [event.occurred_at for event, gone in zip(events, mask, strict=True) if not gone]
    nothing = Event("", min(times, default=AT_MICROSECONDS), "")
    for row, (event, gone) in enumerate(zip(events, mask, strict=True)):
        assert found.event(row) == (nothing if gone else event)


@given(BATCHES)
def test_the_frame_says_no_more_than_one_that_never_held_them(events: list[Event]) -> None:
    mixed = [*events, GONE]
    blanked = refreeze(blank(thaw(freeze(mixed)), np.arange(len(mixed)) == len(events), AT))
    earliest = min(event.occurred_at for event in events)
    never = thaw(freeze([*events, Event("", earliest, "")]))
    assert [thaw(blanked).event(row) for row in range(len(mixed))] == [
        never.event(row) for row in range(len(mixed))
    ]
    assert b"secret" not in blanked
    assert b"S" * 16 not in blanked


def test_an_entry_of_nothing_else_has_the_time_that_is_given() -> None:
    found = thaw(refreeze(blank(thaw(freeze([GONE, GONE])), np.array([True, True]), AT)))
    assert [found.event(row) for row in range(2)] == [Event("", AT_MICROSECONDS, "")] * 2
    assert (found.keys, found.columns, found.actor.values) == ([], {}, [])


def test_a_property_that_only_erased_events_had_is_not_even_named() -> None:
    found = thaw(refreeze(blank(thaw(freeze([GONE, STAYS])), np.array([True, False]), AT)))
    assert set(found.columns) == {("route", "s"), ("size", "i")}
    assert found.columns["route", "s"].dictionary == ["/"]
    assert found.event(1) == STAYS
