"""One process's folder in the spool's directory: locked while that process lives, anybody's to adopt afterwards."""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Final

LOCK: Final = "lock"
SUFFIX: Final = ".segment"
NAME: Final = re.compile("[0-9a-f]{16}")
#: Other processes may take an empty folder for an abandoned one just before its owner locks it.
ATTEMPTS: Final = 5


class SpoolFolder:
    """A folder whose lock this process holds. Nobody else may write, send or remove what is in it (rule P4)."""

    def __init__(self, path: Path, lock: int) -> None:
        """`lock` is the descriptor of its locked file."""
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def make(cls, root: Path) -> "SpoolFolder":
        """A new one, which nobody but its owner may look into. Raises OSError."""
        missing = [each for each in (root, *root.parents) if not each.exists()]
        for each in (root.parent, root):  # parents get the usual mode, not this one
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in missing:
            _sync(each.parent)
        for _ in range(ATTEMPTS):
            path = root / secrets.token_hex(8)
            path.mkdir(mode=0o700)
            with contextlib.suppress(FileNotFoundError):
                if (lock := _locked(path)) is not None:
                    return cls(path, lock)
        raise OSError("no folder of a spool could be locked")

    @classmethod
    def abandoned(
        cls, root: Path, known: Container[Path], meet: Callable[[str, str], None]
    ) -> Iterator["SpoolFolder"]:
        """Folders whose owners are no more, locked now, the oldest first, but those that are `known`.

        Whatever else lies there is left alone. One that fails is told to `meet`, and keeps nobody from the others.
        """
        try:
            paths = sorted(
                (path for path in root.iterdir() if path not in known and _is_ours(path)), key=_age
            )
        except FileNotFoundError:
            return
        except OSError as error:
            meet("spool_failed", f"{root} cannot be searched: {error.strerror}")
            return
        for path in paths:
            try:
                lock = _locked(path)
            except (FileNotFoundError, PermissionError):
                continue  # removed meanwhile, or somebody else's who does not let us in
            except OSError as error:
                meet("spool_failed", f"{path} cannot be adopted: {error.strerror}")
                continue
            if lock is not None:
                yield cls(path, lock)

    def segments(self) -> list[Path]:
        """Its files, the oldest first. Raises OSError."""
        return sorted(self.path.glob(f"*{SUFFIX}"), key=_number)

    def segment(self, number: int) -> Path:
        """The name of a new file."""
        return self.path / f"{number:08d}{SUFFIX}"

    def sync(self) -> None:
        """Wait until the disk knows which files there are, and that there is this folder. Raises OSError."""
        for path in (self.path, self.path.parent):
            _sync(path)

    def leave(self) -> None:
        """Let go of it: it is adopted one day, or, if it is empty, removed at once. Leaving twice is fine."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            if not self.segments():
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        self.disown()

    def disown(self) -> None:
        """Close the lock's descriptor; in a forked child, whose parent goes on holding the lock."""
        # Forgotten first: even where closing it fails, its number is free, and somebody else's from then on.
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(OSError):
                os.close(lock)


def _is_ours(path: Path) -> bool:
    return NAME.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()


def _age(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:  # removed meanwhile
        return 0, path.name


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _number(path: Path) -> tuple[int, str]:
    return (int(path.stem) if path.stem.isdecimal() else 0), path.name


def _locked(path: Path) -> int | None:
    """A descriptor that holds the folder's lock; None while another process does."""
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever adopted it before may have emptied and removed it while we opened its lock.
        if os.fstat(lock).st_nlink:
            return lock
    except BlockingIOError:
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None
