"""Where entries go: the Redis of the settings, or else the one that runs on this machine."""

import asyncio
import contextlib
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final

from streamgauge.capture.endpoints import local_redis_url
from streamgauge.capture.forks import Undisturbed
from streamgauge.entry import EntryId, Record
from streamgauge.errors import ServerError, SettingsError
from streamgauge.settings import Settings

if TYPE_CHECKING:
    from streamgauge.stream import StreamPort

CLOSE_SECONDS: Final = 0.5
GENERATION: Final = 0
#: What the client and the event loop would load by themselves when they first connect.
LOADED_LATER: Final = ("email.parser", "encodings.idna")


class Destination:
    """A stream that is opened when first needed, and looked for again when it fails.

    Addresses of local servers change with every start; lanes, numbers and frozen batches stay what they are.
    """

    generation = GENERATION

    def __init__(
        self,
        settings: Settings,
        undisturbed: Undisturbed,
        open_stream: "Callable[[str], StreamPort] | None" = None,
    ) -> None:
        """`undisturbed` is held while modules are loaded: a process must not be forked then."""
        self._settings = settings
        self._undisturbed = undisturbed
        self._open_stream = open_stream or self._redis_stream
        self._url = settings.redis_url
        self._stream: StreamPort | None = None
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
        try:
            entry_id = await self._opened().append(shard, record)
        except Exception:
            self.state = "failing"
            self._look_again()
            raise
        self.state = "connected"
        return entry_id

    async def tidy(self) -> None:
        """Close what was left for another address. Call it while nothing is being appended."""
        while self._left:
            with contextlib.suppress(Exception):  # it is gone anyway
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._left.pop().aclose()

    async def aclose(self) -> None:
        """Close all connections, within a moment."""
        if self._stream is not None:
            self._left.append(self._stream)
            self._stream = None
        await self.tidy()

    def _opened(self) -> "StreamPort":
        if self._stream is None:
            if not self.is_known() or self._url is None:
                raise ServerError(
                    "no address of Redis is known: set STREAMGAUGE_REDIS_URL, or run `streamgauge up`"
                )
            try:
                self._stream = self._open_stream(self._url)
            except SettingsError as error:
                raise ServerError(str(error)) from error
        return self._stream

    def _look_again(self) -> None:
        if not self.is_local:
            return
        url = local_redis_url(self._settings.data_dir)
        if url != self._url and url is not None:
            self._url = url
            if self._stream is not None:
                self._left.append(self._stream)
                self._stream = None

    def _redis_stream(self, url: str) -> "StreamPort":
        with self._undisturbed.loading:
            for name in LOADED_LATER:
                import_module(name)
            # Only now: a host that tracks nothing need not load a client.
            from streamgauge.redis_stream import RedisStream
        return RedisStream(url, self._settings.stream_prefix, GENERATION, self._settings.shards)
