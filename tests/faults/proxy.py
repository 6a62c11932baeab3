"""A proxy that fails on purpose, between a program of ours and a server: cut, swallowed answer, stall, reset, delay, half-open.

It relays one address to another. What it does to connections is decided by its `Trouble`, which a test changes while it runs; `fired`
counts what was really done.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from tests.faults.wire import PostgresTalk, RedisTalk

CHUNK = 64 * 1024
Talk = Literal["bytes", "redis", "postgres"]
Deed = Literal["swallow", "cut"]


@dataclass
class Trouble:
    """What is done to the bytes that pass. The default is nothing."""

    #: Cut each connection after so many bytes from the client, or to it; 0: never.
    cut_up: int = 0
    cut_down: int = 0
    #: Answers to this command (`XADD`, or PostgreSQL's `COMMIT`) are swallowed, or cut off together with the connection ...
    answer: bytes = b""
    deed: Deed = "swallow"
    #: ... so many times, with this probability each time.
    times: int = 0
    share: float = 1.0
    #: Seconds each chunk waits, and the most that is added at random.
    delay: float = 0.0
    jitter: float = 0.0
    #: The probability that a chunk is the last before a reset.
    reset: float = 0.0
    #: Nothing passes while this is not set; connections stay open.
    flowing: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.flowing.set()


class Proxy:
    """Listens on `listen` and relays to `target`: paths of sockets, or (host, port). Leave the context, and all is closed."""

    def __init__(
        self,
        listen: Path | tuple[str, int],
        target: Path | tuple[str, int],
        talk: Talk = "bytes",
        seed: int = 0,
    ) -> None:
        self.listen, self.target, self.talk = listen, target, talk
        self.trouble = Trouble()
        self.fired: Counter[str] = Counter()
        self._chosen = random.Random(seed)
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        if isinstance(self.listen, Path):
            self._server = await asyncio.start_unix_server(self._accept, self.listen, limit=CHUNK)
        else:
            self._server = await asyncio.start_server(self._accept, *self.listen, limit=CHUNK)
            self.listen = self._server.sockets[0].getsockname()[:2]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def reset_all(self) -> int:
        """Reset every connection that is open; how many those were."""
        found = len(self._pairs)
        for pair in list(self._pairs):
            self._abort(pair, "reset")
        return found

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._relay(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self.target, Path):
            far_reader, far_writer = await asyncio.open_unix_connection(str(self.target), limit=CHUNK)
        else:
            far_reader, far_writer = await asyncio.open_connection(*self.target, limit=CHUNK)
        talk = RedisTalk() if self.talk == "redis" else PostgresTalk() if self.talk == "postgres" else None
        pair = (writer, far_writer)
        self._pairs.add(pair)
        try:
            up = asyncio.ensure_future(self._pump(reader, far_writer, pair, talk, "up"))
            down = asyncio.ensure_future(self._pump(far_reader, writer, pair, talk, "down"))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        finally:
            self._pairs.discard(pair)
            far_writer.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        talk: RedisTalk | PostgresTalk | None,
        way: Literal["up", "down"],
    ) -> None:
        passed = 0
        while data := await reader.read(CHUNK):
            trouble = self.trouble
            if not trouble.flowing.is_set():
                self.fired["stall"] += 1
                await trouble.flowing.wait()
            if trouble.delay or trouble.jitter:
                self.fired["delay"] += 1
                await asyncio.sleep(trouble.delay + self._chosen.uniform(0, trouble.jitter))
            if talk is not None:
                if way == "up":
                    talk.sent(data)
                else:
                    data, cut = self._without(talk.answers(data))
                    if cut:
                        writer.write(data)
                        await writer.drain()
                        return self._abort(pair, "cut")
            limit = trouble.cut_up if way == "up" else trouble.cut_down
            if limit and passed + len(data) >= limit:
                writer.write(data[: limit - passed])
                await writer.drain()
                return self._abort(pair, f"cut_{way}")
            passed += len(data)
            if trouble.reset and self._chosen.random() < trouble.reset:
                writer.write(data[: self._chosen.randrange(len(data) + 1)])
                return self._abort(pair, "reset")
            writer.write(data)
            await writer.drain()
        return None

    def _without(self, answers: list[tuple[bytes, bytes]]) -> tuple[bytes, bool]:
        """The answers that pass, and whether the connection is to be cut behind them."""
        passing, trouble = bytearray(), self.trouble
        for name, answer in answers:
            if trouble.times and name == trouble.answer and self._chosen.random() < trouble.share:
                trouble.times -= 1
                if trouble.deed == "cut":
                    return bytes(passing), True
                self.fired["swallow"] += 1
                continue
            passing += answer
        return bytes(passing), False

    def _abort(self, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter], what: str) -> None:
        """End both sides without a goodbye: over TCP that is an RST."""
        self.fired[what] += 1
        for writer in pair:
            found = writer.get_extra_info("socket")
            if found is not None and found.family != socket.AF_UNIX:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
