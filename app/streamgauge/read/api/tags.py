"""Entity tags: what an answer depends on, as one short text; who has that answer already is told so."""

from collections.abc import Mapping
from hashlib import blake2b

import orjson
from fastapi import Request
from fastapi.responses import Response

#: An answer is its caller's alone, and is asked about again before it is used again.
HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}


def tag_of(*depends: object) -> str:
    """The tag of what depends on nothing but this: numbers, texts, and lists and objects of them."""
    return quoted(orjson.dumps(depends, option=orjson.OPT_SORT_KEYS))


def quoted(content: bytes) -> str:
    """The tag of these very bytes."""
    return f'"{blake2b(content, digest_size=16).hexdigest()}"'


def has(request: Request, tag: str) -> bool:
    """Whether If-None-Match names the tag (RFC 9110, section 13.1.2: compared weakly)."""
    given = ",".join(request.headers.getlist("if-none-match"))
    return given.strip() == "*" or tag in {part.strip().removeprefix("W/") for part in given.split(",")}


def unchanged(tag: str) -> Response:
    """The answer to who has it already."""
    return Response(status_code=304, headers=_headers(tag))


def tagged(body: bytes, tag: str) -> Response:
    """The answer with its tag."""
    return Response(body, headers=_headers(tag), media_type="application/json")


def by_content(request: Request, body: bytes) -> Response:
    """The answer to a request whose content is quickly made: its tag is of the bytes themselves."""
    tag = quoted(body)
    return unchanged(tag) if has(request, tag) else tagged(body, tag)


def _headers(tag: str) -> Mapping[str, str]:
    return {**HEADERS, "ETag": tag}
