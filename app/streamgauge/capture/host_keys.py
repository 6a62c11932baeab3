"""The keyring as a host's process uses it: made when first needed, in a data directory that may not be there yet."""

import contextlib
import os
from typing import Final

from streamgauge.capture.pseudonyms import Keyring, TenantKeys
from streamgauge.capture.troubles import LOGGER
from streamgauge.errors import SettingsError
from streamgauge.settings import Settings

#: To so many tenants events may bring a keyring. Their names may come from outside, and each is a write of the whole file.
MOST_TENANTS: Final = 1_000
LONGEST_SHOWN: Final = 40  # characters of a name in a message


class TooManyTenantsError(SettingsError):
    """A tenant is new, and the keyring holds as many as events may bring it to."""


class HostKeys:
    """See `Keyring.tenant`. Nothing is read, and no folder made, before the first event of a tenant is to be sent."""

    def __init__(self, settings: Settings, most: int | None = None) -> None:
        """`most`: how many tenants the keyring may hold when keys are made for a further one; any number when left out.

        The tenant of the settings, and whoever has keys already, is never refused.
        """
        self._settings = settings
        self._most = most
        self._keyring = Keyring(settings.keyring)
        self._known: dict[str, TenantKeys] = {}
        self._told = False
        #: What the file was like when it was found full, and whom it held: it need not be read for everybody who is refused.
        self._full: tuple[int, int, int] | None = None
        self._held: frozenset[str] = frozenset()

    def tenant(self, name: str, /) -> TenantKeys:
        """A tenant's keys. Raises SettingsError when the file cannot be used, TooManyTenantsError when none may be made."""
        if name not in self._known:
            state = self._state()
            if state is None:
                self._prepare()
            self._admit(name, state)
            self._known[name] = self._keyring.tenant(name)
        return self._known[name]

    def _admit(self, name: str, state: tuple[int, int, int] | None) -> None:
        if self._most is None or name == self._settings.tenant:
            return
        if state is None or state != self._full:
            self._held = self._keyring.names()
            self._full = state if len(self._held) >= self._most else None
        if name in self._held or len(self._held) < self._most:
            return
        raise TooManyTenantsError(
            f"the keyring holds {len(self._held)} tenants, and events may bring it to {self._most}: see where tenant= takes names from, or "
            "make the keys of a tenant of yours with streamgauge keys create --tenant NAME --actor ANYBODY --read. Refused: "
            f"{name!r:.{LONGEST_SHOWN}}"
        )

    def _state(self) -> tuple[int, int, int] | None:
        """What changes whenever the file is replaced; None where there is none to be seen."""
        try:
            found = os.stat(self._settings.keyring)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _prepare(self) -> None:
        path = self._settings.keyring
        if path.parent == self._settings.data_dir:
            # A keyring elsewhere is the operator's: a folder missing there is a mistake worth telling.
            with contextlib.suppress(OSError):
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._settings.redis_url is not None and not self._told:
            self._told = True
            LOGGER.warning(
                "a new keyring is made in %s: all hosts of a tenant need the same one, or its actors are counted several times",
                path,
            )
