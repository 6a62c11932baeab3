"""Promises about what is told to whom, and about what cannot be told."""

import dataclasses
from datetime import UTC, datetime

import orjson
import pytest

from streamgauge.entry import EntryId
from streamgauge.read.pipeline import PipelineState, WorkerSeen
from streamgauge.stream import Backlog
from streamgauge.system.installation import DatabaseSeen, InstallationState, Memory
from streamgauge.system.metrics import Queue, of_installation, of_tenant, processing
from tests.unit.system.test_tenant import told

AT = datetime(2026, 1, 1, tzinfo=UTC)
FULL = PipelineState(
    database=True,
    streams=True,
    ledger={("applied", ""): 500},
    positions={shard: (0, shard, EntryId(7, 0)) for shard in range(4)},
    lag={0: 0.5, 1: 9.25, 2: 0.0, 3: 0.0},
    workers=[WorkerSeen("host", 1, AT, AT, 0.5), WorkerSeen("host", 2, AT, AT, 60.0)],
    held={0, 1, 2},
    drops={"buffer_full": 9},
)
DATABASE = DatabaseSeen("16.4", 5_000_000, 12, 100, AT, 7_200)


def state(pipeline: PipelineState = FULL, **more: object) -> InstallationState:
    found = InstallationState(pipeline, DATABASE, (Memory(10, 100), Memory(20, None)), {})
    for name, value in more.items():
        setattr(found, name, value)
    return found


def test_processing_is_as_old_as_the_oldest_entry_and_shards_without_a_lease_are_unattended() -> None:
    found = processing(state(), 3)
    assert (found.postgresql_answers, found.redis_answers) == (True, True)
    assert (found.lag_seconds, found.shards, found.unattended_shards, found.workers_live) == (9.25, 4, 1, 1)


def test_a_tenant_is_told_nothing_of_the_installation_but_whether_it_keeps_up() -> None:
    found = of_tenant(told([], 1, "UTC"), state(), 3)
    assert (found.scope, found.installation) == ("tenant", None)
    assert found.unavailable == {"installation": "it is told to owners of the platform"}
    text = orjson.dumps(found).decode()
    # Neither sums over tenants, nor machines, nor servers: none of what only the state holds.
    for secret in ("500", "host", "buffer_full", "16.4", "5000000", "7200", "maxmemory"):
        assert secret not in text
    assert set(dataclasses.asdict(found.processing)) == {
        "postgresql_answers", "redis_answers", "lag_seconds", "shards", "unattended_shards", "workers_live",
    }  # fmt: skip


def test_a_failure_of_redis_is_told_to_a_tenant_without_its_address() -> None:
    away = state(
        memory=None, backlogs=None, reasons={"redis": "cannot reach 10.0.0.7:6379", "queue": "10.0.0.7"}
    )
    away.pipeline = dataclasses.replace(FULL, streams=False, lag={0: 1.0})
    found = of_tenant(told([], 1, "UTC"), away, 3)
    assert (found.processing.redis_answers, found.processing.lag_seconds) == (False, None)
    assert found.unavailable["processing.lag_seconds"] == "Redis does not answer"
    assert "10.0.0.7" not in orjson.dumps(found).decode()


def test_an_owner_is_told_of_the_installation_and_of_no_tenant() -> None:
    found = of_installation(state(), 3)
    assert (found.scope, found.tenant) == ("installation", None)
    assert list(found.unavailable) == ["tenant"]
    whole = found.installation
    assert whole is not None
    assert whole.database is not None
    assert whole.throughput is not None
    assert (whole.database.version, whole.database.size_bytes) == ("16.4", 5_000_000)
    assert (whole.database.connections_used, whole.database.connections_allowed) == (12, 100)
    assert (whole.throughput.hour_start, whole.throughput.events_per_second) == ("2026-01-01T00:00:00Z", 2.0)
    assert whole.redis == (Memory(10, 100), Memory(20, None))
    assert whole.pipeline.dropped_before_sending == {"buffer_full": 9}
    assert [(each.pid, each.live) for each in whole.pipeline.workers] == [(1, True), (2, False)]


def test_what_did_not_answer_is_null_with_its_reason() -> None:
    broken = InstallationState(PipelineState(), reasons={"database": "d", "redis": "r", "queue": "q"})
    found = of_installation(broken, 3)
    whole = found.installation
    assert whole is not None
    assert (whole.database, whole.throughput, whole.redis, whole.queue) == (None, None, None, None)
    why = found.unavailable
    assert (why["installation.redis"], why["installation.queue"]) == ("r", "q")
    assert why["installation.database"] == why["installation.throughput"] == "d"
    values = dataclasses.asdict(found.processing)
    assert {name for name, value in values.items() if value is None} == {
        name.removeprefix("processing.") for name in why if name.startswith("processing.")
    }
    assert why["processing.lag_seconds"] == "PostgreSQL does not answer"


def test_before_any_worker_there_is_no_lag_to_tell_and_redis_is_not_blamed() -> None:
    fresh = state(PipelineState(database=True))
    found = of_tenant(told([], 1, "UTC"), fresh, 3)
    assert found.unavailable["processing.lag_seconds"] == "no worker has looked after a stream yet"
    assert (found.processing.redis_answers, found.processing.shards) == (True, 0)


def test_a_size_that_may_not_be_asked_for_is_null_with_its_reason() -> None:
    found = of_installation(state(database=dataclasses.replace(DATABASE, bytes=None)), 3)
    assert "installation.database.size_bytes" in found.unavailable


def behind(retained: int, *, waits: bool, whole: bool) -> Backlog:
    return Backlog(retained, retained, EntryId(1, 0) if waits else None, whole, 0)


@pytest.mark.parametrize(
    ("backlogs", "least", "most"),
    [
        ([], 0, 0),
        ([behind(9, waits=False, whole=False)], 0, 0),
        ([behind(9, waits=True, whole=True)], 9, 9),
        ([behind(9, waits=True, whole=False)], 1, 9),
        ([behind(9, waits=True, whole=True), behind(5, waits=True, whole=False), behind(7, waits=False, whole=False)], 10, 14),
    ],
)  # fmt: skip
def test_a_queue_is_as_long_as_redis_can_tell(backlogs: list[Backlog], least: int, most: int) -> None:
    whole = of_installation(state(backlogs=dict(enumerate(backlogs))), 3).installation
    assert whole is not None
    assert whole.queue == Queue(least, most)
