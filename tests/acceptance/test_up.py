"""`streamgauge up` as a user meets it, with the real server, the real worker and the real example."""

import json
import os
import re
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.integration.local.started import PATIENCE_SECONDS, Started

LINES = re.compile(
    r"Streamgauge is at (?P<url>http://127\.0\.0\.1:\d+)/#key=(?P<key>sg_\S+)  \(your application: tenant default\)\n"
    r"Example school  (?P<school>http://127\.0\.0\.1:\d+)  its dashboard: (?P=url)/#key=(?P<school_key>sg_\S+)  "
    r"\(tenant demo-school, demo traffic\)\n"
    r"Your application finds it with STREAMGAUGE_DATA_DIR=(?P<data_dir>/.+)\n"
    r"Ready in .+\n"
)


def asked(url: str, key: str | None, **question: Any) -> tuple[int, Any]:
    """The status and the answer of POST /api/v1/query."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    question = {"metrics": ["requests"], "date_range": "day"} | question
    answer = httpx2.post(f"{url}/api/v1/query", headers=headers, json=question, timeout=10)
    return answer.status_code, answer.json()


def requests_of(url: str, key: str) -> int:
    """How many requests a tenant has had today."""
    status, found = asked(url, key)
    assert status == 200, found
    return int(found["results"][0]["metrics"][0]) if found["results"] else 0


def names_of(url: str, key: str) -> set[str]:
    """The names of a tenant's events today."""
    _, found = asked(url, key, metrics=["events"], dimensions=["event.name"])
    return {row["dimensions"][0] for row in found["results"]}


def until(condition: Callable[[], object]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_one_command_shows_a_measured_school_growing_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with Started(data_dir, demo=True) as up:
        told = LINES.fullmatch("".join(up.told()))
        assert told is not None
        url, school_key = told["url"], told["school_key"]
        assert (url, told["school"], told["data_dir"]) == (
            up.url,
            f"http://127.0.0.1:{up.port + 1}",
            str(data_dir),
        )
        assert up.status("/health/live") == up.status("/health/ready") == 200

        until(lambda: requests_of(url, school_key) > 0)
        first = requests_of(url, school_key)
        until(lambda: requests_of(url, school_key) > first)
        until(lambda: {"http.request", "page.viewed"} <= names_of(url, school_key))
        assert requests_of(url, told["key"]) == 0  # demo traffic is among nobody else's
        assert "Demo traffic: 40 made-up people" in httpx2.get(told["school"], timeout=10).text
        # Its tenant was there before its first event.
        assert "unknown_tenant" not in httpx2.get(f"{url}/metrics", timeout=10).text
        assert "demo traffic begins" in (data_dir / "logs/example.log").read_text()

        assert up.end(signal.SIGINT) == (0, "")
        assert up.left(0) == []
    # It was asked to end, so that it could send what it held, and not killed.
    assert "Finished server process" in (data_dir / "logs/example.log").read_text()


def test_the_printed_key_opens_the_api_and_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    with Started(tmp_path / "data") as up:
        first, *_ = up.told()
        key = first.partition("#key=")[2].split()[0]
        assert asked(up.url, key)[0] == 200
        assert asked(up.url, None)[0] == 401
        assert asked(up.url, key[:-1] + ("A" if key[-1] != "A" else "B"))[0] == 401
        kept = tmp_path / "data/access.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert json.loads(kept.read_text())["default"]["read"] == key
        assert up.end(signal.SIGTERM)[0] == 0
    with Started(tmp_path / "data") as up:
        assert key in up.told()[0]


def test_without_the_demo_there_is_no_school_and_no_traffic(tmp_path: Path) -> None:
    with Started(tmp_path / "data") as up:
        told = "".join(up.told())
        assert "chool" not in told
        assert json.loads((tmp_path / "data/access.json").read_text()).keys() == {"default"}
        assert not (tmp_path / "data/logs/example.log").exists()
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"http://127.0.0.1:{up.port + 1}", timeout=5)


def test_a_school_that_dies_is_told_in_a_line_and_everything_else_goes_on(tmp_path: Path) -> None:
    with Started(tmp_path / "data", demo=True) as up:
        up.told()
        (school,) = [
            pid for pid in up.left(0) if b"examples.school" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(school, signal.SIGKILL)
        assert up.process.stderr is not None
        assert up.process.stderr.readline() == (
            "streamgauge: The example school ended with exit code -9; its log says why. Everything else goes on.\n"
        )
        assert up.status("/health/ready") == 200
        assert up.end(signal.SIGTERM) == (0, "")


def test_after_kill_9_nothing_is_left_after_five_seconds_and_the_next_start_works(tmp_path: Path) -> None:
    with Started(tmp_path / "data", demo=True) as up:
        up.told()
        up.process.kill()
        assert up.left(5) == []
    with Started(tmp_path / "data") as up:
        up.wait()
        assert up.status("/health/ready") == 200
        assert up.end(signal.SIGTERM)[0] == 0


def test_two_instances_with_directories_and_ports_of_their_own_run_side_by_side(tmp_path: Path) -> None:
    with Started(tmp_path / "one") as one, Started(tmp_path / "other") as other:
        one.wait()
        other.wait()
        assert one.status("/health/ready") == other.status("/health/ready") == 200
