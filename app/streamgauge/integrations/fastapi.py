"""For FastAPI: a router that takes events from the host's own pages, a lifespan, and the gauge as a dependency."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)
from starlette.requests import ClientDisconnect, HTTPConnection

from streamgauge.capture.client import agent_of, visitor_of
from streamgauge.capture.context import RequestContext, current
from streamgauge.capture.gauge import Streamgauge
from streamgauge.capture.idempotency import LONGEST_KEY
from streamgauge.capture.identity import LONGEST_IDENTIFIER
from streamgauge.capture.middleware import sign_off_before_end
from streamgauge.capture.properties import LONGEST_NAME
from streamgauge.capture.route_template import UNCOUNTED
from streamgauge.errors import SettingsError
from streamgauge.settings import Settings

LOGGER: Final = logging.getLogger("streamgauge")
MOST_BYTES: Final = 64 * 1024  # of one request's body
MOST_EVENTS: Final = 50  # of one request

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


class BrowserEvent(BaseModel):
    """An event of a page. When it happened is when it arrives: a browser's clock is nobody's."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    properties: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr | None] = Field(
        default_factory=dict
    )
    session: Annotated[str, Field(min_length=1, max_length=LONGEST_IDENTIFIER)] | None = None
    idempotency_key: Annotated[str, Field(min_length=1, max_length=LONGEST_KEY)] | None = None


class BrowserEvents(BaseModel):
    """Several events of a page."""

    model_config = ConfigDict(extra="forbid")

    events: Annotated[list[BrowserEvent], Field(min_length=1, max_length=MOST_EVENTS)]


class Outcome(BaseModel):
    """What became of one event."""

    accepted: bool
    reason: str | None = (
        None  #: why not: `not_accepted`, or a reason of `streamgauge.capture.pending.DropReason`
    )


class Outcomes(BaseModel):
    """What became of each event, in their order."""

    events: list[Outcome]


def router(gauge: Streamgauge, accept: Iterable[str], prefix: str = "/streamgauge") -> APIRouter:
    """A router with `POST {prefix}/events`, for events of the host's own pages.

    It takes one event, `{"name", "properties", "session", "idempotency_key"}`, or `{"events": [...]}` of at most 50, in JSON of at
    most 64 KiB. Actor, tenant and, unless given, session are those of the host's request, so that nobody can speak for another:
    put the host's authentication in front of it with `app.include_router(..., dependencies=[...])`. Who has no actor is a visitor, as for
    the middleware. The requests themselves are not counted as the application's. It answers 202 with what became of each event; 400 for what is no JSON, 413, 415, and 422 naming the field for anything else that is wrong. Only JSON is taken,
    because other sites' pages cannot send it without being allowed to (CORS).

    Args:
        accept: names of declared event types that pages may send.

    Raises SettingsError for a name that is not declared.
    """
    names = _accepted(gauge, accept)
    found = APIRouter(prefix=prefix, tags=["streamgauge"])

    @found.post("/events", status_code=202, openapi_extra=_REQUEST_BODY)
    async def take_events(request: Request) -> Outcomes:
        """Take events of a page."""
        events = _parse(await _body(request))
        context = current.get()
        if context is None:  # the application is not instrumented
            context = RequestContext(gauge, request.scope, *_known(gauge))
        token = current.set(context)
        try:
            # An async function for the actor can be asked here, and the host has done its part.
            waiting = context.settle()
            if waiting is not None:
                await waiting
            visitor = None if context.anonymous else _visitor(request)
            return Outcomes(events=[_take(gauge, event, names, visitor) for event in events])
        finally:
            current.reset(token)

    setattr(take_events, UNCOUNTED, True)
    return found


def lifespan(gauge: Streamgauge, inner: Lifespan | None = None) -> Lifespan:
    """A lifespan, around the application's own if there is one, at whose end the gauge signs off: see `Streamgauge.sign_off`."""

    @asynccontextmanager
    async def signing_off(app: Any) -> AsyncIterator[Any]:
        try:
            if inner is None:
                yield None
            else:
                async with inner(app) as state:
                    yield state
        finally:
            await sign_off_before_end(gauge)

    return signing_off


def tracker(connection: HTTPConnection) -> Streamgauge:
    """The gauge of the application, as a dependency: `gauge: Annotated[Streamgauge, Depends(tracker)]`, or `gauge: Tracker`.

    In a mounted application it is that of the one it is mounted in. Without any, events go nowhere, and the log says so.
    """
    bound = getattr(connection.app.state, "streamgauge", None)
    if isinstance(bound, Streamgauge):
        return bound
    measuring = connection.scope.get("streamgauge.gauges")
    if measuring and isinstance(measuring[-1], Streamgauge):
        return measuring[-1]
    LOGGER.warning("no gauge is bound to this application: call gauge.instrument(app)")
    return _NOWHERE


Tracker = Annotated[Streamgauge, Depends(tracker)]

_NOWHERE: Final = Streamgauge(Settings(enabled=False))
_EVENT_SCHEMA: Final = BrowserEvent.model_json_schema()
_REQUEST_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        _EVENT_SCHEMA,
                        {
                            "type": "object",
                            "required": ["events"],
                            "additionalProperties": False,
                            "properties": {
                                "events": {
                                    "type": "array",
                                    "minItems": 1,
                                    "maxItems": MOST_EVENTS,
                                    "items": _EVENT_SCHEMA,
                                }
                            },
                        },
                    ]
                },
                "example": {"name": "page.viewed", "properties": {"title": "Fractions"}},
            }
        },
    }
}


def _accepted(gauge: Streamgauge, accept: Iterable[str]) -> frozenset[str]:
    if isinstance(accept, str):
        raise SettingsError(f"accept is {accept!r}: give a list of event names, such as ['page.viewed']")
    names = frozenset(accept)
    # A disabled gauge declares nothing.
    unknown = sorted(names - gauge.event_types.keys()) if gauge.enabled else []
    if unknown:
        raise SettingsError(
            f"accept names {', '.join(unknown)}, which is not declared: give the gauge its event types first"
        )
    return names


def _known(gauge: Streamgauge) -> tuple[Any, Any, Any]:
    identity = gauge.identity
    return identity.tenant, identity.actor, identity.session


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "send the events as application/json")
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > MOST_BYTES:
                raise HTTPException(413, f"a body has at most {MOST_BYTES} bytes: send fewer events at once")
    except ClientDisconnect:  # pages are left at any moment: no failure of the host's
        raise HTTPException(400, "the body ended before its end") from None
    return bytes(content)


def _parse(content: bytes) -> list[BrowserEvent]:
    try:
        given = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None
    try:
        if isinstance(given, dict) and "events" in given:
            return BrowserEvents.model_validate(given).events
        return [BrowserEvent.model_validate(given)]
    except ValidationError as error:
        # As FastAPI reports what is wrong with any other body, for the host's own handler of it.
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in found]) from None


def _visitor(request: Request) -> tuple[str, str] | None:
    headers = dict(request.scope["headers"])
    return visitor_of(request.scope, headers, agent_of(headers))


def _take(
    gauge: Streamgauge, event: BrowserEvent, names: frozenset[str], visitor: tuple[str, str] | None
) -> Outcome:
    if event.name not in names:
        return Outcome(accepted=False, reason="not_accepted")
    ticket = gauge.record(
        event.name,
        dict(event.properties),
        session=event.session,
        idempotency_key=event.idempotency_key,
        source="browser",
        visitor=visitor,
    )
    return Outcome(accepted=ticket.accepted, reason=ticket.reason)
