"""Promises about where the example of `streamgauge up` is, and what it is told."""

import os
from pathlib import Path

import pytest

from streamgauge.errors import SettingsError
from streamgauge.settings import Settings
from streamgauge_cli import demo


def test_it_is_in_a_clone_and_not_in_an_installation_from_a_wheel(tmp_path: Path) -> None:
    assert demo.is_there()
    assert not demo.is_there(tmp_path)


def test_it_is_at_the_port_above_the_servers() -> None:
    assert demo.port_of(Settings(port=9000)) == 9001


@pytest.mark.parametrize(("port", "worker_port"), [(9000, 9001), (65535, 9000)])
def test_a_port_that_is_none_or_the_workers_is_refused_with_what_to_do(port: int, worker_port: int) -> None:
    with pytest.raises(SettingsError, match=rf"{port + 1}.*--no-demo"):
        demo.port_of(Settings(port=port, worker_port=worker_port))


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("localhost", "localhost"),
        ("::1", "::1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - nothing listens
        ("::", "127.0.0.1"),
        ("192.0.2.7", "127.0.0.1"),
        ("analytics.example", "127.0.0.1"),
    ],
)
def test_others_cannot_reach_it_wherever_the_server_listens(host: str, shown: str) -> None:
    assert demo.host_of(Settings(host=host)) == shown
    command = demo.command(Settings(host=host))
    assert command[command.index("--host") + 1] == shown


def test_its_events_are_of_a_tenant_of_its_own(tmp_path: Path) -> None:
    told = demo.environment({"STREAMGAUGE_TENANT": "shop", "PYTHONPATH": "/theirs", "A": "b"}, tmp_path)
    assert told == {
        "STREAMGAUGE_TENANT": "demo-school",
        "PYTHONPATH": f"{tmp_path}{os.pathsep}/theirs",
        "A": "b",
    }
    assert demo.environment({}, tmp_path)["PYTHONPATH"] == str(tmp_path)
