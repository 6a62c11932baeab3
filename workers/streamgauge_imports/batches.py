"""Events gathered into frames of a fixed size, shard by shard.

The same events in the same order always give the same frames: that is what lets an import that was cut short run again.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from streamgauge.event import Event
from streamgauge.frame import freeze

VERSION = 1  # change it whenever the same content would make other frames
GATHERED = 80_000  # events in memory, over all shards
SMALLEST = 500


class Frame(NamedTuple):
    """A frozen batch on its way to a shard, and how many rows of the source had been read when it was full."""

    shard: int
    n: int
    payload: bytes
    read: int


class Source(Protocol):
    """Where events come from: iterated once, in a process of its own, so it is pickled."""

    def options(self) -> dict[str, object]:
        """Whatever decides the frames apart from the content itself, in JSON's types."""
        ...

    def frames(self, summary: dict[str, Any]) -> Iterator[Frame]:
        """The frames, always the same ones. By the end `summary`, in JSON's types, has at least `rows`. May raise StreamgaugeError."""
        ...


class Batches:
    """Gathers events until a shard has a frame's worth."""

    def __init__(self, shards: int, size: int) -> None:
        """`size` is the number of events of every frame but a shard's last."""
        self._size = size
        self._gathered: list[list[Event]] = [[] for _ in range(shards)]

    def add(self, shard: int, event: Event, read: int) -> Frame | None:
        """Take one event; returns the shard's frame when this one fills it."""
        events = self._gathered[shard]
        events.append(event)
        if len(events) < self._size:
            return None
        self._gathered[shard] = []
        return Frame(shard, len(events), freeze(events), read)

    def rest(self, read: int) -> Iterator[Frame]:
        """The frames that never became full, in the order of their shards."""
        for shard, events in enumerate(self._gathered):
            if events:
                yield Frame(shard, len(events), freeze(events), read)


def batch_size(shards: int, rate: int = 0) -> int:
    """Events of one frame: large ones cost least; with a rate (events per second, 0 for none) a few a second for each shard."""
    largest = max(GATHERED // shards, SMALLEST)
    return largest if rate == 0 else min(max(rate // (4 * shards), 1), largest)
