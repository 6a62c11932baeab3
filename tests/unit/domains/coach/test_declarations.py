"""Promises about what the coach's events may hold: no text of a message, and no number beyond its bounds."""

from typing import Any

import pytest

from streamgauge.capture.properties import Declaration, InvalidPropertyError
from streamgauge.domains.coach import declarations as coach
from streamgauge.testing import recording_gauge

#: What may be text: a conversation's id, and a model's name.
NAMES = {"conversation.id", "gen_ai.request.model"}
WORDS = (
    "message",
    "content",
    "text",
    "prompt",
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.input.messages",
)


def test_nothing_but_ids_and_models_may_be_text() -> None:
    texts = {
        name
        for declared in coach.EVENT_TYPES
        for name, each in declared.properties.items()
        if each.type is str
    }
    assert texts == NAMES


def test_every_number_has_bounds() -> None:
    numbers = [
        each for declared in coach.EVENT_TYPES for each in declared.properties.values() if each.type is int
    ]
    assert len(numbers) == 4
    assert all(each.least is not None and each.most is not None for each in numbers)
    assert all(
        each.type in (str, int, bool)
        for declared in coach.EVENT_TYPES
        for each in declared.properties.values()
    )


@pytest.mark.parametrize("name", coach.EVENT_NAMES)
def test_what_was_said_is_left_out_whatever_it_is_called(name: str) -> None:
    with recording_gauge() as gauge:
        said: dict[str, Any] = dict.fromkeys(WORDS, "I cannot do fractions")
        assert gauge.track(name, actor="ada", **{"conversation.id": "c1", **said}).accepted
        (event,) = gauge.of(name)
        assert event.properties == {"conversation.id": "c1"}
        assert set(gauge.status()["stripped"]) == {f"{name}.{word}" for word in WORDS}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("message.exchanged", {"duration": -1}),
        ("message.exchanged", {"duration": 86_400_000_001}),
        ("message.exchanged", {"gen_ai.usage.input_tokens": -1}),
        ("message.exchanged", {"gen_ai.usage.input_tokens": 10_000_001}),
        ("message.exchanged", {"gen_ai.usage.output_tokens": 10_000_001}),
        ("feedback.rated", {"rating": 0}),
        ("feedback.rated", {"rating": 6}),
        ("feedback.rated", {"rating": "very good, thank you"}),
        ("conversation.ended", {"resolved": "yes, since I now know how"}),
    ],
)
def test_what_is_out_of_bounds_is_refused(name: str, given: dict[str, object]) -> None:
    (declared,) = [each for each in coach.EVENT_TYPES if each.name == name]
    with pytest.raises(InvalidPropertyError):
        Declaration(declared).admit(given)


def test_every_event_is_summed_up_without_naming_its_conversation() -> None:
    for rollup in coach.ROLLUPS:
        assert rollup.event in coach.EVENT_NAMES
        assert all(each.property != coach.CONVERSATION for each in rollup.dimensions)
