"""The wheel as users get it: what is in it, what it brings along, and that it works where the sources are not."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest
import redis

from tests.integration.program import PATIENCE, fetch, free_port

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = Path(__file__).with_name("wheel_host.py")
PACKAGES = (
    "app/streamgauge", "workers/streamgauge_cli", "workers/streamgauge_imports", "workers/streamgauge_local",
    "workers/streamgauge_workers", "migrations/streamgauge_migrations",
)  # fmt: skip
# Folders that must not get in are there to get in.
FOLDERS = ("app", "workers", "migrations", "tests", "examples", "benchmarks", "docs")
FILES = ("pyproject.toml", "README.md", "LICENSE", ".gitignore")
# redis needs the last one where Python is older than 3.11.3.
BROUGHT = {"streamgauge", "redis", "orjson", "async-timeout"}
#: What uv says where there is neither a network nor a cache.
OFFLINE = ("error sending request", "Failed to fetch", "network was disabled", "dns error")


class Place:
    """A virtual environment of its own, which knows nothing of the sources or of ours."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.python = directory / "bin" / "python"
        uv("venv", "--python", sys.executable, str(directory))

    def install(self, what: str) -> None:
        """Install with the versions we are tested with; skips the test where nothing can be had."""
        pins = str(ROOT / "requirements" / "run.txt")
        uv("pip", "install", "--python", str(self.python), "--constraint", pins, what)

    def installed(self) -> dict[str, str]:
        """Versions by name."""
        listing = json.loads(uv("pip", "list", "--python", str(self.python), "--format", "json"))
        return {each["name"]: each["version"] for each in listing}

    def run(self, *arguments: str, cwd: Path) -> str:
        """What its Python prints; isolated, so that neither the current directory nor variables add anything."""
        return output([str(self.python), "-I", *arguments], cwd)


def uv(*arguments: str) -> str:
    """What the pinned uv prints."""
    program = Path(sys.prefix) / "bin" / "uv"
    if not program.exists():
        pytest.skip("the wheel is not installed: uv is not in the environment")
    # As it is, and with the system's certificates, which a company's proxy may need.
    for more in ({}, {"UV_SYSTEM_CERTS": "1"}):
        done = subprocess.run(
            [str(program), *arguments], capture_output=True, text=True, check=False, env=environment() | more
        )
        if done.returncode == 0:
            break
    if done.returncode != 0 and any(sign in done.stderr for sign in OFFLINE):
        pytest.skip(
            f"the wheel is not installed, packages cannot be had: {done.stderr.splitlines()[-1].strip()}"
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def output(command: list[str], cwd: Path) -> str:
    """What a program prints; fails when it does."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment() -> dict[str, str]:
    """Ours, without what leads back to us."""
    lead_back = ("STREAMGAUGE_", "COVERAGE_", "PYTHON", "VIRTUAL_ENV", "REDIS_", "DATABASE_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(lead_back)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, as a fresh clone has it."""
    clone = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        if (ROOT / folder).exists():
            copytree(ROOT / folder, clone / folder, ignore=ignore_patterns("__pycache__", "results"))
    for file in FILES:
        copy(ROOT / file, clone / file)
    return clone


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of the copy."""
    folder = tmp_path_factory.mktemp("wheel")
    output([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def host(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The wheel as a host application installs it."""
    place = Place(tmp_path_factory.mktemp("host") / "venv")
    place.install(str(wheel))
    return place


def test_the_wheel_holds_every_file_of_our_packages_and_nothing_else(source: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {
        path.relative_to((source / package).parent).as_posix()
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    assert held == ours
    packages = [Path(package).name for package in PACKAGES]
    assert {f"{name}/py.typed" for name in packages} <= held
    assert {"streamgauge/read/queries.sql", "streamgauge_migrations/0001_kernel.sql"} <= held


def test_the_wheel_has_its_licence_and_its_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        information = {name.partition(".dist-info/")[2]: name for name in archive.namelist()}
        assert "Apache License" in archive.read(information["licenses/LICENSE"]).decode()
        assert (
            "streamgauge = streamgauge_cli.start:main"
            in archive.read(information["entry_points.txt"]).decode()
        )


def test_a_host_gets_redis_and_orjson_and_little_else(host: Place) -> None:
    installed = host.installed()
    assert {"streamgauge", "redis", "orjson"} <= installed.keys() <= BROUGHT, installed


def test_the_command_says_what_to_install_for_it(host: Place, tmp_path: Path) -> None:
    command = host.directory / "bin" / "streamgauge"
    done = subprocess.run(
        [str(command), "--help"], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment()
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "'typer', which is not installed: pip install 'streamgauge[all]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_it_loads_nothing_but_the_standard_library(host: Place, tmp_path: Path) -> None:
    program = """if True:
        import sys
        before = set(sys.modules)
        import streamgauge
        light = set(sys.modules) - before
        gauge = streamgauge.Streamgauge(streamgauge.Settings())
        full = set(sys.modules) - before
        print(streamgauge.__file__, len(light), *{name.partition(".")[0] for name in full} - set(sys.stdlib_module_names))
    """
    file, count, *others = host.run("-c", program, cwd=tmp_path).split()
    assert Path(file).is_relative_to(host.directory)
    assert int(count) < 40
    assert set(others) <= {"streamgauge", "orjson"}


def test_a_host_with_nothing_else_is_measured(host: Place, redis_url: str, tmp_path: Path) -> None:
    seen = json.loads(host.run(str(HOST), redis_url, cwd=tmp_path))
    tracked, request = seen["recorded"]
    assert tracked == {"name": "lesson.completed", "properties": {"percent": 100}}
    assert request["name"] == "http.request"
    assert request["properties"]["http.response.status_code"] == 201
    assert request["properties"]["http.response.body.size"] == 4
    assert (seen["sent"]["flushed"], seen["sent"]["sent"], seen["sent"]["dropped"]) == (True, 2, {})
    # Some systems' Python brings a sitecustomize of its own.
    assert set(seen["loaded"]) - {"sitecustomize"} <= {"streamgauge", "redis", "orjson", "async_timeout"}
    with redis.Redis.from_url(redis_url) as client:
        entries = [client.xlen(key) for key in client.scan_iter(_type="stream")]
    assert sum(entries) >= 2


def test_a_users_code_passes_the_strict_type_checker_against_the_wheel(host: Place, tmp_path: Path) -> None:
    copy(HOST, tmp_path)
    check = [
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        str(tmp_path / "cache"),
        "--python-executable",
        str(host.python),
    ]
    told = output([sys.executable, "-P", *check, HOST.name], tmp_path)
    assert "no issues found in 1 source file" in told


def test_all_of_it_starts_from_the_wheel(
    wheel: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = Place(tmp_path_factory.mktemp("all") / "venv")
    place.install(f"{wheel}[all]")
    command = place.directory / "bin" / "streamgauge"
    assert "Commands" in output([str(command), "--help"], tmp_path)
    port = free_port()
    options = ["up", "--port", str(port), "--data-dir", str(tmp_path / "data")]
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(
            [str(command), *options], stdout=log, stderr=log, cwd=tmp_path, env=environment()
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while fetch(port, "/health/ready").status != 200:
            assert running.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        page = fetch(port, "/")
        assert (page.status, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 0, (tmp_path / "log").read_text()
    finally:
        running.kill()
        running.wait()
