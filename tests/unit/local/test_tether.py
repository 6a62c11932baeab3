"""Promises about programs tied to their parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamgauge_local import tether
from streamgauge_local.process import Process, end_leftovers, minimal_environment, servers_in

SLEEP = ["/bin/sleep", "600"]


def runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not runs(pid)


def parent_of_sleep(start: str) -> tuple[subprocess.Popen[str], int]:
    """A process that starts a tethered `sleep` as told and waits; and the number of the sleep."""
    imports = "import subprocess, sys; from streamgauge_local import tether"
    script = f"{imports}; {start}; print(child.pid, flush=True); child.wait()"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    deadline = time.monotonic() + 10
    while b"sleep" not in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return parent, child


BY_THE_KERNEL = f"child = subprocess.Popen(tether.command({SLEEP!r}, 9))"
# Without ctypes' way to the C library it does what it does on systems without prctl.
WITHOUT_PRCTL = (
    "import os; from streamgauge_local import tether; tether.ctypes = None; "
    f"tether.main([str(os.getppid()), '9', 'same', *{SLEEP!r}])"
)
BY_A_WATCHER = f"child = subprocess.Popen([sys.executable, '-c', {WITHOUT_PRCTL!r}])"


@pytest.mark.parametrize("start", [BY_THE_KERNEL, BY_A_WATCHER], ids=["by the kernel", "by a watcher"])
def test_a_program_ends_when_its_parent_is_killed(start: str) -> None:
    parent, child = parent_of_sleep(start)
    with parent:
        assert runs(child)
        parent.kill()
        parent.wait()
        assert gone(child)


def test_a_program_whose_parent_is_gone_already_never_begins() -> None:
    stranger = 1
    command = tether.command(["/bin/echo", "begun"], signal.SIGKILL)
    command[4] = str(stranger)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (tether.PARENT_GONE, "")


def test_a_program_that_cannot_be_run_is_named() -> None:
    done = subprocess.run(
        tether.command(["/no/such/program"], signal.SIGKILL), capture_output=True, text=True, check=False
    )
    assert done.returncode == tether.CANNOT_EXECUTE
    assert done.stderr == "cannot run /no/such/program: No such file or directory\n"


def test_an_identity_that_cannot_be_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setgroups", refuse)
    with pytest.raises(SystemExit) as caught:
        tether.main(["1", "9", "1000:1000", "/bin/true"])
    assert caught.value.code == tether.CANNOT_CHANGE_IDENTITY


async def test_stopping_goes_from_asking_to_killing(tmp_path: Path) -> None:
    deaf = ["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]
    process = Process("deaf", deaf, tmp_path / "log")
    while "deaf" not in process.output():
        assert not await process.wait(0.01)
    await process.stop((signal.SIGTERM, 0.2))
    assert process.exit_code == -signal.SIGKILL
    polite = Process("polite", SLEEP, tmp_path / "log")
    await polite.stop((signal.SIGTERM, 30))
    assert polite.exit_code == -signal.SIGTERM


def test_the_user_s_variables_for_other_servers_do_not_reach_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGDATA", "PGPORT", "LANG"):
        monkeypatch.setenv(name, "theirs")
    assert not {"PGDATA", "PGPORT", "LANG"} & minimal_environment().keys()
    assert "PATH" in minimal_environment()


def test_a_shell_standing_in_the_data_directory_is_no_leftover(tmp_path: Path) -> None:
    shell = subprocess.Popen(SLEEP, cwd=tmp_path)
    try:
        assert servers_in(tmp_path) == []
        asyncio.run(end_leftovers(tmp_path, patience=0, limit=0))
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.wait()


def test_a_server_left_behind_that_does_not_end_is_killed(tmp_path: Path) -> None:
    # A program of that name, which is how a server is told from a shell.
    program = tmp_path / "valkey-server"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    left = subprocess.Popen([str(program), "600"], cwd=tmp_path)
    try:
        while not servers_in(tmp_path):
            assert left.poll() is None
        with pytest.raises(TimeoutError, match=f"processes \\[{left.pid}\\] do not leave"):
            asyncio.run(end_leftovers(tmp_path, patience=60, limit=0))
        assert left.poll() is None
        asyncio.run(end_leftovers(tmp_path, patience=0))
        assert left.wait(10) == -signal.SIGKILL
    finally:
        left.kill()
        left.wait()
