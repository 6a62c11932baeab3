"""Notes: what columns say of an event is what the event says, and failing is as the fold decides it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.catalogue import CATALOGUE
from streamgauge.event import Event, Value
from streamgauge.frame import freeze
from streamgauge.people.notes import Note, declared_properties, has_failed, notes
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import Scope, fold
from streamgauge.summaries.rollups import Catalogue, Condition, EventType, Property
from streamgauge.table import thaw

TYPES = (
    EventType("status", "testing", failed=Condition("code", at_least=500)),
    EventType("reason", "testing", failed=Condition("code", one_of=("500", "true", "broken"))),
    EventType("presence", "testing", failed=Condition("code")),
    EventType("never", "testing"),
)
DECLARED = Catalogue(TYPES, CATALOGUE.rollups)
VALUES = st.one_of(
    st.integers(498, 502),
    st.floats(498, 502),
    st.sampled_from(["500", "broken", "fine", "true"]),
    st.booleans(),
)
EVENTS = st.builds(
    Event,
    name=st.sampled_from(["status", "reason", "presence", "never", "undeclared"]),
    occurred_at=st.integers(0, 10**15),
    tenant=st.just("t"),
    session=st.none() | st.sampled_from(["a", "b"]),
    properties=st.fixed_dictionaries(
        {},
        optional={
            "code": VALUES,
            "duration": st.integers(0, 99) | st.just("long"),
            "http.route": st.sampled_from("xy"),
        },
    ),
)


@given(st.lists(EVENTS, min_size=1, max_size=10))
def test_a_note_says_what_its_event_says(events: list[Event]) -> None:
    found = notes(thaw(freeze(events)), np.arange(len(events)), DECLARED)
    for note, event in zip(found, events, strict=True):
        duration = event.properties.get("duration")
        assert note == Note(
            event.occurred_at,
            event.name,
            has_failed(event, DECLARED),
            duration if isinstance(duration, int) else None,
            event.session,
            event.properties.get("http.route"),  # type: ignore[arg-type]  # texts are all that is given here
        )


@given(st.lists(EVENTS, min_size=1, max_size=10))
def test_as_many_have_failed_as_the_fold_counts(events: list[Event]) -> None:
    table = thaw(freeze(events))
    folded = fold(
        table, np.full(len(events), -1), [Scope(1, Calendar([(None, "UTC")]))], DECLARED, lambda *asked: [True] * len(asked[3])
    )  # fmt: skip
    errors = sum(group.measures.errors for group in folded if group.key.metric == "events")
    assert errors == sum(has_failed(event, DECLARED) for event in events)


def test_a_note_of_some_rows_is_of_those_rows() -> None:
    events = [Event("never", at, "t", properties={"duration": at} if at % 2 else {}) for at in range(6)]
    found = notes(thaw(freeze(events)), np.array([4, 1]), DECLARED)
    assert [(note.at, note.duration) for note in found] == [(4, None), (1, 1)]


def test_nothing_but_declared_properties_of_the_declared_types_is_shown() -> None:
    kinds = EventType("shown", "testing", {name: Property(kind, "testing") for name, kind in (("n", int), ("f", float), ("b", bool), ("s", str))})  # fmt: skip
    catalogue = Catalogue((kinds,), ())
    sent: dict[str, Value] = {"f": 1, "n": 2, "b": True, "s": "x", "secret": "y"}
    assert declared_properties(Event("shown", 0, "t", properties=sent), catalogue) == {
        "n": 2, "f": 1, "b": True, "s": "x",
    }  # fmt: skip
    wrong: dict[str, Value] = {"n": "ada@example.org", "b": 1, "s": 5, "f": True}
    assert declared_properties(Event("shown", 0, "t", properties=wrong), catalogue) == {}
    assert declared_properties(Event("other", 0, "t", properties=sent), catalogue) == {}
