"""The body of a request, read and decoded within bounds whatever is sent."""

from typing import Any

import orjson
from fastapi import HTTPException, Request

from streamgauge.errors import InputError

MOST_BYTES = 1024 * 1024
MOST_EVENTS = 500
DEEPEST = 8
_CONTENT_TYPE = "application/json"


async def read_items(request: Request) -> list[Any]:
    """The events of a request, not looked at yet.

    Raises HTTPException 413 and 415 for a body that is too large or no JSON by its header; InputError for what is not one event or
    a list of 1 to MOST_EVENTS of them.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != _CONTENT_TYPE:
        raise HTTPException(415, f"the body's Content-Type is {given[:80]!r}: send {_CONTENT_TYPE}")
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise HTTPException(415, "the body is compressed (Content-Encoding): send it as it is")
    return items_of(decoded(await _read(request)))


async def _read(request: Request) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MOST_BYTES:
        raise _too_large()
    parts, size = [], 0
    # Counted as it comes: a chunked body announces nothing.
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise _too_large()
        parts.append(part)
    return b"".join(parts)


def _too_large() -> HTTPException:
    return HTTPException(413, f"the body is longer than {MOST_BYTES} bytes: send fewer events at once")


def decoded(body: bytes) -> Any:
    """The body's JSON. Raises InputError when it is none, or nested too deeply."""
    depth = deepest = 0
    # Before it is decoded: brackets within texts count too, and may only make this stricter than it says for odd texts.
    if body.count(b"[") + body.count(b"{") > DEEPEST:
        in_text = escaped = False
        for byte in body:
            if in_text:
                in_text = escaped or byte != 0x22
                escaped = not escaped and byte == 0x5C
            elif byte == 0x22:
                in_text = True
            elif byte in b"[{":
                depth += 1
                deepest = max(deepest, depth)
                if deepest > DEEPEST:
                    raise InputError(f"the body is nested deeper than {DEEPEST} levels", "body")
            elif byte in b"]}":
                depth -= 1
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputError(f"the body is not JSON: {error}", "body") from None


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
