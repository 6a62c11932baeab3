"""A look at the spools on this machine: whose files wait there, and whether somebody is there who will send them."""

import fcntl
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamgauge.capture.segment import read
from streamgauge.capture.spool_folder import LOCK, NAME, SUFFIX
from streamgauge.errors import NewerFrameError

#: Bytes of abandoned files that are read to tell whether they are whole; the rest is taken for it.
MOST_READ = 32 * 1024 * 1024
#: Bytes of a file in which its label is, and surely its first entry.
BEGINNING = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one process."""

    path: Path
    owned: bool  #: a process that runs writes or sends them
    bytes: int
    age: float  #: seconds since its oldest entry was written, as far as it can be told
    prefix: str | None = None  #: of the streams they are for; None: it cannot be told
    durable: bool = False
    newer: bool = False  #: of a newer version of this program
    damaged: int = 0  #: bytes that belong to no event


@dataclass(frozen=True, slots=True)
class SpoolDirectory:
    """All of them."""

    path: Path
    folders: Sequence[Folder] = ()
    read_only: bool = False
    closed: int = 0  #: folders that this user may not look into
    #: Bytes free on a disk of its own; None: it shares the data directory's, or cannot be told.
    free: int | None = None


def look_at_spools(root: Path, shared: Path | None = None) -> SpoolDirectory:
    """Look at a directory of spools, which need not be there. `shared`: a path whose disk is told of elsewhere."""
    try:
        existing = next(path for path in (root, *root.parents) if path.exists())
        system = os.statvfs(existing)
        apart = shared is None or os.stat(existing).st_dev != os.stat(shared).st_dev
        free = shutil.disk_usage(existing).free if apart else None
        paths = sorted(path for path in root.iterdir() if NAME.fullmatch(path.name)) if root.is_dir() else []
    except OSError:
        return SpoolDirectory(root, closed=1)
    folders, closed, budget = [], 0, MOST_READ
    for path in paths:
        try:
            found, used = _look(path, budget)
        except FileNotFoundError:  # sent and removed meanwhile
            continue
        except OSError:
            closed += 1
            continue
        budget -= used
        if found is not None:
            folders.append(found)
    return SpoolDirectory(root, folders, bool(system.f_flag & os.ST_RDONLY), closed, free)


def _look(path: Path, budget: int) -> tuple[Folder | None, int]:
    """One folder, None when nothing is in it; and how many bytes of it were read."""
    files = sorted(path.glob(f"*{SUFFIX}"))
    if not files:
        os.listdir(path)  # glob passes over what it may not read
        return None, 0
    owned = _is_owned(path)
    size, age = 0, 0.0
    for file in files:
        state = file.stat()
        size, age = size + state.st_size, max(age, time.time() - state.st_mtime)
    prefix, durable, damaged, used = None, False, 0, 0
    try:
        with files[0].open("rb") as opened:
            begun = read(opened.read(BEGINNING))
        if begun.label is not None:
            prefix, durable = begun.label.prefix, begun.label.durable
        if begun.stowed:
            age = time.time() - begun.stowed[0].written_at / 1000
        # What a live process is just writing is not whole yet.
        for file in () if owned else files:
            if used + file.stat().st_size <= budget:
                data = file.read_bytes()
                used, damaged = used + len(data), damaged + read(data).damaged
    except NewerFrameError:
        return Folder(path, owned, size, age, newer=True), used
    return Folder(path, owned, size, age, prefix, durable, damaged=damaged), used


def _is_owned(path: Path) -> bool:
    """Whether a process holds the folder's lock. A shared one is taken for this moment, and nothing is written."""
    try:
        lock = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
