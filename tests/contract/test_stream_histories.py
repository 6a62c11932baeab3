"""What becomes of the figures when a server's history changes: lost is exactly what nobody has any more, and counts when it is sent again."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamgauge.entry import EntryId
from streamgauge.redis_stream import RedisStream
from streamgauge.stream import stream_key

from ..integration.cluster import Node, free_ports, until
from ..integration.cluster_producer import SHARDS, Producer, caught_up, expect
from ..integration.engine import Engine, generate, open_engine

HOUR_MS = 3_600_000


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Node]]:
    """A server of the test's own, and another one that copies it."""
    nodes = [Node(port, tmp_path / str(port), in_cluster=False) for port in free_ports(2)]
    try:
        for node in nodes:
            node.folder.mkdir()
            node.start()
            until(node.answers)
        yield nodes
    finally:
        for node in nodes:
            node.kill()
            node.admin.close()


class Faults:
    """What may happen to the first server. `prepare` is called when a part of the events is in the stream and applied."""

    def __init__(self, servers: list[Node]) -> None:
        self.primary, self.replica = servers
        self.dumps: dict[str, bytes] = {}

    def prepare(self, fault: str) -> None:
        """What must be done before."""
        if fault == "an old snapshot is restored":
            self.primary.admin.save()
        elif fault == "a replica that is behind is promoted":
            self.replica.admin.replicaof("127.0.0.1", self.primary.port)
            until(lambda: self.replica.is_linked)
            self.primary.admin.wait(1, 5_000)
            self.primary.refuse_replicas()
            until(lambda: not self.replica.is_linked)
        elif fault == "old streams are restored in place":
            with self.primary.raw() as client:
                self.dumps = {key: client.dump(key) for key in KEYS}

    def happen(self, fault: str, engine: Engine) -> None:
        """The fault."""
        happenings: dict[str, Callable[[], object]] = {
            "FLUSHALL": self.primary.admin.flushall,
            "DEL": lambda: self.primary.admin.delete(*KEYS),
            "a crash without persistence": self._again,
            "an old snapshot is restored": self._again,
            "the clock is an hour behind, and the streams are empty": self._again,
            "a replica that is behind is promoted": lambda: self._promote(engine),
            "old streams are restored in place": self._restore,
        }
        happenings[fault]()

    def _again(self) -> None:
        self.primary.kill()
        self.primary.start()
        until(self.primary.answers)

    def _promote(self, engine: Engine) -> None:
        self.primary.kill()
        self.replica.admin.replicaof("NO", "ONE")
        engine.redis_url = self.replica.url
        engine.stream = RedisStream(self.replica.url, engine.settings.stream_prefix, 0, 4)

    def _restore(self) -> None:
        with self.primary.raw() as client:
            for key, dump in self.dumps.items():
                client.restore(key, 0, dump, replace=True)


KEYS = [stream_key("streamgauge", 0, shard) for shard in SHARDS]
FAULTS = [
    "FLUSHALL", "an old snapshot is restored", "a replica that is behind is promoted",
    "the clock is an hour behind, and the streams are empty",
]  # fmt: skip
if os.environ.get("STREAMGAUGE_TESTS_FULL"):
    FAULTS += ["DEL", "a crash without persistence", "old streams are restored in place"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_lost_is_exactly_what_was_neither_read_nor_kept(
    servers: list[Node], database_url: str, fault: str
) -> None:
    events = generate(41, 280)
    old, read, unread, new = events[:100], events[100:180], events[180:220], events[220:]
    faults = Faults(servers)
    async with open_engine(servers[0].url, database_url) as engine:
        producer = Producer(engine)
        if "clock" in fault:
            # As a server whose clock is ahead: every later id goes on from here, until the streams are gone.
            for key in KEYS:
                servers[0].admin.xadd(key, {"of": key}, id=f"{servers[0].now + HOUR_MS}-0")
        async with engine.working():
            await producer.send(old)
            await caught_up(engine)
            faults.prepare(fault)
            await producer.send(read)
            await caught_up(engine)
        positions = await positions_of(engine)
        epochs = await engine.epochs()
        forgotten = await producer.send(unread)
        faults.happen(fault, engine)
        await producer.send(new)
        if "clock" in fault:
            for number in range(len(KEYS)):
                last = await engine.stream.last_id(number)
                assert last is not None
                assert last < positions[number], "the clock is not behind"
        await producer.announce()
        await engine.drain()
        odd = 4 if "clock" in fault else 0  # what is not ours is a dead letter of no lane
        await expect(engine, len(events), lost=len(unread))
        await counts(engine, [*old, *read, *new], odd)
        if fault != "old streams are restored in place":  # one process, and one birthmark: nobody can tell
            assert all(now > then for now, then in zip(await engine.epochs(), epochs, strict=True))
        before = await engine.redelivered()
        # What a spool still has, and more: a part of it has been counted.
        known = [batch for batch in producer.sent if batch not in forgotten][-6:]
        for shard, batch in [*forgotten, *known]:
            await producer.surely(shard, batch)
        await producer.announce(closed=True)
        await engine.drain()
        await expect(engine, len(events), lost=0)
        await counts(engine, events, odd)
        assert await engine.redelivered() - before >= sum(batch.n for _, batch in known)
        await engine.stream.aclose()


async def counts(engine: Engine, events: list[dict[str, object]], odd: int) -> None:
    """The tables hold these events and nothing else."""
    if not odd:
        await engine.check(events)
        return
    rows, expected = await engine.rows(), await engine.expected(events)
    assert rows == expected
    assert await engine.outcomes() == {("applied", ""): len(events), ("dead_lettered", "undecodable"): odd}


async def positions_of(engine: Engine) -> dict[int, EntryId]:
    """How far each shard was read."""
    rows = await engine.connection.fetch("SELECT shard, position_ms, position_seq FROM shards")
    return {row["shard"]: EntryId(row["position_ms"], row["position_seq"]) for row in rows}
