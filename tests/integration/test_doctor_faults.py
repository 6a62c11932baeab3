"""`streamgauge doctor` before real faults: each is caused, and told in plain words with the next step."""

import asyncio
import fcntl
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis import Redis
from redis.exceptions import ResponseError

from streamgauge.capture.segment import Label, Stowed, begin, frame, salt_of
from streamgauge.capture.spool_folder import LOCK, SpoolFolder
from streamgauge.entry import Batch, checksum, encode
from streamgauge.settings import Settings
from streamgauge.stream import stream_key
from streamgauge_cli.doctor import diagnose
from streamgauge_local.stack import Stack
from streamgauge_workers.diagnosis.findings import Finding
from tests.integration.cluster import Cluster, Node, free_ports, until

LANE = bytes(range(16))
DIAGNOSIS = "streamgauge_workers.diagnosis"


def settings(redis_url: str | None, database_url: str | None, tmp_path: Path, **more: Any) -> Settings:
    return Settings(
        redis_url=redis_url or "redis://127.0.0.1:1/0",
        database_url=database_url or "postgresql://127.0.0.1:1/x",
        data_dir=tmp_path / "data",
        **more,
    )


async def told(wanted: Settings, check: str, level: str) -> Finding:
    """The one finding of this check and level."""
    found = await diagnose(wanted)
    (one,) = [each for each in found if each.check == check and each.level == level]
    assert one.next
    return one


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A Redis of the test's own, to be treated badly."""
    made = Node(free_ports(1)[0], tmp_path / "redis", in_cluster=False)
    made.folder.mkdir()
    made.start()
    try:
        until(made.answers)
        yield made
    finally:
        made.kill()
        made.admin.close()


# Redis


async def test_a_redis_that_hangs_is_no_redis_that_is_away(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{DIAGNOSIS}.look.PATIENCE", 0.5)
    node.suspend()
    hung = await told(settings(node.url, None, tmp_path), "redis", "problem")
    assert "no answer in time; it hangs" in hung.says
    assert "its log" in (hung.next or "")
    away = await told(settings(None, None, tmp_path), "redis", "problem")
    assert "hangs" not in away.says
    assert "Start it" in (away.next or "")


async def test_a_redis_that_cannot_write_its_snapshot_refuses_events(node: Node, tmp_path: Path) -> None:
    node.admin.config_set("save", "3600 1")
    node.admin.set("key", "value")
    shutil.rmtree(node.folder)
    node.admin.bgsave()
    until(lambda: node.admin.info("persistence")["rdb_last_bgsave_status"] == "err")
    with pytest.raises(ResponseError, match="MISCONF"):
        node.admin.xadd("stream", {"a": "b"})
    found = await told(settings(node.url, None, tmp_path), "redis persistence", "problem")
    assert "MISCONF" in found.says
    node.admin.config_set("stop-writes-on-bgsave-error", "no")
    assert "nor" not in (await told(settings(node.url, None, tmp_path), "redis persistence", "warning")).says


async def test_a_full_redis_a_replica_and_a_wrong_password_are_told_apart(node: Node, tmp_path: Path) -> None:
    wanted = settings(node.url, None, tmp_path)
    node.admin.config_set("maxmemory", 1024 * 1024)
    with pytest.raises(ResponseError, match="maxmemory"):
        node.admin.xadd("stream", {"a": "b"})
    assert "full and refuses" in (await told(wanted, "redis memory", "problem")).says
    node.run("REPLICAOF", "127.0.0.1", 1)
    assert "is a replica" in ((await told(wanted, "redis", "problem")).next or "")
    node.run("REPLICAOF", "NO", "ONE")
    node.admin.config_set("requirepass", "secret")
    found = await told(wanted, "redis", "problem")
    assert "does not let us in" in found.says
    assert "STREAMGAUGE_REDIS_URL" in (found.next or "")


@pytest.mark.parametrize(
    ("setting", "value", "level", "says"),
    [
        ("appendfsync", "no", "warning", "appendfsync no"),
        ("appendfsync", "everysec", "ok", "every second"),
        ("appendfsync", "always", "ok", "keeps an append-only file."),
    ],
)
async def test_what_a_crash_of_redis_takes_is_told(
    redis_url: str, tmp_path: Path, setting: str, value: str, level: str, says: str
) -> None:
    with Redis.from_url(redis_url, decode_responses=True) as admin:
        before = {name: admin.config_get(name)[name] for name in (setting, "appendonly")}
        try:
            admin.config_set("appendonly", "yes")
            admin.config_set(setting, value)
            found = [
                each
                for each in await diagnose(settings(redis_url, None, tmp_path))
                if each.check == "redis persistence"
            ]
        finally:
            for name, old in before.items():
                admin.config_set(name, old)
    assert [each.level for each in found] == [level]
    assert says in found[0].says


async def test_a_cluster_with_a_primary_that_is_away_is_told_with_its_address(
    tmp_path: Path, database_url: str, connection: Any
) -> None:
    await connection.execute(
        "INSERT INTO shards (shard, generation, number) SELECT n, 0, n FROM generate_series(0, 3) n"
    )
    cluster = Cluster(tmp_path / "cluster")
    try:
        await asyncio.to_thread(cluster.start)
        victim = cluster.nodes[1]
        wanted = settings(cluster.nodes[0].url, database_url, tmp_path)
        assert next(each for each in await diagnose(wanted) if each.check == "redis").level == "ok"
        victim.suspend()
        found = await told(wanted, "redis", "problem")
        assert (
            f"1 of the 3 primaries of the Valkey cluster do not answer: 127.0.0.1:{victim.port}."
            in found.says
        )
        await asyncio.to_thread(until, lambda: cluster.nodes[0].info()["cluster_state"] == "fail")
        problems = {each.check: each for each in await diagnose(wanted) if each.level == "problem"}
        assert "CLUSTER FAILOVER" in (problems["redis"].next or "")
        assert problems["lag"].says.startswith("The streams of shards ")
        victim.resume()
    finally:
        await asyncio.to_thread(cluster.stop)


# PostgreSQL


async def test_a_postgresql_that_hangs_is_told_so(
    stack: Stack, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{DIAGNOSIS}.database_look.PATIENCE", 0.5)
    admin = await asyncpg.connect(stack.database_url_of("postgres"))
    directory = await admin.fetchval("SHOW data_directory")
    await admin.close()
    postmaster = int((Path(directory) / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)
    try:
        found = await told(settings(stack.redis_url, database_url, tmp_path), "postgresql", "problem")
    finally:
        os.kill(postmaster, signal.SIGCONT)
    assert "no answer in time; it hangs" in found.says
    assert "wait in Redis" in (found.next or "")


async def test_a_postgresql_that_hangs_after_it_has_let_us_in_is_not_waited_for(
    stack: Stack, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{DIAGNOSIS}.database_look.PATIENCE", 1.0)
    url, ready = urlsplit(database_url), b"Z\0\0\0\5I"
    opened: list[asyncio.StreamWriter] = []

    async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter, until_ready: bool) -> None:
        while data := await source.read(65_536):
            to.write(data)
            if until_ready and data.endswith(ready):
                return

    async def relay(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        backwards, onwards = await asyncio.open_unix_connection(
            stack.socket_dir / "postgres" / ".s.PGSQL.5432"
        )
        opened.extend((to, onwards))
        await asyncio.gather(pump(source, onwards, until_ready=False), pump(backwards, to, until_ready=True))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        through = f"postgresql://{url.netloc}127.0.0.1:{port}{url.path}?sslmode=disable"
        found = await told(settings(stack.redis_url, through, tmp_path), "postgresql", "problem")
    finally:
        server.close()
        for each in opened:
            each.close()
    assert "no answer in time; it hangs" in found.says


async def test_a_locked_table_is_told_with_who_locks_it_and_whom_that_keeps_waiting(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{DIAGNOSIS}.sessions.LONG_LOCK", 0.0)
    wanted = settings(redis_url, database_url, tmp_path)
    worker = await asyncpg.connect(database_url, server_settings={"application_name": "streamgauge worker x"})
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE lanes")
            waiting = asyncio.create_task(worker.execute("SELECT count(*) FROM lanes"))
            found = await told(wanted, "locks", "problem")
            while "waiting" not in found.says:
                found = await told(wanted, "locks", "problem")
            pid = connection.get_server_pid()
            assert found.says.startswith(f"Session {pid} (unnamed on ")
            assert "has locked lanes and keeps 1 session (streamgauge worker x) waiting" in found.says
            assert f"pg_terminate_backend({pid})" in (found.next or "")
            assert "locked a table" in ((await told(wanted, "postgresql", "problem")).next or "")
        await waiting
    finally:
        await worker.close()
    assert [each.level for each in await diagnose(wanted) if each.check == "locks"] == ["ok"]


async def test_zombies_and_long_snapshots_are_told_with_their_sessions(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings(redis_url, database_url, tmp_path)
    worker = await asyncpg.connect(database_url, server_settings={"application_name": "streamgauge worker x"})
    try:
        async with connection.transaction(isolation="repeatable_read"), worker.transaction():
            await connection.fetchval("SELECT count(*) FROM lanes")
            await worker.execute("UPDATE shards SET attempts = 1")
            assert [each.level for each in await diagnose(wanted) if each.check == "locks"] == ["ok"]
            monkeypatch.setattr(f"{DIAGNOSIS}.sessions.LONG_IDLE", 0.0)
            zombie = await told(wanted, "zombies", "warning")
            assert f"{worker.get_server_pid()} on " in zombie.says
            monkeypatch.setattr(f"{DIAGNOSIS}.sessions.LONG_SNAPSHOT", 0.0)
            found = [each.says for each in await diagnose(wanted) if each.check == "vacuum"]
            assert any(f"session {connection.get_server_pid()} (unnamed" in each for each in found)
    finally:
        await worker.close()


async def test_a_postgresql_without_a_connection_left_or_without_the_database_is_told_so(
    stack: Stack, database_url: str, tmp_path: Path
) -> None:
    missing = await told(
        settings(stack.redis_url, stack.database_url_of("nowhere"), tmp_path), "postgresql", "problem"
    )
    assert "Create that database" in (missing.next or "")
    admin = await asyncpg.connect(stack.database_url_of("postgres"))
    try:
        name = urlsplit(database_url).path.strip("/")
        await admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        full = await told(settings(stack.redis_url, database_url, tmp_path), "postgresql", "problem")
    finally:
        await admin.close()
    assert "takes no more connections" in full.says
    assert "max_connections" in (full.next or "")


async def test_a_database_that_a_crash_may_damage_is_told(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    found = await told(settings(redis_url, database_url, tmp_path), "postgresql durability", "warning")
    assert "fsync = off" in found.says  # the tests' own server gives durability up for speed


# Streams and tables


def newer(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """An entry as a later version would write it."""
    body = bytes([99]) + fields[b"h"][1:-4]
    return fields | {b"h": body + checksum(body, [(b"p", fields[b"p"])]).to_bytes(4, "big")}


async def test_a_shard_that_a_newer_entry_stops_asks_for_newer_workers(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{DIAGNOSIS}.look.BETWEEN", 0.01)
    monkeypatch.setattr(f"{DIAGNOSIS}.lagging.LAG_FINE", -1.0)
    await connection.execute("INSERT INTO shards (shard, generation, number) VALUES (0, 0, 0), (1, 0, 1)")
    with Redis.from_url(redis_url) as admin:
        entry = encode(Batch(LANE, 0, 0, 0, 1, b"\0"))
        admin.xadd(stream_key("streamgauge", 0, 0), newer(entry))
        admin.xadd(stream_key("streamgauge", 0, 1), entry)
    found = [
        each for each in await diagnose(settings(redis_url, database_url, tmp_path)) if each.check == "lag"
    ]
    assert ["newer version" in each.says for each in found] == [True, False]
    assert "no worker that is alive" in found[1].says


async def test_a_retired_generation_that_is_sent_to_again_is_a_problem(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    await connection.execute(
        "INSERT INTO shards (shard, generation, number, retired_at) VALUES (0, 0, 0, now()), (1, 1, 0, NULL)"
    )
    wanted = settings(redis_url, database_url, tmp_path, generation=1, shards=1)
    assert "shards" not in {each.check for each in await diagnose(wanted)}
    with Redis.from_url(redis_url) as admin:
        admin.xadd(stream_key("streamgauge", 0, 0), {"a": "b"})
        before = admin.xinfo_stream(stream_key("streamgauge", 0, 0))
        found = await told(wanted, "shards", "problem")
        assert admin.xinfo_stream(stream_key("streamgauge", 0, 0)) == before
    assert "Generation 0 is retired, and its streams hold 1 entry again" in found.says
    assert "shards reopen 0" in (found.next or "")


async def test_losses_are_told_by_lane(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    await connection.execute("INSERT INTO shards (shard, generation, number) VALUES (0, 0, 0)")
    await connection.execute(
        """INSERT INTO lanes (shard, lane, done, "end", closed, born, touched, stray, trusted, scanned) VALUES
           (0, $1, '{[0,3),[5,20)}', 10, true, 0, 60000, false, false, 0),
           (0, $2, '{[0,9)}', 9, true, 0, 0, false, false, 0),
           (0, $3, '{}', 900, false, 0, 0, true, false, 0)""",
        LANE, bytes(16), b"s" * 16,
    )  # fmt: skip
    found = await told(settings(redis_url, database_url, tmp_path), "losses", "warning")
    assert "2 events announced" in found.says
    assert "(so far): 2 of lane 00010203 of shard 0 (begun 1970-01-01 00:00 UTC" in found.says
    assert "last heard of 1970-01-01 00:01 UTC, ended)." in found.says


async def test_archives_that_are_gone_or_changed_are_told_and_those_that_the_log_holds_too_are_not(
    redis_url: str, database_url: str, tmp_path: Path, connection: Any
) -> None:
    for part, (state, name) in enumerate(
        [("archived", "whole"), ("archived", "gone"), ("archived", "cut"), ("written", "later")]
    ):
        await connection.execute(
            """INSERT INTO archives (applied_day, shard, part, state, file, bytes, sha256, content, entries, events, first_applied,
                   last_applied, first_at, last_at, tenants, counts, lanes, summaries, metrics, seal)
               VALUES ('2025-06-01', 0, $1, $2, $3, 5, $4, $4, 1, 1, now(), now(), now(), now(), '{}', '{}', '', '', '{}', $4)""",
            part, state, name, bytes(32),
        )  # fmt: skip
    wanted = settings(redis_url, database_url, tmp_path)
    assert "to read; 3 files should" in (await told(wanted, "archive", "warning")).says
    wanted.archive_dir.mkdir(parents=True)
    (wanted.archive_dir / "whole").write_bytes(b"12345")
    (wanted.archive_dir / "cut").write_bytes(b"1234")
    found = [each for each in await diagnose(wanted) if each.check == "archive"]
    assert [each.level for each in found] == ["problem", "problem"]
    assert ": gone. " in found[0].says
    assert ": cut." in found[1].says
    assert all("archive check" in (each.next or "") for each in found)


# Spools


def stow(folder: SpoolFolder, *, age: float, durable: bool = False, prefix: str = "streamgauge") -> Path:
    """One file with one batch, written so many seconds ago."""
    data = begin(Label(prefix, durable))
    stowed = Stowed(0, int((time.time() - age) * 1000), Batch(LANE, 0, 0, 0, 1, b"payload"))
    path = folder.segment(1)
    path.write_bytes(data + frame(salt_of(data), stowed))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def is_locked(folder: Path) -> bool:
    """Whether a process that wanted to adopt it could not."""
    with (folder / LOCK).open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def of_tomorrow(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[7] = 99
    path.write_bytes(data)


def as_it_is(path: Path) -> None:
    assert path.exists()


@pytest.mark.parametrize(
    ("owned", "kind", "age", "change", "says"),
    [
        (False, {}, 500.0, as_it_is, ["of processes that ended, for 8 minutes: nobody has adopted"]),
        (False, {}, 5.0, as_it_is, []),
        (False, {"durable": True}, 5.0, damage, ["belong to no whole event"]),
        (False, {}, 5.0, of_tomorrow, ["of a newer version"]),
        (False, {"prefix": "other"}, 500.0, as_it_is, ["another STREAMGAUGE_STREAM_PREFIX: other"]),
        (True, {}, 500.0, as_it_is, ["of applications that run, for 8 minutes: Redis does not take them"]),
        (True, {}, 5.0, damage, []),
        (True, {"durable": True}, 500.0, as_it_is, ["of durable events, for 8 minutes"]),
        (True, {"durable": True}, 50.0, as_it_is, []),
    ],
)
async def test_files_of_applications_are_told_and_neither_locked_nor_changed(
    tmp_path: Path,
    owned: bool,
    kind: dict[str, Any],
    age: float,
    change: Callable[[Path], None],
    says: list[str],
) -> None:
    wanted = settings(None, None, tmp_path)
    folder = SpoolFolder.make(wanted.spool_dir)
    try:
        path = stow(folder, age=age, **kind)
        change(path)
        before = path.read_bytes()
        if not owned:
            folder.disown()
        # The file's own time is no help: an application may be writing to it still.
        os.utime(path)
        found = [each for each in await diagnose(wanted) if each.check == "spool" and each.level != "ok"]
        assert len(found) == len(says)
        assert all(text in each.says for text, each in zip(says, found, strict=True))
        assert all(each.level == "warning" and each.next for each in found)
        assert path.read_bytes() == before
        assert is_locked(path.parent) == owned
    finally:
        folder.disown()
