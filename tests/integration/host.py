"""A host application for `test_host.py`, served by uvicorn in processes of its own: nothing in it knows that it is tested.

python -m tests.integration.host SOCKET WORKERS    as a pre-forking server does: loads the application, then forks
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, Request
from starlette.responses import Response, StreamingResponse

from streamgauge import EventType, Property, Streamgauge
from streamgauge.integrations.fastapi import Tracker

CHECKED = EventType(
    "visit.checked",
    "a test",
    {"user": Property(str, "who it must be of"), "where": Property(str, "said from")},
)
CHUNK = b"0123456789abcdef" * 64

gauge = Streamgauge(actor=lambda request: getattr(request.state, "user", None), event_types=(CHECKED,))
app = FastAPI()
shop = FastAPI()
app.mount("/shops/{shop}", shop)
gauge.instrument(app, exclude=["/process", "/refused"], device=True)
gauge.instrument(shop)


@app.get("/process")
def process() -> int:
    """Which process answers; not counted."""
    return os.getpid()


@app.get("/refused/{count}")
def refused(count: int) -> None:
    """Tracks so many events that nobody declared; not counted."""
    for _ in range(count):
        gauge.track("visit.undeclared")


@app.get("/items/{item}")
def item(item: str) -> str:
    """Answers from a thread."""
    return item


@shop.get("/orders/{order}")
async def order(order: int) -> int:
    """Answers from a mounted application."""
    return order


@app.post("/echo")
async def echo(request: Request) -> Response:
    """Sends back what it gets."""
    return Response(await request.body())


@app.get("/fail")
def fail() -> None:
    """Fails where nobody expects it."""
    raise ZeroDivisionError("ada@school.example")


@app.get("/stream/{chunks}")
async def stream(chunks: int) -> StreamingResponse:
    """Chunks with pauses; the last says how many microseconds it took from here."""
    began = time.perf_counter_ns()

    async def content() -> AsyncIterator[bytes]:
        for _ in range(chunks):
            await asyncio.sleep(0.02)
            yield CHUNK
        yield str((time.perf_counter_ns() - began) // 1000).encode()

    return StreamingResponse(content())


@app.get("/endless/{folder:path}")
async def endless(folder: str) -> StreamingResponse:
    """Server-sent events without end; leaves a file when the client went away."""

    async def content() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"data: tick\n\n"
                await asyncio.sleep(0.01)
        finally:
            (Path("/") / folder / "left").touch()

    return StreamingResponse(content(), media_type="text/event-stream")


async def log_in(request: Request, user: str) -> str:
    """The host's authentication, which takes a moment."""
    await asyncio.sleep(0.005)
    request.state.user = user
    return user


User = Annotated[str, Depends(log_in)]


@app.get("/visits/async/{user}")
async def visit_in_the_loop(user: User, tasks: BackgroundTasks, tracker: Tracker) -> None:
    """Tracks in the loop, in a task, and later."""
    await asyncio.sleep(0.01)
    tracker.track("visit.checked", user=user, where="loop")
    await asyncio.create_task(in_a_task(user))
    tasks.add_task(later, user)


@app.get("/visits/thread/{user}")
def visit_in_a_thread(user: User, tasks: BackgroundTasks, tracker: Tracker) -> None:
    """Tracks in a thread, and later."""
    time.sleep(0.01)
    tracker.track("visit.checked", user=user, where="thread")
    tasks.add_task(later, user)


async def in_a_task(user: str) -> None:
    await asyncio.sleep(0.005)
    gauge.track("visit.checked", user=user, where="task")


def later(user: str) -> None:
    time.sleep(0.01)
    gauge.track("visit.checked", user=user, where="background")
