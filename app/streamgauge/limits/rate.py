"""Rate limits that all processes share, kept in Redis, and kept by each process for itself while Redis is away.

The generic cell rate algorithm (ITU-T recommendation I.371, annex A.1, in its virtual-scheduling form): of a bucket only the time is
kept at which it will be full again. Over any time t at most `burst + per_minute * t / 60` requests are allowed, and whoever always
asks gets exactly that. A refused request costs nothing.

While Redis is away each process allows LOCAL_SHARE of every limit: four processes together the whole of it, one alone a quarter.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from streamgauge.errors import ServerError
from streamgauge.limits.buckets import MICROSECONDS, Buckets
from streamgauge.limits.line import Command, Line

PATIENCE: Final = 0.05  # seconds a request waits for Redis
PAUSE: Final = 5.0  # seconds until Redis is asked again
LOCAL_SHARE: Final = 0.25
_SCRIPT = (files("streamgauge.limits") / "rate.lua").read_text("utf-8")
#: A bucket of nobody's: whether it can be written to tells whether Redis can keep limits at all.
_PROBE = "probe"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to a bucket."""

    name: str  #: of the bucket; without anybody's address in it
    per_minute: int  #: how many requests come back in a minute
    burst: int  #: how many may be made at once
    cost: int = 1  #: how many this is; 0 takes none, and is allowed when one more would be


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of it."""

    allowed: bool
    retry_after_seconds: int  #: 0 when it is allowed, otherwise at least 1
    limit: int  #: requests a minute
    remaining: int  #: requests that could be made now
    reset_seconds: int  #: until one more could be made than now; 0 when the bucket lacks nothing


class Rates:
    """The rate limits of one process, in one event loop."""

    def __init__(
        self,
        redis_url: str,
        prefix: str,
        patience: float = PATIENCE,
        *,
        pause: float = PAUSE,
        clock: Callable[[], float] = time.monotonic,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """It connects when it is first asked.

        Args:
            redis_url: as redis-py takes it.
            prefix: what names of keys begin with.
            patience: seconds a request waits for Redis before it is decided here.
            pause: seconds during which Redis is then left alone.
            clock: monotonic, in seconds.
            registry: where the metrics go.

        Raises SettingsError for a URL that is none.
        """
        # One hash tag, so that a Redis Cluster keeps all limits on one node and a request asks about all of its buckets at once.
        self._keys = f"{prefix}:{{rate}}:"
        self._line = Line(redis_url, patience, slot_of=self._keys)
        self._patience = patience
        self._pause = pause
        self._clock = clock
        self._buckets = Buckets(clock)
        self._lost = False
        self._again_at = -math.inf
        self._look: asyncio.Task[None] | None = None
        self._losses = Counter(
            "streamgauge_rate_limits_redis_lost", "Times that Redis was given up.", registry=registry
        )
        self._local = Gauge(
            "streamgauge_rate_limits_local", "1 while limits are kept without Redis.", registry=registry
        )

    @property
    def local(self) -> bool:
        """Whether Redis is away, and this process decides alone."""
        return self._lost

    async def take(self, *asked: Asked) -> Verdict:
        """Ask all of these buckets, and get the strictest answer: the longest wait of those refused, or the least that remains.

        Each allowed one is paid, even when another is refused. Never raises for what Redis does.
        """
        verdicts = await self.take_each(*asked)
        refused = [each for each in verdicts if not each.allowed]
        if refused:
            return max(refused, key=lambda each: each.retry_after_seconds)
        return min(verdicts, key=lambda each: each.remaining)

    async def take_each(self, *asked: Asked) -> list[Verdict]:
        """The answers of all of these buckets; see `take`."""
        if await self._ready():
            try:
                replies = await self._line.ask(*map(self._command, asked))
                return [
                    _verdict(bool(allowed), each.per_minute, left, wait)
                    for each, (allowed, left, wait) in zip(asked, replies, strict=True)
                ]
            except ServerError as error:
                self._lose(str(error))
        return list(map(self._take_here, asked))

    async def aclose(self) -> None:
        """Close the connection. It opens again when it is asked again, in another event loop, too."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)
            self._look = None
        await self._line.aclose()

    async def _ready(self) -> bool:
        if not self._lost and self._line.connected:
            return True
        if self._clock() >= self._again_at and (self._look is None or self._look.done()):
            self._look = asyncio.create_task(self._look_for_redis())
        # Nobody waits for a server that was given up. The first requests of a process wait for its first connection.
        if self._lost or self._look is None:
            return False
        for _ in range(2):  # in two halves, as in line.py
            await asyncio.wait({self._look}, timeout=self._patience / 2)
        if not self._look.done():
            self._lose("Redis cannot be reached in time")
        return not self._lost

    async def _look_for_redis(self) -> None:
        try:
            await self._line.connect()
            await self._line.ask(self._command(Asked(_PROBE, 60, 60)))
        except ServerError as error:
            self._lose(str(error))
            return
        if self._lost:
            self._lost = False
            self._local.set(0)
            log.info("rate limits are shared by all processes again")

    def _lose(self, reason: str) -> None:
        self._again_at = self._clock() + self._pause
        if not self._lost:
            self._lost = True
            self._losses.inc()
            self._local.set(1)
            log.warning(
                "rate limits are kept by each process for itself: Redis is away",
                detail=reason,
                share=LOCAL_SHARE,
            )

    def _command(self, asked: Asked) -> Command:
        interval = 60 * MICROSECONDS / asked.per_minute
        return ("EVAL", _SCRIPT, 1, self._keys + asked.name, repr(interval), asked.burst, asked.cost)

    def _take_here(self, asked: Asked) -> Verdict:
        per_minute = asked.per_minute * LOCAL_SHARE
        level = self._buckets.take(asked.name, per_minute, max(1, int(asked.burst * LOCAL_SHARE)), asked.cost)
        return _verdict(level.allowed, max(1, int(per_minute)), level.left, level.wait)


def _verdict(allowed: bool, limit: int, left: int, wait: int) -> Verdict:
    seconds = math.ceil(wait / MICROSECONDS)
    return Verdict(allowed, 0 if allowed else max(1, seconds), limit, left, seconds)
