"""`POST /query`: any question. And what the routes share that put a usual question into a URL."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from streamgauge.errors import InputError
from streamgauge.limits.bodies import read_body
from streamgauge.read.answer import ask
from streamgauge.read.api.asking import Asking, Reader, Sight, check_may_say_now
from streamgauge.read.api.desk import Desk
from streamgauge.read.api.parameters import named_here, refuse_strangers
from streamgauge.read.api.question_shape import REQUEST_BODY
from streamgauge.read.naming import shown
from streamgauge.read.problems import Refusal
from streamgauge.read.query import MOST_BYTES, parse_query
from streamgauge.read.report import Answer
from streamgauge.read.rows import load_tenant

router = APIRouter(tags=["questions"])


@router.post(
    "/query",
    summary="Ask anything",
    response_model=Answer,
    openapi_extra={"requestBody": REQUEST_BODY},
    responses={
        408: {"description": "The question did not arrive in time."},
        413: {"description": f"The question is longer than {MOST_BYTES} bytes."},
    },
)
async def query(request: Request, caller: Reader) -> Response:
    """A question in the shape of Plausible's Stats API v2. The tenant is the key's.

    The answer has a row per tuple of dimension values; its `query` is the question with everything relative made definite, and its
    `meta` says how far the data reach (`as_of`), whether they can still change (`final`), and what is approximate.
    `streamgauge query` prints the same bytes.
    """
    refuse_strangers(request)
    question = await _question(request)
    if question.setdefault("tenant", caller.tenant) != caller.tenant:
        raise Refusal("tenant is not the key's: leave it out", "tenant")
    if question.get("now") is not None:
        check_may_say_now(caller)
    desk: Desk = request.app.state.desk
    asked = parse_query(question, desk.terms.catalogue)  # a mistake costs no connection
    async with desk.snapshot(caller.tenant_id) as connection:
        tenant = await load_tenant(connection, asked.tenant)
        found = await ask(connection, tenant, asked, desk.terms)
    return Response(found.json(), media_type="application/json")


async def answered(
    asking: Asking, noun: str, question: Mapping[str, Any], names: Mapping[str, str]
) -> Response:
    """The answer to a question made from a URL; `names` are the parameters that its fields were made from."""
    with named_here(names):
        # A mistake is told before anything is looked up.
        parse_query({**question, "tenant": asking.caller.tenant}, asking.desk.terms.catalogue)

        async def report(sight: Sight) -> bytes:
            return (await sight.ask(question)).json()

        return await asking.respond([noun, question], report)


async def _question(request: Request) -> dict[str, Any]:
    body = await read_body(request, MOST_BYTES, "ask for less at once")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputError(f"the query is not JSON: {error}", "query") from None
    if not isinstance(found, dict):
        raise InputError(f"the query is {shown(found)}: give a JSON object", "query")
    return found
