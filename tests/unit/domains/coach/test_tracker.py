"""Promises about the typed calls: each makes its declared event, checked, and none ever raises."""

import inspect
from typing import Any

import pytest

from streamgauge.domains.coach.declarations import EVENT_NAMES
from streamgauge.domains.coach.tracker import Coach
from streamgauge.testing import recording_gauge

TOKENS = {"input_tokens": 12, "output_tokens": 0}
SENT = {"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 0}
CALLS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("conversation_started", {}, "conversation.started", {}),
    ("conversation_ended", {"resolved": False}, "conversation.ended", {"resolved": False}),
    (
        "message_exchanged", {"model": "m", "latency_us": 7, **TOKENS},
        "message.exchanged", {"gen_ai.request.model": "m", "duration": 7, **SENT},
    ),
    (
        "message_exchanged", {"model": "m", "latency_us": 0},
        "message.exchanged", {"gen_ai.request.model": "m", "duration": 0},
    ),
    ("feedback_rated", {"rating": 5}, "feedback.rated", {"rating": 5}),
    ("conversation_escalated", {}, "conversation.escalated", {}),
]  # fmt: skip


@pytest.mark.parametrize(("call", "given", "name", "properties"), CALLS)
def test_every_call_makes_its_event_about_whom_it_was_told(
    call: str, given: dict[str, Any], name: str, properties: dict[str, Any]
) -> None:
    with recording_gauge() as gauge:
        about = {"actor": "ada", "session": "s", "group": "4b", "tenant": "york", "idempotency_key": "k"}
        assert getattr(gauge.coach, call)("c1", **given, **about, occurred_at=1_000_000).accepted
        assert getattr(gauge.coach, call)(conversation=17, **given).accepted
        event, plain = gauge.events
        assert (event.name, event.properties) == (name, {"conversation.id": "c1", **properties})
        assert (plain.name, plain.properties) == (name, {"conversation.id": "17", **properties})
        assert gauge.is_about(event, "ada")
        assert (event.group, event.occurred_at, event.tenant) == ("4b", 1_000_000, "york")
        assert None not in (event.session, event.key)
        assert (plain.actor, plain.session, plain.group, plain.key) == (None, None, None, None)
        assert gauge.drops == {}


def test_there_is_a_call_for_every_declared_event_and_none_takes_what_was_said() -> None:
    assert {name for _, _, name, _ in CALLS} == set(EVENT_NAMES)
    calls = {name: call for name, call in vars(Coach).items() if not name.startswith("_")}
    assert calls.keys() == {call for call, _, _, _ in CALLS}
    taken = {name for call in calls.values() for name in inspect.signature(call).parameters}
    numbers = {"resolved", "latency_us", "input_tokens", "output_tokens", "rating"}
    assert taken == {"self", "conversation", "model", "about"} | numbers
    with recording_gauge() as gauge, pytest.raises(TypeError):
        gauge.coach.conversation_started("c1", text="hello")  # type: ignore[call-arg]  # on purpose


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("conversation_ended", {"resolved": "yes"}),
        ("message_exchanged", {"model": "m", "latency_us": -1}),
        ("message_exchanged", {"model": "m", "latency_us": 1.5}),
        ("message_exchanged", {"model": "m" * 2_049, "latency_us": 1}),
        ("message_exchanged", {"model": "m", "latency_us": 1, "input_tokens": 10_000_001}),
        ("feedback_rated", {"rating": 0}),
        ("feedback_rated", {"rating": 6}),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_raises(call: str, given: dict[str, Any]) -> None:
    with recording_gauge() as gauge:
        assert getattr(gauge.coach, call)("c1", **given).reason == "invalid_property"
        assert gauge.coach.conversation_started(object()).reason == "invalid_property"  # type: ignore[arg-type]  # on purpose
        assert not gauge.events
