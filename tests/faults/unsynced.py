"""What a disk has when the machine loses power: nothing but what was synced. Told by the process itself, as it goes.

A process that keeps a journal notes every segment it makes, and every fsync that came back: of a file with its size, of a directory
with its names. When the process is dead, `lose` takes from its files what the journal does not say.
"""

import os
from pathlib import Path

import orjson

SUFFIX = ".segment"


def keep_journal(path: str) -> None:
    """Note every fsync of this process from now on, in a file that outlives a kill."""
    journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    real, real_open = os.fsync, os.open

    def opened(name: str | os.PathLike[str], flags: int, *rest: int) -> int:
        if flags & os.O_CREAT and str(name).endswith(SUFFIX):
            os.write(journal, orjson.dumps({"made": str(name)}) + b"\n")
        return real_open(name, flags, *rest)

    def fsync(file: int) -> None:
        target, size = os.readlink(f"/proc/self/fd/{file}"), os.fstat(file).st_size
        real(file)
        if os.path.isdir(target):
            note: dict[str, object] = {"directory": target, "names": os.listdir(target)}
        else:
            note = {"file": target, "size": size}
        os.write(journal, orjson.dumps(note) + b"\n")

    os.open = opened  # type: ignore[assignment]  # nobody here gives names as bytes or directories by number
    os.fsync = fsync  # type: ignore[assignment]  # it takes objects with a fileno too, and nobody here has one


def lose(journal: Path) -> int:
    """Take from a dead process's segments what was never synced; how many bytes. Files that no synced directory names go whole."""
    sizes: dict[str, int] = {}
    named: set[str] = set()
    made: list[Path] = []
    for line in journal.read_bytes().splitlines():
        note = orjson.loads(line)
        if "made" in note:
            made.append(Path(note["made"]))
        elif "file" in note:
            sizes[note["file"]] = note["size"]
        else:
            named |= {os.path.join(note["directory"], name) for name in note["names"]}
    lost = 0
    for segment in filter(Path.exists, made):
        path, size = str(segment), segment.stat().st_size
        kept = sizes.get(path, 0) if path in named else 0
        lost += size - kept
        if kept:
            os.truncate(segment, kept)
        else:
            segment.unlink()
    return lost
