"""Visitors without an identity: known for one day, by a random salt that is destroyed afterwards."""

import secrets
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

from streamgauge.capture.private_file import PrivateFile
from streamgauge.capture.pseudonyms import daily_pseudonym
from streamgauge.errors import SettingsError

SALT_BYTES: Final = 32
DAY: Final = 86_400  # seconds
FILE: Final = "salts.json"
MOST_VISITORS: Final = 10_000  # whose pseudonyms are remembered, of one day


class Salts(Protocol):
    """Where the salts of visitors come from."""

    failure: str | None

    def salt(self, occurred_at: int) -> bytes | None:
        """See `DailySalts.salt`."""

    def forget(self) -> bool:
        """See `DailySalts.forget`."""


class DailySalts:
    """One random salt per day, shared by the processes of a machine through a file only its owner may read.

    Days are UTC days: a host does not know the time zones of its tenants. The salts of today and yesterday are kept, so every salt
    is destroyed within 48 hours after its day began. Then nothing links a pseudonym to an address, or to the same visitor's other
    days. While the file cannot be used, the process has salts of its own, and counts a visitor of several processes as several.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Nothing is read before the first visitor. `clock` gives Unix seconds."""
        self._file = PrivateFile(path, "the daily salts")
        self._clock = clock
        self._salts: dict[int, bytes] = {}
        self._looked = 0  # the day on which the file was last looked through for old salts
        #: Why the file could not be used when it was last tried; that day's salt is then this process's own.
        self.failure: str | None = None

    def salt(self, occurred_at: int) -> bytes | None:
        """The salt of a moment's day (UTC, microseconds since 1970); None when that day's is destroyed, or is yet to come."""
        day = occurred_at // (DAY * 1_000_000)
        today = int(self._clock()) // DAY
        # A clock may be a little behind another one's at midnight: tomorrow's salt is made then.
        if not today - 1 <= day <= today + 1:
            return None
        if day not in self._salts:
            self._salts[day] = self._shared(day, today)
        return self._salts[day]

    def forget(self) -> bool:
        """Destroy the salts of days before yesterday, in memory and in the file; whether there were any in memory.

        The file may hold those of processes that are no more, so it is looked through once a day.
        """
        today = int(self._clock()) // DAY
        old = [day for day in self._salts if day < today - 1]
        for day in old:
            del self._salts[day]
        if old or today != self._looked:
            self._looked = today
            try:
                self._forget_stored(today)
            except SettingsError as error:
                self.failure = str(error)
        return bool(old)

    def _forget_stored(self, today: int) -> None:
        if all(day >= today - 1 for day in self._stored()):
            return
        with self._file.locked():
            self._store({day: salt for day, salt in self._stored().items() if day >= today - 1})

    def _shared(self, day: int, today: int) -> bytes:
        try:
            found = self._stored().get(day)
            if found is None:
                with self._file.locked():
                    stored = self._stored()  # another process may have been first
                    found = stored.setdefault(day, secrets.token_bytes(SALT_BYTES))
                    self._store({each: salt for each, salt in stored.items() if each >= today - 1})
        except SettingsError as error:
            self.failure = str(error)
            return secrets.token_bytes(SALT_BYTES)
        self.failure = None
        return found

    def _stored(self) -> dict[int, bytes]:
        content: Any = self._file.read()
        if content is None:
            return {}
        try:
            stored = {int(day): bytes.fromhex(salt) for day, salt in content["salts"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"the daily salts in {self._file.path} are damaged: remove it") from error
        if any(len(salt) != SALT_BYTES for salt in stored.values()):
            raise SettingsError(f"the daily salts in {self._file.path} are damaged: remove it")
        return stored

    def _store(self, salts: dict[int, bytes]) -> None:
        self._file.replace({"salts": {str(day): salt.hex() for day, salt in sorted(salts.items())}})


class Visitors:
    """Pseudonyms of visitors, remembered for as long as their day's salt."""

    def __init__(self, salts: Salts) -> None:
        self.salts = salts
        self._pseudonym = lru_cache(MOST_VISITORS)(_pseudonym)

    def pseudonym(self, visitor: tuple[str, str], occurred_at: int) -> bytes | None:
        """Of an address and a user agent; None when the salt of that day is destroyed."""
        salt = self.salts.salt(occurred_at)
        return None if salt is None else self._pseudonym(salt, *visitor)

    def forget(self) -> None:
        """Destroy old salts, and with them the addresses remembered."""
        if self.salts.forget():
            self._pseudonym.cache_clear()


def _pseudonym(salt: bytes, address: str, agent: str) -> bytes:
    return daily_pseudonym(salt, "visitor", address, agent or "-")
