"""A power failure takes what was not synced, and nothing else."""

import subprocess
import sys
from pathlib import Path

from tests.faults.ground import ROOT
from tests.faults.unsynced import lose

#: Makes three segments: one synced, with more behind it; one whose directory was never synced; one that was not synced at all.
PROGRAM = """
import os, sys
from tests.faults.unsynced import keep_journal
folder = sys.argv[1]
keep_journal(folder + "/journal")
def make(name, content):
    file = os.open(f"{folder}/spool/{name}.segment", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(file, content)
    return file
first, second = make("first", b"kept"), make("second", b"lost with its name?")
os.fsync(first)
directory = os.open(folder + "/spool", os.O_RDONLY)
os.fsync(directory)
os.write(first, b" and torn off")
third = make("third", b"nobody names it")
os.fsync(third)
os.kill(os.getpid(), 9)
"""


def test_what_was_not_synced_is_gone_and_what_was_is_not(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "older.segment").write_bytes(b"of another process")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    lost = lose(tmp_path / "journal")
    assert {path.name: path.read_bytes() for path in spool.iterdir()} == {
        "first.segment": b"kept",
        "older.segment": b"of another process",
    }
    assert lost == len(b" and torn off" + b"lost with its name?" + b"nobody names it")
