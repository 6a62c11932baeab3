"""Entity tags, and who has which."""

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.read.api.tags import HEADERS, by_content, has, quoted, tag_of

PARTS = st.text(max_size=5) | st.integers(-(2**60), 2**60) | st.none() | st.booleans()
DEPENDS = st.lists(
    PARTS | st.lists(PARTS, max_size=3) | st.dictionaries(st.text(max_size=3), PARTS, max_size=3), max_size=4
)


def request(*given_tags: str) -> Request:
    headers = [(b"if-none-match", tag.encode()) for tag in given_tags]
    return Request({"type": "http", "method": "GET", "headers": headers})


@given(DEPENDS, DEPENDS)
def test_tags_are_equal_exactly_when_what_they_depend_on_is(one: list[object], other: list[object]) -> None:
    assert (tag_of(*one) == tag_of(*other)) == (repr(canonical(one)) == repr(canonical(other)))


def canonical(value: object) -> object:
    if isinstance(value, dict):
        return sorted((key, canonical(each)) for key, each in value.items()), "object"
    return [canonical(each) for each in value] if isinstance(value, list) else value


def test_the_order_of_an_objects_fields_makes_no_difference() -> None:
    assert tag_of({"a": 1, "b": 2}) == tag_of({"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("given_tags", "expected"),
    [
        ((), False), (('"a"',), True), (('W/"a"',), True), (('"b", "a"',), True), (('"b"', '"a"'), True), (("*",), True), ((" * ",), True),
        (('"b"',), False), (("a",), False), (("",), False), (('"a',), False), (('"aa"',), False), (('W/"b", "c"',), False),
    ],
)  # fmt: skip
def test_if_none_match_is_read_as_the_rfc_says(given_tags: tuple[str, ...], expected: bool) -> None:
    assert has(request(*given_tags), '"a"') is expected


def test_an_answer_by_its_content_is_told_from_an_unchanged_one() -> None:
    first = by_content(request(), b"{}")
    assert (first.status_code, first.body, first.headers["etag"]) == (200, b"{}", quoted(b"{}"))
    again = by_content(request(quoted(b"{}")), b"{}")
    assert (again.status_code, again.body, again.headers["etag"]) == (304, b"", quoted(b"{}"))
    for name, value in HEADERS.items():
        assert first.headers[name] == again.headers[name] == value
    assert by_content(request(quoted(b"{}")), b"[]").status_code == 200
