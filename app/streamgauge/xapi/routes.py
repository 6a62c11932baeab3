"""`POST /api/v1/xapi/statements`: statements in, what became of each of them out."""

import re
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from streamgauge.access import Caller, require
from streamgauge.errors import InputError, ServerError, SettingsError
from streamgauge.ingest.body import MOST_BYTES, MOST_EVENTS
from streamgauge.ingest.routes import RETRY_SECONDS
from streamgauge.limits.bodies import read_json
from streamgauge.read.problem_document import PROBLEMS, problem_response
from streamgauge.read.problems import problem
from streamgauge.xapi.judging import Judge, StatementResult

DEEPEST = 16  # a name of an activity in the context's grouping is eight levels down already
VERSION = "X-Experience-API-Version"
_VERSIONS = re.compile(r"(1|2)\.0(\.\d{1,3})?", re.ASCII)
_ANSWERED = {"1": "1.0.3", "2": "2.0.0"}
log = structlog.get_logger(__name__)
router = APIRouter(prefix="/api/v1/xapi", tags=["xapi"], responses=PROBLEMS)


class StatementResults(BaseModel):
    """What became of all of them. The events of accepted ones are in the stream."""

    accepted: int
    voided: int
    rejected: int
    ids: list[str | None] = Field(
        description="The statements' ids, in the order of the request; null where it was no UUID."
    )
    results: list[StatementResult]


_STATEMENT: dict[str, Any] = {
    "type": "object",
    "title": "Statement",
    "description": "A statement of xAPI 1.0.3 or 2.0 (IEEE 9274.1.1).",
    "required": ["actor", "verb", "object"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "actor": {"type": "object"},
        "verb": {"type": "object", "properties": {"id": {"type": "string"}}},
        "object": {"type": "object"},
        "result": {"type": "object"},
        "context": {"type": "object"},
        "timestamp": {"type": "string", "format": "date-time"},
    },
    "example": {
        "id": "6690e6c9-3ef0-4ed3-8b37-7f3964730bee",
        "actor": {"account": {"homePage": "https://school.example", "name": "ada"}},
        "verb": {"id": "http://adlnet.gov/expapi/verbs/passed"},
        "object": {"id": "https://school.example/quizzes/7"},
        "result": {"score": {"raw": 8, "max": 10}},
    },
}
_SEVERAL = {
    "type": "array",
    "title": "Statements",
    "minItems": 1,
    "maxItems": MOST_EVENTS,
    "items": _STATEMENT,
}
# The body is read by hand, within bounds: the document has to be told what it is.
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"anyOf": [_STATEMENT, _SEVERAL]}}},
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: problem_response(
        f"The header {VERSION} is missing or another version's, or the body holds no statements."
    ),
    403: problem_response("The key may not send events."),
    408: problem_response("The body did not arrive in time."),
    413: problem_response(f"The body is longer than {MOST_BYTES} bytes."),
    415: problem_response("The body is not sent as application/json; attachments cannot be sent."),
    503: problem_response("The stream does not take events now: send the statements again, with their ids."),
}


@router.post("/statements", response_model=StatementResults, responses=_RESPONSES, openapi_extra=_BODY)
async def take_statements(
    request: Request,
    caller: Annotated[Caller, Depends(require("write"))],
    version: Annotated[
        str, Header(alias=VERSION, description="1.0.x or 2.0.x, such as 1.0.3.", examples=["1.0.3"])
    ],
) -> Response:
    """Send one statement of the Experience API (xAPI), or a list of up to 500.

    ADL's verbs about sessions, materials, lessons, quizzes, assignments and enrolments become events of the learning domain; each statement
    is accepted or rejected by itself. The same `id` sent again counts once. A statement that another one of the same request voids is left
    out; one that was accepted before cannot be taken back, and its voiding is rejected with `cannot_void`. A key that belongs to a person
    takes that person's statements alone. This is a way in, no Learning Record Store: statements cannot be read back.
    """
    match = _VERSIONS.fullmatch(version)
    if match is None:
        raise InputError(
            f"{VERSION} is {version[:20]!r}: versions 1.0.x and 2.0.x are understood, such as 1.0.3", VERSION
        )
    given = _statements_of(
        await read_json(request, MOST_BYTES, DEEPEST, advice="send fewer statements at once")
    )
    state = request.app.state
    try:
        judge = Judge(state, caller, given)
        judged = [judge.judge(each) for each in given]
        items = [each.item for each in judged if each.item is not None]
        ids = iter(await state.intake.take(caller, items) if items else ())
    except (ServerError, SettingsError) as error:
        log.warning("statements were not taken", error=type(error).__name__, detail=str(error))
        state.ingested.labels("failed", "unavailable").inc(len(given))
        answer = problem(
            503, "statements cannot be taken now: send them again; those with an id count once in any case"
        )
        answer.headers["Retry-After"] = str(RETRY_SECONDS)
        return answer
    results = []
    for each in judged:
        if each.item is not None:
            each.result.event_id = next(ids)
        results.append(each.result)
        state.ingested.labels(each.result.status, each.result.reason or "").inc()
    told = [each.status for each in results]
    answered = StatementResults(
        accepted=told.count("accepted"),
        voided=told.count("voided"),
        rejected=told.count("rejected"),
        ids=[each.id for each in results],
        results=results,
    )
    return Response(
        answered.model_dump_json(exclude_none=True), 200, {VERSION: _ANSWERED[match[1]]}, "application/json"
    )


def _statements_of(found: Any) -> list[Any]:
    """One statement, or those of a list. Raises InputError."""
    if isinstance(found, dict):
        return [found]
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_EVENTS:
        told = f"{len(found)} of them" if isinstance(found, list) else "none"
        raise InputError(
            f"the body holds {told}: send one statement, or a list of 1 to {MOST_EVENTS}", "body"
        )
    return found
