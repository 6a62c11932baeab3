"""The keyring as a host's process uses it: made when first needed, in a data directory that may not be there yet."""

import contextlib

from streamgauge.capture.pseudonyms import Keyring, TenantKeys
from streamgauge.capture.troubles import LOGGER
from streamgauge.settings import Settings


class HostKeys:
    """See `Keyring.tenant`. Nothing is read, and no folder made, before the first event of a tenant is to be sent."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keyring = Keyring(settings.keyring)
        self._known: dict[str, TenantKeys] = {}
        self._told = False

    def tenant(self, name: str, /) -> TenantKeys:
        """A tenant's keys. Raises SettingsError when the file cannot be used."""
        if name not in self._known:
            if not self._settings.keyring.exists():
                self._prepare()
            self._known[name] = self._keyring.tenant(name)
        return self._known[name]

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
