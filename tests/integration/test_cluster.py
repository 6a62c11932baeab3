"""The whole engine on a Redis Cluster: slots move and primaries fail while it works, and every figure stays exact."""

import asyncio
import os
import random
from collections.abc import Iterator

import pytest
from redis.crc import key_slot

from streamgauge.errors import ServerError
from streamgauge.settings import Settings
from streamgauge_workers.worker import open_worker

from .cluster import Cluster, Node, until
from .cluster_producer import SHARDS, Producer, caught_up, expect
from .engine import generate, open_engine

FULL = bool(os.environ.get("STREAMGAUGE_TESTS_FULL"))
ROUNDS = 30 if FULL else 1
SLOTS = [key_slot(b"0.%d" % shard) for shard in SHARDS]


@pytest.fixture(scope="module")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def cluster(running_cluster: Cluster) -> Cluster:
    """Empty, and all nodes of one mind."""
    running_cluster.settle()
    running_cluster.flush()
    return running_cluster


def owners(cluster: Cluster) -> list[Node]:
    return [cluster.owner(slot) for slot in SLOTS]


def shard_of_the_replicated(cluster: Cluster) -> tuple[int, Node]:
    """A shard whose primary has a replica, and that primary. The slot is moved there if it must be."""
    replica = next(node for node in cluster.nodes if not node.is_primary)
    port = int(replica.admin.info("replication")["master_port"])
    primary = next(node for node in cluster.nodes if node.port == port)
    cluster.place(SLOTS[0], primary)
    return 0, primary


@pytest.mark.parametrize("how", ["key by key", "atomically"])
async def test_slots_move_round_the_cluster_under_load_and_everything_counts_once(
    cluster: Cluster, database_url: str, how: str
) -> None:
    events = generate(31, 240 * ROUNDS)
    chosen = random.Random(31)
    async with open_engine(cluster.nodes[0].url, database_url) as engine:
        producer = Producer(engine)
        moves = 0
        async with engine.working(2):
            await producer.send(events[:40])
            await caught_up(engine)
            before = await engine.epochs()

            async def move() -> None:
                nonlocal moves
                for shard in list(SHARDS) * ROUNDS:
                    to = chosen.choice(
                        [node for node in cluster.nodes if node.is_primary and node is not owners(cluster)[shard]]
                    )  # fmt: skip
                    if how == "atomically":
                        await asyncio.to_thread(cluster.move_atomically, SLOTS[shard], to)
                    else:
                        source = await asyncio.to_thread(cluster.begin_move, SLOTS[shard], to)
                        await asyncio.sleep(0.02)
                        await asyncio.to_thread(cluster.move_keys, SLOTS[shard], source, to)
                        await asyncio.sleep(0.05)  # the reader is sent to and fro meanwhile
                        await asyncio.to_thread(cluster.end_move, SLOTS[shard], to)
                    moves += 1
                    if moves <= len(
                        SHARDS
                    ):  # later on a slot may be back before anybody looks, which harms nothing
                        await engine.until(
                            "SELECT epoch > $2 FROM shards WHERE shard = $1", shard, before[shard]
                        )

            moving = asyncio.create_task(move())
            place = 40
            while not moving.done() or place < len(events):
                await producer.send(events[place : place + 40], 4)
                place += 40
                await asyncio.sleep(0.01)
            await moving
            await producer.announce(closed=True)
            await caught_up(engine)
        await engine.check(events)
        await expect(engine, len(events), lost=0)
        assert moves == 4 * ROUNDS


async def test_what_was_acknowledged_moves_with_its_shard(cluster: Cluster, database_url: str) -> None:
    async with open_engine(cluster.nodes[0].url, database_url) as engine:
        await engine.stream.acknowledge(0, {b"a" * 16: 7})
        to = next(node for node in cluster.nodes if node.is_primary and node is not owners(cluster)[0])
        await asyncio.to_thread(cluster.move, SLOTS[0], to)
        assert await engine.stream.acknowledged(0, [b"a" * 16]) == [7]


async def test_a_failover_that_is_asked_for_loses_nothing(cluster: Cluster, database_url: str) -> None:
    events = generate(32, 100 * ROUNDS)
    shard_of_the_replicated(cluster)
    async with open_engine(cluster.nodes[0].url, database_url) as engine:
        producer = Producer(engine)
        async with engine.working():
            await producer.send(events[:40])
            await caught_up(engine)
            (before, *_) = await engine.epochs()
            replica = next(node for node in cluster.nodes if not node.is_primary)
            replica.cluster("FAILOVER")
            for first in range(40, len(events), 20):
                await producer.send(events[first : first + 20], 4)
                await asyncio.sleep(0.01)
            await asyncio.to_thread(until, lambda: replica.is_primary)
            await producer.announce(closed=True)
            await caught_up(engine)
            await engine.until("SELECT epoch > $1 FROM shards WHERE shard = 0", before)
            await caught_up(engine)
        assert cluster.owner(SLOTS[0]) is replica
        await engine.check(events)
        await expect(engine, len(events), lost=0)


@pytest.mark.parametrize("how", ["killed", "overthrown"] if FULL else ["killed"])
async def test_what_a_promoted_replica_never_had_is_lost_exactly_and_counts_when_sent_again(
    cluster: Cluster, database_url: str, how: str
) -> None:
    events = [{**event, "shard": 0} for event in generate(33, 300)]
    _, primary = shard_of_the_replicated(cluster)
    replica = cluster.replica_of(primary)
    async with open_engine(cluster.nodes[0].url, database_url) as engine:
        producer = Producer(engine)
        async with engine.working():
            await producer.send(events[:100])
            await caught_up(engine)
        assert primary.admin.wait(1, 5_000) == 1
        # The replica has these, the worker does not; and then the primary alone has some more.
        await producer.send(events[100:150])
        assert primary.admin.wait(1, 5_000) == 1
        cluster.hold_back(primary)
        unheard = await producer.send(events[150:230])
        async with engine.working():
            await engine.drained([0])
            # Of what the replica never had the worker has seen all so far, and will see nothing of this:
            await engine.until("SELECT sum(events) = 230 FROM outcome_ledger")
        unheard_and_unread = await producer.send(events[230:270])
        if how == "killed":
            primary.kill()
        else:
            replica.cluster("FAILOVER", "TAKEOVER")
        await asyncio.to_thread(until, lambda: cluster.owner(SLOTS[0]) is replica and replica.is_primary)
        if how == "killed":
            primary.start()
        await asyncio.to_thread(until, primary.answers)
        cluster.let_follow()
        await asyncio.to_thread(cluster.settle)
        assert not primary.is_primary
        async with engine.working():
            await producer.send(events[270:])
            await producer.announce()
            await caught_up(engine)
            kept = events[:230] + events[270:]
            await engine.until("SELECT sum(events) = 260 FROM outcome_ledger")
            await expect(engine, len(events), lost=sum(batch.n for _, batch in unheard_and_unread))
            await engine.check(kept)
            for shard, batch in [*unheard, *unheard_and_unread]:
                await producer.surely(shard, batch)
            await producer.announce(closed=True)
            await caught_up(engine)
        await engine.check(events)
        await expect(engine, len(events), lost=0)
        assert await engine.redelivered() >= sum(batch.n for _, batch in unheard)


async def test_a_worker_starts_on_no_cluster_with_a_hole(cluster: Cluster, database_url: str) -> None:
    owner = cluster.owner(0)
    for node in cluster.nodes:
        node.cluster("DELSLOTS", 0)
    worker, pool, stream = await open_worker(Settings(), cluster.nodes[0].url, database_url)
    try:
        with pytest.raises(ServerError, match="1 of the Redis Cluster's 16384 slots belong to no node"):
            await worker.run()
    finally:
        await pool.close()
        await stream.aclose()
        owner.cluster("ADDSLOTS", 0)
