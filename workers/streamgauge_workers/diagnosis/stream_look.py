"""A look at the streams of every generation. A stream that cannot be looked at is noted, and the others are told all the same."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from streamgauge.entry import Batch, decode
from streamgauge.errors import FrameError, NewerFrameError, ServerError
from streamgauge.logs import redacted
from streamgauge.redis_nodes import RedisNodes
from streamgauge.redis_stream import RedisStream
from streamgauge.settings import Settings
from streamgauge.stream import Backlog, History, stream_key
from streamgauge.table import thaw
from streamgauge_workers.diagnosis.snapshot import Shard

Found = TypeVar("Found")


class StreamLook:
    """`unread` collects the shards whose streams could not be looked at, with why."""

    def __init__(self, redis_url: str, settings: Settings, stream: RedisStream) -> None:
        """`stream` is of the settings' generation and stays the caller's."""
        self.unread: dict[int, str] = {}
        self._redis_url = redis_url
        self._settings = settings
        self._stream = stream
        self._others: dict[int, RedisStream] = {}

    async def histories(self, shards: Sequence[Shard]) -> dict[int, History | None]:
        """Which history each stream has."""
        return await self._each(shards, lambda each: self._of(each).history(each.number))

    async def backlogs(self, shards: Sequence[Shard]) -> dict[int, Backlog]:
        """What lies behind each shard's position at its latest look."""
        return await self._each(shards, lambda each: self._of(each).backlog(each.number, each.later))

    async def retired(self, shards: Sequence[Shard]) -> dict[int, int]:
        """Entries in the streams of generations that nobody reads any more, by generation."""
        lengths = await self._each(shards, lambda each: self._of(each).length(each.number))
        found: Counter[int] = Counter()
        for each in shards:
            found[each.generation] += lengths.get(each.shard, 0)
        return {generation: entries for generation, entries in found.items() if entries}

    async def newer(self, shards: Sequence[Shard]) -> frozenset[int]:
        """The shards whose next entry is of a newer version than this program."""
        nodes = RedisNodes(self._redis_url)
        try:
            found = await self._each(shards, lambda each: self._is_newer(nodes, each))
        finally:
            await nodes.aclose()
        return frozenset(shard for shard, newer in found.items() if newer)

    async def aclose(self) -> None:
        """Close what it has opened."""
        for each in self._others.values():
            await each.aclose()

    async def _each(
        self, shards: Sequence[Shard], ask: Callable[[Shard], Awaitable[Found]]
    ) -> dict[int, Found]:
        found: dict[int, Found] = {}

        async def one(shard: Shard) -> None:
            try:
                found[shard.shard] = await ask(shard)
            except ServerError as error:
                self.unread[shard.shard] = redacted(str(error))

        await asyncio.gather(*[one(each) for each in shards if each.shard not in self.unread])
        return found

    async def _is_newer(self, nodes: RedisNodes, shard: Shard) -> bool:
        key = stream_key(self._settings.stream_prefix, shard.generation, shard.number)
        reply = await nodes.command(key, "XRANGE", key, f"({shard.later}", "+", "COUNT", 1)
        if not reply:
            return False
        try:
            record = decode(list(reply[0][1].items()))
            if isinstance(record, Batch):
                thaw(record.payload)
        except NewerFrameError:
            return True
        except FrameError:
            return False
        return False

    def _of(self, shard: Shard) -> RedisStream:
        if shard.generation == self._stream.generation:
            return self._stream
        if shard.generation not in self._others:
            self._others[shard.generation] = self._stream.of_generation(shard.generation, 0)
        return self._others[shard.generation]
