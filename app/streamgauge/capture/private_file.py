"""A small JSON file that nobody but its owner may read, shared by the processes of one machine."""

import contextlib
import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamgauge.errors import SettingsError


class PrivateFile:
    """Read whole, replaced in one step under a lock that lies beside it. Raises SettingsError for whatever goes wrong."""

    def __init__(self, path: Path, what: str) -> None:
        """`what` it is, for messages: "the daily salts"."""
        self.path = path
        self._what = what

    def read(self) -> Any:
        """What it holds; None when there is no such file."""
        try:
            with self.path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                content = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable("read", error) from error
        if mode & 0o077:
            raise SettingsError(
                f"{self._what} in {self.path} may be read by others (mode {mode:04o}): remove it"
            )
        try:
            return json.loads(content)
        except ValueError as error:
            raise SettingsError(f"{self._what} in {self.path} are damaged: remove it") from error

    def replace(self, content: object) -> None:
        """Write it anew: readers see the old or the new content."""
        try:
            # mkstemp makes it readable by its owner alone.
            descriptor, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            try:
                with open(descriptor, "w") as file:
                    json.dump(content, file)
                os.replace(temporary, self.path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise self._unusable("written", error) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all processes. The lock is beside the file, which is replaced."""
        try:
            lock = os.open(
                self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise self._unusable("locked", error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise self._unusable("locked", error) from error
        finally:
            os.close(lock)

    def _unusable(self, doing: str, error: OSError) -> SettingsError:
        return SettingsError(f"{self._what} in {self.path} cannot be {doing} ({error.strerror})")
