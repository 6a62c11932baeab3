"""Promises about who the servers run as: PostgreSQL refuses root, and works for root all the same."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from streamgauge.errors import ServerError
from streamgauge_local import binaries, identity, tether
from streamgauge_local.postgres import LocalPostgres
from tests.integration.local.held import Held, until_gone

ROOT = Path(__file__).resolve().parents[3]
NOBODY = "65534:65534"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A short directory that every user can pass through."""
    with tempfile.TemporaryDirectory(prefix="sg-test-") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place
        assert until_gone(place / "data" / "postgres"), "a test left servers behind"


def postgres(place: Path, who: str) -> LocalPostgres:
    (place / "data").mkdir(exist_ok=True)
    (place / "sockets").mkdir(exist_ok=True)
    return LocalPostgres(
        place / "data" / "postgres",
        place / "sockets" / "postgres",
        place / "log",
        ephemeral=True,
        identities=[who],
    )


async def answers(server: LocalPostgres) -> bool:
    connection = await asyncpg.connect(server.url())
    try:
        return bool(await connection.fetchval("SELECT true"))
    finally:
        await connection.close()


@as_root
async def test_root_runs_postgresql_in_a_user_namespace_and_keeps_owning_its_files(open_place: Path) -> None:
    server = postgres(open_place, tether.NAMESPACE)
    try:
        await server.start()
    except ServerError as error:
        if "unshare" in str(error) or "uid_map" in str(error):
            pytest.skip("user namespaces are forbidden here")
        raise
    try:
        assert await answers(server)
        assert {path.stat().st_uid for path in (open_place / "data").rglob("*")} == {0}
    finally:
        await server.stop()


@as_root
async def test_root_runs_postgresql_as_another_user_where_namespaces_are_forbidden(open_place: Path) -> None:
    program = next(binaries.postgres_candidates()).path
    if closed := identity.closed_directory(program, NOBODY):
        pytest.skip(f"the program is out of nobody's reach: {closed}")
    server = postgres(open_place, NOBODY)
    await server.start()
    try:
        assert await answers(server)
        assert (open_place / "data" / "postgres").stat().st_uid == 65534
    finally:
        await server.stop()
    # What nobody owns stays nobody's: the next start of root's goes by the owner.
    assert identity.identities_for(open_place / "data" / "postgres") == [NOBODY]
    again = postgres(open_place, NOBODY)
    await again.start()
    await again.stop()


@as_root
async def test_a_directory_closed_to_the_other_user_is_named(open_place: Path) -> None:
    open_place.chmod(0o700)
    with pytest.raises(ServerError, match=rf"out of its reach, because {open_place} is closed to others"):
        await postgres(open_place, NOBODY).start()


def test_an_ordinary_user_runs_both_servers(open_place: Path) -> None:
    data_dir = open_place / "data"
    if os.geteuid() != 0:
        with Held(data_dir) as owner:
            assert owner.wait()["source"] == "started"
        return
    data_dir.mkdir()
    os.chown(data_dir, 65534, 65534)
    with Held(data_dir, program=as_nobody(), environment=importable()) as owner:
        assert owner.wait()["source"] == "started"
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in owner.servers()} == {65534}
        owner.process.kill()
        owner.process.wait()
        assert until_gone(data_dir, 5), "servers outlived their killed owner"


@as_root
def test_data_of_another_user_are_refused_and_told(open_place: Path) -> None:
    data_dir = open_place / "data"
    data_dir.mkdir()
    os.chown(data_dir, 65534, 65534)
    (data_dir / "postgres").mkdir(mode=0o700)
    with Held(data_dir, program=as_nobody(), environment=importable()) as owner:
        assert "belong to another user" in owner.refusal()


def test_an_ordinary_user_needs_no_change_of_identity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert identity.identities_for(tmp_path) == [tether.SAME]


def test_root_tries_a_namespace_first_and_unprivileged_users_then(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    first, *others = identity.identities_for(tmp_path / "new")
    assert first == tether.NAMESPACE
    assert "user nobody" in {identity.describe(other) for other in others}


def as_nobody() -> tuple[str, ...]:
    """The start of a command that runs Python as an ordinary user; skips where that cannot be."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is missing")
    become = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        # It has to reach itself too: that is how it starts servers.
        check = (
            "import asyncpg, streamgauge_local.stack, subprocess, sys; subprocess.run([sys.executable, '-V'])"
        )
        attempt = [*become, python, "-c", check]
        environment = {**os.environ, **importable()}
        if subprocess.run(attempt, env=environment, capture_output=True, check=False).returncode == 0:
            return (*become, python)
    pytest.skip("no Python of this version is within an ordinary user's reach")


def importable() -> dict[str, str]:
    """Variables that let another interpreter of the same version import what this one does."""
    roots = [ROOT / "app", ROOT / "workers", ROOT / "migrations", Path(sysconfig.get_path("purelib"))]
    return {"PYTHONPATH": os.pathsep.join(str(root) for root in roots), "HOME": "/nonexistent"}
