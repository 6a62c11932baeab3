"""Promises about properties that name somebody: what leaves the host is a pseudonym, the same that the person has as an actor."""

from uuid import UUID

import pytest

from streamgauge.capture.properties import Declaration, InvalidPropertyError, Person
from streamgauge.errors import InputError, SettingsError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.summaries.rollups import EventType, Property
from streamgauge.testing import recording_gauge

PASSED = EventType(
    "ring.handed",
    "a test's",
    {"to": Property(str, "who has it now", identity=True), "note": Property(str, "a text")},
)


@pytest.mark.parametrize("named", ["user-7", 7, UUID(int=7)])
def test_a_named_person_is_sent_as_the_pseudonym_it_has_as_an_actor(named: object) -> None:
    with recording_gauge(event_types=[PASSED]) as gauge:
        assert gauge.track("ring.handed", actor="user-6", to=named, note="hello").accepted
        (event,) = gauge.recorded.events
        assert event.properties["note"] == "hello"
        pseudonym = gauge.recorded.keys.tenant(event.tenant).pseudonym("actor", str(named))
        assert event.properties["to"] == pseudonym.hex()


@pytest.mark.parametrize("named", ["", "x" * 513, "a\0b", 1.5, True])
def test_what_names_nobody_is_refused_and_not_told(named: object) -> None:
    with recording_gauge(event_types=[PASSED]) as gauge:
        ticket = gauge.track("ring.handed", actor="user-6", to=named)
        assert ticket.reason == "invalid_property"
    with pytest.raises(InvalidPropertyError, match=r"^'to' is no identifier of 1 to 512 characters$"):
        Declaration(PASSED).admit({"to": named})


def test_a_person_that_was_not_made_a_pseudonym_cannot_be_sent() -> None:
    with pytest.raises(InputError, match="Person"):
        freeze([Event("ring.handed", 0, "school", properties={"to": Person("user-7")})])


def test_only_texts_name_people() -> None:
    with pytest.raises(SettingsError, match="'to' is a <class 'int'>; it can be one of str"):
        Declaration(EventType("x.y", "a test's", {"to": Property(int, "a number", identity=True)}))
