"""Answers kept for as long as their version holds: who polls costs one look at the version."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

MOST_BYTES = 32 * 1024 * 1024

Key = tuple[str, str]  # tenant, entity tag


class KeptAnswers:
    """Bodies by tenant and entity tag, bounded in bytes; equal questions asked at the same time are answered once."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0
        self._asking: dict[Key, asyncio.Task[bytes]] = {}

    async def get(self, key: Key, compute: Callable[[], Awaitable[bytes]]) -> bytes:
        """The kept body, or a computed one. Raises whatever `compute` raises; that is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._asking:
            task = self._asking[key] = asyncio.ensure_future(self._compute(key, compute))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(self._asking[key])

    async def _compute(self, key: Key, compute: Callable[[], Awaitable[bytes]]) -> bytes:
        body = await compute()
        if len(body) <= self._most_bytes // 4:
            self._bytes += len(body) - len(self._kept.get(key, b""))
            self._kept[key] = body
            while self._bytes > self._most_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= len(oldest)
        return body
