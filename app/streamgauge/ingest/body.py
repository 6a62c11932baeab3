"""The body of a request, read and decoded within bounds whatever is sent."""

import re
from typing import Any

import orjson
from fastapi import HTTPException, Request

from streamgauge.errors import InputError
from streamgauge.read.body import read_body

MOST_BYTES = 1024 * 1024
MOST_EVENTS = 500
DEEPEST = 8
_CONTENT_TYPE = "application/json"
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


async def read_items(request: Request) -> list[Any]:
    """The events of a request, not looked at yet.

    Raises HTTPException 408, 413 and 415 for a body that is too slow, too large or no JSON by its header; InputError for what is not one event or
    a list of 1 to MOST_EVENTS of them.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != _CONTENT_TYPE:
        raise HTTPException(415, f"the body's Content-Type is {given[:80]!r}: send {_CONTENT_TYPE}")
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise HTTPException(415, "the body is compressed (Content-Encoding): send it as it is")
    return items_of(decoded(await read_body(request, MOST_BYTES, "send fewer events at once")))


def decoded(body: bytes) -> Any:
    """The body's JSON. Raises InputError when it is none, or nested too deeply."""
    if _depth_above(body, DEEPEST):
        raise InputError(f"the body is nested deeper than {DEEPEST} levels", "body")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputError(f"the body is not JSON: {error}", "body") from None


def _depth_above(body: bytes, most: int) -> bool:
    """Whether brackets are nested deeper than that. A body that is no JSON may be told to be, or not."""
    # By whole passes over the body: a loop over its bytes would keep every other request waiting.
    left = _TEXT.sub(b"", body).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(most):
        left = left.replace(b"[]", b"")
    return b"[]" in left or left.count(b"[") > most


def items_of(found: Any) -> list[Any]:
    """One event, or those of `{"events": [...]}`. Raises InputError."""
    if not isinstance(found, dict):
        raise InputError('the body must be one event as a JSON object, or {"events": [...]}', "body")
    if "events" not in found:
        return [found]
    events = found["events"]
    if len(found) > 1:
        other = next(name for name in found if name != "events")
        raise InputError(f"beside events there is {other[:80]!r}: put it into the events", other[:80])
    if not isinstance(events, list) or not 1 <= len(events) <= MOST_EVENTS:
        told = f"{len(events)} of them" if isinstance(events, list) else "no list"
        raise InputError(f"events holds {told}: give a list of 1 to {MOST_EVENTS} events", "events")
    return events
