"""Log files of the children: appended to by them, kept short by us."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 8 * 1024 * 1024
_TAIL_BYTES = 16 * 1024


def open_for_append(path: Path) -> BinaryIO:
    """The file, readable by its owner alone, at its end."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def rotate(path: Path, most_bytes: int = MOST_BYTES) -> bool:
    """Move what a log holds to `<name>.1` when it is longer than `most_bytes`; whether it was.

    The file itself is emptied, not renamed: whoever appends to it keeps doing so. Lines written in between
    are lost.
    """
    if not path.exists() or path.stat().st_size <= most_bytes:
        return False
    shutil.copy2(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)
    return True


def tail(path: Path, lines: int, start: int = 0) -> str:
    """The last `lines` lines written after byte `start`."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        # After a rotation the file is shorter than where we began.
        file.seek(max(size - _TAIL_BYTES, start if start <= size else 0))
        text = file.read().decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-lines:])
