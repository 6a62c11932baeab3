"""One connection to Redis that many requests share: what is asked while an answer is awaited goes together, as one pipeline.

So a process needs one connection however many requests it serves at once, and a busy one talks to Redis less per request. In a Redis
Cluster it leads to the node that serves one slot, and all keys asked about must be in that.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from redis.asyncio import Connection
from redis.exceptions import AskError, RedisError, ResponseError

from streamgauge.errors import ServerError
from streamgauge.redis_nodes import RedisNodes

CONNECT_PATIENCE: Final = 2.0  # seconds
MOST_TOGETHER: Final = 256  # questions in one pipeline

Command = Sequence[str | int | float]
_FAILURES = (RedisError, OSError)  # TimeoutError is an OSError


class Line:
    """A connection, made by `connect`, renewed once when it turns out to be closed, and given up at the first other failure."""

    def __init__(
        self, url: str, patience: float, connect_patience: float = CONNECT_PATIENCE, slot_of: str = ""
    ) -> None:
        """All keys are in the slot of the key `slot_of`.

        `patience`: seconds an answer may take; `connect_patience`: seconds a connection may take. Raises SettingsError.
        """
        self._nodes = RedisNodes(url, connect_patience)
        self._slot_of = slot_of
        self._patience = patience
        self._connect_patience = connect_patience
        self._connection: Connection | None = None
        self._waiting: list[tuple[Sequence[Command], asyncio.Future[list[Any]]]] = []
        self._talk: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    async def connect(self) -> None:
        """Connect, unless it is connected. Raises ServerError."""
        if self._connection is not None:
            return
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._connect_patience):
                owner = await self._nodes.owner(self._slot_of)
                # This class keeps its own time: no limit for an answer.
                connection = self._nodes.connection(owner)
                await connection.connect()  # type: ignore[no-untyped-call]  # untyped in redis-py
        except BaseException as error:
            self._nodes.forget()
            if connection is not None:
                await connection.disconnect(nowait=True)
            if isinstance(error, _FAILURES):
                raise ServerError(f"Redis cannot be reached: {_reason(error)}") from error
            raise
        finally:
            await self._nodes.aclose()  # one connection is enough
        self._connection = connection

    async def ask(self, *commands: Command) -> list[Any]:
        """The answers. Raises ServerError when there is one missing, or when one of them is an error."""
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, future))
        if self._talk is None or self._talk.done():
            self._talk = asyncio.create_task(self._converse())
        replies = await future
        for reply in replies:
            if isinstance(reply, AskError):  # the next connection leads to where the keys are now
                await self._drop()
                self._nodes.forget()
            if isinstance(reply, ResponseError):
                raise ServerError(f"Redis refuses: {reply}") from reply
        return replies

    async def aclose(self) -> None:
        """Close. Whoever waits for an answer gets ServerError."""
        if self._talk is not None:
            self._talk.cancel()
            await asyncio.gather(self._talk, return_exceptions=True)
            self._talk = None
        self._fail(self._waiting, ServerError("the connection to Redis was closed"))
        await self._drop(nowait=False)

    async def _converse(self) -> None:
        """Ask and answer until nobody waits."""
        together: list[tuple[Sequence[Command], asyncio.Future[list[Any]]]] = []
        try:
            while self._waiting:
                together, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                async with _deadline(self._patience):
                    replies = iter(await self._exchange([each for asked, _ in together for each in asked]))
                for asked, future in together:
                    answered = [next(replies) for _ in asked]
                    if not future.done():  # its request may have been given up
                        future.set_result(answered)
        except BaseException as error:
            # Cancellation too: an answer that was not read must never be taken for the next one's.
            await self._drop()
            self._fail(
                [*together, *self._waiting], ServerError(f"Redis gives no answer: {_reason(error)}"), error
            )
            if not isinstance(error, (*_FAILURES, ServerError)):
                raise

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return await self._send(commands)
        except (RedisError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            # Servers and networks close idle connections. Asked twice at worst, a request counts twice.
            await self._drop()
            await self.connect()
            return await self._send(commands)

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connection
        # redis-py would connect by itself, with patience of its own.
        if connection is None or not connection.is_connected:
            raise ConnectionResetError("not connected")
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies

    async def _drop(self, *, nowait: bool = True) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_FAILURES):
                await connection.disconnect(nowait=nowait)

    def _fail(
        self,
        whom: Sequence[tuple[Sequence[Command], asyncio.Future[list[Any]]]],
        failure: ServerError,
        cause: BaseException | None = None,
    ) -> None:
        failure.__cause__ = cause
        self._waiting = []
        for _, future in whom:
            if not future.done():
                future.set_exception(failure)


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    """TimeoutError after so many seconds, in two halves: when this process itself was held up, an answer that has come gets read."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        half = loop.call_later(seconds / 2, lambda: limit.reschedule(loop.time() + seconds / 2))
        try:
            yield
        finally:
            half.cancel()


def _reason(error: BaseException) -> str:
    return "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
