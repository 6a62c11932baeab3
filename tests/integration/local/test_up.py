"""Promises about `streamgauge up`, with stand-ins for the server and the worker."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from streamgauge.errors import SettingsError
from streamgauge_cli.address import base_url
from streamgauge_cli.up import check_port
from tests.integration.local.held import free_port
from tests.integration.local.started import Started

STAND_INS = {"PYTHONPATH": str(Path(__file__).with_name("stand_ins"))}


def start(
    data_dir: Path, mode: str = "", port: int | None = None, demo: bool = False, **more: str
) -> Started:
    return Started(data_dir, port, {**STAND_INS, "STAND_IN": mode, **more}, demo=demo)


def until_worker_begins(data_dir: Path, up: Started) -> None:
    log = data_dir / "logs" / "worker.log"
    while not log.exists() or "begins" not in log.read_text():
        assert up.process.poll() is None
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_stops_cleanly_when_told(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path / "data") as up:
        assert up.wait().startswith(f"Streamgauge is at {up.url}/#key=sg_")
        assert up.status("/health/ready") == 200
        until_worker_begins(tmp_path / "data", up)
        assert up.end(number) == (0, "")
        assert up.left(0) == []
    assert "stopped as asked" in (tmp_path / "data/logs/worker.log").read_text()
    assert "database system is shut down" in (tmp_path / "data/logs/postgres.log").read_text()
    assert not (tmp_path / "data/endpoints.json").exists()


def test_after_kill_9_nothing_is_left_after_five_seconds_and_the_next_start_works(tmp_path: Path) -> None:
    with start(tmp_path / "data", "deaf") as up:
        up.wait()
        assert len(up._family) > 4
        up.process.kill()
        assert up.left(5) == []
    with start(tmp_path / "data") as up:
        up.wait()
        assert up.status("/health/ready") == 200


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_a_child_that_dies_is_told_with_its_last_words_and_everything_is_stopped(
    tmp_path: Path, name: str
) -> None:
    with start(tmp_path / "data", f"{name}-dies") as up:
        code, error = up.ended()
        assert code == 1
        assert f"`streamgauge {name}` ended with exit code 7" in error
        assert error.strip().endswith("the last words")
        assert "Traceback" not in error
        assert up.left(0) == []


def test_a_local_server_that_dies_is_told_and_everything_is_stopped(tmp_path: Path) -> None:
    with start(tmp_path / "data") as up:
        up.wait()
        postmaster = int((tmp_path / "data/postgres/postmaster.pid").read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGKILL)
        code, error = up.ended()
        assert code == 1
        assert "PostgreSQL ended with exit code -9" in error
        assert up.left(5) == []


def test_ctrl_c_while_it_waits_for_the_server_stops_everything(tmp_path: Path) -> None:
    with start(tmp_path / "data", "serve-hangs") as up:
        until_worker_begins(tmp_path / "data", up)
        assert up.end(signal.SIGINT) == (0, "")
        assert not (tmp_path / "data/endpoints.json").exists()


def test_a_second_ctrl_c_does_not_wait_for_those_who_do_not_listen(tmp_path: Path) -> None:
    with start(tmp_path / "data", "deaf") as up:
        up.wait()
        up.process.send_signal(signal.SIGINT)
        while up.process.poll() is None and len(up.left(0.2)) > 0:
            up.process.send_signal(signal.SIGINT)
        up.ended()
        assert up.left(5) == []


def test_two_instances_run_side_by_side(tmp_path: Path) -> None:
    with start(tmp_path / "one") as one, start(tmp_path / "other") as other:
        one.wait()
        other.wait()
        assert one.status("/health/ready") == other.status("/health/ready") == 200


@pytest.mark.parametrize(
    ("offset", "advice"),
    [
        (0, "--port"),
        (1, "--port (the example school's follows it), or leave the school out with --no-demo"),
        (2, "STREAMGAUGE_WORKER_PORT, or --port"),
    ],
)
def test_a_taken_port_is_told_before_anything_is_started(tmp_path: Path, offset: int, advice: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start(tmp_path / "data", port=port - offset, demo=True) as up:
            code, error = up.ended()
    assert code == 2
    assert f"Port {port} of 127.0.0.1 is taken: choose another with {advice}" in error
    assert not (tmp_path / "data").exists()


def test_without_the_example_its_port_may_be_taken(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port + 1)), start(tmp_path / "data", port=port) as up:
        assert [line.split()[0] for line in up.told()] == ["Streamgauge", "Your", "Ready"]
        assert not (tmp_path / "data/logs/example.log").exists()


def test_an_example_that_cannot_start_is_told_in_a_line_and_everything_else_goes_on(tmp_path: Path) -> None:
    # What the stand-ins do not look at stops the real example.
    with start(tmp_path / "data", demo=True, STREAMGAUGE_CATALOGUE="no_such_module:CATALOGUE") as up:
        told = up.told()
        assert not any(line.startswith("Example") for line in told)
        assert up.status("/health/ready") == 200
        code, error = up.end(signal.SIGTERM)
    assert code == 0
    assert error == (
        "streamgauge: The example school ended with exit code 1; its log says why. Everything else goes on.\n"
    )
    assert "no_such_module" in (tmp_path / "data/logs/example.log").read_text()


def test_an_address_that_is_not_ours_is_told() -> None:
    with pytest.raises(SettingsError, match=r"Cannot listen on port 9999 of 192.0.2.1"):
        check_port("192.0.2.1", 9999, "--port")


def test_the_address_told_is_one_a_browser_can_open() -> None:
    assert base_url("0.0.0.0", 8400) == "http://127.0.0.1:8400"  # noqa: S104 - nothing listens
    assert base_url("::1", 8400) == "http://[::1]:8400"
    assert base_url("host.example", 8400) == "http://host.example:8400"
