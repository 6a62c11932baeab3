"""Make .venv with the pinned packages; `./run` calls it when that is missing or outdated.

Standard library only.

    python requirements/install.py run|dev

Nothing that is not pinned with its hash is downloaded: pip comes with Python, pip fetches uv, uv fetches the
rest (pip does, when uv cannot be had), and the project itself is built by the pinned hatchling. Packages
somebody added by hand stay.

The environment is marked incomplete while it is worked on and stamped at the end, so an interrupted start is
started over, and a lock lets two of them follow each other.
"""

import contextlib
import ensurepip
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
INCOMPLETE = VENV / "incomplete"
#: uv as it is; with the certificates of the system, which a company's proxy may need; and for a user without
#: a home.
UV_ATTEMPTS: tuple[dict[str, str], ...] = (
    {},
    {"UV_SYSTEM_CERTS": "1"},
    {"UV_SYSTEM_CERTS": "1", "UV_NO_CACHE": "1"},
)


class InstallError(Exception):
    """A step failed; the message is what it said."""


def main(kind: str) -> None:
    """Bring .venv up to date for `run` or `dev`."""
    with locked():
        if PYTHON.exists() and any(
            stamp_of(name).exists() and stamp_of(name).read_bytes() == inputs() for name in {kind, "dev"}
        ):
            return
        began = time.monotonic()
        say(f"installing the pinned packages into {VENV} (once)")
        if not usable():
            shutil.rmtree(VENV, ignore_errors=True)
        VENV.mkdir(exist_ok=True)
        INCOMPLETE.touch()
        if not PYTHON.exists():
            run([sys.executable, "-m", "venv", "--without-pip", str(VENV)])
        install(kind)
        for stale in VENV.glob("stamp-*"):
            stale.unlink()
        stamp_of(kind).write_bytes(inputs())
        INCOMPLETE.unlink()
        say(f"installed in {time.monotonic() - began:.1f} s")


def install(kind: str) -> None:
    """Install the packages, then the project itself as editable, which downloads nothing more."""
    packages = ["--require-hashes"]
    for name in (kind, "build"):
        packages += ["-r", str(REQUIREMENTS / f"{name}.txt")]
    project = ["--no-deps", "--no-build-isolation", "-e", str(ROOT)]
    for variables in UV_ATTEMPTS:
        try:
            uv = [uv_program(), "pip", "install", "--python", str(PYTHON)]
            # Not --compile-bytecode: compiling all of it takes three times what the first start compiles.
            run([*uv, *packages], variables)
            run([*uv, *project], variables)
        except InstallError as error:
            reason = str(error).splitlines()[-1].strip()
        else:
            return
    say(f"uv cannot be used ({reason}); pip takes half a minute")
    if not has_pip():
        run([str(PYTHON), "-m", "ensurepip"])
    pip = [str(PYTHON), "-m", "pip", "install"]
    run([*pip, *packages])
    run([*pip, *project])


def uv_program() -> str:
    """The pinned uv, installed into .venv when it is not there."""
    uv, pinned = VENV / "bin" / "uv", REQUIREMENTS / "uv.txt"
    version = pinned.read_text().split()[0].partition("==")[2]
    if uv.exists() and run([str(uv), "--version"]).split()[1:2] == [version]:
        return str(uv)
    run([str(PYTHON), "-m", "pip", "install", "--require-hashes", "-r", str(pinned)], pip_from_python())
    return str(uv)


def pip_from_python() -> dict[str, str]:
    """Variables that let `-m pip` use the wheel of ensurepip as it is: installing it takes seconds."""
    if has_pip():
        return {}
    for folder in (Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels")):
        for wheel in sorted(folder.glob("pip-*.whl"), reverse=True):
            return {"PYTHONPATH": str(wheel)}
    run([str(PYTHON), "-m", "ensurepip"])
    return {}


def has_pip() -> bool:
    """Whether .venv has a pip of its own."""
    return any(VENV.glob("lib/python*/site-packages/pip/__main__.py"))


def usable() -> bool:
    """Whether .venv can be brought up to date; otherwise it is made anew."""
    try:
        head = inputs().splitlines()[:2]
    except (InstallError, OSError):
        return False
    if INCOMPLETE.exists():
        return False
    # Programs in it name the directory and the version of Python it was made with.
    return all(stamp.read_bytes().splitlines()[:2] == head for stamp in VENV.glob("stamp-*"))


def inputs() -> bytes:
    """What the environment depends on; the same bytes as `inputs` in `run`."""
    version = run([str(PYTHON), "-V"])
    files = [ROOT / "pyproject.toml", *sorted(REQUIREMENTS.glob("*.txt"))]
    return f"{ROOT}\n{version}".encode() + b"".join(file.read_bytes() for file in files)


def stamp_of(kind: str) -> Path:
    """Where the inputs of a finished installation are kept."""
    return VENV / f"stamp-{kind}"


def run(command: list[str], variables: dict[str, str] | None = None) -> str:
    """What a program writes, shown to nobody unless it fails: then InstallError carries it."""
    environment = {
        **os.environ,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        **(variables or {}),
    }
    # The commands are this file's own.
    done = subprocess.run(  # noqa: S603
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InstallError(
            done.stdout.strip() or f"{command[0]} failed without a word (exit code {done.returncode})"
        )
    return done.stdout


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One installation at a time. The lock is the kernel's and ends with its holder, however that ends."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another ./run is installing; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """Tell the person waiting."""
    print(f"streamgauge: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        say("stopped; the next ./run starts over")
        sys.exit(130)
    except (InstallError, OSError) as error:
        say(f"the installation failed; the next ./run starts over.\n{error}")
        sys.exit(1)
