"""Who the request at hand is about: what `track` inherits inside a request, and what the middleware asks after its response."""

import inspect
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, MutableMapping
from contextvars import ContextVar
from functools import cache
from threading import get_ident
from typing import Any, Final, Literal, Protocol
from uuid import UUID

Identifier = str | int | UUID
#: What is asked with a `starlette.requests.Request`: an async function or a plain one, which may know nobody.
Asked = Callable[[Any], Identifier | Awaitable[Identifier | None] | None]
Known = str | Asked | None
Fact = Literal["tenant", "actor", "session"]
#: Events of one request that wait for what an async function knows; further ones go without it. A stream may last for hours.
MOST_HELD: Final = 100


class Troubled(Protocol):
    """The part of a gauge that counts our own failures."""

    def trouble(self, what: str, /) -> None:
        """Count a failure; never raises."""


class RequestContext:
    """Tenant, actor and session of one request: asked on demand, kept once known, never raising.

    Asked too early - before the host's authentication - a function may know nobody yet; it is then asked again later. One that
    raises counts as knowing nobody, and is counted once a request as `tenant_failed`, `actor_failed` or `session_failed`.
    What an async function knows is only known after `settle`: events that need it are held until then.
    """

    __slots__ = (
        "_actor", "_asking", "_failed", "_gauge", "_held", "_released", "_request", "_scope", "_session", "_tenant", "anonymous", "awaited",
    )  # fmt: skip

    def __init__(
        self,
        gauge: Troubled,
        scope: MutableMapping[str, Any],
        tenant: Known = None,
        actor: Known = None,
        session: Known = None,
        anonymous: bool = False,
    ) -> None:
        """`scope` is the request's ASGI scope, which the host's code goes on filling; nothing of an `anonymous` one is somebody's."""
        self._gauge = gauge
        self._scope = scope
        self._tenant = tenant
        self._actor = actor
        self._session = session
        self._request: Any = None
        self._failed: tuple[Fact, ...] = ()
        self._asking: int | None = None
        self._held: list[Callable[[], object]] = []
        self._released = False
        self.anonymous = anonymous
        #: What only an async function can tell, and was asked for.
        self.awaited: tuple[Fact, ...] = ()

    def tenant(self) -> str | None:
        """Whose event it is, as far as known."""
        known = self._tenant
        return known if known is None or isinstance(known, str) else self._ask("tenant", known)

    def actor(self) -> str | None:
        """The host's identifier of who asks, as far as known."""
        known = self._actor
        return known if known is None or isinstance(known, str) else self._ask("actor", known)

    def session(self) -> str | None:
        """The host's identifier of the session, as far as known."""
        known = self._session
        return known if known is None or isinstance(known, str) else self._ask("session", known)

    def settle(self) -> Coroutine[Any, Any, None] | None:
        """Ask a last time, after the response, when all is there to see. What is returned is to be awaited for async functions."""
        waiting: list[tuple[Fact, Awaitable[object]]] = []
        tenant, actor, session = self._tenant, self._actor, self._session
        self._tenant = tenant if isinstance(tenant, str) else None  # nobody asks again
        self._actor = actor if isinstance(actor, str) else None
        self._session = session if isinstance(session, str) else None
        if actor is not None and not isinstance(actor, str):
            self._finish("actor", actor, waiting)
        if tenant is not None and not isinstance(tenant, str):
            self._finish("tenant", tenant, waiting)
        if session is not None and not isinstance(session, str):
            self._finish("session", session, waiting)
        if waiting:
            return self._wait(waiting)
        self.release()
        return None

    def hold(self, event: Callable[[], object], missing: Container[Fact]) -> bool:
        """Keep an event that lacks these until they are known, if they will be; whether it was kept. From any thread."""
        if self._released or not any(fact in missing for fact in self.awaited):
            return False
        if len(self._held) >= MOST_HELD:
            self._gauge.trouble("too_many_held")
            return False
        self._held.append(event)
        if self._released:  # by another thread, just now
            self.release()
        return True

    @property
    def holding(self) -> bool:
        """Whether events are held."""
        return bool(self._held)

    def give_up(self) -> None:
        """The request ended in a way that leaves no time to wait for answers: what is held goes without them."""
        if self._held:
            self._gauge.trouble("not_settled")
        self._tenant, self._actor, self._session = self.tenant(), self.actor(), self.session()
        self.release()

    def facts(self) -> tuple[str | None, str | None, str | None]:
        """Tenant, actor and session, as far as known."""
        if self._released:  # nobody is asked any more, which is quicker
            return self._tenant, self._actor, self._session  # type: ignore[return-value]  # `settle` left texts alone
        return self.tenant(), self.actor(), self.session()

    def release(self) -> None:
        """Nothing more will be known: let go of the events that were held, within this context."""
        self._released = True
        if not self._held:
            return
        token = current.set(self)
        try:
            while self._held:
                self._held.pop(0)()
        except IndexError:  # another thread took the last one
            return
        finally:
            current.reset(token)

    def _finish(self, fact: Fact, asked: Asked, waiting: list[tuple[Fact, Awaitable[object]]]) -> None:
        try:
            answer = asked(self._shown())
            if answer is None or type(answer) is str:
                self._keep(fact, answer or None)
            elif inspect.isawaitable(answer):
                waiting.append((fact, answer))
            else:
                self._keep(fact, _text(answer))
        except Exception:  # noqa: BLE001 - whatever a host's function raises
            self._fail(fact)

    async def _wait(self, waiting: Iterable[tuple[Fact, Awaitable[object]]]) -> None:
        try:
            for fact, answer in waiting:
                try:
                    self._keep(fact, _text(await answer))
                except Exception:  # noqa: BLE001 - as above
                    self._fail(fact)
        finally:
            self.release()

    def _ask(self, fact: Fact, asked: Asked) -> str | None:
        # A function that tracks an event of its own would be asked for that event's actor, and so on.
        if self._asking == get_ident():
            return None
        self._asking = get_ident()
        try:
            answer = asked(self._shown())
            if inspect.isawaitable(answer):
                if inspect.iscoroutine(answer):
                    answer.close()  # it has not begun, and `settle` will ask again
                if fact not in self.awaited:
                    self.awaited += (fact,)
                return None
            known = _text(answer)
            if known is not None:
                self._keep(fact, known)
            return known
        except Exception:  # noqa: BLE001 - as above
            self._fail(fact)
            return None
        finally:
            self._asking = None

    def _keep(self, fact: Fact, known: str | None) -> None:
        if fact == "actor":
            self._actor = known
        elif fact == "tenant":
            self._tenant = known
        else:
            self._session = known

    def _fail(self, fact: Fact) -> None:
        if fact not in self._failed:
            self._failed += (fact,)
            self._gauge.trouble(f"{fact}_failed")

    def _shown(self) -> Any:
        if self._request is None:
            self._request = _request_class()(self._scope)
        return self._request


@cache
def _request_class() -> Any:
    # Only a host that has Starlette gives functions of its requests.
    from starlette.requests import Request

    return Request


def _text(answer: object) -> str | None:
    """What a function answered: nobody, or a text. Raises TypeError for what is no identifier."""
    if answer is None:
        return None
    if isinstance(answer, str):
        return str.__str__(answer) or None  # of members of enumerations and the like, too
    if not isinstance(answer, int | UUID) or isinstance(answer, bool):
        raise TypeError(f"an identifier is a text, a whole number or a UUID, not a {type(answer).__name__}")
    return str(answer)


#: The request being answered in this task or thread, if any.
current: ContextVar[RequestContext | None] = ContextVar("streamgauge_request", default=None)
