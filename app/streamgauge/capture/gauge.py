"""What a host application holds: one object that takes events from anywhere in it and never gets in its way."""

import os
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Self

from streamgauge.capture.context import Fact, Known, current
from streamgauge.capture.delivery import Delivery, Outlet
from streamgauge.capture.idempotency import LONGEST_KEY
from streamgauge.capture.identity import LONGEST_IDENTIFIER, LONGEST_TENANT, Identifier, Identity, text_of
from streamgauge.capture.moment import microseconds
from streamgauge.capture.pending import ACCEPTED, DropReason, Pending, Ticket
from streamgauge.capture.properties import InvalidPropertyError, Vocabulary, is_storable
from streamgauge.capture.sampling import Sample
from streamgauge.catalogue import load_catalogue
from streamgauge.errors import SettingsError
from streamgauge.event import Source
from streamgauge.settings import Settings
from streamgauge.summaries.rollups import EventType

if TYPE_CHECKING:
    from fastapi import APIRouter

    from streamgauge.domains.coach.tracker import Coach
    from streamgauge.domains.collaboration.tracker import Collaboration
    from streamgauge.domains.gamification.tracker import Gamification
    from streamgauge.domains.learning.tracker import Learning
    from streamgauge.domains.web.requests import Requests
    from streamgauge.integrations.fastapi import Lifespan

CLOSE_SECONDS: Final = 2.0
MOST_TENANTS: Final = 1_000  # whose names are known to be usable
LONGEST_SHOWN: Final = 100  # characters of a name in a message


class Streamgauge:
    """Takes events from a host application and sends them from a thread of its own.

    Nothing here blocks, and nothing raises but the constructor and `instrument`, `router` and `lifespan`, which are called while an
    application is put together. `flush`, `sign_off` and `close` wait, as long as they are told. Make one and keep it; it may be made before a
    server forks its workers, and used before, after and without an event loop, from every thread.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        actor: Known = None,
        tenant: Known = None,
        session: Known = None,
        event_types: Iterable[EventType] = (),
        outlet: Outlet | None = None,
    ) -> None:
        """Touches no file, no server and no thread.

        Args:
            settings: those of the environment when left out.
            actor, tenant, session: of every event, unless a call says otherwise: constants, or functions of a
                `starlette.requests.Request`, which the middleware asks. Without a tenant it is the settings'. Async functions can
                only be asked once the response is done: an event that is tracked before, and lacks what they know, waits until
                then (100 of a request; more go without, as the trouble `too_many_held`), and what its ticket calls accepted may
                still be dropped, and counted, then. Plain functions are asked at once.
            event_types: the application's own, beside those of the settings' catalogue.
            outlet: where events go instead of to Redis; see `streamgauge.testing`.

        Raises SettingsError when a setting, the catalogue or a declaration is unusable.
        """
        self.settings = settings = Settings.from_environ(os.environ) if settings is None else settings
        self.enabled: bool = settings.enabled
        self.identity = Identity(settings.tenant if tenant is None else tenant, actor, session)
        self._tenant = tenant if isinstance(tenant, str) else settings.tenant
        self._actor = actor if isinstance(actor, str) else None
        self._session = session if isinstance(session, str) else None
        self._sample = Sample(settings.capture_percent)
        self._tenants: set[str] = set()
        declared = (*load_catalogue(settings).event_types, *event_types) if settings.enabled else ()
        self._vocabulary = Vocabulary(declared)
        self._declarations = self._vocabulary.declarations
        self._outlet: Outlet = Delivery(settings) if outlet is None else outlet
        self._troubles = self._outlet.troubles

    @property
    def event_types(self) -> Mapping[str, EventType]:
        """The declared event types by name; none when this gauge is not enabled."""
        return self._vocabulary.types

    @cached_property
    def requests(self) -> "Requests":
        """Typed calls for the web domain's events, for what no middleware sees."""
        from streamgauge.domains.web.requests import Requests

        return Requests(self)

    @cached_property
    def learning(self) -> "Learning":
        """Typed calls for the learning domain's events."""
        from streamgauge.domains.learning.tracker import Learning

        return Learning(self)

    @cached_property
    def gamification(self) -> "Gamification":
        """Typed calls for the gamification domain's events."""
        from streamgauge.domains.gamification.tracker import Gamification

        return Gamification(self)

    @cached_property
    def collaboration(self) -> "Collaboration":
        """Typed calls for the collaboration domain's events."""
        from streamgauge.domains.collaboration.tracker import Collaboration

        return Collaboration(self)

    @cached_property
    def coach(self) -> "Coach":
        """Typed calls for the coach domain's events."""
        from streamgauge.domains.coach.tracker import Coach

        return Coach(self)

    def track(
        self,
        name: str,
        /,
        *,
        actor: Identifier | None = None,
        session: Identifier | None = None,
        group: Identifier | None = None,
        idempotency_key: str | None = None,
        occurred_at: datetime | int | None = None,
        tenant: str | None = None,
        **properties: Any,
    ) -> Ticket:
        """Record that something happened. Returns at once whether it was accepted, or why not; never raises.

        Inside a request, whatever is not given is the request's; else the gauge's own.

        Args:
            name: of a declared event type.
            actor, session, group: 1 to 512 characters. Actor and session leave the process as keyed pseudonyms only.
            idempotency_key: an event of the same name, key and actor (else session) counts once; see `idempotency_key`.
            occurred_at: with its time zone, or microseconds since 1970; now when left out.
            tenant: 1 to 100 characters.
            properties: declared ones. Others are dropped and counted (`status()["stripped"]`); None is not given. `record` takes
                names with dots.
        """
        return self.record(
            name, properties, actor, session, group, idempotency_key, occurred_at, tenant
        )  # fmt: skip

    def record(
        self,
        name: str,
        properties: dict[str, Any],
        /,
        actor: Identifier | None = None,
        session: Identifier | None = None,
        group: Identifier | None = None,
        idempotency_key: str | None = None,
        occurred_at: datetime | int | None = None,
        tenant: str | None = None,
        source: Source = "server",
        visitor: tuple[str, str] | None = None,
    ) -> Ticket:
        """As `track`, with the properties as a dictionary, which becomes ours: do not change it afterwards.

        A `visitor` is an address and a user agent, which make a pseudonym of today for somebody without an actor.
        """
        try:
            if not self.enabled:
                return self._outlet.drop("disabled")
            declaration = self._declarations.get(name)
            if declaration is None:
                return self._refuse(
                    "undeclared_event", f"no event type {name!r:.{LONGEST_SHOWN}} is declared"
                )
            kept, size, undeclared = declaration.admit(properties)
            if undeclared:
                self._strip(name, undeclared)
            context = current.get()
            if context is not None:
                if tenant is None:
                    tenant = context.tenant()
                if actor is None:
                    actor = context.actor()
                if session is None:
                    session = context.session()
            at = time.time_ns() // 1000 if occurred_at is None else microseconds(occurred_at)
            if context is not None and context.awaited:
                later = partial(
                    self.record,
                    name,
                    kept,
                    actor,
                    session,
                    group,
                    idempotency_key,
                    at,
                    tenant,
                    source,
                    visitor,
                )
                if context.hold(later, _missing(tenant, actor, session)):
                    return ACCEPTED
            if actor is None:
                actor = self._actor
            elif type(actor) is not str:
                actor = text_of(actor)
            return self._take(
                # NamedTuple's own constructor takes as long as the rest of this.
                tuple.__new__(
                    Pending,
                    (
                        name,
                        at,
                        self._tenant if tenant is None else tenant if type(tenant) is str else "",
                        actor,
                        self._session
                        if session is None
                        else session
                        if type(session) is str
                        else text_of(session),
                        group if group is None or type(group) is str else text_of(group),
                        None,
                        source,
                        kept,
                        idempotency_key,
                        visitor if actor is None else None,
                        size,
                    ),
                )
            )
        except InvalidPropertyError as error:
            return self._refuse("invalid_property", f"{name}: property {error}")
        except Exception:  # noqa: BLE001 - the host must not pay for a defect of ours
            return self._fail("track_failed")

    def offer(self, pending: Pending, /) -> Ticket:
        """Take an event whose properties are known to be valid, as the middleware's are. Never blocks or raises."""
        try:
            return self._take(pending) if self.enabled else self._outlet.drop("disabled")
        except Exception:  # noqa: BLE001 - as above
            return self._fail("offer_failed")

    def trouble(self, what: str, /) -> None:
        """Count a failure of ours and log it, at most once a minute for each `what`. Never raises."""
        self._troubles.meet(what)

    def _take(self, pending: Pending) -> Ticket:
        _, _, tenant, actor, session, group, _, _, _, key, _, _ = pending
        if tenant not in self._tenants and not self._learn(tenant):
            return self._refuse("invalid_identity", f"a tenant has 1 to {LONGEST_TENANT} characters")
        if (
            (actor is not None and (type(actor) is not str or not 0 < len(actor) <= LONGEST_IDENTIFIER))
            or (
                session is not None
                and (type(session) is not str or not 0 < len(session) <= LONGEST_IDENTIFIER)
            )
            or (group is not None and (type(group) is not str or not is_storable(group, LONGEST_IDENTIFIER)))
            or (key is not None and (type(key) is not str or not 0 < len(key) <= LONGEST_KEY))
        ):
            what = f"actor, session and group have 1 to {LONGEST_IDENTIFIER} characters, a key up to {LONGEST_KEY}"
            return self._refuse("invalid_identity", what)
        if not self._sample.everybody and not self._sample.holds(pending):
            return self._outlet.drop("sampled_out")
        return self._outlet.put(pending)

    def _fail(self, what: str) -> Ticket:
        self._troubles.meet(what)
        return self._outlet.drop("unsendable")

    def _learn(self, tenant: object) -> bool:
        if type(tenant) is not str or not is_storable(tenant, LONGEST_TENANT):
            return False
        if len(self._tenants) >= MOST_TENANTS:
            self._tenants.clear()
        self._tenants.add(tenant)
        return True

    def _refuse(self, reason: DropReason, detail: str) -> Ticket:
        self._troubles.note(reason, detail)
        return self._outlet.drop(reason)

    def _strip(self, name: str, undeclared: Iterable[str]) -> None:
        # Given in a dictionary, a name may be anything.
        names = [str(each)[:LONGEST_SHOWN] for each in undeclared]
        for each in names:
            self._troubles.stripped.add(f"{name}.{each}")
        self._troubles.note("undeclared_property", f"{name}: {', '.join(names)} not declared, and dropped")

    def status(self) -> dict[str, Any]:
        """How it goes, of one moment.

        Returns a dictionary with `enabled`; `accepted` = `sent` + `waiting` + what was dropped after acceptance; `waiting_bytes`,
        estimated; `dropped` by reason; `stripped`, undeclared properties by `event.property`; `troubles`, failures of our own by
        name; `last_error`, the latest, even if it is overcome; `redis`: not_configured, not_tried, connected or failing; `spool`:
        `bytes` and `batches` of this process's files, and `oldest_seconds`, the age of the oldest. What lies in files and was not
        sent yet counts as `waiting`, and not as `waiting_bytes`, which is memory.
        """
        return {
            "enabled": self.enabled,
            **self._outlet.status(),
            "stripped": self._troubles.stripped.shown(),
            "troubles": self._troubles.counts.shown(),
            "last_error": self._troubles.last,
        }

    def flush(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Wait, at most so many seconds, until all that waits now is sent; whether it was. Not for an event loop's thread.

        What was given up before does not count: `status()["dropped"]` tells of it.
        """
        return self._outlet.flush(timeout)

    def sign_off(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Send what waits, tell what was dropped, and say that no more will come from here; within so many seconds. Whether it was done.

        For when the process may be about to end, and cannot be told so later. If it goes on, so does the gauge: its next event
        begins anew. The lifespan of an instrumented application does this. Not for an event loop's thread.
        """
        return self._outlet.sign_off(timeout)

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Send what is left, say goodbye, and accept nothing more; within so many seconds. Whether nothing of what was left is lost.

        What cannot be sent stays in the spool for the next process (STREAMGAUGE_CAPTURE_MODE disk and durable); without one, or where
        its disk refuses, it is dropped `undelivered`. Called by itself when the process ends, if nobody did. Closing twice is fine.
        """
        return self._outlet.close(timeout)

    def redirect(self, outlet: Outlet) -> Outlet:
        """Let events go elsewhere from now on; returns where they went until now. For tests: see `streamgauge.testing`."""
        before, self._outlet = self._outlet, outlet
        self._troubles = outlet.troubles
        return before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def instrument(self, app: Any, **options: Any) -> None:
        """Measure every request of a FastAPI or Starlette application: adds `StreamgaugeMiddleware` and `app.state.streamgauge`.

        Doing so twice changes nothing. `options` are those of `StreamgaugeMiddleware`.

        Raises SettingsError when the application has started already, is measured by another gauge, or is not one of Starlette's.
        """
        from streamgauge.capture.middleware import StreamgaugeMiddleware

        if not hasattr(app, "add_middleware") or not hasattr(app, "state"):
            raise SettingsError(
                f"a {type(app).__name__} cannot be instrumented: wrap it in StreamgaugeMiddleware(app, gauge=gauge)"
            )
        known = getattr(app.state, "streamgauge", None)
        if known is self:
            return
        if known is not None:
            raise SettingsError("this application is instrumented by another gauge: give it one")
        if self.enabled:
            try:
                app.add_middleware(StreamgaugeMiddleware, gauge=self, **options)
            except RuntimeError as error:
                raise SettingsError(
                    "this application has started: call gauge.instrument(app) right after making it"
                ) from error
        app.state.streamgauge = self

    def router(self, accept: Iterable[str], prefix: str = "/streamgauge") -> "APIRouter":
        """A router for events of the host's own pages. See `streamgauge.integrations.fastapi.router`."""
        from streamgauge.integrations.fastapi import router

        return router(self, accept, prefix)

    def lifespan(self, user_lifespan: "Lifespan | None" = None) -> "Lifespan":
        """A lifespan around the application's own that signs off at the end. See `streamgauge.integrations.fastapi.lifespan`."""
        from streamgauge.integrations.fastapi import lifespan

        return lifespan(self, user_lifespan)


def _missing(tenant: object, actor: object, session: object) -> list[Fact]:
    facts: tuple[tuple[Fact, object], ...] = (("tenant", tenant), ("actor", actor), ("session", session))
    return [fact for fact, known in facts if known is None]
