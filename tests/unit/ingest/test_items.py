"""One event as it was sent: what is taken of it, and why it is refused."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture.properties import Vocabulary
from streamgauge.catalogue import CATALOGUE
from streamgauge.errors import InputError
from streamgauge.ingest.items import LONGEST_IDENTIFIER, Item, RejectedError, instant, parse

NOW = datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)
LATENESS = timedelta(days=7)
VOCABULARY = Vocabulary(CATALOGUE.event_types)


def parsed(**members: Any) -> Item:
    return parse({"name": "http.request", **members}, VOCABULARY, NOW, LATENESS)


def refused(given: Mapping[str, Any]) -> tuple[str, str]:
    with pytest.raises(RejectedError) as error:
        parse(given, VOCABULARY, NOW, LATENESS)
    return error.value.reason, error.value.field


@pytest.mark.parametrize(
    ("offset", "reason"),
    [(-LATENESS, None), (-LATENESS - timedelta(microseconds=1), "late"), (timedelta(minutes=5), None), (timedelta(minutes=5, microseconds=1), "future")],
)  # fmt: skip
def test_the_bounds_of_time_are_those_of_the_workers(offset: timedelta, reason: str | None) -> None:
    at = (NOW + offset).isoformat()
    if reason is None:
        assert parsed(occurred_at=at).occurred_at == round((NOW + offset).timestamp() * 1_000_000)
    else:
        assert refused({"name": "http.request", "occurred_at": at}) == (reason, "occurred_at")


def test_an_instant_may_be_written_in_any_offset_and_without_one_is_none() -> None:
    for text in ("2026-03-29T00:59:59Z", "2026-03-29T01:59:59+01:00", "2026-03-28T14:59:59-10:00"):
        assert instant(text) == NOW
    assert parsed().occurred_at == parsed(occurred_at=None).occurred_at == int(NOW.timestamp()) * 1_000_000
    wrongs: tuple[object, ...] = (
        "2026-03-29T00:59:59", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z",
        "2026-03-29T00:59:59." + "0" * 30 + "Z", "", "now", 1_774_746_000, 1.5, True, [], {}, "\0",
    )  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(InputError, match="RFC 3339"):
            instant(wrong)
        assert refused({"name": "http.request", "occurred_at": wrong}) == ("invalid_time", "occurred_at")


@pytest.mark.parametrize("member", ["session", "group", "idempotency_key"])
def test_an_identifier_is_a_text_of_some_length_whatever_its_characters(member: str) -> None:
    field = {"idempotency_key": "key"}.get(member, member)
    for text in ("x", "ä" * LONGEST_IDENTIFIER, "💩" * LONGEST_IDENTIFIER, " ", "\n"):
        assert getattr(parsed(**{member: text}), field) == text
    assert getattr(parsed(**{member: None}), field) is None
    for wrong in ("", "x" * (LONGEST_IDENTIFIER + 1), "a\0b", "\ud800", 7, True, ["x"], {"x": 1}):
        assert refused({"name": "http.request", member: wrong}) == ("invalid_identity", member)


MEMBERS = st.sampled_from(["name", "event_type", "properties", "occurred_at", "session", "group", "actor"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("http.request"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(MEMBERS | st.text(max_size=5), VALUES, max_size=5) | VALUES)
def test_whatever_an_event_is_it_is_taken_or_refused_with_a_reason(given_event: Any) -> None:
    try:
        item = parse(given_event, VOCABULARY, NOW, LATENESS)
    except RejectedError as error:
        told = error.detail, error.field
        assert all(len(text) < 400 for text in told), told
    else:
        assert item.name in VOCABULARY.declarations
        assert set(item.properties) <= set(VOCABULARY.declarations[item.name].kinds)
