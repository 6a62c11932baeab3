"""The body of a request as events, read and decoded within bounds whatever is sent."""

from typing import Any

from fastapi import Request

from streamgauge.errors import InputError
from streamgauge.limits.bodies import read_json

MOST_BYTES = 1024 * 1024
MOST_EVENTS = 500
DEEPEST = 8


async def read_items(request: Request) -> list[Any]:
    """The events of a request, not looked at yet.

    Raises HTTPException 408, 413 and 415 for a body that is too slow, too large or no JSON by its header; InputError for what is not one event or
    a list of 1 to MOST_EVENTS of them.
    """
    return items_of(await read_json(request, MOST_BYTES, DEEPEST, advice="send fewer events at once"))


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
