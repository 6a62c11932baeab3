"""Frames made in a process of their own: reading and freezing rows takes as long as applying them, and needs no server.

The child gets its source on standard input and answers on standard output: messages of a header and a payload. A full pipe makes
it wait, and a broken one makes it end, so that it neither runs ahead of us nor outlives us.
"""

import asyncio
import gc
import os
import pickle
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO

import orjson

from streamgauge.errors import InputError, ServerError, StreamgaugeError
from streamgauge_imports.batches import Frame, Source

_HEADER = struct.Struct("<BHIQI")  # kind, shard, events, rows read, bytes of payload
_FRAME, _SUMMARY, _FAILURE = range(3)
_READ_AHEAD = 1 << 22  # bytes
_QUEUED = 16  # frames


class Prepared:
    """The frames of a source, as they become ready; `summary` once they have all been read."""

    def __init__(self, output: asyncio.StreamReader) -> None:
        self._output = output
        self.summary: dict[str, Any] = {}
        self.ended = False  #: it has said its last word, and ends by itself
        self._stopped = False
        self._queue: asyncio.Queue[Frame | None] = asyncio.Queue(_QUEUED)
        self._reading = asyncio.create_task(self._read(), name="frames")

    async def groups(self, most: int) -> AsyncIterator[list[Frame]]:
        """Every frame, together with the others that are ready, up to about `most` events at once.

        A worker in this process holds the loop for long: what became ready meanwhile has to go in one turn. Raises what the
        source raised, and ServerError when its process ended without a word.
        """
        while (frame := await self._queue.get()) is not None:
            group, events = [frame], frame.n
            while events < most and not self._queue.empty():
                frame = self._queue.get_nowait()
                if frame is None:
                    break
                group.append(frame)
                events += frame.n
            yield group
            if frame is None:
                break
        await self._reading

    async def _read(self) -> None:
        try:
            while (frame := await self._next()) is not None:
                await self._queue.put(frame)
        finally:
            # Also behind a failure, which whoever reads the queue gets by awaiting this task.
            if not self._stopped:
                await self._queue.put(None)

    async def stop(self) -> None:
        """Read no more."""
        self._stopped = True
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _next(self) -> Frame | None:
        try:
            kind, shard, n, read, size = _HEADER.unpack(await self._output.readexactly(_HEADER.size))
            payload = await self._output.readexactly(size)
        except asyncio.IncompleteReadError:
            self.ended = True
            raise ServerError(
                "the process that reads the source was ended from outside; is memory short?"
            ) from None
        if kind == _FRAME:
            return Frame(shard, n, payload, read)
        self.ended = True
        found = orjson.loads(payload)
        if kind == _FAILURE:
            raise _failure(found)
        self.summary = found
        return None


@asynccontextmanager
async def prepared(source: Source) -> AsyncIterator[Prepared]:
    """Start the process; it has ended when the context has."""
    # A session of its own, so that Ctrl-C in the terminal reaches us alone and we end it in order.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        start_new_session=True, limit=_READ_AHEAD,
    )  # fmt: skip
    assert process.stdin is not None  # noqa: S101 - pipes were asked for
    assert process.stdout is not None  # noqa: S101 - as above
    frames = Prepared(process.stdout)
    try:
        process.stdin.write(pickle.dumps(source))
        process.stdin.close()
        yield frames
    finally:
        await frames.stop()
        if not frames.ended:
            # Stopped half-way: it may be blocked on the full pipe.
            process.kill()
            await process.stdout.read()
        await process.wait()


def write(source: Source, output: BinaryIO) -> None:
    """Write a source's frames, then its summary or its failure."""
    summary: dict[str, Any] = {}
    try:
        for frame in source.frames(summary):
            output.write(_HEADER.pack(_FRAME, frame.shard, frame.n, frame.read, len(frame.payload)))
            output.write(frame.payload)
        kind, last = _SUMMARY, summary
    except StreamgaugeError as error:
        last = {"message": str(error), "input": isinstance(error, InputError)}
        kind, last["field"] = _FAILURE, getattr(error, "field", None)
    payload = orjson.dumps(last)
    output.write(_HEADER.pack(kind, 0, 0, 0, len(payload)) + payload)
    output.flush()


def _failure(found: dict[str, Any]) -> StreamgaugeError:
    return InputError(found["message"], found["field"]) if found["input"] else ServerError(found["message"])


def main() -> None:
    """Be the child."""
    source = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our parent  # nosec B301
    # Events hold no cycles; looking for them among those that wait for their frame takes a third of the time.
    gc.disable()
    try:
        write(source, sys.stdout.buffer)
    except BrokenPipeError:
        # Our parent is gone, and nobody is left to tell. Python would flush the pipe again at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
