"""For the tests of a host application: a gauge that needs no servers, threads or files.

    from streamgauge.testing import recording_gauge

    def test_signing_up_is_tracked() -> None:
        with recording_gauge(event_types=EVENTS) as gauge:
            sign_up(gauge, "ada")
            (event,) = gauge.of("user.signed_up")
            assert event.properties == {"plan": "free"}
            assert gauge.is_about(event, "ada")

An application whose gauge is made elsewhere is tested with `recording(gauge)`, which turns that very gauge into a recording one for
a while. With pytest, `pytest_plugins = ["streamgauge.pytest_plugin"]` gives a fixture `recording_gauge`.

Checks, sampling, drops and pseudonyms are those of the real gauge: the same code. Only keys and salts are made up, and the same in
every run.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, Final

from streamgauge.capture.buffer import DROPPED
from streamgauge.capture.context import Known
from streamgauge.capture.gauge import Streamgauge
from streamgauge.capture.pending import ACCEPTED, DropReason, Pending, Ticket
from streamgauge.capture.pseudonymiser import Pseudonymiser
from streamgauge.capture.pseudonyms import KEY_BYTES, TenantKeys
from streamgauge.capture.receipts import Recorded
from streamgauge.capture.troubles import Troubles
from streamgauge.capture.visitors import DAY, SALT_BYTES, Visitors
from streamgauge.event import Event
from streamgauge.settings import Settings
from streamgauge.summaries.rollups import EventType

__all__ = ["Record", "RecordingGauge", "recording", "recording_gauge"]

_PERSON: Final = b"sg for tests"


class FixedKeys:
    """Keys made from nothing but the tenant's name. Never use them for people's data."""

    def tenant(self, name: str, /) -> TenantKeys:
        """The same keys for the same name, always."""
        return TenantKeys(name, 1, _fixed("pseudonym", name, KEY_BYTES), _fixed("event", name, KEY_BYTES))


class FixedSalts:
    """Salts made from nothing but the day, for every day there is."""

    failure: str | None = None

    def salt(self, occurred_at: int) -> bytes | None:
        """See `DailySalts.salt`."""
        return _fixed("salt", str(occurred_at // (DAY * 1_000_000)), SALT_BYTES)

    def forget(self) -> bool:
        """There is nothing to destroy."""
        return False


class Record:
    """What a gauge was given: an outlet that keeps everything, at once."""

    def __init__(self, durable: bool = False) -> None:
        """With `durable`, tickets are answered as those of STREAMGAUGE_CAPTURE_MODE=durable: at once."""
        self._ticket = Recorded(True) if durable else ACCEPTED
        #: What was accepted, as the application gave it, in order.
        self.pending: list[Pending] = []
        self._drops: dict[DropReason, int] = {}
        self._closed = False
        self._lock = threading.RLock()
        self.keys = FixedKeys()
        self.troubles = Troubles()
        self._pseudonymiser = Pseudonymiser(self.keys, Visitors(FixedSalts()), self.troubles)

    @property
    def events(self) -> list[Event]:
        """What the real gauge would have sent, in order: pseudonyms instead of identifiers and addresses."""
        return [self._pseudonymiser.event(each) for each in list(self.pending)]

    def of(self, name: str) -> list[Event]:
        """The events of one name."""
        return [event for event in self.events if event.name == name]

    def is_about(self, event: Event, actor: str) -> bool:
        """Whether an event is about the application's actor of that identifier."""
        return event.actor == self.keys.tenant(event.tenant).pseudonym("actor", actor)

    @property
    def drops(self) -> Mapping[DropReason, int]:
        """Events that were not accepted, by reason."""
        with self._lock:
            return dict(self._drops)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.pending.clear()
            self._drops.clear()

    def put(self, pending: Pending, /) -> Ticket:
        """See `Outlet.put`."""
        with self._lock:
            if self._closed:
                return self.drop("closed")
            self.pending.append(pending)
        return self._ticket

    def drop(self, reason: DropReason, /) -> Ticket:
        """See `Outlet.drop`."""
        with self._lock:
            self._drops[reason] = self._drops.get(reason, 0) + 1
        return DROPPED[reason]

    def flush(self, seconds: float, /) -> bool:
        """There is nothing to wait for."""
        return True

    def sign_off(self, seconds: float, /) -> bool:
        """There is nobody to tell."""
        return True

    def close(self, seconds: float, /) -> bool:
        """Take nothing more."""
        self._closed = True
        return True

    def status(self) -> dict[str, Any]:
        """See `Outlet.status`."""
        with self._lock:
            taken = len(self.pending)
            counts = {"accepted": taken, "sent": taken, "waiting": 0, "waiting_bytes": 0}
            spool = {"bytes": 0, "batches": 0, "oldest_seconds": 0.0}
            return {**counts, "dropped": dict(self._drops), "redis": "recording", "spool": spool}


class RecordingGauge(Streamgauge):
    """A gauge and its record in one."""

    def __init__(self, settings: Settings | None = None, **options: Any) -> None:
        """As `Streamgauge`, with default settings instead of the environment's."""
        settings = Settings() if settings is None else settings
        #: What it was given.
        self.recorded = Record(settings.capture_mode == "durable")
        super().__init__(settings, outlet=self.recorded, **options)

    @property
    def pending(self) -> list[Pending]:
        """See `Record.pending`."""
        return self.recorded.pending

    @property
    def events(self) -> list[Event]:
        """See `Record.events`."""
        return self.recorded.events

    @property
    def drops(self) -> Mapping[DropReason, int]:
        """See `Record.drops`."""
        return self.recorded.drops

    def of(self, name: str) -> list[Event]:
        """See `Record.of`."""
        return self.recorded.of(name)

    def is_about(self, event: Event, actor: str) -> bool:
        """See `Record.is_about`."""
        return self.recorded.is_about(event, actor)

    def clear(self) -> None:
        """See `Record.clear`."""
        self.recorded.clear()


def recording_gauge(
    *,
    event_types: Iterable[EventType] = (),
    actor: Known = None,
    session: Known = None,
    **settings: Any,
) -> RecordingGauge:
    """A recording gauge, to be used as it is or in a `with` statement.

    Args:
        event_types, actor, session: as for `Streamgauge`.
        settings: fields of `Settings`, such as `capture_percent=50` or `tenant="school"`. Of `tenant`, functions too.
    """
    tenant = settings.pop("tenant", None)
    return RecordingGauge(
        Settings(**settings), tenant=tenant, actor=actor, session=session, event_types=event_types
    )


@contextmanager
def recording(gauge: Streamgauge) -> Iterator[Record]:
    """Let a gauge record instead of send, within the `with` statement. What it counts meanwhile is the record's.

    A gauge that is disabled stays so, and records nothing.
    """
    record = Record(gauge.settings.capture_mode == "durable")
    before = gauge.redirect(record)
    try:
        yield record
    finally:
        gauge.redirect(before)


def _fixed(purpose: str, name: str, size: int) -> bytes:
    text = f"{purpose} {name}".encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=size, person=_PERSON).digest()
