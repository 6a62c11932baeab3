"""The shard streams on Redis ≥ 7.0 or Valkey ≥ 7.2."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from streamgauge.entry import EntryId, Fields, Record, decode_all, encode
from streamgauge.errors import ServerError, SettingsError
from streamgauge.stream import Backlog, History, Reading, acknowledged_key, stream_key

#: How long a server may take to answer, in seconds, beyond the time it was asked to block.
PATIENCE = 5.0
#: The shortest time in seconds that an empty read with blocking takes.
SHORTEST_WAIT = 0.01
#: Entries removed per trimming script, so that none holds the server up for long.
TRIM_STEP = 10_000
#: Nodes of the stream looked at to estimate its memory; the default of 5 errs widely on mixed batch sizes.
MEMORY_SAMPLES = 50

# A script without a header line may read, and trim, while the server is out of memory.
_HISTORY = """
local info = redis.call('INFO', 'server') .. redis.call('INFO', 'replication')
local function history(key)
  local run = string.match(info, 'run_id:(%w+)') .. '.' .. (string.match(info, 'master_replid:(%w+)') or '')
  local mark = false
  if redis.call('EXISTS', key) == 1 then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
      local name = group[2]
      if string.sub(name, 1, 10) == 'birthmark:' and (not mark or name < mark) then mark = name end
    end
  end
  return run, mark
end
"""
_TELL_HISTORY = _HISTORY + "local run, mark = history(KEYS[1]) return {run, mark}"
_READ_HISTORY = (
    _HISTORY
    + """
local run, mark = history(KEYS[1])
if not mark then
  mark = ARGV[1]
  redis.call('XGROUP', 'CREATE', KEYS[1], mark, '0', 'MKSTREAM')
end
return {run, mark}
"""
)
# Whole nodes first, a limited number at a time; what is left in front of the position is less than one node.
_TRIM = (
    _HISTORY
    + """
local run, mark = history(KEYS[1])
if run ~= ARGV[1] or mark ~= ARGV[2] then return false end
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[3], 'LIMIT', ARGV[4])
if removed > 0 then return {removed, 1} end
return {redis.call('XTRIM', KEYS[1], 'MINID', ARGV[3]), 0}
"""
)
# A script, so that all of it is of one moment, and no payload of the edges crosses the wire.
_BACKLOG = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0, '', '', now} end
local info, added = redis.call('XINFO', 'STREAM', KEYS[1]), 0
for place = 1, #info, 2 do
  if info[place] == 'entries-added' then added = info[place + 1] end
end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
local oldest = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', 1)
return {added, redis.call('XLEN', KEYS[1]), first[1] and first[1][1] or '', oldest[1] and oldest[1][1] or '', now}
"""


class RedisStream:
    """The shard streams of one generation on a Redis or Valkey server; see `StreamPort` for the contract."""

    def __init__(
        self, url: str, prefix: str, generation: int, shards: int, patience: float = PATIENCE
    ) -> None:
        """`url` as redis-py takes it (redis, rediss, unix); `patience` in seconds. Raises SettingsError."""
        try:
            parse_url(url)
        except ValueError:  # its text may repeat the URL, and so a password
            raise SettingsError(
                "the Redis URL must start with redis://, rediss:// or unix:// and be valid"
            ) from None
        self._url = url
        self._prefix = prefix
        self._patience = patience
        self._client: Redis | None = None
        self._inherited: list[Redis | None] = []
        self._process = 0
        self.generation = generation
        self.shards = shards

    async def append(self, shard: int, record: Record) -> EntryId:
        """See `StreamPort.append`."""
        async with _translated("append to"):
            return _id(await self._command(*self._xadd(shard, record)))

    async def append_many(self, shard: int, records: Sequence[Record]) -> list[EntryId]:
        """See `StreamPort.append_many`."""
        async with _translated("append to"), self._redis().pipeline(transaction=False) as pipeline:
            for record in records:
                pipeline.execute_command(*self._xadd(shard, record))
            return [_id(reply) for reply in await pipeline.execute()]

    async def open_reader(self, shard: int) -> "RedisReader":
        """See `StreamPort.open_reader`."""
        # No socket timeout: it would cut BLOCK short. The reader keeps its own time.
        connection = self._pool(socket_timeout=None).make_connection()  # type: ignore[no-untyped-call]  # untyped in redis-py
        reader = RedisReader(connection, self._key(shard), self._patience)
        await reader.open()
        return reader

    async def trim(self, shard: int, history: History, before: EntryId) -> int | None:
        """See `StreamPort.trim`."""
        total = 0
        async with _translated("trim"):
            while True:
                arguments = (history.run_id, history.birthmark, str(before), TRIM_STEP)
                reply = await self._command("EVAL", _TRIM, 1, self._key(shard), *arguments)
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
        async with _translated("acknowledge in"):
            if said:
                await self._command("HSET", key, *said)
            if forgotten:
                await self._command("HDEL", key, *forgotten)

    async def acknowledged(self, shard: int, lanes: Sequence[bytes]) -> list[int]:
        """See `StreamPort.acknowledged`."""
        if not lanes:
            return []
        key = acknowledged_key(self._prefix, self.generation, shard)
        async with _translated("ask"):
            return [int(found or 0) for found in await self._command("HMGET", key, *lanes)]

    async def length(self, shard: int) -> int:
        """See `StreamPort.length`."""
        async with _translated("measure"):
            return int(await self._command("XLEN", self._key(shard)))

    async def first_id(self, shard: int) -> EntryId | None:
        """See `StreamPort.first_id`."""
        return await self._edge("XRANGE", shard, "-", "+")

    async def last_id(self, shard: int) -> EntryId | None:
        """See `StreamPort.last_id`."""
        return await self._edge("XREVRANGE", shard, "+", "-")

    async def history(self, shard: int) -> History | None:
        """The history of a shard's stream as it is, without making a birthmark; None when it has none. For diagnosis."""
        async with _translated("ask"):
            run_id, birthmark = await self._command("EVAL", _TELL_HISTORY, 1, self._key(shard))
        return History(_text(run_id), _text(birthmark)) if birthmark is not None else None

    async def backlog(self, shard: int, after: EntryId) -> Backlog:
        """See `StreamPort.backlog`."""
        async with _translated("measure"):
            reply = await self._command("EVAL", _BACKLOG, 1, self._key(shard), str(after))
        added, retained, first, oldest, now = reply
        whole = bool(oldest) and first == oldest
        return Backlog(int(added), int(retained), _id(oldest) if oldest else None, whole, int(now))

    async def bytes_used(self, shard: int) -> int:
        """See `StreamPort.bytes_used`."""
        async with _translated("measure"):
            command = ("MEMORY", "USAGE", self._key(shard), "SAMPLES", MEMORY_SAMPLES)
            return int(await self._command(*command) or 0)

    async def check_server(self) -> None:
        """See `StreamPort.check_server`."""
        async with _translated("ask"):
            reply = await self._command("INFO", "server", "replication", "memory")
            info = {key: _text(value) for key, value in reply.items()}
            check_version(info)
            if info.get("role", "master") != "master":
                raise ServerError(
                    "Redis is a replica: give the URL of the primary, since reads must see its history"
                )
            check_policy(info.get("maxmemory_policy") or await self._configured_policy())

    async def aclose(self) -> None:
        """See `StreamPort.aclose`."""
        if self._client is not None and self._process == os.getpid():
            await self._client.aclose()
            self._client = None

    async def _command(self, *command: Any) -> Any:
        return await self._redis().execute_command(*command)  # type: ignore[no-untyped-call]  # untyped in redis-py

    def _redis(self) -> Redis:
        if self._client is None or self._process != os.getpid():
            # A forked child must not write into its parent's connection, and neither close it nor let it be
            # collected: that would unregister it from the event loop the two still share in the kernel.
            self._inherited.append(self._client)
            self._client = Redis.from_pool(self._pool(socket_timeout=self._patience))
            self._process = os.getpid()
        return self._client

    def _pool(self, socket_timeout: float | None) -> ConnectionPool:
        options = {
            "protocol": 2,
            "decode_responses": False,
            # redis-py retries every command by default, XADD too: the only retry must be the one that is counted.
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
            "socket_timeout": socket_timeout,
            "socket_connect_timeout": self._patience,
        }
        pool = ConnectionPool.from_url(self._url, **options)
        # Options in the URL's query win in from_url; ours are part of the protocol.
        pool.connection_kwargs.update(options)
        return pool

    def _key(self, shard: int) -> str:
        return stream_key(self._prefix, self.generation, shard)

    def _xadd(self, shard: int, record: Record) -> list[Any]:
        return ["XADD", self._key(shard), "*", *(part for pair in encode(record).items() for part in pair)]

    async def _edge(self, command: str, shard: int, start: str, stop: str) -> EntryId | None:
        async with _translated("measure"):
            reply = await self._command(command, self._key(shard), start, stop, "COUNT", 1)
            return _id(reply[0][0]) if reply else None

    async def _configured_policy(self) -> str:
        try:
            reply = await self._command("CONFIG", "GET", "maxmemory-policy")
        except ResponseError:  # managed servers forbid CONFIG
            return "unknown"
        return _text(next(iter(reply.values()), "unknown"))


class RedisReader:
    """One connection that reads one stream and never reconnects; see `Reader` for the contract."""

    def __init__(self, connection: Connection, key: str, patience: float) -> None:
        self._connection = connection
        self._key = key
        self._patience = patience

    async def open(self) -> None:
        """Connect, once, and make the stream and its birthmark when they are missing."""
        async with _translated("connect to"):
            await self._connection.connect()  # type: ignore[no-untyped-call]  # untyped in redis-py
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
        return Reading(decode_all(_pairs(raw)), History(_text(run_id), _text(birthmark)))

    async def aclose(self) -> None:
        """See `Reader.aclose`."""
        await self._connection.disconnect(nowait=True)

    def _history_command(self) -> list[Any]:
        return ["EVAL", _READ_HISTORY, 1, self._key, f"birthmark:{secrets.token_hex(16)}"]

    async def _ask(self, *commands: list[Any], wait: float) -> list[Any]:
        # redis-py connects by itself when it has no connection, so this is what prevents a silent reconnect.
        if not self._connection.is_connected:
            raise ServerError("this reader is closed: open another, and compare the history it reads")
        try:
            async with _translated("read from"), asyncio.timeout(wait + self._patience):
                packed = self._connection.pack_commands(commands)
                await self._connection.send_packed_command(packed, check_health=False)
                return [await self._connection.read_response() for _ in commands]
        except BaseException:
            # Cancellation too: the unread answer must never be taken for the next one's.
            await self.aclose()
            raise


def check_version(info: dict[str, str]) -> None:
    """Raise ServerError unless the server is Redis ≥ 7.0 or Valkey ≥ 7.2 (whose `redis_version` is 7.2.4)."""
    name, version = "Redis", info.get("redis_version", "0")
    least = (7, 0)
    if "valkey_version" in info:
        name, version, least = "Valkey", info["valkey_version"], (7, 2)
    found = tuple(int(part) if part.isdecimal() else 0 for part in version.split(".")[:2])
    if found < least:
        raise ServerError(f"{name} {version} is too old: Streamgauge needs Redis 7.0 or Valkey 7.2, or newer")


def check_policy(policy: str) -> None:
    """Raise ServerError unless the server refuses writes when it is full, rather than evict a whole shard."""
    if policy != "noeviction":
        raise ServerError(
            f"maxmemory-policy is {policy!r}, which may evict whole streams unread: set it to 'noeviction' "
            "(CONFIG SET maxmemory-policy noeviction, and the same in redis.conf or the provider's parameters)"
        )


@asynccontextmanager
async def _translated(doing: str) -> AsyncIterator[None]:
    try:
        yield
    except OutOfMemoryError as error:
        raise ServerError(
            f"cannot {doing} Redis: it is full; raise maxmemory or let the workers catch up"
        ) from error
    except TimeoutError as error:
        raise ServerError(f"cannot {doing} Redis: no answer in time; is it hung or unreachable?") from error
    except (RedisError, OSError) as error:
        raise ServerError(f"cannot {doing} Redis: {error or type(error).__name__}") from error


def _pairs(raw: Iterable[tuple[bytes, Sequence[bytes]]]) -> Iterator[tuple[EntryId, Fields]]:
    for entry_id, flat in raw:
        yield _id(entry_id), list(zip(flat[::2], flat[1::2], strict=True))


def _id(raw: bytes | str) -> EntryId:
    return EntryId.parse(raw)


def _text(raw: Any) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
