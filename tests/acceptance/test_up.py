"""`streamgauge up` as a user meets it, with the real server and the real worker."""

import importlib.util
import signal
from pathlib import Path

import pytest

from tests.integration.local.started import Started

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(f"streamgauge_cli.{name}") for name in ("serve", "worker")),
    reason="waits for the commands serve and worker",
)


def test_one_command_serves_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    with Started(tmp_path / "data") as up:
        assert up.wait() == f"Streamgauge is at {up.url}\n"
        assert up.status("/health/live") == 200
        assert up.status("/health/ready") == 200
        assert up.end(signal.SIGINT) == (0, "")
        assert up.left(0) == []


def test_after_kill_9_nothing_is_left_after_five_seconds_and_the_next_start_works(tmp_path: Path) -> None:
    with Started(tmp_path / "data") as up:
        up.wait()
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
