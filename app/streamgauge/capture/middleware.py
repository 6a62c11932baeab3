"""What the application answered: one event for each finished request, without the host noticing.

Plain ASGI: bodies are neither buffered nor changed, and nothing of ours that fails reaches the host.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from streamgauge.capture.client import agent_of, visitor_of
from streamgauge.capture.context import Known, RequestContext, current
from streamgauge.capture.exchange import App, Exchange, Message, Receive, Scope, Send
from streamgauge.capture.paths import DEFAULT_ANONYMOUS, DEFAULT_EXCLUDE, path_set
from streamgauge.capture.pending import Pending
from streamgauge.capture.route_template import RouteTemplates, within
from streamgauge.domains.web.declarations import (
    AUTHENTICATED,
    BOT_REQUEST,
    BYTES,
    DURATION,
    ERROR_TYPE,
    METHOD,
    REQUEST,
    REQUEST_BYTES,
    ROUTE,
    STATUS,
)
from streamgauge.event import Value
from streamgauge.settings import Settings

SIGN_OFF_SECONDS: Final = 2.0

_MARK = "streamgauge.gauges"  # in the scope: the gauges that count this request
_METHODS = frozenset(
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"]
)
_NAME, _BOT_NAME = REQUEST.name, BOT_REQUEST.name
_ENDS = frozenset({"lifespan.shutdown.complete", "lifespan.shutdown.failed"})


class KnownIdentity(Protocol):
    """Who events are of, as a gauge was told."""

    @property
    def tenant(self) -> Known: ...
    @property
    def actor(self) -> Known: ...
    @property
    def session(self) -> Known: ...


class Gauge(Protocol):
    """The part of a gauge that the middleware needs."""

    @property
    def enabled(self) -> bool: ...
    @property
    def identity(self) -> KnownIdentity: ...
    @property
    def settings(self) -> Settings: ...
    def offer(self, pending: Pending, /) -> object: ...
    def trouble(self, what: str, /) -> None: ...
    def sign_off(self, timeout: float, /) -> object: ...


class StreamgaugeMiddleware:
    """Counts an application's requests: `http.request` for people and programs, `bot.request` for known bots.

    An event has the moment the request began, the route's whole template, the status, the time to the last byte, and the bytes
    of both bodies: of the request's what the application read, of the response's what left it (none for HEAD). It is made when the
    application is done with the request, background tasks included. An exception that the application lets out counts as status
    500, unless a response had begun, and `error.type` names its class; a request given up before its response counts as 499.
    Requests that bring events of the host's pages (`Streamgauge.router`) are not counted themselves.
    """

    def __init__(
        self,
        app: App,
        gauge: Gauge,
        *,
        exclude: Iterable[str] = DEFAULT_EXCLUDE,
        anonymous_paths: Iterable[str] = DEFAULT_ANONYMOUS,
        actor: Known = None,
        tenant: Known = None,
        session: Known = None,
        device: bool = False,
        clock: Callable[[], int] = time.time_ns,
        timer: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Paths are those within the application, without what a proxy or a mount put in front of them.

        Args:
            exclude: paths and methods, as `path_set` takes them, of requests that are not counted.
            anonymous_paths: of requests that are counted, but never as somebody's: neither `actor` nor `session` is asked.
            actor, tenant, session: constants, or functions, async or not, of a `starlette.requests.Request`, asked after the
                response: they see `request.state`. Where not given, the gauge's own hold.
            device: whether to record the kind of device that the user agent tells.
            clock: Unix nanoseconds.
            timer: nanoseconds since any moment.

        Raises InputError for paths that are none.
        """
        self.app = app
        self.gauge = gauge
        self._alone = (gauge,)
        self._exclude = path_set(exclude, "exclude")
        self._anonymous = path_set(anonymous_paths, "anonymous_paths")
        known = gauge.identity
        self._default_tenant = gauge.settings.tenant
        self._tenant = _plain(known.tenant if tenant is None else tenant)
        self._actor = _plain(known.actor if actor is None else actor)
        self._session = _plain(known.session if session is None else session)
        self._asks = any(callable(each) for each in (self._tenant, self._actor, self._session))
        # Without functions every request is told the same.
        self._constants = (
            RequestContext(gauge, {}, self._tenant, self._actor, self._session),
            RequestContext(gauge, {}, self._tenant, anonymous=True),
        )
        for each in self._constants:
            each.release()
        self._device = device
        self._clock = clock
        self._timer = timer
        self._templates = RouteTemplates(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if not self.gauge.enabled or scope["type"] != "http":
            watched = self._signing_off(send) if self.gauge.enabled and scope["type"] == "lifespan" else send
            await self.app(scope, receive, watched)
            return
        counting = scope.get(_MARK)
        if counting is None:
            scope[_MARK] = self._alone
        elif self.gauge in counting:
            await self.app(scope, receive, send)
            return
        else:
            scope[_MARK] = (*counting, self.gauge)
        try:
            # As they are now: mounts and the host's middleware change them.
            method, path, root_path = scope["method"], scope["path"], scope.get("root_path", "")
            if root_path:
                path = within(path, root_path) or "/"
            excluded, anonymous = self._exclude(path, method), self._anonymous(path, method)
            if "state" not in scope:
                scope["state"] = {}  # `request.state`, also where the server brings none
            context = self._context(scope, anonymous) if self._asks else self._constants[anonymous]
            at, exchange = self._clock(), Exchange(receive, send, self._timer)
        except Exception:  # noqa: BLE001 - whatever is wrong with us, the host must not notice
            self.gauge.trouble("middleware_failed")
            await self.app(scope, receive, send)
            return
        failure: BaseException | None = None
        token = current.set(context)
        try:
            if excluded:  # what is tracked meanwhile is still about its actor
                await self.app(scope, receive, send)
            else:
                await self.app(scope, exchange.receive, exchange.send)
        except BaseException as raised:
            failure = raised
            raise
        finally:
            try:  # noqa: SIM105 - `suppress` takes as long as all the rest here
                current.reset(token)
            except ValueError:  # closed by the garbage collector, in another context than it began in
                pass
            try:
                if self._asks:
                    exchange.end()  # our questions are no part of the response
                    if excluded and not context.holding:
                        pass  # nobody needs to know
                    elif failure is None or isinstance(failure, Exception):
                        waiting = context.settle()
                        if waiting is not None:
                            await waiting
                    else:  # the task is to end: nothing more may be waited for
                        context.give_up()
            finally:
                if not excluded:
                    self._count(scope, exchange, context, failure, at, method, root_path, anonymous)
                failure = None  # or this frame and its traceback would hold each other

    def _context(self, scope: Scope, anonymous: bool) -> RequestContext:
        if anonymous:
            return RequestContext(self.gauge, scope, self._tenant, anonymous=True)
        return RequestContext(self.gauge, scope, self._tenant, self._actor, self._session)

    def _count(
        self,
        scope: Scope,
        exchange: Exchange,
        context: RequestContext,
        failure: BaseException | None,
        at: int,
        method: str,
        root_path: str,
        anonymous: bool,
    ) -> None:
        try:
            ended = exchange.ended or self._timer()
            status = exchange.status or exchange.unanswered(failure)
            route = self._templates.of(scope, status, root_path)
            if route is None:
                return
            headers = dict(scope["headers"])
            said = agent_of(headers)
            tenant, actor, session = context.facts()
            visitor = None
            if said.bot:
                actor = session = None
            elif actor is None and not anonymous:
                visitor = visitor_of(scope, headers, said)
            properties: dict[str, Value] = {
                ROUTE: route,
                METHOD: method if method in _METHODS else "_OTHER",
                STATUS: status
                if type(status) is int
                else int(status),  # it may be a member of http.HTTPStatus
                DURATION: (ended - exchange.began) // 1000,
                BYTES: exchange.sent if method != "HEAD" else 0,
                REQUEST_BYTES: exchange.received,
                AUTHENTICATED: actor is not None,
            }
            if failure is not None:
                properties[ERROR_TYPE] = type(failure).__qualname__
            self.gauge.offer(
                # A named tuple's own constructor takes twice as long.
                tuple.__new__(
                    Pending,
                    (
                        _BOT_NAME if said.bot else _NAME,
                        at // 1000,
                        tenant or self._default_tenant,
                        actor,
                        session,
                        None,
                        said.device if self._device else None,
                        "server",
                        properties,
                        None,
                        visitor,
                        0,
                    ),
                )
            )
        except Exception:  # noqa: BLE001 - as above
            self.gauge.trouble("middleware_failed")

    def _signing_off(self, send: Send) -> Send:
        """The lifespan's `send`, which lets the gauge sign off before the server knows that all is done."""

        async def sign_off_first(message: Message) -> None:
            if message["type"] in _ENDS:
                await sign_off_before_end(self.gauge)
            await send(message)

        return sign_off_first


def _plain(known: Known) -> Known:
    """A constant as exactly a text: a member of an enumeration could not be sent."""
    return str.__str__(known) if isinstance(known, str) else known


async def sign_off_before_end(gauge: Gauge) -> None:
    """Let the gauge sign off, for at most about two seconds, without holding up the event loop. Never raises.

    Servers end by the signal they were sent once the lifespan is over, and nothing that was left for the interpreter's end runs. But
    another application of the process may go on, so the gauge is not closed.
    """
    try:
        # In a thread: what is waiting may have to wait for Redis, and the host's loop has work.
        done = asyncio.get_running_loop().run_in_executor(None, gauge.sign_off, SIGN_OFF_SECONDS)
        await asyncio.wait_for(done, SIGN_OFF_SECONDS + 0.5)
    except Exception:  # noqa: BLE001 - as above; also a loop that is not asyncio's
        gauge.trouble("sign_off_failed")
