"""Promises about the typed calls."""

import time
from datetime import UTC, datetime

import pytest

from streamgauge.testing import FixedKeys, recording_gauge

ABOUT = {"actor": "ada", "session": "s", "group": "5b", "tenant": "school", "idempotency_key": "once"}


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("draft_created", "draft.created"),
        ("draft_viewed", "draft.viewed"),
        ("draft_shared", "draft.shared"),
        ("draft_published", "draft.published"),
        ("segment_added", "segment.added"),
    ],
)
def test_a_call_records_its_event_with_whom_it_is_about(call: str, name: str) -> None:
    with recording_gauge() as gauge:
        at = datetime(2026, 3, 1, tzinfo=UTC)
        assert getattr(gauge.collaboration, call)("story-17", **ABOUT, occurred_at=at).accepted
        assert getattr(gauge.collaboration, call)(17).accepted
        first, second = gauge.of(name)
        assert first.properties == {"draft.id": "story-17"}
        assert gauge.is_about(first, "ada")
        assert (first.occurred_at, first.tenant, first.group) == (int(at.timestamp()) * 10**6, "school", "5b")
        assert first.session is not None
        assert first.key is not None
        assert (second.properties, second.actor, second.key) == ({"draft.id": "17"}, None, None)
        assert abs(second.occurred_at - time.time() * 1e6) < 60e6


def test_a_pass_names_people_as_pseudonyms_and_is_from_the_actor_unless_told() -> None:
    with recording_gauge() as gauge:
        collaboration = gauge.collaboration
        collaboration.ring_passed("story-17", to="bob", actor="ada", tenant="school")
        collaboration.ring_passed("story-17", to="bob", from_="cy", actor="ada", tenant="school")
        collaboration.ring_passed("story-17", to=7, tenant="school")
        pseudonym = FixedKeys().tenant("school").pseudonym
        people = {each: pseudonym("actor", each).hex() for each in ("ada", "bob", "cy", "7")}
        assert [event.properties for event in gauge.of("ring.passed")] == [
            {"draft.id": "story-17", "to": people["bob"], "from": people["ada"]},
            {"draft.id": "story-17", "to": people["bob"], "from": people["cy"]},
            {"draft.id": "story-17", "to": people["7"]},
        ]


def test_what_cannot_be_kept_is_refused_and_nothing_raises() -> None:
    with recording_gauge() as gauge:
        wrong = [
            gauge.collaboration.draft_viewed(1.5),  # type: ignore[arg-type]  # on purpose
            gauge.collaboration.ring_passed("story-17", to="x" * 513),
            gauge.collaboration.segment_added("\0"),
        ]
        assert [ticket.reason for ticket in wrong] == ["invalid_property"] * 3
        assert not gauge.events
