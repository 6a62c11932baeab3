"""Ranges behaves as a set of integers."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.ranges import Ranges

spans = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda span: (span[0], span[0] + span[1]))


def members(spans_added: list[tuple[int, int]]) -> set[int]:
    return {number for first, end in spans_added for number in range(first, end)}


@given(added=st.lists(spans), probe=spans)
def test_ranges_answer_as_a_set_of_integers_does(
    added: list[tuple[int, int]], probe: tuple[int, int]
) -> None:
    ranges, expected = Ranges(added), members(added)
    probed = set(range(*probe))
    assert members(list(ranges)) == expected
    assert ranges.size == len(expected)
    assert ranges.covers(*probe) == (probed <= expected)
    assert ranges.overlaps(*probe) == bool(probed & expected)
    assert ranges.size_below(probe[0]) == len([number for number in expected if number < probe[0]])
    assert ranges.top == (max(expected) + 1 if expected else 0)
    assert ranges.prefix == next(number for number in range(99) if number not in expected)


@given(added=st.lists(spans))
def test_ranges_stay_sorted_disjoint_and_apart(added: list[tuple[int, int]]) -> None:
    pairs = list(Ranges(added))
    assert all(first < end for first, end in pairs)
    assert all(before[1] < after[0] for before, after in pairwise(pairs))


@given(added=st.lists(spans), data=st.data())
def test_the_order_of_adding_does_not_matter(added: list[tuple[int, int]], data: st.DataObject) -> None:
    assert Ranges(data.draw(st.permutations(added))) == Ranges(added)


@given(added=st.lists(spans), later=spans)
def test_a_copy_does_not_follow_its_original(added: list[tuple[int, int]], later: tuple[int, int]) -> None:
    ranges = Ranges(added)
    before = list(ranges)
    ranges.copy().add(*later)
    assert list(ranges) == before


def test_numbers_in_order_stay_one_range() -> None:
    ranges = Ranges((first, first + 3) for first in range(0, 30_000, 3))
    assert list(ranges) == [(0, 30_000)]
    assert len(ranges) == 1


def test_ranges_compare_with_ranges_only_and_cannot_be_keys() -> None:
    assert Ranges([(0, 2)]) != [(0, 2)]
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ranges())
    assert repr(Ranges([(1, 2)])) == "Ranges([(1, 2)])"


@given(added=st.lists(spans), removed=st.lists(spans, max_size=4))
def test_removing_takes_out_those_integers_and_no_others(
    added: list[tuple[int, int]], removed: list[tuple[int, int]]
) -> None:
    ranges = Ranges(added)
    for first, end in removed:
        ranges.remove(first, end)
    expected = members(added) - members(removed)
    assert members(list(ranges)) == expected
    assert ranges.size == len(expected)
    assert all(before[1] < after[0] for before, after in pairwise(list(ranges)))
    assert ranges == Ranges((number, number + 1) for number in expected)
