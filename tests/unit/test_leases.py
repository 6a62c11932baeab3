"""How shards are shared out."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from streamgauge_workers.leases import fair_share


@given(st.integers(0, 64), st.integers(1, 70))
def test_all_shards_are_held_and_no_worker_holds_two_more_than_another(shards: int, workers: int) -> None:
    live = [UUID(int=number) for number in range(workers)]
    shares = [fair_share(shards, live, worker) for worker in live]
    assert sum(shares) == shards
    assert max(shares) - min(shares) <= 1


def test_a_worker_that_is_not_counted_yet_takes_no_more_than_everybody_has() -> None:
    assert fair_share(4, [UUID(int=1), UUID(int=2), UUID(int=3)], UUID(int=9)) == 1
