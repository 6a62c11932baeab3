"""When a shard is to stop: pure, apart from what is written down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.outcomes import CODES, Outcome
from streamgauge_workers.plausibility import EVENTS, FLOOR, SECONDS, ImplausibleError, Plausibility
from streamgauge_workers.suspicion import transient

APPLIED, LATE, UNKNOWN = (
    Outcome("applied"),
    Outcome("dead_lettered", "late"),
    Outcome("rejected", "unknown_tenant"),
)
GONE, REPEATED = Outcome("rejected", "tenant_deleted"), Outcome("repeated_key")
INVALID = Outcome("rejected", "invalid_value")


def commit(judge: Plausibility, at: float = 0.0, **counts: int) -> None:
    """One transaction of so many good, late, invalid, unknown, gone and repeated events."""
    names = {
        "good": APPLIED, "late": LATE, "invalid": INVALID, "unknown": UNKNOWN, "gone": GONE, "repeated": REPEATED,
    }  # fmt: skip
    judge.committed(judge.weigh({names[name]: count for name, count in counts.items()}, at))


def test_a_flood_stops_before_the_transaction_that_passes_the_limit_and_not_below_the_floor() -> None:
    judge = Plausibility(3, 50)
    for _ in range(9):
        commit(judge, late=100)
    with pytest.raises(ImplausibleError, match=r"shard 3: 1000 of 1000 .*late 1000.*dead-letters allow 3"):
        commit(judge, late=100)
    commit(judge, late=99)  # what was refused by the limit has left nothing behind
    with pytest.raises(ImplausibleError):
        commit(judge, late=1)


def test_the_share_decides_and_the_limit_itself_is_still_allowed() -> None:
    judge = Plausibility(0, 50)
    commit(judge, good=2_000)
    commit(judge, late=1_200, invalid=800)
    with pytest.raises(ImplausibleError):
        commit(judge, invalid=1)


@pytest.mark.parametrize("whose", ["gone", "unknown"])
def test_events_of_a_deleted_or_unknown_tenant_neither_stop_a_shard_nor_hide_a_flood(whose: str) -> None:
    judge = Plausibility(0, 50)
    commit(judge, **{whose: 50_000})
    commit(judge, late=FLOOR - 1)
    with pytest.raises(ImplausibleError):
        commit(judge, **{whose: 50_000, "late": 1})


def test_a_repeated_key_is_no_refusal() -> None:
    judge = Plausibility(0, 1)
    commit(judge, repeated=50_000)


def test_good_events_of_long_ago_do_not_hide_a_flood() -> None:
    judge = Plausibility(0, 50)
    commit(judge, at=0.0, good=EVENTS - 1)
    with pytest.raises(ImplausibleError):
        commit(judge, at=SECONDS + 1, late=FLOOR)


def test_good_events_beyond_the_window_do_not_hide_a_flood() -> None:
    judge = Plausibility(0, 50)
    commit(judge, good=100 * EVENTS)
    with pytest.raises(ImplausibleError):
        flood(judge)


def flood(judge: Plausibility) -> None:
    for _ in range(200):
        commit(judge, late=100)


def test_at_one_hundred_percent_it_never_stops_and_what_is_allowed_is_forgotten() -> None:
    commit(Plausibility(0, 100), late=10 * EVENTS)
    judge = Plausibility(0, 50)
    judge.allowed_until = 10.0
    commit(judge, at=9.0, late=10 * EVENTS)
    commit(judge, at=11.0, late=FLOOR - 1)
    with pytest.raises(ImplausibleError):
        commit(judge, at=11.0, late=1)


def test_a_shard_that_stops_is_no_failure_of_the_entry_it_stopped_at() -> None:
    assert transient(ImplausibleError(0, 1, {"late": 1}))


@given(
    st.integers(1, 99),
    st.lists(
        st.dictionaries(st.sampled_from(list(CODES.values())), st.integers(0, 3_000), max_size=4), max_size=30
    ),
)
def test_whatever_commits_stays_within_the_limit_or_the_floor(
    percent: int, transactions: list[dict[Outcome, int]]
) -> None:
    judge = Plausibility(0, percent)
    for outcomes in transactions:
        stopped: ImplausibleError | None = None
        try:
            seen = judge.weigh(outcomes, 0.0)
        except ImplausibleError as error:
            stopped = error
        else:
            judge.committed(seen)
        if stopped is not None:
            processed, refused = stopped.processed, sum(stopped.refused.values())
        else:
            processed = sum(each.processed for each in judge.window)
            refused = sum(each.refused.total() for each in judge.window)
        implausible = refused >= FLOOR and refused * 100 > processed * percent
        # What refuses nothing passes, whatever came before it.
        assert implausible == (stopped is not None) or not (stopped or seen.refused)
