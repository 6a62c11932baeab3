"""What the routes about people answer from: one per application, in `app.state.people`."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final

import asyncpg
import structlog
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry, Counter

from streamgauge.access import Caller, audit
from streamgauge.capture.host_keys import HostKeys
from streamgauge.database import Connection
from streamgauge.directory.directory import Directory, NoDirectory, PseudonymOf
from streamgauge.directory.remote import DirectoryError, HttpDirectory
from streamgauge.errors import InputError, ServerError
from streamgauge.event import DAILY
from streamgauge.event_log.walk import Budget, Log
from streamgauge.lending import GONE
from streamgauge.read.api.realtime import handle
from streamgauge.read.connections import lent_snapshot
from streamgauge.settings import Settings
from streamgauge.summaries.rollups import Catalogue

READERS: Final = 3  # requests that read the log at the same time: others need connections, too
PATIENCE: Final = 5.0  # seconds a request waits for its turn
log = structlog.get_logger(__name__)


def pseudonyms_of(settings: Settings) -> PseudonymOf:
    """Pseudonyms made with the keyring that the settings name."""
    keys = HostKeys(settings)
    return lambda tenant, external: keys.tenant(tenant).pseudonym("actor", external)


def directory_of(settings: Settings) -> Directory:
    """The directory that the settings name. Raises SettingsError for an address that cannot be one."""
    if not settings.directory_url:
        return NoDirectory()
    return HttpDirectory(settings.directory_url, settings.directory_token)


class People:
    """Reads the log and asks the directory, within bounds."""

    #: What one request may read, where it is not what `Budget` says.
    bounds: Mapping[str, int] = MappingProxyType({})

    def __init__(
        self,
        catalogue: Catalogue,
        directory: Directory,
        pseudonym_of: PseudonymOf,
        registry: CollectorRegistry,
    ) -> None:
        self.catalogue = catalogue
        self.directory = directory
        self.log = Log()
        self._pseudonym_of = pseudonym_of
        self._reading = asyncio.Semaphore(READERS)
        self.failures = Counter(
            "streamgauge_directory_failures",
            "Questions the directory did not answer.",
            ["call"],
            registry=registry,
        )
        self.entries = Counter(
            "streamgauge_event_log_entries_read", "Entries of the event log looked at.", registry=registry
        )
        self.events = Counter(
            "streamgauge_event_log_events_decoded", "Events of the event log decoded.", registry=registry
        )

    async def pseudonym(self, tenant: str, external: str) -> bytes:
        """Of an external identifier. Reading the keyring may mean reading a file. Raises SettingsError."""
        return await asyncio.to_thread(self._pseudonym_of, tenant, external)

    async def names(self, tenant: str, pseudonyms: Sequence[bytes]) -> Mapping[bytes, str]:
        """A name for each: the directory's, or user_ and six characters; without a known directory everybody's is of that kind."""
        known: Mapping[bytes, str] = {}
        asked = [each for each in dict.fromkeys(pseudonyms) if each[0] != DAILY]
        if asked:
            try:
                known = await self.directory.names(tenant, asked)
            except DirectoryError as error:
                self._failed("names", error)
        return {each: known.get(each) or str(handle(each.hex())) for each in pseudonyms}

    async def search(self, tenant: str, q: str, limit: int) -> Sequence[str]:
        """External identifiers that the directory finds. Raises ServerError when it does not answer: nobody found would be a lie."""
        try:
            return list(await self.directory.search(tenant, q, limit))[:limit]
        except DirectoryError as error:
            self._failed("search", error)
            raise ServerError("the directory of names does not answer: ask again later") from None

    def _failed(self, call: str, error: DirectoryError) -> None:
        self.failures.labels(call).inc()
        log.warning("the directory failed", call=call, detail=str(error))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Budget]:
        """What one request may read of the log, once it is its turn. Raises ServerError when that takes too long."""
        try:
            await asyncio.wait_for(self._reading.acquire(), PATIENCE)
        except TimeoutError:
            raise ServerError(f"{READERS} others are reading the event log: ask again later") from None
        budget = Budget(**self.bounds)
        try:
            yield budget
        finally:
            self._reading.release()
            self.entries.inc(budget.looked_at)
            self.events.inc(budget.decoded)


class Asking:
    """One caller's request."""

    def __init__(self, request: Request, caller: Caller) -> None:
        self.request = request
        self.caller = caller
        self.people: People = people_of(request.app)

    async def audited(self, action: str, filters: Mapping[str, Any]) -> None:
        """Write down what is about to be read. Raises ServerError when it cannot be: then nothing is read."""
        told = {name: value for name, value in filters.items() if value is not None}
        try:
            await audit.record(self.request.app.state.pool, self.caller, action, self.request.url.path, told)
        except (*GONE, asyncpg.PostgresError) as error:
            raise ServerError(
                f"reading cannot be written down ({type(error).__name__}): ask again later"
            ) from error

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """A snapshot of the caller's tenant; see `lent_snapshot`."""
        async with lent_snapshot(self.request.app.state.pool, self.caller.tenant_id) as connection:
            yield connection


def refuse_zeros(**texts: str | None) -> None:
    """Raise InputError for a text with U+0000 in it, which PostgreSQL cannot hold and nothing is called."""
    for field, text in texts.items():
        if text is not None and "\0" in text:
            raise InputError(f"{field} holds U+0000: leave it out", field)


def people_of(app: FastAPI) -> People:
    """The application's; made by `install`, or else when first asked for."""
    found = getattr(app.state, "people", None)
    if not isinstance(found, People):
        settings: Settings = app.state.settings
        found = app.state.people = People(
            app.state.catalogue,
            getattr(app.state, "directory", None) or directory_of(settings),
            getattr(app.state, "pseudonym_of", None) or pseudonyms_of(settings),
            app.state.registry,
        )
    return found
