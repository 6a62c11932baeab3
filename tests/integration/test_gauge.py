"""A host's events on their way through a real Valkey: outages, forks, kills and exits; each arrives once, and none says who it is about."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from streamgauge.capture.delivery import Delivery
from streamgauge.capture.endpoints import FILE
from streamgauge.capture.gauge import Streamgauge
from streamgauge.capture.pending import Pending
from streamgauge.capture.pseudonyms import Keyring
from streamgauge.catalogue import CATALOGUE
from streamgauge.entry import Announcement, Batch, EntryId, decode_all
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge.stream import stream_key
from streamgauge.summaries.rollups import EventType, Property
from streamgauge.table import thaw
from streamgauge_local import binaries
from streamgauge_local.valkey import LocalValkey
from streamgauge_workers.delivery import judge

from .engine import open_engine

LESSON = EventType("lesson.read", "how far learners get", {"percent": Property(int, "how far")})
PATIENCE = 30.0  # seconds until a test that waits gives up


@dataclass
class Received:
    """What a worker makes of the streams."""

    numbers: list[int]
    redelivered: int
    lost: int
    lanes: int
    closed: int
    drops: dict[str, int]


def received(url: str, shards: int = 4) -> Received:
    """Read all streams from their beginnings, and count every event once, as a worker does."""
    found = Received([], 0, 0, 0, 0, {})
    with redis.Redis.from_url(url) as client:
        for shard in range(shards + 1):  # the overflow too
            raw: Any = client.xrange(stream_key("streamgauge", 0, shard))
            verdict = judge(
                {}, decode_all((EntryId.parse(id_), list(fields.items())) for id_, fields in raw), 0, 0
            )
            assert not verdict.conflicts
            assert not verdict.unreadable
            for _, batch in verdict.fresh:
                table = thaw(batch.payload)
                found.numbers += [int(table.event(row).properties["percent"]) for row in range(table.n)]
            found.redelivered += sum(batch.n for _, batch in verdict.duplicates)
            found.lost += sum(lane.lost for lane in verdict.lanes.values())
            found.lanes += len(verdict.lanes)
            found.closed += sum(lane.closed for lane in verdict.lanes.values())
            for drops in verdict.drops.values():
                for reason, count in drops.items():
                    found.drops[reason] = found.drops.get(reason, 0) + count
    found.numbers.sort()
    return found


def stored_bytes(url: str) -> bytes:
    """Everything there is in Redis, payloads and all."""
    with redis.Redis.from_url(url) as client:
        keys: Any = client.keys("*")
        parts = list(keys)
        for key in keys:
            for _, fields in client.xrange(key):
                parts += [part for pair in fields.items() for part in pair]
    return b"\n".join(parts)


def open_gauge(url: str | None, folder: Path, patience: float = 5.0, **settings: Any) -> Streamgauge:
    chosen = Settings(**{"redis_url": url, "data_dir": folder, "flush_milliseconds": 5, **settings})

    def open_stream(address: str) -> RedisStream:
        return RedisStream(address, chosen.stream_prefix, 0, chosen.shards, patience=patience)

    return Streamgauge(chosen, event_types=[LESSON], outlet=Delivery(chosen, open_stream))


def track(gauge: Streamgauge, number: int) -> bool:
    return bool(gauge.track(LESSON.name, actor=f"user-{number % 50}", percent=number))


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


class OwnValkey(LocalValkey):
    """A server of one test, to be treated badly. What it has acknowledged outlives its process."""

    async def start(self) -> None:
        self._candidates = tuple(binaries.valkey_candidates())
        await super().start()
        with redis.Redis.from_url(self.url()) as client:
            client.config_set("appendfsync", "always")

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send(number)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self._process is not None
        assert await self._process.wait(PATIENCE)


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[OwnValkey]:
    # Sockets have short names.
    with tempfile.TemporaryDirectory(prefix="sg-") as sockets:
        server = OwnValkey(tmp_path / "valkey", Path(sockets), tmp_path / "valkey.log")
        await server.start()
        try:
            yield server
        finally:
            server.send(signal.SIGCONT)
            await server.stop()


async def traffic(gauge: Streamgauge, first: int, count: int) -> list[int]:
    """Events one after the other; returns the numbers of those that were accepted."""
    accepted = []
    for number in range(first, first + count):
        if track(gauge, number):
            accepted.append(number)
        if number % 20 == 0:
            await asyncio.sleep(0.005)
    return accepted


async def flushed(gauge: Streamgauge) -> bool:
    return await asyncio.to_thread(gauge.flush, PATIENCE)


async def test_a_killed_redis_that_comes_back_has_every_accepted_event_once(
    valkey: OwnValkey, tmp_path: Path
) -> None:
    with open_gauge(valkey.url(), tmp_path, buffer_events=2_000, capture_mode="memory") as gauge:
        accepted = await traffic(gauge, 0, 500)
        await valkey.kill()
        accepted += await traffic(gauge, 500, 2_500)
        await until(lambda: gauge.status()["redis"] == "failing")
        assert gauge.status()["dropped"]["buffer_full"] == 3_000 - len(accepted) > 0
        await valkey.start()
        assert await flushed(gauge)
        accepted += await traffic(gauge, 3_000, 100)
        assert await flushed(gauge)
        status = gauge.status()
    found = received(valkey.url())
    assert found.numbers == accepted
    assert (status["accepted"], status["sent"], status["waiting"]) == (len(accepted), len(accepted), 0)
    assert (found.lost, found.closed) == (0, found.lanes)
    assert found.drops == status["dropped"]


async def test_a_hung_redis_that_goes_on_has_every_accepted_event_once(
    valkey: OwnValkey, tmp_path: Path
) -> None:
    # Impatient, so that batches are sent again whose first copies Redis reads after all.
    with open_gauge(valkey.url(), tmp_path, patience=0.2, capture_mode="memory") as gauge:
        accepted = await traffic(gauge, 0, 100)
        assert await flushed(gauge)
        valkey.send(signal.SIGSTOP)
        accepted += await traffic(gauge, 100, 1_000)
        await until(lambda: gauge.status()["redis"] == "failing")
        await asyncio.sleep(0.5)
        assert gauge.status()["waiting"] > 0
        valkey.send(signal.SIGCONT)
        assert await flushed(gauge)
    found = received(valkey.url())
    assert found.numbers == accepted == list(range(1_100))
    assert found.redelivered > 0
    assert found.lost == 0


async def test_a_full_redis_that_has_room_again_has_every_accepted_event_once(
    valkey: OwnValkey, tmp_path: Path
) -> None:
    with (
        open_gauge(valkey.url(), tmp_path, capture_mode="memory") as gauge,
        redis.Redis.from_url(valkey.url()) as client,
    ):
        accepted = await traffic(gauge, 0, 100)
        assert await flushed(gauge)
        client.config_set("maxmemory", "1mb")
        accepted += await traffic(gauge, 100, 500)
        await until(lambda: gauge.status()["redis"] == "failing")
        assert "it is full" in gauge.status()["last_error"]
        client.config_set("maxmemory", "0")
        assert await flushed(gauge)
    found = received(valkey.url())
    assert found.numbers == accepted == list(range(600))
    assert found.lost == 0


async def test_closing_while_redis_hangs_ends_although_the_client_would_wait_for_minutes(
    valkey: OwnValkey, tmp_path: Path
) -> None:
    gauge = open_gauge(valkey.url(), tmp_path, patience=600.0, capture_mode="memory")
    accepted = await traffic(gauge, 0, 10)
    assert await flushed(gauge)
    valkey.send(signal.SIGSTOP)
    accepted += await traffic(gauge, 10, 10)
    await asyncio.sleep(0.05)
    assert not await asyncio.to_thread(gauge.close, 0.3)
    status = gauge.status()
    assert (status["accepted"], status["sent"], status["waiting"]) == (20, 10, 0)
    assert status["dropped"] == {"undelivered": 10}
    valkey.send(signal.SIGCONT)
    # They were on their way, and may be there all the same: `undelivered` is what nobody can be sure of.
    found = received(valkey.url())
    assert set(accepted[:10]) <= set(found.numbers) <= set(accepted)
    assert len(found.numbers) == len(set(found.numbers))


async def test_a_local_server_is_found_by_its_note_and_again_after_it_has_moved(tmp_path: Path) -> None:
    note = tmp_path / "data" / FILE
    gauge = open_gauge(None, note.parent, patience=0.5)
    accepted = await traffic(gauge, 0, 10)
    await until(lambda: gauge.status()["redis"] == "not_configured")
    note.parent.mkdir()
    for start in (1, 2):
        with tempfile.TemporaryDirectory(prefix="sg-") as sockets:
            server = OwnValkey(tmp_path / "valkey", Path(sockets), tmp_path / "valkey.log")
            note.write_text("{")  # half written, as an ordinary file would be for a moment
            await server.start()
            note.write_text(json.dumps({"redis_url": server.url(), "ready": True, "pid": 1}))
            try:
                assert await flushed(gauge)
                accepted += await traffic(gauge, start * 100, 20)
                assert await flushed(gauge)
                if start == 2:
                    assert await asyncio.to_thread(gauge.close)
                    found = received(server.url())
                    assert found.numbers == accepted
                    assert (found.lost, found.closed) == (0, found.lanes)
            finally:
                await server.stop()
        accepted += await traffic(gauge, start * 100 + 50, 10) if start == 1 else []


HOST = """
import json, os, signal, sys, threading, time
from pathlib import Path
from streamgauge import EventType, Property, Settings, Streamgauge
from streamgauge.capture import exits

exits.SECONDS = 30.0  # however busy the machine is
LESSON = EventType("lesson.read", "", {{"percent": Property(int, "")}})
gauge = Streamgauge(Settings(redis_url={url!r}, data_dir=Path({folder!r}), flush_milliseconds=5), event_types=[LESSON])
def track(number):
    return bool(gauge.track("lesson.read", actor=f"user-{{number % 50}}", percent=number))
"""


def run_host(program: str, url: str, folder: Path, **environment: str) -> str:
    """What a host's program prints, and whatever it complains of."""
    done = subprocess.run(
        [sys.executable, "-c", HOST.format(url=url, folder=str(folder)) + program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    return done.stdout


def test_a_process_that_ends_without_closing_has_sent_everything(redis_url: str, tmp_path: Path) -> None:
    run_host("for number in range(700): assert track(number)", redis_url, tmp_path)
    found = received(redis_url)
    assert found.numbers == list(range(700))
    assert (found.lost, found.closed) == (0, found.lanes)


def test_events_of_other_exit_handlers_are_sent_too(redis_url: str, tmp_path: Path) -> None:
    run_host("import atexit; atexit.register(track, 2); track(1)", redis_url, tmp_path)
    assert received(redis_url).numbers == [1, 2]


@contextmanager
def over_tcp(redis_url: str) -> Iterator[str]:
    """The address of the same server by a host's name, which has to be looked up."""
    program = """
import asyncio, sys
async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
async def serve(reader, writer):
    theirs = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(pump(reader, theirs[1]), pump(theirs[0], writer))
async def main():
    server = await asyncio.start_server(serve, "localhost", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
    path = redis_url.removeprefix("unix://").partition("?")[0]
    proxy = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True)
    assert proxy.stdout is not None
    try:
        yield f"redis://localhost:{int(proxy.stdout.readline())}/0"
    finally:
        proxy.kill()
        proxy.wait()
        proxy.stdout.close()


def test_a_short_program_reaches_a_redis_by_its_host_name_while_it_ends(
    redis_url: str, tmp_path: Path
) -> None:
    # Looking up names takes a thread in asyncio, and a process that ends starts no more of them.
    with over_tcp(redis_url) as url:
        run_host("track(1)", url, tmp_path)
    assert received(redis_url).numbers == [1]


FORKING = """
def work(first):
    for number in range(first, first + 300):
        assert track(number)
        if number % 50 == 0: time.sleep(0.005)
before = {before}
for number in range(before): track(number)
if {wait}: gauge.flush(10)
children = []
for child in (1, 2, 3):
    pid = os.fork()
    if pid == 0:
        assert gauge.status()["accepted"] == 0 and gauge.status()["dropped"] == {{}}, gauge.status()
        work(child * 10_000)
        assert gauge.close(20), gauge.status()
        os._exit(0)
    children.append(pid)
    work(100_000 + child * 1_000)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
assert gauge.close(20), gauge.status()
"""


@pytest.mark.parametrize(
    ("before", "wait"), [(0, False), (200, False), (200, True)], ids=["unused", "in the middle", "idle"]
)
def test_forked_children_and_their_parent_each_send_their_own_events_once(
    redis_url: str, tmp_path: Path, before: int, wait: bool
) -> None:
    run_host(FORKING.format(before=before, wait=wait), redis_url, tmp_path)
    found = received(redis_url)
    expected = [*range(before)]
    for child in (1, 2, 3):
        expected += [*range(child * 10_000, child * 10_000 + 300)]
        expected += [*range(100_000 + child * 1_000, 100_000 + child * 1_000 + 300)]
    assert found.numbers == sorted(expected)
    # Some may come twice, when the server took longer than a second to answer; none counts twice.
    assert (found.lost, found.closed) == (0, found.lanes)
    assert found.lanes == 4 * 4


BUSY_FORKS = """
stop = threading.Event()
counts = [0] * 4
def busy(thread):
    while not stop.is_set():
        counts[thread] += track(thread)
        time.sleep(0.0002)
threads = [threading.Thread(target=busy, args=(thread,)) for thread in range(4)]
for thread in threads: thread.start()
children = 0
for child in range(12):
    pid = os.fork()
    if pid == 0:
        sent = sum(track(50 + child) for _ in range(20))
        os._exit(0 if gauge.close(20) and sent == 20 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    children += 20
stop.set()
for thread in threads: thread.join()
assert gauge.close(20)
print(sum(counts), children)
"""


def test_forks_in_the_middle_of_traffic_from_many_threads_lose_and_repeat_nothing(
    redis_url: str, tmp_path: Path
) -> None:
    parents, children = map(int, run_host(BUSY_FORKS, redis_url, tmp_path).split())
    found = received(redis_url)
    assert len([number for number in found.numbers if number < 50]) == parents
    assert len([number for number in found.numbers if number >= 50]) == children == 240
    assert (found.lost, found.closed) == (0, found.lanes)


FIRST_FORK = """
# The very first event loads the client in the sender's thread; forking meanwhile must not leave half a module behind.
track(0)
for child in range(4):
    pid = os.fork()
    if pid == 0:
        import redis.asyncio
        track(1 + child)
        os._exit(0 if gauge.close(20) else 1)
    assert os.waitpid(pid, 0)[1] == 0
assert gauge.close(20)
"""


def test_forking_while_the_client_is_being_loaded_does_not_hang_the_child(
    redis_url: str, tmp_path: Path
) -> None:
    run_host(FIRST_FORK, redis_url, tmp_path)
    assert received(redis_url).numbers == [0, 1, 2, 3, 4]


LOADED = """
destination = gauge._outlet._destination
opened, before = destination._open_stream, set()
def open_stream(url):
    stream = opened(url)
    before.update(sys.modules)
    return stream
destination._open_stream = open_stream
track(1)
while destination.state == "not_tried": time.sleep(0.01)
if destination.state == "connected":
    assert gauge.close(20)
    if os.fork() == 0: sys.exit(0)
    os.wait()
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("how", ["a socket", "a host's name", "nobody there"])
def test_nothing_is_loaded_behind_the_moment_in_which_a_fork_waits_for_it(
    redis_url: str, tmp_path: Path, how: str
) -> None:
    if how == "a host's name":
        with over_tcp(redis_url) as url:
            loaded = run_host(LOADED, url, tmp_path)
    else:
        loaded = run_host(LOADED, redis_url if how == "a socket" else "redis://127.0.0.1:1", tmp_path)
    assert json.loads(loaded) == []


EXITING_CHILD = """
import multiprocessing
track(0)
gauge.flush(10)
def work(number):
    track(number)
child = multiprocessing.get_context("fork").Process(target=work, args=(1,))
child.start(); child.join()
assert child.exitcode == 0
pid = os.fork()
if pid == 0:
    track(2)
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
track(3)
"""


def test_children_that_end_in_their_own_ways_without_closing_have_sent_everything(
    redis_url: str, tmp_path: Path
) -> None:
    run_host(EXITING_CHILD, redis_url, tmp_path)
    found = received(redis_url)
    assert found.numbers == [0, 1, 2, 3]
    assert (found.lost, found.closed) == (0, found.lanes)


COLLECTING_CHILD = """
import asyncio, gc
track(0)
assert gauge.flush(20)
connections = [each for each in gc.get_objects() if isinstance(each, asyncio.StreamWriter)]
assert connections
if os.fork() == 0:
    # As the garbage collector would: the kernel's table of what to watch is the parent's, too.
    for each in connections: each.close()
    os._exit(0)
assert os.wait()[1] == 0
track(1)
assert gauge.flush(20)
print(json.dumps(gauge.status()["troubles"]))
"""


def test_a_child_that_collects_what_it_inherited_does_not_cut_the_parents_connections(
    redis_url: str, tmp_path: Path
) -> None:
    assert json.loads(run_host(COLLECTING_CHILD, redis_url, tmp_path)) == {}
    assert received(redis_url).numbers == [0, 1]


KILLED = """
for number in range(400):
    assert track(number)
gauge.flush(10)
os.kill(os.getppid(), 0)
for number in range(400, 10_000):
    track(number)
    if number == 5_000: os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_killed_host_loses_what_it_had_not_sent_and_nothing_is_counted_twice(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    program = HOST.format(url=redis_url, folder=str(tmp_path)) + KILLED
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], timeout=60)
    assert done.returncode == -signal.SIGKILL
    async with open_engine(redis_url, database_url, {"default": "UTC"}) as engine:
        await engine.drain()
        outcomes = await engine.outcomes()
        assert set(outcomes) == {("applied", "")}
        assert 400 <= outcomes["applied", ""] <= 5_001
        transport = await engine.transport()
        assert (transport.processed, transport.lost) == (outcomes["applied", ""], 0)
        numbers = received(redis_url).numbers
        assert numbers[:400] == list(range(400))
        assert len(numbers) == len(set(numbers)) == outcomes["applied", ""]


async def test_what_hosts_track_is_what_the_worker_counts_and_drops_reach_the_ledger(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with open_engine(redis_url, database_url, {"default": "UTC"}, CATALOGUE.extended(LESSON)) as engine:
        with open_gauge(redis_url, tmp_path) as gauge:
            for number in range(300):
                assert track(gauge, number)
            gauge.requests.record(route="/a", method="GET", status=200, duration_us=5_000, actor="user-1")
            gauge.track("no.such")
        await engine.drain()
        assert await engine.outcomes() == {("applied", ""): 301}
        transport = await engine.transport()
        assert (transport.announced, transport.processed, transport.lost) == (301, 301, 0)
        drops = await engine.connection.fetchval("SELECT jsonb_agg(drops) FROM lanes WHERE drops <> '{}'")
        assert json.loads(drops) == [{"undeclared_event": 1}]
        actors = await engine.connection.fetchval("SELECT count(*) FROM actors")
        assert actors == 50


async def test_an_idempotency_key_given_twice_counts_once_whatever_process_gives_it(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with open_engine(redis_url, database_url, {"default": "UTC"}) as engine:
        for _ in range(2):
            with open_gauge(redis_url, tmp_path) as gauge:
                for given in (
                    {"actor": "ada"},
                    {"actor": "bob"},
                    {"session": "s"},
                    {},
                ):
                    ticket = gauge.track(LESSON.name, idempotency_key="k", **given)  # type: ignore[arg-type]  # texts
                    assert ticket
        await engine.drain()
        assert await engine.outcomes() == {("applied", ""): 4, ("repeated_key", ""): 4}


SECRETS = (
    "ada@example.org",
    "session-cookie-0123456789",
    "192.0.2.77",
    "Mozilla/5.0 Distinctive",
    "key-of-ada",
)


async def test_no_identifier_address_or_agent_is_found_in_anything_that_was_sent(
    redis_url: str, tmp_path: Path
) -> None:
    actor, session, address, agent, key = SECRETS
    with open_gauge(redis_url, tmp_path) as gauge:
        for number in range(50):
            assert gauge.track(
                LESSON.name,
                actor=actor,
                session=session,
                idempotency_key=f"{key}{number}",
                percent=number,
                email=actor,
            )
            visit = Pending(
                "http.request", time.time_ns() // 1_000, "default", None, session, None, None, "server",
                {"http.route": "/lessons/{id}"}, None, (address, agent),
            )  # fmt: skip
            assert gauge.offer(visit)
        gauge.track(LESSON.name, actor="x" * 600 + actor)
        status = gauge.status()
    sent = stored_bytes(redis_url)
    assert b"/lessons/{id}" in sent
    for secret in SECRETS:
        assert secret.encode() not in sent
        assert secret not in json.dumps(status)
    keys = Keyring(tmp_path / "keyring.json").tenant("default")
    assert keys.pseudonym("actor", actor) in sent
    assert keys.pseudonym("session", session).hex().encode() in sent


async def test_announcements_and_batches_of_a_closed_gauge_are_all_that_is_in_redis(
    redis_url: str, tmp_path: Path
) -> None:
    with open_gauge(redis_url, tmp_path, shards=1) as gauge:
        track(gauge, 1)
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys("*") == [b"streamgauge:{0.0}:events"]
        raw: Any = client.xrange("streamgauge:{0.0}:events")
    records = [record for _, record in decode_all((EntryId.parse(i), list(f.items())) for i, f in raw)]
    assert [type(record) for record in records] == [Batch, Announcement]
