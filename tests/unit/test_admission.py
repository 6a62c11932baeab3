"""Admission: the same values stay whatever order, batches or stripes they come in."""

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.summaries.admission import Admission, rank

from ..oracles import event_counts as oracle

KEY = bytes(range(16))
VALUES = st.lists(st.text(st.characters(codec="utf-8"), max_size=6), max_size=40)
LIMIT = st.integers(1, 8)


def admit(limit: int, values: list[str]) -> Admission:
    admission = Admission(limit)
    for value in values:
        admission.offer(value, rank(KEY, "http.route", value))
    return admission


def smallest(limit: int, values: list[str]) -> set[str]:
    return set(sorted(set(values), key=lambda value: oracle.rank(KEY, "http.route", value))[:limit])


@given(LIMIT, VALUES)
def test_the_values_with_the_smallest_ranks_stay(limit: int, values: list[str]) -> None:
    admission = admit(limit, values)
    assert set(admission.ranks) == smallest(limit, values)
    assert admission.overflowed == (len(set(values)) > limit)
    assert [value for _, value in admission.order] == sorted(admission.ranks, key=admission.ranks.__getitem__)


@given(LIMIT, VALUES, st.randoms(use_true_random=False))
def test_the_order_of_values_does_not_matter(limit: int, values: list[str], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types its random as an object
    assert admit(limit, shuffled).ranks == admit(limit, values).ranks


@given(LIMIT, VALUES, st.integers(1, 4), st.data())
def test_stripes_merged_as_readers_merge_them_admit_the_same(
    limit: int, values: list[str], count: int, data: st.DataObject
) -> None:
    stripes: list[list[str]] = [[] for _ in range(count)]
    for value in values:
        for place in data.draw(st.sets(st.integers(0, count - 1), min_size=1)):
            stripes[place].append(value)
    readers = Admission(limit)
    for stripe in stripes:
        kept = admit(limit, stripe)
        for place, value in reversed(kept.order):
            readers.offer(value, place)
    assert set(readers.ranks) == smallest(limit, values)


@given(LIMIT, VALUES)
def test_what_an_offer_returns_is_what_has_to_leave(limit: int, values: list[str]) -> None:
    admission, present = Admission(limit), set[str]()
    for value in values:
        leaving = admission.offer(value, rank(KEY, "d", value))
        present = (present | {value}) - {leaving}
        assert present == set(admission.ranks)
        assert len(present) <= limit


@given(LIMIT, VALUES)
def test_a_value_that_left_never_comes_back(limit: int, values: list[str]) -> None:
    admission, gone = Admission(limit), set[str]()
    for value in values * 2:
        leaving = admission.offer(value, rank(KEY, "d", value))
        assert not gone & set(admission.ranks)
        gone |= {leaving} if leaving is not None else set()


def test_equal_ranks_are_settled_by_the_values() -> None:
    for order in (["b", "a", "c"], ["c", "b", "a"], ["a", "c", "b"]):
        admission = Admission(2)
        for value in order:
            admission.offer(value, 7)
        assert set(admission.ranks) == {"a", "b"}


def test_ranks_depend_on_key_dimension_and_value_and_fit_a_bigint() -> None:
    ranks = {
        rank(key, dimension, value) for key in (KEY, bytes(16)) for dimension in "xy" for value in ("a", "b")
    }
    assert len(ranks) == 8
    assert all(0 <= place < 2**63 for place in ranks)


def test_golden_ranks_are_the_same_on_every_machine() -> None:
    for value in ("/", "/ü", "", "x" * 2_048):
        assert rank(KEY, "http.route", value) == oracle.rank(KEY, "http.route", value)
    assert rank(KEY, "http.route", "/") == 7_065_992_036_552_189_276
