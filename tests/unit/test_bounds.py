"""Promises about numbers with declared bounds: what is outside is refused where it is tracked, and the limit is told."""

from typing import Any

import pytest

from streamgauge.capture.properties import Declaration, InvalidPropertyError
from streamgauge.domains.learning.declarations import LESSON_PROGRESSED, QUIZ_ATTEMPTED
from streamgauge.summaries.rollups import EventType, Property
from streamgauge.testing import recording_gauge


@pytest.mark.parametrize("percent", [-1, 101, 140])
def test_what_is_outside_its_bounds_is_refused_and_the_bounds_are_told(percent: int) -> None:
    with pytest.raises(InvalidPropertyError, match=r"^'percent' is not within 0 to 100$"):
        Declaration(LESSON_PROGRESSED).admit({"percent": percent})
    with recording_gauge() as gauge:
        assert gauge.track("lesson.progressed", actor="a", percent=percent).reason == "invalid_property"


@pytest.mark.parametrize("percent", [0, 100, True.__int__()])
def test_the_bounds_themselves_are_inside(percent: int) -> None:
    assert Declaration(LESSON_PROGRESSED).admit({"percent": percent})[0] == {"percent": percent}


@pytest.mark.parametrize(
    "given", [{"score": 11, "max_score": 10}, {"score": 2, "max_score": 1, "undeclared": None}]
)
def test_a_score_above_the_most_there_was_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidPropertyError, match=r"^'score' is above 'max_score'$"):
        Declaration(QUIZ_ATTEMPTED).admit(given)


def test_what_is_not_given_is_not_compared() -> None:
    for given in ({"score": 11}, {"max_score": 10}, {}):
        assert Declaration(QUIZ_ATTEMPTED).admit(dict(given))[0] == given


def test_a_pair_is_compared_where_neither_number_has_bounds_of_its_own() -> None:
    declared = EventType(
        "x.y", "a test's", {"a": Property(int, "one"), "b": Property(int, "two")}, within=(("a", "b"),)
    )
    with pytest.raises(InvalidPropertyError, match=r"'a' is above 'b'"):
        Declaration(declared).admit({"a": 2, "b": 1})


def test_bounds_that_are_open_on_one_side_are_told_so() -> None:
    declared = EventType("x.y", "a test's", {"a": Property(int, "one", least=1)})
    with pytest.raises(InvalidPropertyError, match=r"'a' is not within 1 to any"):
        Declaration(declared).admit({"a": 0})
