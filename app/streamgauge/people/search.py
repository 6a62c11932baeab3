"""`POST /actors/search`: from who somebody is outside to the actor it is here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from streamgauge.access import Caller, require
from streamgauge.errors import InputError
from streamgauge.limits.bodies import read_body
from streamgauge.people.desk import Asking
from streamgauge.people.documented import ACTOR, answers
from streamgauge.people.sight import SQL, Group, ManagedGroup, Sight, Standing
from streamgauge.read.api.parameters import refuse_strangers

MOST_FOUND = 20
MOST_BYTES = 16 * 1024
LONGEST_Q = 200  # characters
LONGEST_EXTERNAL = 512  # characters

router = APIRouter(tags=["people"])


class Question(BaseModel):
    """Who is looked for: exactly one of the two."""

    model_config = ConfigDict(extra="forbid")

    external_id: Annotated[str, Field(min_length=1, max_length=LONGEST_EXTERNAL)] | None = Field(
        default=None, description="Your own identifier of somebody, exactly. Hashed here, and not kept."
    )
    q: Annotated[str, Field(min_length=1, max_length=LONGEST_Q)] | None = Field(
        default=None, description="A text that your directory looks for, in names and whatever else it knows."
    )

    @model_validator(mode="after")
    def _one(self) -> "Question":
        if (self.external_id is None) == (self.q is None):
            raise ValueError("give one of external_id and q")
        return self


@dataclass(frozen=True, slots=True)
class FoundActor:
    """Somebody who was found."""

    id: str
    name: str
    groups: tuple[Group, ...]
    manages: tuple[ManagedGroup, ...]


@dataclass(frozen=True, slots=True)
class FoundActors:
    """Those of the found that something is known of, and that may be seen; in the directory's order."""

    actors: tuple[FoundActor, ...]


_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": Question.model_json_schema(),
            "examples": {
                "external_id": {"value": {"external_id": "student-4711"}},
                "q": {"value": {"q": "ada"}},
            },
        }
    },
}
_EXAMPLE = {"actors": [{"id": ACTOR, "name": "Ada L.", "groups": [{"id": "5b", "name": "Class 5b", "kind": "class"}], "manages": []}]}  # fmt: skip


@router.post(
    "/actors/search",
    summary="Find actors by who they are outside",
    response_model=FoundActors,
    openapi_extra={"requestBody": _BODY},
    responses={
        **answers(_EXAMPLE),
        408: {"description": "The question did not arrive in time."},
        413: {"description": f"The question is longer than {MOST_BYTES} bytes."},
    },
)
async def search(request: Request, caller: Annotated[Caller, Depends(require("people"))]) -> Response:
    """By an external identifier, exactly; or by a text that goes to the directory, which answers external identifiers.

    Neither is stored, logged or written into the audit log. Who may not be seen is not among the found.
    """
    refuse_strangers(request)
    question = await _question(request)
    asking = Asking(request, caller)
    await asking.audited("people.search", {"by": "q" if question.external_id is None else "external_id"})
    people, tenant = asking.people, caller.tenant
    external = (
        [question.external_id]
        if question.external_id is not None
        else await people.search(tenant, question.q or "", MOST_FOUND)
    )
    asked = [await people.pseudonym(tenant, each) for each in external]
    async with asking.snapshot() as connection:
        sight = await Sight.of(connection, caller)
        known = {
            bytes(row["pseudonym"])
            for row in await connection.fetch(SQL["known_among"], caller.tenant_id, asked)
        }
        seen = [
            each
            for each in dict.fromkeys(asked)
            if each in known and (sight.actors is None or each in sight.actors)
        ]
        standings = await sight.standings(connection, seen)
    names = await people.names(tenant, seen)
    return Response(orjson.dumps(found(seen, names, standings)), media_type="application/json")


def found(
    seen: Sequence[bytes], names: Mapping[bytes, str], standings: Mapping[bytes, Standing]
) -> FoundActors:
    """The report."""
    return FoundActors(
        tuple(
            FoundActor(each.hex(), names[each], standings[each].groups, standings[each].manages)
            for each in seen
        )
    )


async def _question(request: Request) -> Question:
    body = await read_body(request, MOST_BYTES, "look for one at a time")
    try:
        return Question.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise InputError(f"the question is not JSON: {error}", "body") from None
    except ValidationError as error:
        # Without what was given: it may be anybody's name.
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "body"
        raise InputError(f"{field[:80]} cannot be used: {first['msg']}", field[:80]) from None
