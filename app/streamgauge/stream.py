"""The port to the shard streams: what producers, workers and importers need of Redis, and nothing else.

`RedisStream` and `MemoryStream` implement it; one contract suite holds both to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamgauge.entry import Entry, EntryId, Record


@dataclass(frozen=True, slots=True)
class History:
    """Within which history an entry id means something (rule P7). Compare for equality only.

    A position holds only in the history it was read in: after a failover, a restart, a restored snapshot or a
    deleted stream, new entries may have ids below it.
    """

    #: The server process, and its replication history: a process demoted and promoted again keeps its run id
    #: although its contents were replaced meanwhile.
    run_id: str
    #: Name of a never-read consumer group on the stream itself, so that it dies with the stream.
    birthmark: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one read returned, and the history that held right behind it."""

    entries: list[Entry]
    history: History


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a shard's stream holds behind a position, all of it told at one moment."""

    #: Entries ever added to the stream since it was made, trimmed ones included.
    added: int
    #: Entries it holds.
    retained: int
    #: Id of the oldest entry behind the position; None: there is nothing behind it.
    oldest: EntryId | None
    #: Whether everything it holds lies behind the position.
    whole: bool
    #: The server's clock, in Unix milliseconds: the one that entry ids are made from.
    now: int

    @property
    def seconds(self) -> float:
        """How long the oldest entry behind the position has been waiting; 0 when there is none."""
        return 0.0 if self.oldest is None else max(self.now - self.oldest.milliseconds, 0) / 1000


class Reader(Protocol):
    """One connection to one shard's stream. It never reconnects: open another after an error."""

    async def read(self, after: EntryId, count: int, block_ms: int) -> Reading:
        """Up to `count` entries behind `after`, waiting at most `block_ms` (0: not at all) for the first.

        When it returns no entries although it might have waited, it has at least slept a little, so that a
        loop around it never spins. Entries in front of one of a newer version are returned first.

        Raises ServerError on any trouble, after which the reader is closed, and NewerFrameError when the next
        entry is of a newer version (rule P12).
        """
        ...

    async def aclose(self) -> None:
        """Close the connection. Closing twice is fine."""
        ...


class StreamPort(Protocol):
    """The shard streams of one generation. Every method raises ServerError when the server cannot serve it."""

    @property
    def shards(self) -> int:
        """How many shards this generation has."""
        ...

    @property
    def generation(self) -> int:
        """Which layout of shards this is: changing their number makes a new generation."""
        ...

    async def append(self, shard: int, record: Record) -> EntryId:
        """Append one entry, once, without ever trimming.

        After a ServerError the entry may be in the stream all the same: append the same record again, to the
        same shard; the worker drops the second copy (rule P2).
        """
        ...

    async def append_many(self, shard: int, records: Sequence[Record]) -> list[EntryId]:
        """Append entries in order, in one round trip. After a ServerError any of them may be in the stream."""
        ...

    async def open_reader(self, shard: int) -> Reader:
        """A reader on a connection of its own; makes the stream and its birthmark when they are missing."""
        ...

    async def trim(self, shard: int, history: History, before: EntryId) -> int | None:
        """Remove the entries in front of `before`; returns how many.

        Returns None, having removed nothing more, when the server's history is not `history` (rule P8):
        `before` then belongs to another history and may lie behind entries nobody has read.
        """
        ...

    async def acknowledge(self, shard: int, prefixes: Mapping[bytes, int]) -> None:
        """Say that of each lane all numbers below its prefix are in PostgreSQL for good (rule P9). A lane that is 0 is forgotten."""
        ...

    async def acknowledged(self, shard: int, lanes: Sequence[bytes]) -> list[int]:
        """The prefix last acknowledged of each of these lanes, in order; 0 where none is known.

        The answer may be older than the truth, never newer: a server that lost it makes producers send again, no more.
        """
        ...

    def of_generation(self, generation: int, shards: int) -> "StreamPort":
        """The streams of another generation, on the same server. To be closed like this one."""
        ...

    async def remove(self, shard: int, behind: EntryId | None) -> bool:
        """Delete the shard's stream and what was acknowledged of it, unless it holds entries behind `behind`; whether it did.

        With None it is deleted whatever it holds.
        """
        ...

    async def length(self, shard: int) -> int:
        """How many entries the shard's stream retains."""
        ...

    async def first_id(self, shard: int) -> EntryId | None:
        """Id of the oldest retained entry; None when there is none."""
        ...

    async def last_id(self, shard: int) -> EntryId | None:
        """Id of the newest retained entry; None when there is none."""
        ...

    async def backlog(self, shard: int, after: EntryId) -> Backlog:
        """What lies behind `after`, in one round trip whose cost does not depend on how much it is.

        A stream that does not exist holds nothing.
        """
        ...

    async def bytes_used(self, shard: int) -> int:
        """Estimated memory of the shard's stream in bytes, from samples; 0 when it does not exist."""
        ...

    async def check_server(self) -> None:
        """Raise ServerError, naming what to change, unless the server can keep the contract."""
        ...

    async def aclose(self) -> None:
        """Close the connections. Readers are closed by whoever opened them."""
        ...


def stream_key(prefix: str, generation: int, shard: int) -> str:
    """Redis key of a shard's stream. The hash tag spreads the shards of one generation over a Redis Cluster.

    >>> stream_key("streamgauge", 0, 2)
    'streamgauge:{0.2}:events'
    """
    return f"{prefix}:{{{generation}.{shard}}}:events"


def acknowledged_key(prefix: str, generation: int, shard: int) -> str:
    """Redis key of the hash in which workers acknowledge a shard's numbers, in the same slot as its stream.

    >>> acknowledged_key("streamgauge", 0, 2)
    'streamgauge:{0.2}:acknowledged'
    """
    return f"{prefix}:{{{generation}.{shard}}}:acknowledged"
