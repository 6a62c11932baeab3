"""When the overflow has its turn: after everybody else, and never not at all."""

from itertools import pairwise

import pytest

from streamgauge_workers.pacing import EVERY, RECENT, REST, SMALL, Pacing


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pacing(clock: Clock) -> Pacing:
    found = Pacing(clock)
    clock.now += RECENT
    return found


def test_before_regular_shards_have_told_what_they_have_the_overflow_takes_little(clock: Clock) -> None:
    assert Pacing(clock).most_events(32_000) == SMALL


def test_an_overflow_that_nobody_waits_for_is_worked_on_like_any_other(pacing: Pacing) -> None:
    pacing.worked(5)
    assert (pacing.pause(), pacing.most_events(32_000)) == (0.0, 32_000)


def test_while_a_shard_is_behind_the_overflow_gets_one_small_transaction_a_second(
    pacing: Pacing, clock: Clock
) -> None:
    pacing.read(0, behind=True)
    pacing.read(1, behind=False)
    turns = []
    for _ in range(1_000):
        if not pacing.pause():
            assert pacing.most_events(32_000) == SMALL
            pacing.worked(0.001)
            turns.append(clock.now)
        clock.now += 0.01
        pacing.read(0, behind=True)
    assert len(turns) == 10
    assert min(later - earlier for earlier, later in pairwise(turns)) >= EVERY - 1e-6


def test_a_shard_stays_behind_however_long_its_transaction_takes(pacing: Pacing, clock: Clock) -> None:
    pacing.read(0, behind=True)
    clock.now += 60
    assert pacing.most_events(32_000) == SMALL
    pacing.worked(0.1)
    assert pacing.pause() == pytest.approx(EVERY)


def test_while_shards_keep_up_the_overflow_rests_longer_than_it_works(pacing: Pacing, clock: Clock) -> None:
    pacing.read(0, behind=False)
    assert (pacing.pause(), pacing.most_events(32_000)) == (0.0, SMALL)
    pacing.worked(0.02)
    assert pacing.pause() == pytest.approx(0.02 * REST)
    clock.now += 0.02 * REST
    assert pacing.pause() == 0
    pacing.worked(30)
    assert pacing.pause() == EVERY


def test_a_small_limit_stays_what_it_is(pacing: Pacing) -> None:
    pacing.read(0, behind=True)
    assert pacing.most_events(7) == 7


@pytest.mark.parametrize("end", ["kept up", "rest"])
def test_the_overflow_goes_on_at_full_speed_when_the_others_are_done(
    pacing: Pacing, clock: Clock, end: str
) -> None:
    for shard in (0, 1):
        pacing.read(shard, behind=True)
    pacing.worked(0.1)
    for shard in (0, 1):
        assert pacing.pause() > 0.9
        if end == "rest":
            pacing.rest(shard)
        else:
            pacing.read(shard, behind=False)
    assert pacing.pause() == pytest.approx(0.1 * REST)  # they may have something again at any moment
    clock.now += RECENT
    assert (pacing.pause(), pacing.most_events(32_000)) == (0.0, 32_000)
