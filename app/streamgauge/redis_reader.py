"""One connection that reads one shard's stream."""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from redis.asyncio import Connection

from streamgauge.entry import EntryId, Fields, decode_all
from streamgauge.errors import ServerError
from streamgauge.redis_connections import translated
from streamgauge.redis_scripts import READ_HISTORY
from streamgauge.stream import History, Reading

#: The shortest time in seconds that an empty read with blocking takes.
SHORTEST_WAIT: Final = 0.01

Command = list[Any]


class RedisReader:
    """Reads one stream on one connection, and never reconnects; see `Reader` for the contract."""

    def __init__(
        self,
        connection: Connection,
        key: str,
        patience: float,
        *,
        asking: bool = False,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        """`asking`: the stream's slot is just moving to this node; `failed` is called when the reader closes by an error."""
        self._connection = connection
        self._key = key
        self._patience = patience
        self._asking = asking
        self._failed = failed

    async def open(self) -> None:
        """Connect, once, and make the stream and its birthmark when they are missing."""
        try:
            async with translated("connect to"):
                await self._connection.connect()  # type: ignore[no-untyped-call]  # untyped in redis-py
        except BaseException:
            self._failed()
            raise
        await self._ask(self._history_command(), wait=0)

    async def read(self, after: EntryId, count: int, block_ms: int) -> Reading:
        """See `Reader.read`."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        block = ["BLOCK", block_ms] if block_ms > 0 else []
        command = ["XREAD", "COUNT", count, *block, "STREAMS", self._key, str(after)]
        # One write: the server runs the script right behind the read, on the same connection (rule P7).
        found, (run_id, birthmark) = await self._ask(command, self._history_command(), wait=block_ms / 1000)
        raw = found[0][1] if found else []
        if not raw and block_ms > 0:
            shortest = min(SHORTEST_WAIT, block_ms / 1000)
            await asyncio.sleep(max(0.0, shortest - (loop.time() - started)))
        return Reading(decode_all(_pairs(raw)), History(text_of(run_id), text_of(birthmark)))

    async def aclose(self) -> None:
        """See `Reader.aclose`."""
        await self._connection.disconnect(nowait=True)

    def _history_command(self) -> Command:
        return ["EVAL", READ_HISTORY, 1, self._key, f"birthmark:{secrets.token_hex(16)}"]

    async def _ask(self, *commands: Command, wait: float) -> list[Any]:
        # redis-py connects by itself when it has no connection, so this is what prevents a silent reconnect.
        if not self._connection.is_connected:
            raise ServerError("this reader is closed: open another, and compare the history it reads")
        try:
            async with translated("read from"), asyncio.timeout(wait + self._patience):
                return await self._exchange(commands)
        except BaseException:
            # Cancellation too: the unread answer must never be taken for the next one's.
            await self.aclose()
            self._failed()
            raise

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        asking = [["ASKING"]] if self._asking else []
        packed = self._connection.pack_commands([part for each in commands for part in [*asking, each]])
        await self._connection.send_packed_command(packed, check_health=False)
        replies = [await self._connection.read_response() for _ in range(len(commands) * (1 + self._asking))]
        return replies[self._asking :: 1 + self._asking]


def id_of(raw: bytes | str) -> EntryId:
    """An entry id as the server tells it."""
    return EntryId.parse(raw)


def text_of(raw: Any) -> str:
    """A text as the server tells it."""
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


def _pairs(raw: Iterable[tuple[bytes, Sequence[bytes]]]) -> Iterator[tuple[EntryId, Fields]]:
    for entry_id, flat in raw:
        yield id_of(entry_id), list(zip(flat[::2], flat[1::2], strict=True))
