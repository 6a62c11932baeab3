"""The step behind which nobody's identifier, address or session is known: pending events become events as they are sent."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Final, Protocol

from streamgauge.capture.host_keys import TooManyTenantsError
from streamgauge.capture.pending import DropReason, Pending
from streamgauge.capture.properties import with_pseudonyms
from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge.capture.troubles import Troubles
from streamgauge.capture.visitors import Visitors
from streamgauge.errors import SettingsError
from streamgauge.event import Event

MOST_REMEMBERED: Final = 20_000  # pseudonyms of actors and of sessions, each


class Keys(Protocol):
    """Where a tenant's keys come from: the keyring."""

    def tenant(self, name: str, /) -> TenantKeys:
        """Raises SettingsError when there are none to be had, TooManyTenantsError when none may be made."""


class Pseudonymiser:
    """Makes events of pending ones, with the tenant's keys and the daily salts.

    The keys are read, and made, only now: the host's own call touches no file. An event whose tenant has no usable keys is not
    sent: without its actor it would be counted wrongly, and keeping it would hold up other tenants' events.
    """

    def __init__(self, keys: Keys, visitors: Visitors, troubles: Troubles) -> None:
        self._keys = keys
        self._visitors = visitors
        self._troubles = troubles
        self._actor = lru_cache(MOST_REMEMBERED)(self._make_actor)
        self._session = lru_cache(MOST_REMEMBERED)(self._make_session)

    def events(self, pending: Sequence[Pending]) -> list[Event | DropReason]:
        """The events in their order; of one that cannot be made why not, which is counted as a trouble too."""
        made: list[Event | DropReason] = []
        failing: dict[str, DropReason] = {}  # whose file need not be read again for every event
        for each in pending:
            try:
                made.append(failing.get(each.tenant) or self.event(each))
                continue
            except TooManyTenantsError as error:
                failing[each.tenant] = "too_many_tenants"
                self._troubles.meet("too_many_tenants", str(error))
            except SettingsError as error:
                failing[each.tenant] = "unsendable"
                self._troubles.meet("keyring_failed", str(error))
            except Exception:  # noqa: BLE001 - one event that is wrong in a way we did not think of
                self._troubles.meet("unsendable")
            made.append(failing.get(each.tenant, "unsendable"))
        return made

    def forget(self) -> None:
        """Destroy what is known of the visitors of past days; call it now and then."""
        self._visitors.forget()
        failure, self._visitors.salts.failure = self._visitors.salts.failure, None
        if failure is not None:
            self._troubles.meet("salts_failed", failure)

    def event(self, pending: Pending) -> Event:
        """One event. Raises SettingsError when its tenant's keys cannot be read or made."""
        name, at, tenant, actor, session, group, device, source, properties, key, visitor, _ = pending
        keys = self._keys.tenant(tenant)
        if actor is not None:
            pseudonym: bytes | None = self._actor(keys, actor)
        else:
            pseudonym = None if visitor is None else self._visitors.pseudonym(visitor, at)
        return Event(
            name, at, tenant, pseudonym, None if session is None else self._session(keys, session), group, device, source,
            with_pseudonyms(properties, partial(self._actor, keys)),
            None if key is None else keys.event_id(name, key, actor, session),
        )  # fmt: skip

    def _make_actor(self, keys: TenantKeys, actor: str) -> bytes:
        return keys.pseudonym("actor", actor)

    def _make_session(self, keys: TenantKeys, session: str) -> str:
        # A session's identifier is often what proves who one is: it must not be found in a database.
        return keys.pseudonym("session", session).hex()
