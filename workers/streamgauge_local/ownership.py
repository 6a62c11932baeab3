"""Who runs the servers of a data directory, and who uses them.

    DATA_DIR/lock             held exclusively by the one process that runs the servers
    DATA_DIR/users.lock       held shared by every command that uses servers of another process
    DATA_DIR/endpoints.json   who runs them, and once they are ready, where they are

Locks are the kernel's (flock): they end with their holder, whatever ends it.
"""

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Self

from streamgauge.errors import ServerError, SettingsError
from streamgauge_local.tether import is_alive

#: What a data directory may hold. One with other things in it is somebody's, and we do not close it to
#: others.
KNOWN_ENTRIES = frozenset(
    {
        "lock",
        "users.lock",
        "endpoints.json",
        "postgres",
        "valkey",
        "logs",
        "keyring.json",
        "salts.json",
        "access.json",
        "spool",
        "lost+found",
    }
)
_UP_PATIENCE, _COMMAND_PATIENCE = 10.0, 120.0
_POLL_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Record:
    """What the owner tells others.

    The addresses are empty until the servers are ready, or when it does not run that server.
    """

    pid: int
    role: str
    socket_dir: str
    ready: bool = False
    redis_url: str = ""
    database_url: str = ""
    details: str = ""


class Lock:
    """A lock on a file that ends with its holder."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_exclusive(self) -> bool:
        """Get it for us alone, now; whether that worked."""
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        """Get it together with others, now; whether that worked."""
        return self._try(fcntl.LOCK_SH)

    def release(self) -> None:
        """Give it back; it can be had again."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give it back for good."""
        os.close(self._descriptor)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise SettingsError(
                f"The data directory cannot be locked ({error.strerror}): give a --data-dir on a local disk"
            ) from error
        return True


class Ownership:
    """The locks of one data directory, for the time of a command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._endpoints = directory / "endpoints.json"
        self._owner = Lock(directory / "lock")
        self._users = Lock(directory / "users.lock")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._owner.close()
        self._users.close()

    async def own(self) -> None:
        """Become the owner, waiting a little for one that is about to end.

        Raises:
            ServerError: another process runs the servers.
        """
        deadline = time.monotonic() + _UP_PATIENCE
        while not self._owner.try_exclusive():
            if time.monotonic() > deadline:
                raise ServerError(
                    f"The data directory {self.directory} is in use by {self._owner_in_words()}: "
                    "stop that, or give another --data-dir and --port"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def own_or_join(self) -> Record | None:
        """Become the owner (None), or use the servers of whoever is, once they are ready.

        Raises:
            ServerError: the owner does not get its servers ready.
        """
        deadline = time.monotonic() + _COMMAND_PATIENCE
        while True:
            # An owner about to stop its servers holds this exclusively, until they have stopped.
            if self._users.try_shared():
                if self._owner.try_exclusive():
                    self._users.release()
                    return None
                record = self.read()
                if record is not None and record.ready:
                    return record
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{self._owner_in_words()} does not get its servers in {self.directory} ready"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def wait_for_users(self) -> None:
        """Wait until nobody else uses our servers, and let nobody begin to."""
        # Other processes hold it: there is no event to wait for.
        while not self._users.try_exclusive():  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)

    def publish(self, record: Record) -> None:
        """Tell others, whole or not at all."""
        draft = self._endpoints.with_name("endpoints.json.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(dataclasses.asdict(record), file, indent=1)
        draft.rename(self._endpoints)

    def withdraw(self) -> None:
        """Tell others that there is nothing any more."""
        self._endpoints.unlink(missing_ok=True)

    def left_behind(self) -> Record | None:
        """What an owner that was killed had published. For the owner only."""
        return self._load()

    def read(self) -> Record | None:
        """What the owner published; None when it is of one that has ended."""
        record = self._load()
        return record if record is not None and is_alive(record.pid) else None

    def _load(self) -> Record | None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Record(**json.loads(self._endpoints.read_text()))
        return None

    def _owner_in_words(self) -> str:
        record = self.read()
        if record is None:
            return "another process"
        what = "`streamgauge up`" if record.role == "up" else "another command"
        return f"{what} (process {record.pid})"


def prepare_directory(path: Path) -> Path:
    """Make the data directory, closed to others, and return its absolute path.

    Raises:
        SettingsError: it cannot be made or written, or it holds something else.
    """
    directory = path.expanduser().absolute()
    advice = "give another directory with --data-dir or STREAMGAUGE_DATA_DIR"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = {entry.name for entry in directory.iterdir()}
        if held and not held & KNOWN_ENTRIES:
            raise SettingsError(f"The data directory {directory} holds other things: {advice}")
        if directory.stat().st_mode & 0o077:
            directory.chmod(0o700)
        (directory / "logs").mkdir(mode=0o700, exist_ok=True)
        Lock(directory / "lock").close()
    except OSError as error:
        raise SettingsError(
            f"The data directory {directory} cannot be used ({error.strerror}): {advice}"
        ) from error
    return directory.resolve()
