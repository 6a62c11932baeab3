"""A host application for the test of the wheel: run where nothing but the wheel is installed, says as JSON what it saw.

    python -I wheel_host.py REDIS_URL

It is also what is type-checked against the installed wheel: a user's code.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from streamgauge import EventType, Property, Settings, Streamgauge, idempotency_key
from streamgauge.capture.middleware import StreamgaugeMiddleware
from streamgauge.testing import recording_gauge

EVENTS = (
    EventType(
        "lesson.completed", "progress of lessons", {"percent": Property(int, "how far it was watched")}
    ),
)
SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "path": "/lessons/7",
    "root_path": "",
    "query_string": b"",
    "headers": [(b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0")],
    "client": ("192.0.2.7", 50_000),
}


async def receive() -> dict[str, Any]:
    """An empty request."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    """Nobody listens."""


async def ask(gauge: Streamgauge) -> None:
    """One request to a plain ASGI application under the middleware, which tracks an event of its own."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        key = idempotency_key("lesson.completed", lesson=7, user="ada")
        assert gauge.track("lesson.completed", actor="ada", idempotency_key=key, percent=100)
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    await StreamgaugeMiddleware(application, gauge=gauge)(dict(SCOPE), receive, send)


def recorded() -> list[dict[str, Any]]:
    """What a gauge for tests keeps of it."""
    with recording_gauge(event_types=EVENTS) as gauge:
        asyncio.run(ask(gauge))
        return [{"name": event.name, "properties": dict(event.properties)} for event in gauge.events]


def sent(redis_url: str) -> dict[str, Any]:
    """What the real one sends."""
    gauge = Streamgauge(Settings(redis_url=redis_url, data_dir=Path.cwd()), event_types=EVENTS)
    asyncio.run(ask(gauge))
    flushed = gauge.flush(20.0)
    gauge.close()
    return {"flushed": flushed, **gauge.status()}


def main() -> None:
    """Do all of it."""
    seen = {"recorded": recorded(), "sent": sent(sys.argv[1])}
    loaded = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
    print(json.dumps({**seen, "loaded": sorted(loaded - {"__main__"})}))


if __name__ == "__main__":
    main()
