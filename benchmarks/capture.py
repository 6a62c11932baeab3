"""What being measured costs a host: CPU of the middleware for each request, and of `track()` for each event.

    python -m benchmarks.capture [--requests 250] [--events 1000] [--rounds 100] [--json FILE]

Everything runs in one process, in turn, round after round, with default settings, and is sent to a Valkey of its own. Two figures
each: the CPU of the thread that serves or tracks, which is what the host's users wait for; and of the whole process until all is
sent - pseudonyms, frames and the connection included. Requests are driven into the application itself, and every middleware is
counted from one that does nothing; of two applications, see `requests`. In the same run: prometheus-fastapi-instrumentator, and a BaseHTTPMiddleware that records the
same event; for `track()` the floor is reading the clock and appending a tuple to a deque. A dropped event ends the run.
"""

import argparse
import asyncio
import logging
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.types import ASGIApp

from benchmarks import record, requests, rounds
from benchmarks.rounds import Subject
from streamgauge import EventType, Property, Settings, Streamgauge, idempotency_key
from streamgauge_local.stack import Stack

MIDDLEWARE_BAR, TRACK_BAR = 10.0, 5.0  # microseconds of the serving thread; the budget is half of it
MIDDLEWARE, TRACK = "StreamgaugeMiddleware", "track()"
BARE, FLOOR = "bare wrapper", "deque.append + time_ns"
FLUSH_SECONDS = 30.0
EVENTS = (
    EventType(
        "benchmark.progressed",
        "to measure tracking",
        {
            "lesson": Property(str, "which lesson"),
            "percent": Property(int, "how far"),
            "finished": Property(bool, "whether it is done"),
        },
    ),
)


class Recording(BaseHTTPMiddleware):
    """The middleware that most people would write, recording what ours does."""

    def __init__(self, app: ASGIApp, gauge: Streamgauge) -> None:
        super().__init__(app)
        self._gauge = gauge

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Starlette."""
        began = time.perf_counter()
        response = await call_next(request)
        route = request.scope.get("route")
        self._gauge.requests.record(
            route=getattr(route, "path", "__unmatched__"),
            method=request.method,
            status=response.status_code,
            duration_us=round((time.perf_counter() - began) * 1_000_000),
            response_bytes=int(response.headers.get("content-length", 0)),
        )
        return response


class Gauges(ExitStack):
    """Gauges that send to one Valkey; closed at the end."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        super().__init__()
        self._usual: dict[str, Any] = {"redis_url": redis_url, "data_dir": folder}

    def new(self, **settings: Any) -> Streamgauge:
        """One more, with default settings but for the given ones."""
        gauge = Streamgauge(Settings(**{**self._usual, **settings}), event_types=EVENTS)
        self.callback(gauge.close, 0.1)
        return gauge


def settled(gauge: Streamgauge) -> Callable[[], None]:
    """Waits until everything is sent. Ends the benchmark when something was dropped: dropping is cheaper than sending."""

    def settle() -> None:
        sent = gauge.flush(FLUSH_SECONDS)
        status = gauge.status()
        if not sent or status["dropped"] or status["sent"] != status["accepted"]:
            raise SystemExit(f"not everything was sent, so the figures would be worth nothing: {status}")

    return settle


class Middlewares:
    """The middlewares that are compared, each around an application of its own."""

    def __init__(
        self, make: Callable[[], Starlette], gauges: Gauges, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._make = make
        self._loop = loop
        self.subjects: list[Subject] = []
        self.drivers: list[requests.Driver] = []
        usual, asking, off, same = gauges.new(), gauges.new(), gauges.new(enabled=False), gauges.new()
        self._add(BARE, lambda app: app.add_middleware(requests.Bare))
        self._add(MIDDLEWARE, usual.instrument, usual)
        self._add(f"{MIDDLEWARE}, actor=function", lambda app: asking.instrument(app, actor=_user), asking)
        self._add(f"{MIDDLEWARE}, disabled", off.instrument)
        self._add(
            "prometheus-fastapi-instrumentator",
            lambda app: Instrumentator(registry=CollectorRegistry()).instrument(app),
        )
        self._add(
            "BaseHTTPMiddleware, same event", lambda app: app.add_middleware(Recording, gauge=same), same
        )

    def _add(
        self, name: str, install: Callable[[Starlette], object], gauge: Streamgauge | None = None
    ) -> None:
        app = self._make()
        install(app)
        self.drivers.append(requests.Driver(self._loop, app))
        self.subjects.append(Subject(name, self.drivers[-1], settled(gauge) if gauge else rounds.nothing))

    def check(self) -> None:
        """End the benchmark unless every request was answered by its route."""
        for subject, driver in zip(self.subjects, self.drivers, strict=True):
            if driver.statuses != {200}:
                raise SystemExit(f"{subject.name}: requests were answered with {driver.statuses}")


def trackers(gauges: Gauges) -> list[Subject]:
    """`track()` and its floor: three properties, and an actor out of 1,000."""
    actors = [f"user-{number}" for number in range(1_000)]
    waiting: deque[tuple[object, ...]] = deque()
    usual, keyed, closed = gauges.new(), gauges.new(), gauges.new()
    closed.close(0.1)

    def append(count: int) -> None:
        for actor in islice(cycle(actors), count):
            waiting.append(("benchmark.progressed", time.time_ns(), actor, "vectors", 40, False))

    def plain(gauge: Streamgauge) -> Callable[[int], None]:
        def run(count: int) -> None:
            track = gauge.track
            for actor in islice(cycle(actors), count):
                track("benchmark.progressed", actor=actor, lesson="vectors", percent=40, finished=False)

        return run

    def with_key(count: int) -> None:
        track = keyed.track
        for number, actor in enumerate(islice(cycle(actors), count)):
            track(
                "benchmark.progressed", actor=actor, idempotency_key=idempotency_key("lesson", number=number, user=actor),
                lesson="vectors", percent=40, finished=False,
            )  # fmt: skip

    return [
        Subject(FLOOR, append, waiting.clear),
        Subject(TRACK, plain(usual), settled(usual)),
        Subject(f"{TRACK} and idempotency_key()", with_key, settled(keyed)),
        Subject(f"{TRACK}, dropped", plain(closed)),
    ]


def measure(redis_url: str, folder: Path, count: int, events: int, number: int) -> dict[str, Any]:
    """Everything, in `number` rounds of `count` requests and `events` events."""
    served = {}
    with asyncio.Runner() as runner, Gauges(redis_url, folder) as gauges:
        for name, make in requests.APPLICATIONS.items():
            compared = Middlewares(make, gauges, runner.get_loop())
            served[name] = rounds.measure(compared.subjects, count, number)
            compared.check()
        tracked = rounds.absolute(rounds.measure(trackers(gauges), events, number))
    over = {name: rounds.over(costs, BARE) for name, costs in served.items()}
    track = tracked[TRACK]["thread"]["median"]
    return {
        "requests": count,
        "events": events,
        "rounds": number,
        "inputs": requests.__doc__,
        "microseconds_per_request": {name: rounds.absolute(costs)[BARE] for name, costs in served.items()},
        "microseconds_over_bare_wrapper": over,
        "microseconds_per_event": tracked,
        "track_times_floor": round(track / tracked[FLOOR]["thread"]["median"], 1),
        "bars": {MIDDLEWARE: MIDDLEWARE_BAR, TRACK: TRACK_BAR},
        "within_bars": {
            **{f"{MIDDLEWARE}, {name}": _ours(costs) <= MIDDLEWARE_BAR for name, costs in over.items()},
            TRACK: track <= TRACK_BAR,
        },
    }


def show(result: dict[str, Any]) -> None:
    """Print figures for people."""
    for name, costs in result["microseconds_over_bare_wrapper"].items():
        bare = result["microseconds_per_request"][name]["thread"]["median"]
        _table(f"us per request over a bare wrapper ({name}: {bare:.0f} us)", costs, _ours(costs))
    tracked = result["microseconds_per_event"]
    _table("us per event", tracked, tracked[TRACK]["thread"]["median"])
    print(f"\nbars in us: {result['bars']}; within: {result['within_bars']}", flush=True)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=250, help="in each round, for each middleware")
    parser.add_argument(
        "--events", type=int, default=1_000, help="in each round; fewer than the buffer holds"
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", type=Path, default=record.RESULTS / "capture.json", help="file to write")
    options = parser.parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="streamgauge-bench-") as directory:
        stack = Stack(Path(directory), ephemeral=True, postgres=False)
        asyncio.run(stack.start())
        try:
            figures = measure(
                stack.redis_url, Path(directory), options.requests, options.events, options.rounds
            )
            servers = stack.details
        finally:
            asyncio.run(stack.stop())
    packages = ("redis", "hiredis", "orjson", "fastapi", "starlette", "prometheus-fastapi-instrumentator")
    result = {**figures, "servers": servers, **record.machine(*packages)}
    record.keep(result, options.json)
    show(result)


def _user(request: Request) -> str:
    return str(request.state.user)


def _ours(costs: dict[str, Any]) -> float:
    return float(costs[MIDDLEWARE]["thread"]["median"])


def _table(title: str, costs: dict[str, Any], ours: float) -> None:
    print(f"\n{title:<58}{'thread':>22}{'times ours':>12}{'process':>24}")
    for name, cost in costs.items():
        times = f"{cost['thread']['median'] / ours:.1f}"
        print(f"{name:<58}{_range(cost['thread']):>22}{times:>12}{_range(cost['process']):>24}")


def _range(cost: dict[str, float]) -> str:
    return f"{cost['median']:.2f} ({cost['lower_quartile']:.2f}-{cost['upper_quartile']:.2f})"


if __name__ == "__main__":
    main()
