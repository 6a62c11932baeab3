"""Limits over real servers: shared by processes, kept without Redis, and bodies that nobody sends by mistake."""

import asyncio
import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from streamgauge.errors import SettingsError
from streamgauge.limits.buckets import Buckets
from streamgauge.limits.rate import LOCAL_SHARE, Asked, Rates
from streamgauge_local.valkey import LocalValkey
from tests.integration.program import PATIENCE, clean_environment, free_port

PROCESSES = 4
#: For tests of what Redis says: however busy the machine is, Redis is waited for.
PATIENT = 30.0
PAUSE = 0.05
MEBIBYTE = 1024 * 1024


def test_four_processes_that_flood_one_limit_get_what_one_may(redis_url: str) -> None:
    per_minute, burst, seconds = 18_000, 900, 2.0
    arguments = [redis_url, str(per_minute), str(burst), str(seconds)]
    with contextlib.ExitStack() as ending:
        processes = [ending.enter_context(flooding(arguments)) for _ in range(PROCESSES)]
        with ThreadPoolExecutor(PROCESSES) as readers:
            assert (
                list(readers.map(lambda each: each.stdout.readline(), processes)) == ["ready\n"] * PROCESSES
            )
            start = f"{time.time() + 0.2}\n"
            outputs = list(readers.map(lambda each: each.communicate(start, PATIENCE)[0].split(), processes))
    assert [output[2] for output in outputs] == ["False"] * PROCESSES
    allowed = sum(int(output[0]) for output in outputs)
    refused = sum(int(output[1]) for output in outputs)
    expected = burst + per_minute * seconds / 60
    print(
        f"allowed {[output[0] for output in outputs]}, together {allowed} of {allowed + refused}; expected {expected:.0f}"
    )
    assert refused > expected / 4, "that was no flood"
    assert all(int(output[0]) > 0 for output in outputs)
    assert 0.95 * expected <= allowed <= 1.05 * expected


@contextlib.contextmanager
def flooding(arguments: list[str]) -> Iterator[Any]:
    command = [sys.executable, "-m", "tests.unit.limits.flood", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(), text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.asynccontextmanager
async def limits_in(url: str, **options: Any) -> AsyncIterator[tuple[Rates, CollectorRegistry]]:
    registry = CollectorRegistry()
    rates = Rates(url, "test", **{"patience": PATIENT, **options}, registry=registry)
    try:
        yield rates, registry
    finally:
        await rates.aclose()


async def test_a_limit_says_what_is_left_and_when_there_is_more(redis_url: str) -> None:
    async with limits_in(redis_url) as (rates, _):
        hourly = Asked("slow", 1, 3)
        verdicts = [await rates.take(hourly) for _ in range(4)]
        assert [(each.allowed, each.remaining) for each in verdicts] == [(True, 2), (True, 1), (True, 0), (False, 0)]  # fmt: skip
        assert verdicts[0].retry_after_seconds == 0
        assert verdicts[0].reset_seconds in (59, 60)
        assert verdicts[-1].retry_after_seconds in (59, 60)
        assert {each.limit for each in verdicts} == {1}
        looking = Asked("looked at", 1, 3, 0)
        assert [(await rates.take(looking)).remaining for _ in range(3)] == [3, 3, 3]
        both = await rates.take_each(Asked("slow", 1, 3, 0), Asked("other", 1, 1))
        assert [each.allowed for each in both] == [False, True]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), min_size=1, max_size=25), st.integers(1, 9)
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_redis_decides_as_a_process_does_alone(
    redis_url: str, asked: list[tuple[str, int]], burst: int
) -> None:
    alone = Buckets(lambda: 1_000.0)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    async with limits_in(redis_url) as (rates, _):
        for name, cost in asked:
            verdict = await rates.take(Asked(name, 1, burst, cost))
            level = alone.take(name, 1, burst, cost)
            assert (verdict.allowed, verdict.remaining) == (level.allowed, level.left)


async def test_what_is_kept_is_one_short_lived_key_for_each_name(redis_url: str) -> None:
    async with limits_in(redis_url) as (rates, _):
        await rates.take_each(Asked("a", 60, 10), Asked("b", 6_000, 10), Asked("looked at", 60, 1, 0))
        for _ in range(20):
            await rates.take(Asked("a", 60, 10))
    with redis.Redis.from_url(redis_url) as client:
        kept = {key.decode(): client.pttl(key) for key in client.scan_iter()}
        assert {"test:{rate}:a", "test:{rate}:looked at"} & kept.keys() == {"test:{rate}:a"}
        assert kept.keys() <= {"test:{rate}:a", "test:{rate}:b", "test:{rate}:probe"}
        assert 0 < kept["test:{rate}:a"] <= 10_000
        # Nobody waits longer than a full bucket takes, whatever a clock or a setting did.
        client.set("test:{rate}:a", "99999999999999999")
    async with limits_in(redis_url) as (rates, _):
        assert (await rates.take(Asked("a", 60, 10, 0))).retry_after_seconds == 1


async def test_a_request_that_is_given_up_takes_no_answer_of_another(redis_url: str) -> None:
    async with limits_in(redis_url) as (rates, _):
        await rates.take(Asked("first", 1, 1))
        asking = [
            asyncio.create_task(rates.take(Asked(f"name {number}", 1, 1 + number))) for number in range(50)
        ]
        await asyncio.sleep(0)
        for number in range(0, 50, 2):
            asking[number].cancel()
        found = await asyncio.gather(*asking, return_exceptions=True)
        for number in range(1, 50, 2):
            verdict = found[number]
            assert not isinstance(verdict, BaseException)
            assert verdict.remaining == number
        assert not rates.local


async def test_it_can_be_closed_and_used_again(redis_url: str) -> None:
    async with limits_in(redis_url) as (rates, _):
        for remaining in (2, 1, 0):
            assert (await rates.take(Asked("a", 1, 3))).remaining == remaining
            await rates.aclose()
        assert not rates.local


@dataclass
class Server:
    """A Valkey of the test's own, to be mistreated."""

    valkey: LocalValkey
    url: str

    def configure(self, name: str, value: str) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.config_set(name, value)

    @property
    def process_id(self) -> int:
        with redis.Redis.from_url(self.url) as client:
            return int(client.info("server")["process_id"])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    # The path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="sg-") as short:
        valkey = LocalValkey(tmp_path / "valkey", Path(short), tmp_path / "valkey.log", ephemeral=True)
        await valkey.start()
        try:
            yield Server(valkey, valkey.url())
        finally:
            await valkey.stop()


SLOW = Asked("slow", 1, 40)
#: How many of SLOW's a process allows alone.
SHARE = int(40 * LOCAL_SHARE)


async def use_up(rates: Rates) -> int:
    """How many of SLOW's are allowed."""
    return sum([(await rates.take(SLOW)).allowed for _ in range(60)])


async def until_back(rates: Rates) -> None:
    deadline = time.monotonic() + PATIENCE
    while rates.local:
        assert time.monotonic() < deadline, "it did not come back"
        await rates.take(Asked("anything", 60, 1, 0))
        await asyncio.sleep(0.01)


async def lose_and_find(
    server: Server, lose: Callable[[], object], find: Callable[[], object], why: str
) -> None:
    async with limits_in(server.url, patience=0.05, pause=PAUSE) as (rates, registry):
        with capture_logs() as logs:
            assert (await rates.take(Asked("before", 1, 5))).remaining == 4
            found = lose()
            if asyncio.iscoroutine(found):
                await found
            started = time.perf_counter()
            # Neither an open door nor a closed one, while Redis is still away.
            first = await rates.take(SLOW)
            print(f"{why}: decided after {(time.perf_counter() - started) * 1000:.0f} ms")
            assert first.allowed
            assert await use_up(rates) == SHARE - 1
            assert rates.local
            assert registry.get_sample_value("streamgauge_rate_limits_local") == 1
            # It looks for Redis meanwhile, and does not find it.
            for _ in range(10):
                await asyncio.sleep(PAUSE / 2)
                assert not (await rates.take(SLOW)).allowed
                assert rates.local
            found = find()
            if asyncio.iscoroutine(found):
                await found
            await until_back(rates)
            # One that was asked while Redis hung it has taken since.
            assert await use_up(rates) in (39, 40)
        assert registry.get_sample_value("streamgauge_rate_limits_local") == 0
        assert registry.get_sample_value("streamgauge_rate_limits_redis_lost_total") == 1
        assert [each["log_level"] for each in logs] == ["warning", "info"]
        assert why in logs[0]["detail"]


async def test_while_redis_is_down_each_process_allows_a_share_and_it_comes_back_by_itself(
    server: Server,
) -> None:
    await lose_and_find(server, server.valkey.stop, server.valkey.start, "cannot be reached")


async def test_while_redis_hangs_nobody_waits_for_it(server: Server) -> None:
    process_id = server.process_id
    try:
        await lose_and_find(
            server,
            lambda: os.kill(process_id, signal.SIGSTOP),
            lambda: os.kill(process_id, signal.SIGCONT),
            "too long",
        )
    finally:
        os.kill(process_id, signal.SIGCONT)


async def test_a_redis_that_is_full_is_away(server: Server) -> None:
    await lose_and_find(
        server,
        lambda: server.configure("maxmemory", "1"),
        lambda: server.configure("maxmemory", "0"),
        "maxmemory",
    )


async def test_a_redis_that_hangs_is_asked_once_and_then_left_alone(server: Server) -> None:
    process_id = server.process_id
    async with limits_in(server.url, patience=0.05, pause=1_000) as (rates, _):
        await rates.take(SLOW)
        os.kill(process_id, signal.SIGSTOP)
        try:
            assert (await asyncio.gather(*(rates.take(SLOW) for _ in range(30))))[0].allowed
            # From now on a decision takes no turn of the event loop at all.
            for _ in range(100):
                deciding = rates.take(SLOW)
                with pytest.raises(StopIteration):
                    deciding.send(None)
        finally:
            os.kill(process_id, signal.SIGCONT)
        for _ in range(5):
            await asyncio.sleep(0.05)
            await rates.take(SLOW)
        assert rates.local


async def test_a_restart_and_a_closed_connection_are_not_even_noticed(server: Server) -> None:
    async with limits_in(server.url) as (rates, registry):
        assert await use_up(rates) == 40
        await server.valkey.stop()
        await server.valkey.start()
        assert await use_up(rates) == 40  # an empty Redis: what it knew is gone
        with redis.Redis.from_url(server.url) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        assert not (await rates.take(SLOW)).allowed
        assert registry.get_sample_value("streamgauge_rate_limits_redis_lost_total") == 0


async def test_without_redis_from_the_start_there_are_limits_all_the_same() -> None:
    for nowhere in (f"redis://127.0.0.1:{free_port()}/0", "unix:///nowhere/valkey.sock"):
        async with limits_in(nowhere, patience=0.05) as (rates, _):
            assert await use_up(rates) == SHARE
            assert rates.local


async def test_a_server_that_takes_connections_and_says_nothing_holds_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        async with limits_in(url, patience=0.05) as (rates, registry):
            assert await use_up(rates) == SHARE
            assert registry.get_sample_value("streamgauge_rate_limits_redis_lost_total") == 1


async def test_a_process_that_was_held_up_itself_does_not_give_redis_up(redis_url: str) -> None:
    async with limits_in(redis_url, patience=0.2) as (rates, registry):
        for _ in range(3):
            asking = asyncio.create_task(rates.take(Asked("a", 60, 5)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.25)  # noqa: ASYNC251 - that is what is tried
            await asking
        assert registry.get_sample_value("streamgauge_rate_limits_redis_lost_total") == 0


def test_an_address_of_redis_that_is_none_is_refused_without_telling_its_password() -> None:
    with pytest.raises(SettingsError) as refused:
        Rates("http://user:secret@redis", "test")
    assert "secret" not in str(refused.value)


@dataclass
class Victim:
    """A server of its own process that reads JSON."""

    port: int
    process_id: int

    def most_memory(self) -> int:
        """The most it ever held, in bytes."""
        lines = Path(f"/proc/{self.process_id}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

    def send(self, headers: str, parts: Iterator[bytes]) -> bytes:
        """The answer to a request whose body is sent until there is one; as a client that reads while it writes."""
        started, answer = time.perf_counter(), b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(f"POST / HTTP/1.1\r\nHost: victim\r\n{headers}\r\n\r\n".encode())
            connection.settimeout(0.0)
            deadline, left = time.monotonic() + PATIENCE, next(parts, b"")
            while not is_whole(answer):
                assert time.monotonic() < deadline, "there was no answer"
                readable, writable, _ = select.select(
                    [connection], [connection] if left else [], [], PATIENCE
                )
                if readable:
                    received = connection.recv(65_536)
                    assert received, "it hung up without an answer"
                    answer += received
                if writable:
                    try:
                        left = left[connection.send(left) :] or next(parts, b"")
                    except OSError:  # it has closed: what it said before that can still be read
                        left = b""
        print(f"answered after {(time.perf_counter() - started) * 1000:.0f} ms")
        return answer


def is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\ncontent-length: ([0-9]+)", head)
    return bool(end) and length is not None and len(body) == int(length[1])


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.unit.limits.attacked:app", "--port", str(port)]
    with subprocess.Popen(
        [*command, "--log-level", "warning"], env=clean_environment(), stderr=subprocess.STDOUT
    ) as process:
        try:
            found = Victim(port, process.pid)
            deadline = time.monotonic() + PATIENCE
            while True:
                assert time.monotonic() < deadline
                assert process.poll() is None
                with contextlib.suppress(OSError):
                    answer = found.send(f"{JSON}\r\nContent-Length: 2", iter((b"{}",)))
                    break
                time.sleep(0.05)
            assert answer.startswith(b"HTTP/1.1 200 ")
            yield found
        finally:
            process.kill()


JSON = "Content-Type: application/json"
CHUNKED = f"{JSON}\r\nTransfer-Encoding: chunked"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def endless(content: bytes) -> Iterator[bytes]:
    while True:
        yield chunk(content)


def bomb(mebibytes: int) -> bytes:
    """So many mebibytes of zeros as gzip, made without packing them all: each piece stands by itself. Its checksum is wrong."""
    packing = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    piece = packing.compress(bytes(MEBIBYTE)) + packing.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + piece * mebibytes + b"\x03\0" + bytes(8)


def attacks() -> dict[str, tuple[str, Callable[[], Iterator[bytes]], int, bytes]]:
    """Headers, body, and how it is answered."""
    packed = bomb(1_000)
    assert len(packed) < MEBIBYTE
    gzip = f"{JSON}\r\nContent-Encoding: gzip"

    def whole(body: bytes) -> tuple[str, Callable[[], Iterator[bytes]]]:
        return f"{JSON}\r\nContent-Length: {len(body)}", lambda: iter((body,))

    nested = [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 49_000 + b"1" + b"}" * 49_000]
    return {
        "endless": (CHUNKED, lambda: endless(b" " * 16_384), 413, b"longer than 1048576 bytes"),
        "endless drops": (CHUNKED, lambda: endless(b" " * 512), 413, b"longer than 1048576 bytes"),
        "30 GB announced": (f"{JSON}\r\nContent-Length: 30000000000", lambda: iter(()), 413, b"longer"),
        "gzip bomb": (f"{gzip}\r\nContent-Length: {len(packed)}", lambda: iter((packed,)), 413, b"longer"),
        "gzip bomb in chunks": (f"{gzip}\r\nTransfer-Encoding: chunked", lambda: endless(packed), 413, b"longer"),
        "nested lists": (*whole(nested[0]), 400, b"nested deeper than 8"),
        "nested objects": (*whole(nested[1]), 400, b"nested deeper than 8"),
        "texts": (*whole(b"[" + b'"",' * 340_000 + b"0]"), 400, b"more than 100000 keys and values"),
        "keys": (*whole(b"{" + b'"[":1,' * 170_000 + b'"":0}'), 400, b"more than 50000 keys"),
        "objects": (*whole(b"[" + b"{}," * 340_000 + b"0]"), 400, b"more than 100000 keys and values"),
    }  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("name", list(attacks()))
def test_an_attack_with_a_body_is_answered_and_takes_no_memory(victim: Victim, name: str) -> None:
    headers, body, status, told = attacks()[name]
    before = victim.most_memory()
    answers = [victim.send(headers, body()) for _ in range(2)]
    grown = victim.most_memory() - before
    print(f"{name}: {grown / MEBIBYTE:.1f} MiB more")
    for answer in answers:
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"application/problem+json" in answer
        assert told in answer
    assert grown <= 20 * MEBIBYTE
