"""Files between a host and a real Valkey that is killed, hangs, is full or forgets; hosts that are killed, and disks that are full."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import redis

from streamgauge.capture import absences, kept_segment, replay
from streamgauge.capture.gauge import Streamgauge
from streamgauge.catalogue import CATALOGUE
from streamgauge_workers import acknowledgements

from .engine import open_engine
from .test_gauge import HOST, LESSON, OwnValkey, flushed, open_gauge, received, traffic, until

FULL = bool(os.environ.get("STREAMGAUGE_TESTS_FULL"))
COUNT = 20_000 if FULL else 1_500
CASES = [("disk", "hung"), ("disk", "full"), ("durable", "killed")]
CASES += [("disk", "killed"), ("durable", "hung"), ("durable", "full")] if FULL else []


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Looks more often at what takes a second each: the tests of the parts show that the usual figures work."""
    with (
        patch.object(replay, "ASK_SECONDS", 0.1),
        patch.object(acknowledgements, "EVERY", 0.1),
        patch.object(absences, "LONGEST_DELAY", 0.2),
    ):
        yield


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[OwnValkey]:
    with tempfile.TemporaryDirectory(prefix="sg-") as sockets:
        server = OwnValkey(tmp_path / "valkey", Path(sockets), tmp_path / "valkey.log")
        await server.start()
        try:
            yield server
        finally:
            server.send(signal.SIGCONT)
            await server.stop()


async def all_in_files(gauge: Streamgauge) -> None:
    await until(lambda: gauge.status()["waiting_bytes"] == 0)
    assert gauge.status()["spool"]["batches"] > 0


async def gone(folder: Path) -> None:
    # Walked, as rglob fails when a folder is removed while it looks.
    def left() -> bool:
        return any(name.endswith(".segment") for _, _, names in os.walk(folder / "spool") for name in names)

    await until(lambda: not left())


@pytest.mark.parametrize(("mode", "fault"), CASES)
async def test_whatever_keeps_redis_from_taking_events_all_of_them_are_counted_once_behind_it(
    valkey: OwnValkey, database_url: str, tmp_path: Path, fault: str, mode: str
) -> None:
    with open_gauge(valkey.url(), tmp_path, buffer_events=1_000, capture_mode=mode) as gauge:
        accepted = await traffic(gauge, 0, 200)
        assert await flushed(gauge)
        if fault == "killed":
            await valkey.kill()
        elif fault == "hung":
            valkey.send(signal.SIGSTOP)
        else:
            limit(valkey, "1mb")
        accepted += await traffic(gauge, 200, COUNT)
        await all_in_files(gauge)
        assert gauge.status()["dropped"] == {}
        if fault == "killed":
            await valkey.start()
        elif fault == "hung":
            valkey.send(signal.SIGCONT)
        else:
            limit(valkey, "0")
        accepted += await traffic(gauge, 200 + COUNT, 100)
        assert await flushed(gauge)
        settings: dict[str, Any] = {"accepted_loss_seconds": 0}
        catalogue = CATALOGUE.extended(LESSON)
        async with open_engine(
            valkey.url(), database_url, {"default": "UTC"}, catalogue, **settings
        ) as engine:
            async with engine.working():
                await gone(tmp_path)
            assert await asyncio.to_thread(gauge.close)
            await engine.drain()
            assert await engine.outcomes() == {("applied", ""): len(accepted)}
            transport = await engine.transport()
            assert (transport.announced, transport.processed, transport.lost) == (
                len(accepted),
                len(accepted),
                0,
            )
    assert accepted == list(range(300 + COUNT)) == received(valkey.url()).numbers


def limit(valkey: OwnValkey, memory: str) -> None:
    with redis.Redis.from_url(valkey.url()) as client:
        client.config_set("maxmemory", memory)


async def test_what_redis_forgot_although_it_had_acknowledged_it_is_sent_again_by_a_durable_host(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    with (
        patch.object(kept_segment, "RESEND_SECONDS", 0.5),
        open_gauge(redis_url, tmp_path, capture_mode="durable") as gauge,
    ):
        accepted = await traffic(gauge, 0, 500)
        assert await flushed(gauge)
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        assert received(redis_url).numbers == []
        async with open_engine(
            redis_url, database_url, {"default": "UTC"}, CATALOGUE.extended(LESSON), accepted_loss_seconds=0
        ) as engine:
            async with engine.working():
                await gone(tmp_path)
            await engine.drain()
            assert await engine.outcomes() == {("applied", ""): 500} == {("applied", ""): len(accepted)}
        assert gauge.status()["sent"] == 500


KILLED = """
import asyncio
from dataclasses import replace
async def main():
    acked, number = [], 0
    while True:
        tickets = [gauge.track("lesson.read", actor=f"user-{number % 50}", percent=number + each) for each in range(100)]
        if all(await asyncio.gather(*(ticket.durable() for ticket in tickets))):
            print(number, flush=True)
        number += 100
gauge = Streamgauge(replace(gauge.settings, capture_mode="durable"), event_types=[LESSON])
asyncio.run(main())
"""
ADOPTING = """
from dataclasses import replace
gauge = Streamgauge(replace(gauge.settings, capture_mode="durable"), event_types=[LESSON])
sys.stdin.readline()
track(1_000_000 + int(sys.argv[1]))
until = time.monotonic() + 30
while gauge.status()["sent"] < 1 and time.monotonic() < until: time.sleep(0.01)
# Whoever adopted first goes on until all of it is sent.
time.sleep(0.2)
while any(held.spool.unsent_streams() for held in gauge._outlet._sender._replay.held) and time.monotonic() < until: time.sleep(0.01)
print(json.dumps(gauge.status()["troubles"]))
"""


def start(
    program: str, url: str, folder: Path, *arguments: str, **environment: str
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOST.format(url=url, folder=str(folder)) + program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("place", ["spool.written=kill@40", *(["", "spool.synced=kill@40"] if FULL else [])])
def test_of_a_host_killed_with_a_full_spool_every_event_said_to_be_durable_arrives_once_through_those_who_adopt_it(
    redis_url: str, tmp_path: Path, place: str
) -> None:
    killed = start(KILLED, "redis://127.0.0.1:1", tmp_path, STREAMGAUGE_FAILPOINTS=place)
    try:
        assert killed.stdout is not None
        acked = [int(killed.stdout.readline()) for _ in range(30)]
        if not place:
            killed.kill()
        acked += [int(line) for line in killed.stdout.read().splitlines()]
        assert killed.wait(30) == -signal.SIGKILL
    finally:
        killed.kill()
        killed.communicate()
    adopting = [start(ADOPTING, redis_url, tmp_path, str(number)) for number in range(2)]
    try:
        for each in adopting:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        shown = [each.communicate(timeout=60)[0] for each in adopting]
        assert [each.returncode for each in adopting] == [0, 0]
    finally:
        for each in adopting:
            each.kill()
            each.communicate()
    assert [json.loads(text) for text in shown] == [{}, {}]
    found = received(redis_url).numbers
    expected = {first + each for first in acked for each in range(100)} | {1_000_000, 1_000_001}
    assert len(acked) >= 30
    assert len(found) == len(set(found))
    assert expected <= set(found)
    # A round that was written and not yet answered may be there, too.
    assert len(found) - len(expected) <= 200


DISK_FULL = """
import resource
from dataclasses import replace
gauge = Streamgauge(replace(gauge.settings, buffer_events=200, spool_bytes=1024 * 1024), event_types=[LESSON])
from streamgauge.capture import spool
spool.RETRY_SECONDS = 0.05
def give(first, last):
    return sum(track(number) for number in range(first, last))
def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, gauge.status()
        time.sleep(0.005)
track(0)
until(lambda: gauge.status()["spool"]["batches"])  # the keys are made, and Redis is known to be away
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
taken, dropped = 1, 0
while not gauge.status()["dropped"].get("spool_failed"):
    taken += track(taken + dropped)
    dropped = sum(gauge.status()["dropped"].values())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
until(lambda: gauge.status()["waiting_bytes"] == 0)
taken += give(1_000_000, 1_000_100)
until(lambda: gauge.status()["waiting_bytes"] == 0)
status = gauge.status()
assert gauge.close(5)
print(json.dumps([taken, status["accepted"], status["waiting"], status["dropped"], status["troubles"]["spool_failed"]]))
"""


def test_a_full_disk_costs_the_host_nothing_and_is_used_again_when_there_is_room(
    redis_url: str, tmp_path: Path
) -> None:
    done = start(DISK_FULL, "redis://127.0.0.1:1", tmp_path)
    shown, _ = done.communicate(timeout=60)
    assert done.returncode == 0
    taken, accepted, waiting, dropped, failures = json.loads(shown)
    assert taken == accepted == waiting > 200
    assert dropped.keys() <= {"spool_failed", "buffer_full"}
    assert dropped["spool_failed"] > 0 < failures
    adopting = start(ADOPTING, redis_url, tmp_path, "0")
    adopting.communicate("go\n", timeout=60)
    found = received(redis_url)
    assert len(found.numbers) == accepted + 1
    assert (found.lost, found.closed) == (0, found.lanes)
    assert found.drops == dropped
