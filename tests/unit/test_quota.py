"""What a tenant may send the usual way: never more than its quota allows, never less, and never at another's cost."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture import quota as module
from streamgauge.capture.quota import BURST_SECONDS, Quota

#: Seconds that pass, which tenant asks, and for how many events.
ASKED = st.lists(
    st.tuples(st.floats(0, 20, allow_subnormal=False), st.sampled_from(["a", "b", "c"]), st.integers(0, 500)),
    max_size=40,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@given(rate=st.integers(1, 50), asked=ASKED)
def test_no_stretch_of_time_sees_more_than_its_seconds_worth_and_one_burst(
    rate: int, asked: list[tuple[float, str, int]]
) -> None:
    clock = Clock()
    quota = Quota(rate, clock)
    granted: list[tuple[float, str, int]] = []
    for seconds, tenant, events in asked:
        clock.now += seconds
        found = quota.grant(tenant, events)
        assert 0 <= found <= events
        granted.append((clock.now, tenant, found))
    for first, (begin, tenant, _) in enumerate(granted):
        total = 0
        for at, other, found in granted[first:]:
            total += found if other == tenant else 0
            assert total <= rate * BURST_SECONDS + (at - begin) * rate + 1e-6


@given(rate=st.integers(1, 50), asked=ASKED)
def test_a_tenant_is_granted_the_same_whatever_others_ask_for(
    rate: int, asked: list[tuple[float, str, int]]
) -> None:
    clock = Clock()
    together, alone = Quota(rate, clock), Quota(rate, clock)
    for seconds, tenant, events in asked:
        clock.now += seconds
        found = together.grant(tenant, events)
        if tenant == "a":
            assert found == alone.grant(tenant, events)


@given(rate=st.integers(1, 50), asked=ASKED)
def test_what_is_refused_would_have_been_too_much(rate: int, asked: list[tuple[float, str, int]]) -> None:
    """Nobody is sent to the overflow without need: with one event more, the bucket would have been overdrawn."""
    clock = Clock()
    quota = Quota(rate, clock)
    level, at = float(rate * BURST_SECONDS), clock.now
    for seconds, tenant, events in asked:
        clock.now += seconds
        if tenant != "a":
            continue
        level, at = min(level + (clock.now - at) * rate, rate * BURST_SECONDS), clock.now
        found = quota.grant(tenant, events)
        level -= found
        assert found == events or level < 1 + 1e-6


def test_a_quota_of_nothing_is_no_quota() -> None:
    quota = Quota(0, Clock())
    assert quota.grant("a", 10**9) == 10**9


def test_a_tenant_has_its_rate_again_for_every_second_and_its_whole_burst_after_as_many() -> None:
    clock = Clock()
    quota = Quota(10, clock)
    assert (quota.grant("a", 80), quota.grant("a", 1), quota.grant("b", 1)) == (50, 0, 1)
    clock.now += 1
    assert (quota.grant("a", 80), quota.grant("a", 1)) == (10, 0)
    clock.now += BURST_SECONDS + 100
    assert quota.grant("a", 80) == 50


def test_the_first_events_of_a_tenant_are_those_within_its_quota() -> None:
    quota = Quota(1, Clock())
    tenants = ["a"] * 4 + ["b"] * 2 + ["a"] * 4
    shares = quota.shares(tenants)
    assert [shares.take(each) for each in tenants] == [True] * 7 + [False] * 3


def test_no_more_tenants_are_remembered_than_were_busy_lately(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY", 10)
    clock = Clock()
    quota = Quota(10, clock)
    chance = random.Random(1)
    for number in range(500):
        clock.now += 1
        quota.grant(f"tenant {number}", 10)
        quota.grant("busy", chance.randrange(10, 20))
    # Ten events are given back within a second.
    assert len(quota._used) <= 22
    assert quota.grant("busy", 50) < 20
