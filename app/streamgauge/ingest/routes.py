"""`POST /api/v1/events`: events in, what became of each of them out."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field

from streamgauge.access import Caller, require
from streamgauge.capture.properties import Vocabulary
from streamgauge.errors import ServerError, SettingsError
from streamgauge.ingest.body import MOST_BYTES, MOST_EVENTS, read_items
from streamgauge.ingest.intake import Intake
from streamgauge.ingest.items import Item, RejectedError, parse
from streamgauge.read.problems import problem
from streamgauge.settings import Settings

RETRY_SECONDS = 5
log = structlog.get_logger(__name__)


class Event(BaseModel):
    """One event. Actor and tenant come with the key."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "http.request",
                    "properties": {
                        "http.route": "/jobs/{id}",
                        "http.response.status_code": 200,
                        "duration": 1250,
                    },
                    "session": "a1b2",
                    "idempotency_key": "job-7",
                }
            ]
        },
    )

    name: str = Field(description="Of a declared event type; `event_type` is understood, too.")
    properties: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict, description="Declared ones; others are left out and named in the answer."
    )
    occurred_at: datetime | None = Field(
        default=None, description="RFC 3339 with its offset; now when left out."
    )
    session: str | None = Field(default=None, min_length=1, max_length=512)
    group: str | None = Field(default=None, min_length=1, max_length=512)
    idempotency_key: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="Sent again with the same name, it counts once.",
    )


class Result(BaseModel):
    """What became of one event, in the order of the request."""

    status: Literal["accepted", "rejected"]
    event_id: str | None = None
    dropped_properties: list[str] | None = Field(default=None, description="Undeclared, and so left out.")
    reason: str | None = None
    field: str | None = None
    detail: str | None = None


class Results(BaseModel):
    """What became of all of them. Accepted events are in the stream."""

    accepted: int
    rejected: int
    results: list[Result]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The intake of a server, from its start to its end."""
    settings: Settings = app.state.settings
    intake = Intake(settings)
    app.state.intake = intake
    app.state.vocabulary = Vocabulary(app.state.catalogue.event_types)
    app.state.ingested = Counter(
        "streamgauge_ingest_events",
        "Events that came over HTTP.",
        ["result", "reason"],
        registry=app.state.registry,
    )
    try:
        async with intake.running():
            yield
    finally:
        app.state.registry.unregister(app.state.ingested)


router = APIRouter(prefix="/api/v1", tags=["events"], lifespan=lifespan)
_EVENT = Event.model_json_schema()
_SEVERAL = {
    "type": "object",
    "title": "Events",
    "required": ["events"],
    "additionalProperties": False,
    "properties": {"events": {"type": "array", "minItems": 1, "maxItems": MOST_EVENTS, "items": _EVENT}},
}
# The body is read by hand, within bounds: the document has to be told what it is.
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"anyOf": [_EVENT, _SEVERAL]}}},
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is not JSON, or not one event or a list of them."},
    401: {"description": "No usable key."},
    403: {"description": "The key may not send events."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": f"The body is longer than {MOST_BYTES} bytes."},
    415: {"description": "The body is not sent as application/json."},
    429: {"description": "Too many requests: `Retry-After` says when to come again."},
    503: {"description": "The stream does not take events now: send them again, with idempotency keys."},
}


@router.post("/events", status_code=202, response_model=Results, responses=_RESPONSES, openapi_extra=_BODY)
@router.post(
    "/events/track", status_code=202, response_model=Results, responses=_RESPONSES, openapi_extra=_BODY
)
async def take_events(request: Request, caller: Annotated[Caller, Depends(require("write"))]) -> Response:
    """Send one event, or up to 500 as `{"events": [...]}`.

    Each is accepted or rejected by itself. An accepted one is in the stream; a second one with the same name, actor or session, and
    `idempotency_key` is found by the worker, and counts once.
    """
    state = request.app.state
    given = await read_items(request)
    results, items = _judge(given, state.vocabulary, state.settings)
    try:
        ids = await state.intake.take(caller, [item for _, item in items]) if items else []
    except (ServerError, SettingsError) as error:
        log.warning("events were not taken", error=type(error).__name__, detail=str(error))
        state.ingested.labels("failed", "unavailable").inc(len(items))
        answer = problem(
            503,
            "events cannot be taken now: send them again; those with an idempotency_key count once in any case",
        )
        answer.headers["Retry-After"] = str(RETRY_SECONDS)
        return answer
    for (place, item), event_id in zip(items, ids, strict=True):
        results[place] = Result(
            status="accepted", event_id=event_id, dropped_properties=list(item.undeclared) or None
        )
    _count(state.ingested, results)
    answered = Results(accepted=len(items), rejected=len(results) - len(items), results=results)
    return Response(answered.model_dump_json(exclude_none=True), 202, media_type="application/json")


def _judge(
    given: Sequence[Any], vocabulary: Vocabulary, settings: Settings
) -> tuple[list[Result], list[tuple[int, Item]]]:
    """Results with a place for every event, and the events that can be taken with their places."""
    now, lateness = datetime.now(UTC), timedelta(days=settings.max_lateness_days)
    results, items = [], []
    for place, each in enumerate(given):
        result = Result(status="accepted")
        try:
            items.append((place, parse(each, vocabulary, now, lateness)))
        except RejectedError as error:
            result = Result(status="rejected", reason=error.reason, field=error.field, detail=error.detail)
        results.append(result)
    return results, items


def _count(counter: Counter, results: Sequence[Result]) -> None:
    for result in results:
        counter.labels(result.status, result.reason or "").inc()
