"""What is sent as events: how deeply it may be nested, and what it must be."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import InputError
from streamgauge.ingest.body import DEEPEST, MOST_EVENTS, decoded, items_of

#: Texts that look like structure, to whoever does not see where they begin and end.
TEXTS = st.text(alphabet='[]{}"\\,:aé', max_size=8)
DOCUMENTS = st.recursive(
    st.none() | st.integers(0, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


def depth(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if parts is None else 1 + max(map(depth, parts), default=0)


@given(DOCUMENTS, st.integers(0, 12), st.booleans())
def test_a_body_is_refused_exactly_when_it_is_nested_too_deeply(
    inner: Any, wrapped: int, escaped: bool
) -> None:
    document = inner
    for number in range(wrapped):
        document = [document, []] if number % 2 else {"a[": document}
    body = json.dumps(document, ensure_ascii=escaped).encode()
    if depth(document) <= DEEPEST:
        assert decoded(body) == document
    else:
        with pytest.raises(InputError, match="deeper than 8"):
            decoded(body)


@given(st.binary(max_size=60) | st.text(alphabet='[]{}"\\', max_size=60).map(str.encode))
def test_whatever_bytes_are_sent_they_are_decoded_or_refused(body: bytes) -> None:
    found, refused = None, False
    with contextlib.suppress(InputError):
        refused = True
        found = decoded(body)
        refused = False
    assert refused or found == json.loads(body)


@pytest.mark.parametrize(
    "body", [b"[" * 1_000_000, b'{"a":' * 200_000, b"[" * 500_000 + b"]" * 500_000, b"]" * 10 + b"[" * 9]
)
def test_a_million_brackets_are_refused_before_anything_is_decoded(body: bytes) -> None:
    with pytest.raises(InputError, match="deeper than 8"):
        decoded(body)


def test_one_event_or_a_list_of_them_is_what_can_be_sent() -> None:
    assert items_of({"name": "a.b"}) == [{"name": "a.b"}]
    assert items_of({"events": [1, 2]}) == [1, 2]
    assert len(items_of({"events": [{}] * MOST_EVENTS})) == MOST_EVENTS
    for wrong, field in (
        ([], "body"),
        ("x", "body"),
        ({"events": []}, "events"),
        ({"events": [{}] * (MOST_EVENTS + 1)}, "events"),
        ({"events": {"0": {}}}, "events"),
        ({"events": [{}], "tenant": "there"}, "tenant"),
    ):
        with pytest.raises(InputError) as refused:
            items_of(wrong)
        assert refused.value.field == field
