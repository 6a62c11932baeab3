"""The pipeline's report, from one look."""

from datetime import UTC, datetime

from streamgauge.entry import EntryId
from streamgauge.read.api.pipeline import told
from streamgauge.read.pipeline import PipelineState, WorkerSeen

AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_look_without_servers_says_so_and_nothing_else() -> None:
    found = told(PipelineState(), 5)
    assert found.answering == {"postgresql": False, "redis": False}
    assert (found.shards, found.workers, found.workers_live, found.lag_seconds) == ((), (), 0, None)


def test_a_worker_is_live_until_it_was_silent_for_a_lease() -> None:
    state = PipelineState(
        workers=[WorkerSeen("h", n, AT, AT, silent) for n, silent in enumerate((0.0, 4.9, 5.0, 99.0))]
    )
    found = told(state, 5)
    assert [each.live for each in found.workers] == [True, True, False, False]
    assert found.workers_live == 2


def test_every_shard_is_told_with_its_lag_and_its_lease() -> None:
    state = PipelineState(
        database=True,
        streams=True,
        ledger={("applied", ""): 5, ("rejected", "late"): 1},
        dead_letters={"poison": (2, 40), "late": (1, 1)},
        lost=(3, 4),
        positions={10: (1, 0, EntryId(7, 1)), 11: (1, 1, EntryId(8, 0))},
        applied_at={11: AT.timestamp()},
        lag={10: 0.5, 11: 2.0},
        held={11},
        drops={"buffer_full": 9},
    )
    found = told(state, 5)
    one, two = found.shards
    assert (one.shard, one.position, one.applied_at, one.lag_seconds, one.held) == (
        10,
        "7-1",
        None,
        0.5,
        False,
    )
    assert (two.shard, two.applied_at, two.held) == (11, "2026-01-01T00:00:00Z", True)
    assert found.lag_seconds == 2.0
    assert [(each.outcome, each.reason, each.events) for each in found.outcomes] == [
        ("applied", None, 5),
        ("rejected", "late", 1),
    ]
    assert list(found.dead_letters.items()) == [("late", 1), ("poison", 2)]
    assert found.lost == {"known_lanes": 3, "forgotten_lanes": 4}
    assert found.dropped_before_sending == {"buffer_full": 9}
