"""Answers kept for as long as their version holds: who polls costs one look at the version."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

MOST_BYTES = 32 * 1024 * 1024
OVERHEAD = 500  # bytes that keeping an answer costs beside its body


class Key(NamedTuple):
    """Whose answer it is, and its tag."""

    tenant: str
    tag: str


class Kept(NamedTuple):
    """An answer and its tag."""

    tag: str
    body: bytes


class KeptAnswers:
    """Answers by tenant and tag, bounded in bytes; equal questions asked at the same time are answered once."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._bytes = 0
        self._asking: dict[Key, asyncio.Task[Kept]] = {}

    @property
    def size(self) -> int:
        """What is kept, with its overhead."""
        return self._bytes

    async def get(self, key: Key, compute: Callable[[], Awaitable[Kept]]) -> Kept:
        """The kept answer, or a computed one, whose tag may be a newer one. Raises what `compute` raises; that is not kept."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(compute())
            task.add_done_callback(lambda done: self._settle(key, done))
        # Shielded: the others must not lose their answer when the first one goes away.
        return await asyncio.shield(task)

    def _settle(self, key: Key, done: "asyncio.Task[Kept]") -> None:
        del self._asking[key]
        if not done.cancelled() and done.exception() is None:
            self._keep(Key(key.tenant, done.result().tag), done.result())

    def _keep(self, key: Key, answer: Kept) -> None:
        size = len(answer.body) + OVERHEAD
        if key in self._kept or size > self._most_bytes // 4:
            return
        self._kept[key] = answer
        self._bytes += size
        while self._bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.body) + OVERHEAD
