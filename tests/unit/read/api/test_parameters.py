"""Parameters: lists, ranges, filters and orders as texts."""

import pytest

from streamgauge.errors import InputError
from streamgauge.read.api.breakdown import ordered
from streamgauge.read.api.parameters import between, filters_of, named_here, texts


def test_names_are_separated_by_commas() -> None:
    assert texts("a", "metrics") == ["a"]
    assert texts("a, b ,c", "metrics") == ["a", "b", "c"]
    for text in ("", ",", "a,", ",a", "a,,b", " "):
        with pytest.raises(InputError, match="separated by commas") as raised:
            texts(text, "metrics")
        assert raised.value.field == "metrics"


def test_a_range_is_given_in_one_way() -> None:
    assert between(None, None, None) == "7d"
    assert between("24h", None, None) == "24h"
    assert between("", None, None) == ""  # refused by name later, and not taken for nothing
    assert between(None, "a", "b") == ["a", "b"]
    for given, field in (
        ((None, "a", None), "to"),
        ((None, None, "b"), "from"),
        (("7d", "a", "b"), "date_range"),
        (("", "a", "b"), "date_range"),
    ):
        with pytest.raises(InputError) as raised:
            between(*given)
        assert raised.value.field == field


def test_filters_are_json() -> None:
    assert filters_of(None) == []
    assert filters_of('[["is", "a", ["b"]]]') == [["is", "a", ["b"]]]
    for text in ("", "{", "NaN", "[Infinity]", "'a'", "[" * 2_000):
        with pytest.raises(InputError, match="not JSON"):
            filters_of(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("requests", ["requests", "desc"]), ("requests:asc", ["requests", "asc"]), ("requests:desc", ["requests", "desc"]),
        ("time:day", ["time:day", "desc"]), ("time:day:asc", ["time:day", "asc"]), ("requests:up", ["requests:up", "desc"]),
        ("asc", ["asc", "desc"]), (":asc", [":asc", "desc"]), ("", ["", "desc"]),
    ],
)  # fmt: skip
def test_an_order_is_a_name_with_a_direction_behind_it(text: str, expected: list[str]) -> None:
    assert ordered(text) == expected


def test_an_error_names_the_parameter_that_a_field_was_made_from() -> None:
    with pytest.raises(InputError) as raised, named_here({"order_by": "order"}):
        raise InputError("order_by names 'x', which is not order_by", "order_by")
    assert (str(raised.value), raised.value.field) == ("order names 'x', which is not order_by", "order")
    for field in ("metrics", None):
        with pytest.raises(InputError) as raised, named_here({"order_by": "order"}):
            raise InputError("metrics is wrong", field)
        assert (str(raised.value), raised.value.field) == ("metrics is wrong", field)
