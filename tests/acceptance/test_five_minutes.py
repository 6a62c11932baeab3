"""The README's own code and commands, carried out as they are printed; only ports and folders are the test's."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from streamgauge_cli.main import COMMANDS
from tests.integration.local.held import free_port, without_given_servers
from tests.integration.local.started import PATIENCE_SECONDS, Started

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(heading: str, language: str) -> list[str]:
    """The code of a section of the README."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found


def commands(heading: str, program: str) -> list[str]:
    """The commands of a section that begin with a program's name, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", "\n".join(blocks(heading, "sh")))
    return [line for line in joined.splitlines() if line.startswith(program)]


class Shell:
    """Carries out `./run` and `curl` commands beside a running `streamgauge up`."""

    def __init__(self, up: Started, data_dir: Path, app_port: int) -> None:
        self._up = up
        self._environment = {**without_given_servers(), "STREAMGAUGE_DATA_DIR": str(data_dir)}
        self._ports = {"8400": str(up.port), "9000": str(app_port)}

    def run(self, command: str) -> str:
        """What `./run ...` prints."""
        words = shlex.split(command)
        assert words[0] == "./run"
        program = [sys.executable, "-P", "-m", "streamgauge_cli.main", *words[1:]]
        done = subprocess.run(
            program,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def curl(self, command: str, **variables: str) -> httpx2.Response:
        """What a `curl` command is answered."""
        for name, value in variables.items():
            command = command.replace(f"${name}", value)
        words = iter(shlex.split(command)[1:])
        method, headers, body, url = "GET", {}, None, ""
        for word in words:
            if word == "-X":
                method = next(words)
            elif word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            elif word == "-d":
                method, body = "POST", next(words)
            else:
                url = re.sub(r"(?<=:)\d+", lambda found: self._ports[found[0]], word)
        return httpx2.request(method, url, headers=headers, content=body, timeout=10)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Started]:
    with Started(tmp_path / "data") as running:
        running.told()
        yield running


def until(condition: Callable[[], object]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answers(port: int) -> bool:
    """Whether the application is there."""
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/openapi.json", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def test_the_readme_s_application_is_measured_after_its_own_commands(up: Started, tmp_path: Path) -> None:
    heading, port = "Add it to your app in five minutes", free_port()
    (code,) = blocks(heading, "python")
    (tmp_path / "shop.py").write_text(code)
    start, use, _ = blocks(heading, "sh")
    script = (
        start.replace("$PWD/.streamgauge", shlex.quote(str(tmp_path / "data")))
        .replace(".venv/bin/uvicorn", f"exec {sys.executable} -m uvicorn")
        .replace("9000", str(port))
    )
    assert script.count(str(port)) == script.count("exec") == 1
    shell = Shell(up, tmp_path / "data", port)
    with (tmp_path / "shop.log").open("w") as log:
        shop = subprocess.Popen(
            ["sh", "-ec", script], cwd=tmp_path, env=without_given_servers(), stdout=log, stderr=log
        )
    try:
        until(lambda: shop.poll() is not None or answers(port))
        statuses = [shell.curl(line).status_code for line in use.splitlines()]
        assert statuses == [200, 200], (tmp_path / "shop.log").read_text()
        (query,) = commands(heading, "./run query")

        def requests() -> dict[str, int]:
            found: dict[str, Any] = json.loads(shell.run(query))
            return {row["dimensions"][0]: row["metrics"][0] for row in found["results"]}

        expected = {"/products/{product}": 1, "/customers/{customer}/orders": 1}
        until(lambda: requests() == expected)
        names = query.replace('"requests", "errors", "p95_duration"', '"events"').replace(
            "http.route", "event.name"
        )
        found = json.loads(shell.run(names))
        assert {row["dimensions"][0]: row["metrics"][0] for row in found["results"]} == {
            "http.request": 2,
            "order.placed": 1,
        }
    finally:
        shop.send_signal(signal.SIGTERM)
        shop.wait(PATIENCE_SECONDS)


def test_the_readme_s_curl_commands_send_an_event_and_read_it_back(up: Started, tmp_path: Path) -> None:
    heading = "From anywhere else: HTTP"
    shell = Shell(up, tmp_path / "data", 0)
    (create,) = commands(heading, "KEY=$(")
    key = shell.run(create.removeprefix("KEY=$(").removesuffix(")")).strip()
    send, read = commands(heading, "curl")
    sent = shell.curl(send, KEY=key)
    assert (sent.status_code, sent.json()["accepted"]) == (202, 1)
    until(lambda: shell.curl(read, KEY=key).json()["total"]["count"] == 1)
    paths = httpx2.get(
        f"{up.url}/api/v1/openapi.json", headers={"Authorization": f"Bearer {key}"}, timeout=10
    ).json()["paths"]
    for route in re.findall(r"`(\w+)`", README.partition("Answers come from")[2].partition("; `GET")[0]):
        assert f"/api/v1/{route}" in paths


def test_the_readme_s_real_log_gives_its_numbers(up: Started, tmp_path: Path) -> None:
    heading = "Numbers from a real log"
    shell = Shell(up, tmp_path / "data", 0)
    imported, query = commands(heading, "./run")
    output = shell.run(imported.replace("tests/data", os.fspath(ROOT / "tests/data")))
    assert "10,000" in output
    assert "9,999" in output
    assert json.loads(shell.run(query))["results"] == [{"dimensions": [], "metrics": [1861]}]
    assert "gives 1,861" in README


def test_every_command_is_in_the_readme_s_table() -> None:
    table = README.partition("| command | does |")[2].partition("\n\n")[0]
    named = {
        word
        for cell in re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
        for word in re.findall(r"`([\w-]+)", cell)
    }
    assert named == {entry.name for entry in COMMANDS}
