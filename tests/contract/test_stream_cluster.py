"""What holds on a real Redis Cluster beyond the contract: redirections, moves of slots, nodes that fail, and who else uses Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

from streamgauge.entry import BEGINNING, Batch
from streamgauge.errors import ServerError
from streamgauge.limits.rate import Asked, Rates
from streamgauge.redis_slots import SlotMap, address_of
from streamgauge.redis_stream import RedisStream
from streamgauge_workers.diagnosis.server_info import ServerInfo, ask, together

from ..integration.cluster import Cluster, Node, until

SLOT = key_slot(b"0.0")


@pytest.fixture
async def stream(cluster: Cluster) -> AsyncIterator[RedisStream]:
    cluster.flush()
    opened = RedisStream(cluster.nodes[1].url, "test", 0, 4, patience=2.0)
    yield opened
    await opened.aclose()


def batch(first: int = 0) -> Batch:
    return Batch(b"L" * 16, 1_700_000_000_000, 0, first, 1, b"payload")


def another(cluster: Cluster, than: Node) -> Node:
    return next(node for node in cluster.nodes if node.is_primary and node is not than)


def calls(cluster: Cluster, command: str) -> int:
    """How often all primaries together have carried out a command, redirected ones not among them."""
    primaries = [node for node in cluster.nodes if node.is_primary]
    found = [node.admin.info("commandstats").get(f"cmdstat_{command}", {}) for node in primaries]
    return sum(int(each.get("calls", 0)) for each in found)


def count_sent(stream: RedisStream, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many commands each sending has."""
    sent: list[int] = []
    original = stream._nodes._send

    async def send(address: Any, commands: Any, asking: bool) -> list[Any]:
        sent.append(len(commands))
        return await original(address, commands, asking)

    monkeypatch.setattr(stream._nodes, "_send", send)
    return sent


async def test_any_node_may_be_named_a_replica_too(cluster: Cluster) -> None:
    cluster.flush()
    for number, node in enumerate(cluster.nodes):
        stream = RedisStream(node.url, "test", 0, 4)
        await stream.check_server()
        for shard in range(4):
            await stream.append(shard, batch(number))
            assert await stream.length(shard) == number + 1
        await stream.aclose()


async def test_the_node_that_was_named_may_leave_once_the_others_are_known(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.flush()
    stream = RedisStream(cluster.nodes[1].url, "test", 0, 4)
    await stream.append(0, batch())
    monkeypatch.setattr(stream._nodes, "_url", "redis://127.0.0.1:1/0")
    stream._nodes.forget()
    await stream.append(0, batch(1))
    assert await stream.length(0) == 2
    await stream.aclose()


async def test_an_append_to_a_node_that_has_lost_the_slot_is_carried_out_once_at_the_new_one(
    cluster: Cluster, stream: RedisStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream.append(0, batch(0))
    source = cluster.owner(SLOT)
    to = another(cluster, source)
    cluster.move(SLOT, to)
    before, sent = calls(cluster, "xadd"), count_sent(stream, monkeypatch)
    await stream.append_many(0, [batch(first) for first in range(1, 6)])
    assert sent == [5, 5]
    await stream.append(0, batch(6))
    assert sent == [5, 5, 1]  # it has learnt
    assert calls(cluster, "xadd") - before == 6
    assert await stream.length(0) == to.run("XLEN", "test:{0.0}:events") == 7


async def test_of_a_pipeline_only_what_was_redirected_is_sent_on(
    cluster: Cluster, stream: RedisStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream.append(0, batch(0))
    source = cluster.owner(SLOT)
    sent: list[list[Any]] = []

    async def send(address: Any, commands: Any, asking: bool) -> list[Any]:
        sent.append([address[1], asking, *(command[0] for command in commands)])
        # As when the key leaves between two commands, and its slot is given away before the last one.
        return {
            1: [b"1-0", AskError("5663 :7001"), AskError("5663 :7001"), MovedError("5663 :7001")],
            2: [b"2-0", b"3-0", MovedError("5663 :7002")],
        }.get(len(sent), [b"4-0"])

    monkeypatch.setattr(stream._nodes, "_send", send)
    replies = await stream._nodes.commands("test:{0.0}:events", [["a"], ["b"], ["c"], ["d"]])
    assert replies == [b"1-0", b"2-0", b"3-0", b"4-0"]
    assert sent == [[source.port, False, "a", "b", "c", "d"], [7001, True, "b", "c", "d"], [7002, False, "d"]]


async def test_redirections_in_a_circle_come_to_an_end(
    stream: RedisStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream.length(0)
    asked = 0

    async def send(*_: Any) -> list[Any]:
        nonlocal asked
        asked += 1
        return [MovedError(f"5663 :{7000 + asked % 2}")]

    monkeypatch.setattr(stream._nodes, "_send", send)
    with pytest.raises(ServerError, match="has moved to another node"):
        await stream.append(0, batch())
    assert asked == 5


async def test_while_a_slot_moves_appends_follow_the_key_and_a_reader_reads_it_where_it_is(
    cluster: Cluster, stream: RedisStream
) -> None:
    old_ids = await stream.append_many(0, [batch(first) for first in range(3)])
    reader = await stream.open_reader(0)
    before = (await reader.read(BEGINNING, 10, 0)).history
    await stream.acknowledge(0, {b"L" * 16: 3})
    to = another(cluster, cluster.owner(SLOT))
    source = cluster.begin_move(SLOT, to)
    await stream.append(0, batch(3))  # the key is at its old place still
    assert len((await reader.read(BEGINNING, 10, 0)).entries) == 4
    assert cluster.move_keys(SLOT, source, to) == 2
    # Between the two: the old node asks to go to the new one, which takes nothing without being asked to.
    ids = await asyncio.gather(*(stream.append(0, batch(first)) for first in range(4, 44)))
    ids += await stream.append_many(0, [batch(44), batch(45)])
    with pytest.raises(ServerError, match="is just moving"):
        await reader.read(BEGINNING, 10, 0)
    reader = await stream.open_reader(0)
    during = await reader.read(BEGINNING, 100, 0)
    assert len(during.entries) == 46
    assert (during.history.birthmark, during.history != before) == (before.birthmark, True)
    waiting = asyncio.create_task(reader.read(during.entries[-1][0], 10, 20_000))
    await asyncio.sleep(0.05)
    cluster.end_move(SLOT, to)
    last = await stream.append(0, batch(46))
    woken = await waiting
    assert [entry_id for entry_id, _ in woken.entries] == [last]
    assert woken.history == during.history
    assert min(ids) > max(old_ids)
    assert await stream.acknowledged(0, [b"L" * 16]) == [3]
    await reader.aclose()


async def test_a_blocked_reader_is_sent_away_when_its_slot_leaves_and_the_next_finds_the_owner(
    cluster: Cluster, stream: RedisStream
) -> None:
    reader = await stream.open_reader(0)
    before = (await reader.read(BEGINNING, 1, 0)).history
    waiting = asyncio.create_task(reader.read(BEGINNING, 1, 1_500))
    await asyncio.sleep(0.05)
    cluster.move(SLOT, another(cluster, cluster.owner(SLOT)))
    with pytest.raises(ServerError, match=r"has moved|is just moving"):
        await waiting
    with pytest.raises(ServerError, match="open another"):
        await reader.read(BEGINNING, 1, 0)
    reader = await stream.open_reader(0)
    entry_id = await stream.append(0, batch())
    reading = await reader.read(BEGINNING, 1, 0)
    assert [found for found, _ in reading.entries] == [entry_id]
    assert (reading.history.birthmark, reading.history != before) == (before.birthmark, True)
    # The trim of whoever still believes in the old node's history removes nothing.
    assert await stream.trim(0, before, entry_id) is None
    await reader.aclose()


async def test_whoever_may_append_and_nothing_else_can_append_to_any_shard(cluster: Cluster) -> None:
    cluster.flush()
    for node in cluster.nodes:
        node.run("ACL SETUSER", "writer", "on", ">word", "~*", "+xadd")
    stream = RedisStream(f"redis://writer:word@127.0.0.1:{cluster.nodes[1].port}/0", "test", 0, 4)
    for shard in range(4):
        await stream.append(shard, batch())
    with pytest.raises(ServerError, match="no permissions"):
        await stream.check_server()
    await stream.aclose()
    assert sum(node.admin.dbsize() for node in cluster.nodes if node.is_primary) == 4


async def test_an_append_that_gets_no_answer_is_never_sent_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.flush()
    stream = RedisStream(cluster.nodes[1].url, "test", 0, 4, patience=0.2)
    await stream.append(0, batch())
    owner, before = cluster.owner(SLOT), calls(cluster, "xadd")
    sent = count_sent(stream, monkeypatch)
    owner.run("CLIENT PAUSE", 600, "ALL")
    with pytest.raises(ServerError, match="no answer in time"):
        await stream.append(0, batch(1))
    owner.run("CLIENT UNPAUSE")
    assert sent == [1]
    # It may be carried out or not, as the server finds the connection closed or not.
    assert calls(cluster, "xadd") - before <= 1
    await stream.append(0, batch(2))  # through a map asked for anew
    await stream.aclose()


async def test_a_hundred_appends_at_once_are_no_trouble(stream: RedisStream) -> None:
    await asyncio.gather(*(stream.append(number % 4, batch(number)) for number in range(100)))
    assert sum([await stream.length(shard) for shard in range(4)]) == 100


async def test_a_slot_that_nobody_serves_is_told_and_served_again_without_a_new_start(
    cluster: Cluster, stream: RedisStream
) -> None:
    await stream.append(0, batch())
    owner = cluster.owner(SLOT)
    for node in cluster.nodes:
        node.cluster("DELSLOTS", SLOT)
    try:
        with pytest.raises(ServerError, match="the cluster does not serve this now"):
            await stream.append(0, batch(1))
        with pytest.raises(ServerError, match="the cluster does not serve this now"):
            await stream.append(0, batch(1))
        with pytest.raises(ServerError, match="1 of the Redis Cluster's 16384 slots belong to no node"):
            await stream.check_server()
    finally:
        owner.cluster("ADDSLOTS", SLOT)
        await asyncio.to_thread(cluster.settle)
    await stream.append(0, batch(2))


async def test_every_primary_is_checked_and_named(cluster: Cluster, stream: RedisStream) -> None:
    await stream.check_server()
    for node in [each for each in cluster.nodes if each.is_primary]:
        node.admin.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(
                ServerError, match=rf"node 127\.0\.0\.1:{node.port} of the Redis Cluster: maxmemory-policy"
            ):
                await stream.check_server()
        finally:
            node.admin.config_set("maxmemory-policy", "noeviction")


async def test_rate_limits_are_shared_on_one_node_and_follow_their_slot(cluster: Cluster) -> None:
    cluster.flush()
    slot = key_slot(b"rate")
    owner = cluster.owner(slot)
    rates = [Rates(node.url, "test", patience=5.0, pause=0.05) for node in cluster.nodes]
    verdicts = [await each.take(Asked("a", 1, 5), Asked("b", 1, 9)) for each in rates]
    assert [each.remaining for each in verdicts] == [4, 3, 2, 1]
    assert not any(each.local for each in rates)
    cluster.move(slot, another(cluster, owner))
    try:
        await rates[0].take(Asked("a", 1, 5))  # kept here while it looks where they are now
        assert rates[0].local
        for _ in range(200):
            await asyncio.sleep(0.02)
            remaining = (await rates[0].take(Asked("a", 1, 5, 0))).remaining
            if not rates[0].local:
                break
        assert (remaining, rates[0].local) == (1, False)
    finally:
        cluster.move(slot, owner)
    for each in rates:
        await each.aclose()


async def test_the_doctor_asks_every_primary(cluster: Cluster) -> None:
    info = await ask(cluster.nodes[0].url)
    assert (info.product, info.policy, info.append_only) == ("Valkey", "noeviction", False)
    node = cluster.nodes[1]
    node.admin.config_set("maxmemory", 50_000_000)
    try:
        assert (await ask(cluster.nodes[0].url)).limit == 50_000_000
    finally:
        node.admin.config_set("maxmemory", 0)


def test_of_several_primaries_the_fullest_and_the_worst_is_told() -> None:
    good = ServerInfo("Valkey", "9.0.0", "noeviction", 10, 100, 1_000, True, False, True, 0.1)
    full = ServerInfo("Valkey", "9.0.0", "noeviction", 90, 100, 1_000, True, True, True, -3.0)
    bare = ServerInfo("Valkey", "9.0.0", "noeviction", 50, 0, 1_000, False, False, None, 0.0)
    found = together([good, full, bare])
    assert (found.used, found.limit, found.append_only, found.append_failed) == (90, 100, False, True)
    assert (found.snapshots, found.ahead) == (None, -3.0)
    assert together([good]) == good


def test_hosts_that_a_node_does_not_know_are_the_one_that_was_asked() -> None:
    slots: list[Any] = [
        [0, 99, [b"10.0.0.1", 7000, b"id", []], [b"10.0.0.2", 7001, b"id", []]],
        [100, 16_383, [None, 7002, b"id", []], [b"", 7003, b"id", []], [b"?", 7004, b"id", []]],
    ]
    found = SlotMap.read(slots, "gate")
    assert found.primaries == [("10.0.0.1", 7000), ("gate", 7002)]
    assert found.nodes == {("10.0.0.1", 7000), ("10.0.0.2", 7001), *(("gate", 7000 + n) for n in (2, 3, 4))}
    assert address_of("other", 1, "gate") == ("other", 1)


@pytest.mark.parametrize(
    ("make", "host"), [(MovedError, "10.0.0.9"), (AskError, "10.0.0.9"), (MovedError, "")]
)
def test_a_redirection_leads_to_the_host_it_names(make: Callable[[str], AskError], host: str) -> None:
    nodes = RedisStream("redis://gate:7000", "test", 0, 1)._nodes
    address, asking = nodes.follow("key", make(f"1 {host}:7009"), None)
    assert (address, asking) == ((host or "gate", 7009), make is AskError)


async def test_the_nodes_of_a_cluster_are_found_by_whoever_waits_in_a_forked_child_too(
    cluster: Cluster, stream: RedisStream
) -> None:
    await stream.append(0, batch())
    known = stream._nodes.client(("127.0.0.1", cluster.owner(SLOT).port))
    stream._nodes._process = -1  # as it is in a child
    assert stream._nodes.client(("127.0.0.1", cluster.owner(SLOT).port)) is not known
    await stream.append(0, batch(1))
    assert await stream.length(0) == 2
    await known.aclose()


async def test_a_primary_that_hangs_is_given_up_and_its_replica_found(cluster: Cluster) -> None:
    cluster.flush()
    stream = RedisStream(cluster.nodes[1].url, "test", 0, 4, patience=0.3)
    slot = 0  # of the range whose primary has a replica
    owner = cluster.owner(slot)
    shard = next(each for each in range(4) if cluster.owner(key_slot(b"0.%d" % each)) is owner)
    await stream.append(shard, batch())
    replica = cluster.replica_of(owner)
    owner.suspend()
    try:
        for _ in range(100):
            try:
                await stream.append(shard, batch(1))
                break
            except ServerError:
                await asyncio.sleep(0.05)
        await asyncio.to_thread(until, lambda: replica.is_primary)
        assert cluster.owner(slot) is replica
    finally:
        owner.resume()
        await asyncio.to_thread(cluster.settle)
    assert await stream.length(shard) == 2
    await stream.aclose()
