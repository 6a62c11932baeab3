"""Rate limits by arithmetic alone: how much gets through, whoever asks and however."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.limits.buckets import EVERYBODY_ELSE, MICROSECONDS, Buckets, decide


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def accepted(buckets: Buckets, clock: Clock, gaps: list[float], per_minute: int, burst: int) -> list[float]:
    """When requests that came with these pauses were allowed."""
    moments = []
    for gap in gaps:
        clock.now += gap
        if buckets.take("a", per_minute, burst, 1).allowed:
            moments.append(clock.now)
    return moments


@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=300),
    st.integers(1, 600),
    st.integers(1, 50),
)
def test_no_stretch_of_time_lets_through_more_than_the_burst_and_what_came_back_in_it(
    gaps: list[float], per_minute: int, burst: int
) -> None:
    clock = Clock()
    moments = accepted(Buckets(clock), clock, gaps, per_minute, burst)
    for first, start in enumerate(moments):
        for last in range(first, len(moments)):
            allowed = burst + per_minute * (moments[last] - start) / 60
            assert last - first + 1 <= allowed + 0.02


@pytest.mark.parametrize(("per_minute", "burst"), [(1, 1), (60, 3), (7, 2), (6_000, 300), (7_001, 350)])
def test_whoever_always_asks_gets_exactly_the_limit(per_minute: int, burst: int) -> None:
    clock, seconds = Clock(), 180
    step = min(0.01, 15 / per_minute)
    moments = accepted(Buckets(clock), clock, [step] * int(seconds / step), per_minute, burst)
    expected = burst + per_minute * seconds / 60
    assert expected - 2 <= len(moments) <= expected + 1


@given(st.floats(0, 1e12), st.integers(1, 10**7), st.integers(1, 10**6), st.integers(0, 3))
def test_what_is_told_is_what_happens_next(owed: float, per_minute: int, burst: int, cost: int) -> None:
    interval = 60 * MICROSECONDS / per_minute
    level = decide(owed, interval, burst, cost)
    assert 0 <= level.left <= burst
    assert 0 <= level.owed <= interval * burst * 1.001 + interval
    one_more = decide(level.owed, interval, burst, 1)
    assert one_more.allowed == (level.left > 0)
    if not one_more.allowed:
        assert level.wait > 0
        assert decide(level.owed - level.wait, interval, burst, 1).allowed
        assert not decide(level.owed - level.wait + 0.1 * interval + 2, interval, burst, 1).allowed


def test_looking_takes_nothing_and_neither_does_a_refusal() -> None:
    clock = Clock()
    buckets = Buckets(clock)
    assert [buckets.take("a", 60, 2, 0).left for _ in range(3)] == [2, 2, 2]
    assert [buckets.take("a", 60, 2, 1).allowed for _ in range(9)] == [True, True] + [False] * 7
    assert not buckets.take("a", 60, 2, 0).allowed
    clock.now += 1
    assert buckets.take("a", 60, 2, 0).allowed
    assert buckets.take("a", 60, 2, 1).allowed
    assert buckets.take("b", 60, 2, 1).left == 1


def test_strangers_without_number_take_bounded_memory_and_share_what_one_may() -> None:
    clock = Clock()
    buckets = Buckets(clock, most=100)
    allowed = [buckets.take(f"stranger {number}", 60, 2, 1).allowed for number in range(1_000)]
    assert len(buckets) <= 101
    assert allowed[:100] == [True] * 100
    assert sum(allowed) == 102
    assert not buckets.take(EVERYBODY_ELSE, 60, 2, 1).allowed
    # Who was there before them is not bothered, and when their buckets are full again there is room.
    assert buckets.take("stranger 3", 60, 2, 1).allowed
    clock.now += 10
    assert buckets.take("newcomer", 60, 2, 1).left == 1
    assert len(buckets) == 1
