"""Promises about docker-compose.yml and the Dockerfile, as far as they can be kept without an engine to run them."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamgauge.settings import Settings
from streamgauge_cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = ("migrate", "server", "worker")
UID = "10001:10001"


def variables(text: str) -> set[tuple[str, str]]:
    """Every variable that compose puts in, with what follows its name there: `:?message` or `:-default`."""
    return set(re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", text))


def instructions(name: str) -> list[str]:
    """The arguments of every such instruction of the Dockerfile, continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^\s*{name}\s+(.*)$", joined, re.MULTILINE)


@pytest.mark.skipif(
    importlib.util.find_spec("check_jsonschema") is None,
    reason="the schema of compose files comes with check-jsonschema, which is not installed",
)
def test_the_compose_file_keeps_to_the_schema_of_compose_files() -> None:
    command = [
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(ROOT / "docker-compose.yml"),
    ]
    checked = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_both_servers_the_migration_the_server_and_the_worker_are_there() -> None:
    assert SERVICES.keys() == {"redis", "postgres", *OURS}
    declared = yaml.safe_load(COMPOSE)["volumes"]
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in declared, name


@pytest.mark.parametrize("name", OURS)
def test_ours_run_commands_that_exist_without_root_and_with_nothing_to_write_on(name: str) -> None:
    service = SERVICES[name]
    assert service["command"][0] in {entry.name for entry in COMMANDS}
    assert service["user"] == UID
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_every_port_is_published_on_this_machine_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert SERVICES[name].get("network_mode") is None


def test_nothing_starts_before_what_it_needs_and_everything_comes_back() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "no"
    for name in ("server", "worker"):
        assert SERVICES[name]["depends_on"] == {
            "redis": {"condition": "service_healthy"},
            "postgres": {"condition": "service_healthy"},
            "migrate": {"condition": "service_completed_successfully"},
        }
    for name in SERVICES.keys() - {"migrate"}:
        assert SERVICES[name]["restart"] == "unless-stopped"
        assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


@pytest.mark.parametrize(
    ("name", "setting"), [("server", "STREAMGAUGE_PORT"), ("worker", "STREAMGAUGE_WORKER_PORT")]
)
def test_health_is_asked_with_python_at_the_port_it_listens_on(name: str, setting: str) -> None:
    program, *arguments = SERVICES[name]["healthcheck"]["test"][1:]
    assert (program, arguments[0]) == ("python", "-c")
    compile(arguments[1], "health check", "exec")
    assert f":{SERVICES[name]['environment'][setting]}/health/ready" in arguments[1]


def test_every_variable_is_explained_and_no_password_has_a_default() -> None:
    settings = {name for field in Settings.__dataclass_fields__.values() for name in field.metadata["env"]}
    for name, rest in variables(COMPOSE):
        assert name in settings or re.search(rf"^# {name}=", ENV_EXAMPLE, re.MULTILINE), name
        assert rest.startswith(":?" if name.endswith("PASSWORD") else ":-"), name


def test_the_settings_that_compose_sets_itself_give_its_own_servers() -> None:
    environment = SERVICES["server"]["environment"]
    given = {name: "p/a@s s" if "PASSWORD" in name else value for name, value in environment.items()}
    settings = Settings.from_environ(given)
    assert settings.redis_url == "redis://:p%2Fa%40s%20s@redis:6379/0"
    assert settings.database_url == "postgresql://streamgauge@postgres:5432/streamgauge"
    assert given["PGPASSWORD"]
    assert settings.keyring.is_relative_to(SERVICES["server"]["volumes"][0].partition(":")[2])
    # The worker makes no pseudonyms, so it is given no keys.
    assert "volumes" not in SERVICES["worker"]


def test_redis_never_forgets_entries_to_make_room() -> None:
    command = SERVICES["redis"]["command"]
    assert command[0] == "valkey-server"
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"
    assert "REDIS_PASSWORD" in options["--requirepass"]


def test_the_image_is_not_run_by_root_and_its_command_exists() -> None:
    assert instructions("USER") == [UID]
    assert json.loads(instructions("ENTRYPOINT")[-1]) == ["streamgauge"]
    assert json.loads(instructions("CMD")[-1])[0] in {entry.name for entry in COMMANDS}
    (health,) = instructions("HEALTHCHECK")
    assert json.loads(health.partition("CMD")[2])[:2] == ["python", "-c"]


def test_the_image_installs_nothing_that_is_not_pinned_with_its_hash() -> None:
    installs = [
        shlex.split(step)
        for run in instructions("RUN")
        for step in run.split("&&")
        if "pip install" in " ".join(step.split())
    ]
    assert len(installs) == 3
    for install in installs:
        if "--no-index" in install:
            assert "--no-deps" in install
            continue
        assert "--require-hashes" in install
        for entry in re.split(r"(?<!\\)\n", (ROOT / install[install.index("-r") + 1]).read_text()):
            assert not entry.strip() or entry.startswith("#") or "--hash=sha256:" in entry


def test_everything_the_image_copies_is_sent_to_its_build_and_nothing_else_is() -> None:
    first, *kept = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert first == "*"
    sent = {line.removeprefix("!") for line in kept if line.startswith("!")}
    copied = {
        source for line in instructions("COPY") if "--from" not in line for source in shlex.split(line)[:-1]
    }
    assert sent == copied
    assert all((ROOT / path).exists() for path in copied)
    assert not any(fnmatch(".env", line) for line in sent)
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
