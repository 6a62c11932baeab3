"""Promises about the typed calls: each makes its declared event, checked, and none ever raises."""

from collections.abc import Callable
from typing import Any

import pytest

from streamgauge.capture.pending import Ticket
from streamgauge.domains.learning.declarations import EVENT_TYPES
from streamgauge.testing import recording_gauge

CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], str, dict[str, Any]]] = [
    ("session_started", (), {"course": "bio"}, "learning_session.started", {"course.id": "bio"}),
    ("session_started", (), {}, "learning_session.started", {}),
    ("session_ended", (90_000_000,), {"xp": 5, "course": "bio"}, "learning_session.ended", {"duration": 90_000_000, "xp": 5, "course.id": "bio"}),
    ("session_ended", (0,), {}, "learning_session.ended", {"duration": 0}),
    ("material_viewed", ("film",), {"type": "video", "course": "bio", "views": 3}, "material.viewed", {"material.id": "film", "material.type": "video", "course.id": "bio", "views": 3}),
    ("material_viewed", ("film",), {}, "material.viewed", {"material.id": "film", "views": 1}),
    ("material_completed", ("film",), {"type": "video"}, "material.completed", {"material.id": "film", "material.type": "video"}),
    ("lesson_progressed", ("bio", "cells", 40), {}, "lesson.progressed", {"course.id": "bio", "lesson.id": "cells", "percent": 40}),
    ("quiz_attempted", ("q", 0, 10), {"course": "bio"}, "quiz.attempted", {"quiz.id": "q", "score": 0, "max_score": 10, "course.id": "bio"}),
    ("assignment_submitted", ("essay",), {"course": "bio", "score": 9, "max_score": 10}, "assignment.submitted", {"assignment.id": "essay", "course.id": "bio", "score": 9, "max_score": 10}),
    ("assignment_submitted", ("essay",), {}, "assignment.submitted", {"assignment.id": "essay"}),
    ("course_enrolled", ("bio",), {}, "course.enrolled", {"course.id": "bio"}),
]  # fmt: skip


@pytest.mark.parametrize(("call", "given", "named", "name", "properties"), CALLS)
def test_every_call_makes_its_event_about_whom_it_was_told(
    call: str, given: tuple[Any, ...], named: dict[str, Any], name: str, properties: dict[str, Any]
) -> None:
    with recording_gauge() as gauge:
        method: Callable[..., Ticket] = getattr(gauge.learning, call)
        assert method(
            *given, **named, actor="ada", session="s", group="4b", idempotency_key="k", occurred_at=1_000_000, tenant="york"
        )  # fmt: skip
        method(*given, **named)
        event, plain = gauge.events
        assert (event.name, event.properties) == (plain.name, plain.properties) == (name, properties)
        assert gauge.is_about(event, "ada")
        assert (event.group, event.occurred_at, event.tenant) == ("4b", 1_000_000, "york")
        assert None not in (event.session, event.key)
        assert (plain.actor, plain.session, plain.group, plain.key) == (None, None, None, None)
        assert gauge.drops == {}


def test_there_is_a_call_for_every_declared_event() -> None:
    assert {name for _, _, _, name, _ in CALLS} == {each.name for each in EVENT_TYPES}


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("lesson_progressed", ("bio", "cells", 140)),
        ("lesson_progressed", ("bio", "cells", -1)),
        ("lesson_progressed", ("bio", "cells", "half")),
        ("quiz_attempted", ("q", 11, 10)),
        ("quiz_attempted", ("q", 0, 0)),
        ("session_ended", (8 * 86_400 * 1_000_000,)),
        ("material_completed", (object(),)),
        ("course_enrolled", ("x\0",)),
    ],
)
def test_what_cannot_be_is_refused_and_counted_and_raises_nothing(call: str, given: tuple[Any, ...]) -> None:
    with recording_gauge() as gauge:
        assert not getattr(gauge.learning, call)(*given)
        assert gauge.events == []
        assert gauge.drops == {"invalid_property": 1}


def test_points_that_would_overflow_and_no_views_are_refused() -> None:
    with recording_gauge() as gauge:
        assert not gauge.learning.session_ended(1, xp=2**53)
        assert not gauge.learning.material_viewed("film", views=0)
        assert not gauge.learning.assignment_submitted("essay", score=3, max_score=2)
        assert gauge.drops == {"invalid_property": 3}
