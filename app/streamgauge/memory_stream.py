"""The shard streams in memory, with the faults of the real ones on demand: for tests, ours and a host's."""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamgauge.entry import BEGINNING, EntryId, Fields, Record, decode_all, encode
from streamgauge.errors import ServerError
from streamgauge.stream import Backlog, History, Reading, stream_key

#: The shortest time in seconds that an empty read with blocking takes.
SHORTEST_WAIT = 0.01

_serial = itertools.count(1)


@dataclass
class Node:
    """One server's copy of one shard's stream. Copies are taken with `copy`, as replicas and snapshots are."""

    clock: Callable[[], int]
    run_id: str = field(default_factory=lambda: f"run-{next(_serial)}")
    birthmark: str | None = None
    items: list[tuple[EntryId, Fields]] = field(default_factory=list)
    last: EntryId = BEGINNING
    #: How many entries were ever added to it.
    added: int = 0
    #: How far this server's clock is off, in milliseconds.
    skew: int = 0
    #: Set when the server is gone: its connections are cut.
    down: bool = False
    #: What workers acknowledged, by lane (rule P9).
    acknowledged: dict[bytes, int] = field(default_factory=dict)

    def add(self, fields: Fields) -> EntryId:
        """XADD: the id is the clock's, or the next after the last one this node knows of."""
        now = EntryId(max(self.clock() + self.skew, 0), 0)
        self.last = now if now > self.last else EntryId(self.last.milliseconds, self.last.sequence + 1)
        self.items.append((self.last, fields))
        self.added += 1
        return self.last

    def history(self) -> History:
        """The history, making the birthmark when it is missing."""
        if self.birthmark is None:
            self.birthmark = f"birthmark:{next(_serial)}"
        return History(self.run_id, self.birthmark)

    def copy(self, lose: int = 0) -> "Node":
        """Another server's copy, without the last `lose` entries, in a history of its own."""
        kept = self.items[: max(0, len(self.items) - lose)]
        last = self.last if len(kept) == len(self.items) else (kept[-1][0] if kept else BEGINNING)
        added = self.added - (len(self.items) - len(kept))
        return replace(
            self, run_id=f"run-{next(_serial)}", items=list(kept), last=last, added=added, down=False,
            acknowledged=dict(self.acknowledged),
        )  # fmt: skip


class MemoryStream:
    """See `StreamPort` for the contract. Entries are kept encoded, so that the codec is exercised too."""

    def __init__(
        self,
        prefix: str = "streamgauge",
        generation: int = 0,
        shards: int = 1,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """`clock` gives Unix milliseconds; the system's when it is left out."""
        self.prefix = prefix
        self.generation = generation
        self.shards = shards
        self.clock = clock or _system_clock
        #: The present primary of each shard.
        self.nodes = [Node(self.clock) for _ in range(shards)]
        self._siblings = {generation: self}
        self._refuse = 0
        self._lose_replies = 0

    async def append(self, shard: int, record: Record) -> EntryId:
        """See `StreamPort.append`."""
        return (await self.append_many(shard, [record]))[0]

    async def append_many(self, shard: int, records: Sequence[Record]) -> list[EntryId]:
        """See `StreamPort.append_many`."""
        if self._refuse > 0:
            self._refuse -= 1
            raise ServerError(f"cannot append to {stream_key(self.prefix, self.generation, shard)}: refused")
        ids = [self.nodes[shard].add(list(encode(record).items())) for record in records]
        if self._lose_replies > 0:
            self._lose_replies -= 1
            raise ServerError("cannot append: the reply was lost")
        return ids

    async def open_reader(self, shard: int) -> "MemoryReader":
        """See `StreamPort.open_reader`."""
        self.nodes[shard].history()
        return MemoryReader(self.nodes[shard])

    async def trim(self, shard: int, history: History, before: EntryId) -> int | None:
        """See `StreamPort.trim`."""
        node = self.nodes[shard]
        if History(node.run_id, node.birthmark or "") != history:
            return None
        kept = [item for item in node.items if item[0] >= before]
        removed = len(node.items) - len(kept)
        node.items = kept
        return removed

    async def acknowledge(self, shard: int, prefixes: Mapping[bytes, int]) -> None:
        """See `StreamPort.acknowledge`."""
        for lane, prefix in prefixes.items():
            if prefix:
                self.nodes[shard].acknowledged[lane] = prefix
            else:
                self.nodes[shard].acknowledged.pop(lane, None)

    async def acknowledged(self, shard: int, lanes: Sequence[bytes]) -> list[int]:
        """See `StreamPort.acknowledged`."""
        return [self.nodes[shard].acknowledged.get(lane, 0) for lane in lanes]

    def of_generation(self, generation: int, shards: int) -> "MemoryStream":
        """See `StreamPort.of_generation`. It is the same for whoever asks."""
        if generation not in self._siblings:
            sibling = MemoryStream(self.prefix, generation, shards, self.clock)
            sibling._siblings = self._siblings
            self._siblings[generation] = sibling
        return self._siblings[generation]

    async def remove(self, shard: int, behind: EntryId | None) -> bool:
        """See `StreamPort.remove`."""
        if behind is not None and any(entry_id > behind for entry_id, _ in self.nodes[shard].items):
            return False
        self.wipe(shard)
        return True

    async def length(self, shard: int) -> int:
        """See `StreamPort.length`."""
        return len(self.nodes[shard].items)

    async def first_id(self, shard: int) -> EntryId | None:
        """See `StreamPort.first_id`."""
        return self.nodes[shard].items[0][0] if self.nodes[shard].items else None

    async def last_id(self, shard: int) -> EntryId | None:
        """See `StreamPort.last_id`."""
        return self.nodes[shard].items[-1][0] if self.nodes[shard].items else None

    async def backlog(self, shard: int, after: EntryId) -> Backlog:
        """See `StreamPort.backlog`."""
        node = self.nodes[shard]
        oldest = next((entry_id for entry_id, _ in node.items if entry_id > after), None)
        whole = oldest is not None and oldest == node.items[0][0]
        return Backlog(node.added, len(node.items), oldest, whole, node.clock() + node.skew)

    async def bytes_used(self, shard: int) -> int:
        """See `StreamPort.bytes_used`."""
        node = self.nodes[shard]
        return sum(len(name) + len(value) for _, fields in node.items for name, value in fields)

    async def check_server(self) -> None:
        """Nothing to check."""

    async def aclose(self) -> None:
        """Nothing to close."""

    def refuse(self, times: int) -> None:
        """Make the next appends fail before they reach the stream."""
        self._refuse = times

    def lose_replies(self, times: int) -> None:
        """Make the next appends reach the stream and fail all the same."""
        self._lose_replies = times

    def inject(self, shard: int, fields: Fields) -> EntryId:
        """Append raw fields, as a foreign or damaged producer would."""
        return self.nodes[shard].add(fields)

    def fail_over(self, shard: int, lose: int = 0, skew: int = 0, cut: bool = True) -> None:
        """Promote a replica that lacks the last `lose` entries and whose clock is off by `skew` more.

        With `cut` the old primary's connections end; without, it goes on answering its readers.
        """
        old = self.nodes[shard]
        self.nodes[shard] = old.copy(lose)
        self.nodes[shard].skew += skew
        old.down = cut

    def wipe(self, shard: int) -> None:
        """DEL or FLUSHALL: the stream and its birthmark are gone; the server, and its run id, stay."""
        node = self.nodes[shard]
        node.items, node.last, node.added, node.birthmark = [], BEGINNING, 0, None
        node.acknowledged = {}

    def snapshot(self, shard: int) -> Node:
        """A copy to restore later."""
        return self.nodes[shard].copy()

    def restore(self, shard: int, snapshot: Node) -> None:
        """Start the server again from an old snapshot."""
        self.nodes[shard].down = True
        self.nodes[shard] = snapshot.copy()


class MemoryReader:
    """See `Reader` for the contract."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._open = True

    async def read(self, after: EntryId, count: int, block_ms: int) -> Reading:
        """See `Reader.read`."""
        deadline = time.monotonic() + block_ms / 1000
        # Polling, because an Event would tie a node to one event loop, and tests read without any.
        while not (found := self._behind(after, count)) and (left := deadline - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left, SHORTEST_WAIT))
        return Reading(decode_all(found), self.node.history())

    async def aclose(self) -> None:
        """See `Reader.aclose`."""
        self._open = False

    def _behind(self, after: EntryId, count: int) -> list[tuple[EntryId, Fields]]:
        if not self._open or self.node.down:
            self._open = False
            raise ServerError("this reader is closed: open another, and compare the history it reads")
        return [item for item in self.node.items if item[0] > after][:count]


def _system_clock() -> int:
    return time.time_ns() // 1_000_000
