"""The histogram: the same bucket on every machine, an exact merge, and quantiles within the promised error."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.summaries.histogram import LARGEST, RELATIVE_ERROR, Histogram, bounds, bucket_of, buckets_of
from streamgauge.table import Ints

from ..oracles import event_counts as oracle

# Near powers of two, where buckets change their width, and anywhere.
VALUE = st.one_of(
    st.integers(0, LARGEST),
    st.integers(0, 300),
    st.builds(
        lambda power, off: min(max((1 << power) + off, 0), LARGEST), st.integers(0, 48), st.integers(-2, 2)
    ),
)
VALUES = st.lists(VALUE, max_size=60)


def ints(values: list[int]) -> Ints:
    return np.array(values, np.int64)


def of(values: list[int]) -> Histogram:
    return Histogram.of(ints(values))


def merged(*parts: Histogram) -> Histogram:
    whole = of([])
    for part in parts:
        whole.merge(part)
    return whole


@given(VALUES)
def test_one_value_and_many_values_get_the_same_bucket(values: list[int]) -> None:
    assert buckets_of(ints(values)).tolist() == [bucket_of(value) for value in values]


@given(VALUE)
def test_a_value_lies_within_the_bounds_of_its_bucket(value: int) -> None:
    low, high = bounds(bucket_of(value))
    assert low <= value <= high
    assert bucket_of(low) == bucket_of(high) == bucket_of(value)
    assert bucket_of(high + 1) == bucket_of(value) + 1


def test_buckets_cover_every_number_without_gap_or_overlap() -> None:
    edge = 0
    for bucket in range(bucket_of(LARGEST) + 1):
        low, high = bounds(bucket)
        assert low == edge
        edge = high + 1
    assert edge == LARGEST + 1
    assert bucket_of(2**40 - 1) == 2_239  # 2,240 buckets, as the design has it
    assert bucket_of(LARGEST) < 2**16


def test_golden_values_are_the_same_on_every_machine() -> None:
    golden = {
        0: 0, 1: 1, 127: 127, 128: 128, 129: 128, 255: 191, 256: 192, 1_000: 317, 65_535: 703, 1_000_000: 954,
        10**12: 2_228, 2**40 - 1: 2_239, LARGEST: 2_751,
    }  # fmt: skip
    assert {value: bucket_of(value) for value in golden} == golden
    assert buckets_of(ints(list(golden))).tolist() == list(golden.values())
    assert of([0, 127, 128, 129, 1_000_000]).encode().hex() == "010400" + "00007f008000ba03" + "01010201"


@given(st.lists(VALUE, min_size=1, max_size=60), st.integers(1, 1_000))
def test_a_quantile_is_within_one_in_128_of_the_exact_one(values: list[int], permille: int) -> None:
    exact = oracle.quantile(values, Fraction(permille / 1_000))
    found = of(values).quantile(permille / 1_000, min(values), max(values))
    assert abs(found - exact) <= exact * RELATIVE_ERROR
    if exact < 128:
        assert found == exact
    assert min(values) <= found <= max(values)


@given(st.integers(1, 400), st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999, 1.0, 0.1, 1e-9]))
def test_the_rank_of_a_quantile_is_rounded_up_exactly(count: int, q: float) -> None:
    values = [value % 128 for value in range(count)]
    expected = sorted(values)[max(math.ceil(Fraction(q) * count), 1) - 1]
    assert of(values).quantile(q, 0, 127) == expected


def test_a_quantile_never_leaves_the_extremes_that_were_seen() -> None:
    low, high = bounds(bucket_of(1_000_000))
    assert of([low]).quantile(0.5, low, low) == low
    assert of([high]).quantile(0.5, high, high) == high


def test_an_empty_histogram_has_no_quantiles() -> None:
    with pytest.raises(ValueError, match="empty"):
        of([]).quantile(0.5, 0, 0)


@given(VALUES, VALUES)
def test_a_merge_is_the_histogram_of_all_values_in_either_order(left: list[int], right: list[int]) -> None:
    assert merged(of(left), of(right)) == merged(of(right), of(left)) == of(left + right)


@given(VALUES, VALUES, VALUES)
def test_merging_is_associative(a: list[int], b: list[int], c: list[int]) -> None:
    assert merged(merged(of(a), of(b)), of(c)) == merged(of(a), merged(of(b), of(c))) == of(a + b + c)


@given(VALUES, VALUES)
def test_a_merge_leaves_the_other_histogram_alone(left: list[int], right: list[int]) -> None:
    first, second = of(left), of(right)
    before = second.encode()
    first.merge(second)
    first.merge(second)
    assert second.encode() == before


@given(VALUES)
def test_it_counts_as_the_oracle_does(values: list[int]) -> None:
    found = of(values)
    assert (
        dict(zip(found.buckets.tolist(), found.counts.tolist(), strict=True))
        == dict(sorted(oracle.histogram(values).items()))
    )  # fmt: skip
    assert found.total == len(values)


@given(VALUES, st.sampled_from([1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**62]))
def test_what_is_encoded_is_decoded_whatever_the_width_of_its_counts(values: list[int], factor: int) -> None:
    found = of(values)
    if int(found.counts.max(initial=0)) * factor >= 2**63:
        factor = 1
    large = Histogram(found.buckets, found.counts * factor)
    again = Histogram.decode(large.encode())
    assert again.buckets.tolist() == large.buckets.tolist()
    assert again.counts.tolist() == large.counts.tolist()
    assert again.encode() == large.encode()


@given(VALUES, st.data())
def test_bytes_of_another_length_or_width_are_a_value_error(values: list[int], data: st.DataObject) -> None:
    encoded = of(values).encode()
    with pytest.raises(ValueError, match="not a histogram"):
        Histogram.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    with pytest.raises(ValueError, match="not a histogram"):
        Histogram.decode(encoded + b"\0")
    with pytest.raises(ValueError, match="not a histogram"):
        Histogram.decode(b"\3" + encoded[1:])


def test_buckets_out_of_order_or_counts_of_nothing_are_a_value_error() -> None:
    good = Histogram(np.array([3, 9], np.uint16), np.array([1, 2], np.int64)).encode()
    assert Histogram.decode(good).total == 3
    for wrong in ("010200090003000102", "010200030003000102", "010200030009000002"):
        with pytest.raises(ValueError, match="not a histogram"):
            Histogram.decode(bytes.fromhex(wrong))
    with pytest.raises(ValueError, match="not a histogram"):
        Histogram.decode(b"\x08\x01\x00\x03\x00" + b"\xff" * 8)
