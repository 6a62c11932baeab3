"""The benchmarks' own arithmetic, and that they run: at sizes too small for their figures to mean anything."""

import asyncio
import itertools
import math
import os
import random
import signal
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from benchmarks import capture, freshness, outage, patience, record, requests, rounds, students
from benchmarks.audience import Asked, Audience
from benchmarks.rounds import Cost, Subject
from benchmarks.sightings import Sightings

MS = 1_000_000
RUNNABLE = ("capture", "fairness", "flood", "freshness", "ingest", "leaderboard", "outage", "producer")


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_benchmark_says_how_it_is_used(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    told = subprocess.run(
        command, cwd=Path(record.__file__).parent.parent, capture_output=True, text=True, check=True
    )
    assert "usage" in told.stdout
    assert "--" in told.stdout.replace("--help", "")


def test_capture_is_measured_for_every_subject(redis_url: str, tmp_path: Path) -> None:
    result = capture.measure(redis_url, tmp_path, count=20, events=50, number=2)
    assert set(result["microseconds_over_bare_wrapper"]) == {"lean", "FastAPI"}
    for costs in result["microseconds_over_bare_wrapper"].values():
        # What they cost in a run as short as this one says nothing: only that each of them was measured.
        assert costs[capture.BARE]["thread"]["median"] == 0
        assert {"prometheus-fastapi-instrumentator", "BaseHTTPMiddleware, same event"} < costs.keys()
        assert all({"thread", "process"} <= cost.keys() for cost in costs.values())
    assert capture.TRACK in result["microseconds_per_event"]
    capture.show(result)


def test_a_dropped_event_ends_the_measurement_of_capture(tmp_path: Path) -> None:
    with capture.Gauges("redis://127.0.0.1:1", tmp_path) as gauges:
        gauge = gauges.new(capture_percent=0)
        gauge.track("benchmark.progressed", actor="ada", percent=1)
        with pytest.raises(SystemExit, match="sampled_out"):
            capture.settled(gauge)()


async def test_freshness_is_measured_from_the_first_marker_to_the_last() -> None:
    result = await freshness.measure(rate=400, seconds=4.0, ephemeral=True)
    for when in ("delay", "delay_at_first"):
        for figures in result[when].values():
            assert figures["markers"] > 0
            assert figures["unseen"] == 0
            assert 0 < figures["p50_ms"] <= figures["p95_ms"]
    markers = sum(result[when]["API"]["markers"] for when in ("delay", "delay_at_first"))
    assert markers == sum(result[when]["PostgreSQL"]["markers"] for when in ("delay", "delay_at_first"))
    assert result["floor"]["p50_ms"] > 0
    freshness.show(result)


def test_subjects_are_measured_in_turn_and_the_first_round_is_forgotten() -> None:
    done: list[tuple[str, int]] = []
    subjects = [
        Subject(name, lambda count, name=name: done.append((name, count)))  # type: ignore[misc]  # a default binds the name
        for name in "abc"
    ]
    costs = rounds.measure(subjects, 7, rounds=3)
    assert [name for name, _ in done] == list("abcbcacababc")
    assert {count for _, count in done} == {7}
    assert [len(costs[name]) for name in "abc"] == [3, 3, 3]


def test_what_is_left_to_other_threads_counts_for_the_process_alone() -> None:
    def burn() -> None:
        for _ in itertools.repeat(None, 300_000):
            pass

    cost = rounds.cost_of(Subject("later", lambda count: None, burn), 10)
    assert cost.process > 5 * cost.thread


def test_costs_are_counted_from_the_base_in_the_same_round() -> None:
    costs = {"base": [Cost(1, 10), Cost(100, 20)], "other": [Cost(4, 11), Cost(103, 22)]}
    over = rounds.over(costs, "base")
    assert over["base"]["thread"] == {"median": 0, "lower_quartile": 0, "upper_quartile": 0}
    assert over["other"]["thread"]["median"] == 3
    assert over["other"]["process"] == {"median": 1.5, "lower_quartile": 1.25, "upper_quartile": 1.75}
    assert rounds.absolute(costs)["other"]["thread"]["median"] == 53.5


@pytest.mark.parametrize("make", requests.APPLICATIONS.values(), ids=requests.APPLICATIONS)
def test_requests_reach_their_routes(make: Any) -> None:
    with asyncio.Runner() as runner:
        driver = requests.Driver(runner.get_loop(), make())
        driver(3 * requests.ROUTES)
    assert driver.statuses == {200}
    assert len({scope["path"].split("/")[3] for scope in requests.scopes()}) == requests.ROUTES


def test_a_marker_is_seen_by_the_first_answer_that_counts_it() -> None:
    sightings = Sightings()
    for asked, answered, counts in (
        (0, 2, {}),
        (10, 12, {"a": 1}),
        (20, 23, {"a": 1, "b": 1}),
        (30, 34, {"a": 3, "b": 1}),
    ):
        sightings.see(asked * MS, answered * MS, counts)
    delays = sightings.delays({"a": [1 * MS, 11 * MS, 15 * MS], "b": [22 * MS], "c": [5 * MS]})
    assert [each / MS for each in delays.nanoseconds] == [11, 23, 19, 1]
    # The answer before was asked for at 0, 20, 20 and 10, or the marker was not tracked yet.
    assert [each / MS for each in delays.overstated] == [11, 14, 14, 1]
    assert delays.unseen == 1


def test_markers_are_told_apart_by_when_they_were_tracked() -> None:
    sightings = Sightings()
    sightings.see(0, 9 * MS, {"a": 3})
    tracked = {"a": [1 * MS, 2 * MS, 3 * MS]}
    assert sightings.delays(tracked, since=2 * MS).nanoseconds == [7 * MS, 6 * MS]
    assert sightings.delays(tracked, until=2 * MS).nanoseconds == [8 * MS]


def test_percentiles_are_of_all_times() -> None:
    found = record.percentiles([each * MS for each in range(101)])
    assert found == {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "slowest_ms": 100}
    assert all(math.isnan(value) for value in record.percentiles([]).values())


async def test_a_request_is_due_whether_or_not_the_one_before_was_answered() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Nothing is answered before everything was asked.
        while await reader.readline() not in (b"", b"\r\n"):
            pass
        arrived.release()
        await everybody.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    arrived, everybody = asyncio.Semaphore(0), asyncio.Event()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    asking = Audience(f"http://127.0.0.1:{port}", 5, lambda chance, person: Asked("GET", f"/{person}"))
    using = asyncio.create_task(asking.ask(rate=1_000, seconds=0.005))
    for _ in range(5):
        await arrived.acquire()
    everybody.set()
    answers = await using
    await asking.leave()
    server.close()
    await server.wait_closed()
    assert (answers.count, answers.failures) == (5, [])


async def test_another_status_and_no_answer_are_failures() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    people = Audience(f"http://127.0.0.1:{port}", 1, lambda chance, person: Asked("GET", "/"))
    refused = await people.ask(rate=100, seconds=0.02)
    server.close()
    await server.wait_closed()
    unanswered = await people.ask(rate=100, seconds=0.01)
    await people.leave()
    assert refused.failures == ["GET /: 503"] * 2
    assert len(unanswered.failures) == 1
    assert "ConnectError" in unanswered.failures[0]
    assert unanswered.as_json()["failed"] == 1


def test_a_benchmark_that_is_told_to_end_cleans_up_first() -> None:
    cleaned = []

    async def measuring() -> dict[str, Any]:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append("all")
        return {}

    with pytest.raises(SystemExit) as ended:
        patience.run(measuring())
    assert (ended.value.code, cleaned) == (143, ["all"])


async def test_nothing_is_waited_for_for_ever() -> None:
    async def never() -> bool:
        return False

    with pytest.raises(TimeoutError, match="in vain until the moon is blue"):
        await patience.until(never, "the moon is blue", patience=0.02, step=0.005)


def test_students_do_everything_the_school_records() -> None:
    chance = random.Random(1)
    asked = [students.activity(chance, 0) for _ in range(300)]
    assert {each.method for each in asked} == {"GET", "POST"}
    attempts = [each.json["attempt"] for each in asked if each.path.endswith("/attempts")]
    assert len(attempts) == len(set(attempts)) > 20
    assert any(each.path.endswith("/progress") for each in asked)


GOOD: dict[str, Any] = {
    "faults": {"Redis hung": {"failed": 0, "requests": 10, "recovered": True}},
    "still_run": {"worker": True},
    "events": {
        "accepted": 10, "waiting": 0, "sent": 8, "dropped": {"undelivered": 2, "buffer_full": 5}, "processed": 8, "counted": 7,
        "repeated": 1,
    },
    "announced": {"undelivered": 2, "buffer_full": 5},
}  # fmt: skip


def test_an_outage_without_losses_is_good_and_announced_drops_are_no_losses() -> None:
    assert list(outage.wrong(GOOD)) == []


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("faults", "Redis hung", "failed"), 1, "1 of 10 requests failed"),
        (("faults", "Redis hung", "recovered"), False, "not all events were in the tables"),
        (("still_run", "worker"), False, "the worker did not survive"),
        (("events", "processed"), 7, "neither in the tables nor given up"),
        (("events", "counted"), 8, "neither in the tables nor given up"),
        (("announced", "buffer_full"), 4, "dropped"),
    ],
)
def test_what_must_not_happen_in_an_outage_is_said(where: tuple[str, ...], value: object, said: str) -> None:
    result = deepcopy(GOOD)
    place = result
    for name in where[:-1]:
        place = place[name]
    place[where[-1]] = value
    (found,) = outage.wrong(result)
    assert said in found


def test_results_are_kept_with_what_they_were_measured_on(tmp_path: Path) -> None:
    record.keep(record.machine("redis", "a-package-nobody-has"), tmp_path / "new" / "result.json")
    text = (tmp_path / "new" / "result.json").read_text()
    assert '"redis": "' in text
    assert '"a-package-nobody-has": null' in text
