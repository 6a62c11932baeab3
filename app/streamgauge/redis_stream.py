"""The shard streams on Redis ≥ 7.0 or Valkey ≥ 7.2, a single server or a cluster."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.exceptions import AskError

from streamgauge.entry import EntryId, Record, encode
from streamgauge.errors import ServerError
from streamgauge.redis_check import check
from streamgauge.redis_connections import PATIENCE, Address, translated
from streamgauge.redis_nodes import MOST_REDIRECTIONS, Command, RedisNodes
from streamgauge.redis_reader import RedisReader, id_of, text_of
from streamgauge.redis_scripts import BACKLOG, REMOVE, TELL_HISTORY, TRIM
from streamgauge.stream import Backlog, History, acknowledged_key, stream_key

#: Entries removed per trimming script, so that none holds the server up for long.
TRIM_STEP: Final = 10_000
#: Nodes of the stream looked at to estimate its memory; the default of 5 errs widely on mixed batch sizes.
MEMORY_SAMPLES: Final = 50


class RedisStream:
    """The shard streams of one generation on Redis, Valkey, or a cluster of either; see `StreamPort` for the contract."""

    def __init__(
        self, url: str, prefix: str, generation: int, shards: int, patience: float = PATIENCE
    ) -> None:
        """`url` as redis-py takes it (redis, rediss, unix), of any node of a cluster; `patience` in seconds. Raises SettingsError."""
        self._url = url
        self._nodes = RedisNodes(url, patience)
        self._prefix = prefix
        self._patience = patience
        self.generation = generation
        self.shards = shards

    async def append(self, shard: int, record: Record) -> EntryId:
        """See `StreamPort.append`."""
        async with translated("append to"):
            return id_of(await self._command(shard, *self._xadd(shard, record)))

    async def append_many(self, shard: int, records: Sequence[Record]) -> list[EntryId]:
        """See `StreamPort.append_many`."""
        if not records:
            return []
        async with translated("append to"):
            commands = [self._xadd(shard, record) for record in records]
            return [id_of(reply) for reply in await self._nodes.commands(self._key(shard), commands)]

    async def open_reader(self, shard: int) -> RedisReader:
        """See `StreamPort.open_reader`."""
        key = self._key(shard)
        async with translated("connect to"):
            address, asking = await self._nodes.owner(key), False
        for _ in range(MOST_REDIRECTIONS):
            try:
                return await self._reader_at(address, key, asking)
            except ServerError as error:
                if not isinstance(error.__cause__, AskError):
                    raise
                # The map has been forgotten with the failure: the node's word is newer than what others may tell.
                address, asking = self._nodes.follow(key, error.__cause__, address)
        return await self._reader_at(address, key, asking)

    async def trim(self, shard: int, history: History, before: EntryId) -> int | None:
        """See `StreamPort.trim`."""
        total = 0
        async with translated("trim"):
            while True:
                arguments = (history.run_id, history.birthmark, str(before), TRIM_STEP)
                reply = await self._command(shard, "EVAL", TRIM, 1, self._key(shard), *arguments)
                if reply is None:
                    return None
                total += int(reply[0])
                if not reply[1]:
                    return total

    async def acknowledge(self, shard: int, prefixes: Mapping[bytes, int]) -> None:
        """See `StreamPort.acknowledge`."""
        key = acknowledged_key(self._prefix, self.generation, shard)
        said = [part for lane, prefix in prefixes.items() if prefix for part in (lane, prefix)]
        forgotten = [lane for lane, prefix in prefixes.items() if not prefix]
        async with translated("acknowledge in"):
            if said:
                await self._command(shard, "HSET", key, *said)
            if forgotten:
                await self._command(shard, "HDEL", key, *forgotten)

    async def acknowledged(self, shard: int, lanes: Sequence[bytes]) -> list[int]:
        """See `StreamPort.acknowledged`."""
        if not lanes:
            return []
        key = acknowledged_key(self._prefix, self.generation, shard)
        async with translated("ask"):
            return [int(found or 0) for found in await self._command(shard, "HMGET", key, *lanes)]

    def of_generation(self, generation: int, shards: int) -> "RedisStream":
        """See `StreamPort.of_generation`."""
        return RedisStream(self._url, self._prefix, generation, shards, self._patience)

    async def remove(self, shard: int, behind: EntryId | None) -> bool:
        """See `StreamPort.remove`."""
        acknowledged = acknowledged_key(self._prefix, self.generation, shard)
        after = "+" if behind is None else f"({behind}"
        async with translated("delete from"):
            return bool(await self._command(shard, "EVAL", REMOVE, 2, self._key(shard), acknowledged, after))

    async def length(self, shard: int) -> int:
        """See `StreamPort.length`."""
        async with translated("measure"):
            return int(await self._command(shard, "XLEN", self._key(shard)))

    async def first_id(self, shard: int) -> EntryId | None:
        """See `StreamPort.first_id`."""
        return await self._edge("XRANGE", shard, "-", "+")

    async def last_id(self, shard: int) -> EntryId | None:
        """See `StreamPort.last_id`."""
        return await self._edge("XREVRANGE", shard, "+", "-")

    async def history(self, shard: int) -> History | None:
        """The history of a shard's stream as it is, without making a birthmark; None when it has none. For diagnosis."""
        async with translated("ask"):
            run_id, birthmark = await self._command(shard, "EVAL", TELL_HISTORY, 1, self._key(shard))
        return History(text_of(run_id), text_of(birthmark)) if birthmark is not None else None

    async def backlog(self, shard: int, after: EntryId) -> Backlog:
        """See `StreamPort.backlog`."""
        async with translated("measure"):
            reply = await self._command(shard, "EVAL", BACKLOG, 1, self._key(shard), str(after))
        added, retained, first, oldest, now = reply
        whole = bool(oldest) and first == oldest
        return Backlog(int(added), int(retained), id_of(oldest) if oldest else None, whole, int(now))

    async def bytes_used(self, shard: int) -> int:
        """See `StreamPort.bytes_used`."""
        async with translated("measure"):
            command = ("MEMORY", "USAGE", self._key(shard), "SAMPLES", MEMORY_SAMPLES)
            return int(await self._command(shard, *command) or 0)

    async def check_server(self) -> None:
        """See `StreamPort.check_server`. Of a cluster every primary is looked at."""
        async with translated("ask"):
            await check(self._nodes)

    async def aclose(self) -> None:
        """See `StreamPort.aclose`."""
        await self._nodes.aclose()

    async def _command(self, shard: int, *command: Any) -> Any:
        return await self._nodes.command(self._key(shard), *command)

    async def _reader_at(self, address: Address | None, key: str, asking: bool) -> RedisReader:
        def failed() -> None:
            self._nodes.forget(address)

        # No socket timeout: it would cut BLOCK short. The reader keeps its own time.
        connection = self._nodes.connection(address)
        reader = RedisReader(connection, key, self._patience, asking=asking, failed=failed)
        await reader.open()
        return reader

    def _key(self, shard: int) -> str:
        return stream_key(self._prefix, self.generation, shard)

    def _xadd(self, shard: int, record: Record) -> Command:
        return ["XADD", self._key(shard), "*", *(part for pair in encode(record).items() for part in pair)]

    async def _edge(self, command: str, shard: int, start: str, stop: str) -> EntryId | None:
        async with translated("measure"):
            reply = await self._command(shard, command, self._key(shard), start, stop, "COUNT", 1)
            return id_of(reply[0][0]) if reply else None
