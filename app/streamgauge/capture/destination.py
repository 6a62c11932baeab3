"""Where entries go: the Redis of the settings, or else the one that runs on this machine."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeVar

from streamgauge.capture.endpoints import local_redis_url
from streamgauge.capture.forks import Undisturbed
from streamgauge.entry import EntryId, Record
from streamgauge.errors import ServerError, SettingsError
from streamgauge.settings import Settings

if TYPE_CHECKING:
    from streamgauge.stream import StreamPort

CLOSE_SECONDS: Final = 0.5
#: What the client and the event loop would load by themselves when they first connect.
LOADED_LATER: Final = ("email.parser", "encodings.idna")

Answer = TypeVar("Answer")


class Destination:
    """A stream that is opened when first needed, and looked for again when it fails.

    Addresses of local servers change with every start; lanes, numbers and frozen batches stay what they are.
    """

    def __init__(
        self,
        settings: Settings,
        undisturbed: Undisturbed,
        open_stream: "Callable[[str], StreamPort] | None" = None,
    ) -> None:
        """`undisturbed` is held while modules are loaded: a process must not be forked then."""
        self._settings = settings
        #: Which layout of streams entries go to.
        self.generation = settings.generation
        self._undisturbed = undisturbed
        self._open_stream = open_stream or self._redis_stream
        self._url = settings.redis_url
        self._streams: dict[int, StreamPort] = {}
        self._left: list[StreamPort] = []
        #: What the last attempt showed: not_configured, not_tried, connected or failing.
        self.state = "not_tried" if self._url else "not_configured"

    @property
    def is_local(self) -> bool:
        """Whether the address is not the settings' own."""
        return self._settings.redis_url is None

    def is_known(self) -> bool:
        """Whether there is an address. Without one, looks for it: reads one small file."""
        if self._url is None:
            self._url = local_redis_url(self._settings.data_dir)
            self.state = "not_tried" if self._url else "not_configured"
        return self._url is not None

    async def append(self, shard: int, record: Record, /) -> EntryId:
        """Append one entry, once. Raises ServerError; the entry may be in the stream all the same."""
        return await self._asked(lambda: self._opened(self.generation).append(shard, record))

    async def append_many(self, generation: int, shard: int, records: Sequence[Record], /) -> list[EntryId]:
        """Append entries to a stream of any generation: a spool may be older than the settings. Raises ServerError as `append` does."""
        return await self._asked(lambda: self._opened(generation).append_many(shard, records))

    async def acknowledged(self, generation: int, shard: int, lanes: Sequence[bytes], /) -> list[int]:
        """See `StreamPort.acknowledged`. Raises ServerError."""
        return await self._asked(lambda: self._opened(generation).acknowledged(shard, lanes))

    async def _asked(self, asking: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            answer = await asking()
        except Exception:
            self.state = "failing"
            self._look_again()
            raise
        self.state = "connected"
        return answer

    async def tidy(self) -> None:
        """Close what was left for another address. Call it while nothing is being appended."""
        while self._left:
            with contextlib.suppress(Exception):  # it is gone anyway
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._left.pop().aclose()

    async def aclose(self) -> None:
        """Close all connections, within a moment."""
        self._leave_streams()
        await self.tidy()

    def _leave_streams(self) -> None:
        self._left += self._streams.values()
        self._streams.clear()

    def _opened(self, generation: int) -> "StreamPort":
        if self.generation not in self._streams:
            if not self.is_known() or self._url is None:
                raise ServerError(
                    "no address of Redis is known: set STREAMGAUGE_REDIS_URL, or run `streamgauge up`"
                )
            try:
                self._streams[self.generation] = self._open_stream(self._url)
            except SettingsError as error:
                raise ServerError(str(error)) from error
        if generation not in self._streams:
            own = self._streams[self.generation]
            self._streams[generation] = own.of_generation(generation, own.shards)
        return self._streams[generation]

    def _look_again(self) -> None:
        if not self.is_local:
            return
        url = local_redis_url(self._settings.data_dir)
        if url != self._url and url is not None:
            self._url = url
            self._leave_streams()

    def _redis_stream(self, url: str) -> "StreamPort":
        with self._undisturbed.loading:
            for name in LOADED_LATER:
                import_module(name)
            # Only now: a host that tracks nothing need not load a client.
            from streamgauge.redis_stream import RedisStream
        return RedisStream(url, self._settings.stream_prefix, self.generation, self._settings.shards)
