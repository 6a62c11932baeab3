"""Bodies of requests as models: read within bounds, and what is wrong with them told by field."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError

from streamgauge.errors import InputError
from streamgauge.limits.bodies import decode_json, read_body

MOST_BYTES = 4 * 1024 * 1024
JSON, CSV = "application/json", "text/csv"
Model = TypeVar("Model", bound=BaseModel)


def json_of(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """A dependency that gives the request's body as a model. Raises HTTPException and InputError for what is none."""

    async def read(request: Request) -> Model:
        media_type(request, JSON)
        return validated(model, decode_json(await read_body(request, MOST_BYTES, "send less at once")))

    return read


def documented(model: type[BaseModel], *others: str) -> dict[str, Any]:
    """What the OpenAPI document says of a body that is read by hand."""
    schema = model.model_json_schema()
    inner = schema.pop("$defs", {})
    content: dict[str, Any] = {JSON: {"schema": _inlined(schema, inner)}}
    content.update({other: {"schema": {"type": "string"}} for other in others})
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: Any, inner: Mapping[str, Any]) -> Any:
    """The schema with its own definitions in their places: inside the document they could not be found."""
    if isinstance(schema, list):
        return [_inlined(each, inner) for each in schema]
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    beside = {key: _inlined(each, inner) for key, each in schema.items() if key != "$ref"}
    return {**_inlined(inner[name], inner), **beside} if name in inner else beside


def media_type(request: Request, *allowed: str) -> str:
    """What the body is said to be. Raises HTTPException 415 for anything else than what is allowed."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in allowed:
        raise HTTPException(415, f"the body's Content-Type is {given[:80]!r}: send {' or '.join(allowed)}")
    return given


def validated(model: type[Model], found: Any) -> Model:
    """What was decoded, as a model. Raises InputError that names the first field that is wrong, without its value."""
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"])) or "body"
        raise InputError(f"{field[:200]} cannot be used: {first['msg']}", field[:200]) from None
