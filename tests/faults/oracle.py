"""The oracle: a process that writes down what producers mean to send and what they are told, before anything else can happen.

python -m tests.faults.oracle SOCKET LEDGER

A producer waits for the answer to every line. It comes once the line is on disk, so the file knows at least as much as anybody who
was killed. The answer is `ok`, or `stop` once somebody has asked for the end: then the producer sends nothing more. While somebody
looks at what there is, producers that mean to send wait for their answer.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Self

OK, STOP = b"ok\n", b"stop\n"
#: Between these two no producer is answered that means to send.
PAUSE, RESUME = b"pause\n", b"resume\n"
LONGEST_LINE = 16 * 1024 * 1024


class Oracle:
    """Writes lines down, many at a time, and answers each."""

    def __init__(self, ledger: Path) -> None:
        self._file = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._due = asyncio.Event()
        self._stopping = False
        self._going = asyncio.Event()
        self._going.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One producer, until it goes or is killed."""
        try:
            while line := await reader.readline():
                if not line.endswith(b"\n"):
                    break
                writer.write(await self._answer(line))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # killed: what it said until then is written
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> bytes:
        if line in (PAUSE, RESUME):
            (self._going.clear if line == PAUSE else self._going.set)()
        elif line == STOP:
            self._stopping = True
        else:
            if b'"facts"' in line:
                await self._going.wait()
                if self._stopping:
                    return STOP
            await self._written(line)
        return OK

    async def write(self) -> None:
        """Write what waits, for good, and say so; without end."""
        while True:
            await self._due.wait()
            self._due.clear()
            taken, self._waiting = self._waiting, []
            os.write(self._file, b"".join(line for line, _ in taken))
            os.fsync(self._file)
            for _, written in taken:
                written.set_result(None)

    async def _written(self, line: bytes) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((line, done))
        self._due.set()
        await asyncio.shield(done)


class Witness:
    """A producer's, or the judge's, connection to the oracle."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, path: str) -> Self:
        """Connect."""
        return cls(*await asyncio.open_unix_connection(path))

    async def tell(self, line: bytes) -> bool:
        """Have a line written down; whether to go on. Raises ConnectionError when there is no oracle: then nothing may be sent."""
        async with self._turn:
            self._writer.write(line)
            answer = await self._reader.readline()
        if answer not in (OK, STOP):
            raise ConnectionError("the oracle has gone")
        return answer == OK

    async def stop_producers(self) -> None:
        """Have every producer end behind what it has said already."""
        await self.tell(STOP)

    async def pause(self) -> None:
        """Have every producer wait before it sends more."""
        await self.tell(PAUSE)

    async def resume(self) -> None:
        """Let them go on."""
        await self.tell(RESUME)

    async def aclose(self) -> None:
        """Disconnect."""
        self._writer.close()


async def main(path: str, ledger: str) -> None:
    """Serve until killed."""
    oracle = Oracle(Path(ledger))
    server = await asyncio.start_unix_server(oracle.serve, path, limit=LONGEST_LINE)
    async with server:
        await oracle.write()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
