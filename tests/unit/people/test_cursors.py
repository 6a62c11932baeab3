"""Cursors: opaque, and of their own question alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import InputError
from streamgauge.people import cursors

KINDS = (int, str)


@given(st.integers(-(2**60), 2**60), st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_cursor_is_read_back_as_it_was_made(number: int, text: str) -> None:
    assert cursors.decode(["q", 1], cursors.encode(["q", 1], (number, text)), KINDS) == [number, text]


@given(st.text(max_size=60))
def test_what_is_no_cursor_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(InputError, match="cursor is none"):
        cursors.decode(["q"], text, KINDS)


def test_a_cursor_of_another_question_is_refused() -> None:
    made = cursors.encode(["events", {"name": "a"}], (1, "x"))
    for question, kinds in ((["events", {"name": "b"}], KINDS), (["events", {"name": "a"}], (str, int)), (["events", {"name": "a"}], (int,))):  # fmt: skip
        with pytest.raises(InputError):
            cursors.decode(question, made, kinds)
    for wrong in ((True, "x"), (2**62, "x"), (None, "x")):
        with pytest.raises(InputError):
            cursors.decode(["q"], cursors.encode(["q"], wrong), KINDS)
