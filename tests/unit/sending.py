"""Gauges that send to a stream in memory, and what a worker would make of what arrived there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamgauge.capture.delivery import Delivery
from streamgauge.capture.gauge import Streamgauge
from streamgauge.entry import BEGINNING, Batch, decode_all
from streamgauge.errors import ServerError
from streamgauge.event import Event
from streamgauge.memory_stream import MemoryStream
from streamgauge.settings import Settings
from streamgauge.stream import StreamPort
from streamgauge.summaries.rollups import EventType, Property
from streamgauge.table import thaw
from streamgauge_workers.delivery import LaneState, judge

LESSON = EventType(
    "lesson.read",
    "how far learners get",
    {
        "lesson": Property(str, "which"),
        "percent": Property(int, "how far"),
        "score": Property(float, "of its quiz"),
        "passed": Property(bool, "whether"),
    },
)
PATIENCE = 20.0  # seconds until a test that waits gives up


@contextmanager
def sending(
    stream: StreamPort, folder: Path, event_types: tuple[EventType, ...] = (LESSON,), **settings: Any
) -> Iterator[Streamgauge]:
    """A gauge whose Redis is `stream`."""
    chosen = Settings(
        **{
            "redis_url": "redis://stand-in",
            "data_dir": folder,
            "shards": stream.shards,
            "flush_milliseconds": 1,
            **settings,
        }
    )
    gauge = Streamgauge(
        chosen, event_types=event_types, outlet=Delivery(chosen, open_stream=lambda _: stream)
    )
    try:
        yield gauge
    finally:
        gauge.close(0.2)


@dataclass
class Arrived:
    """What a worker makes of a stream: every event once, the lanes' numbers, and what their producers dropped."""

    events: list[Event] = field(default_factory=list)
    redelivered: int = 0
    lost: int = 0
    open_lanes: int = 0
    lanes: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    payloads: list[bytes] = field(default_factory=list)


def arrived(stream: MemoryStream) -> Arrived:
    """Read everything from the beginning, as a worker does."""
    found = Arrived()
    for node in stream.nodes:
        entries = decode_all(item for item in node.items if item[0] > BEGINNING)
        verdict = judge({}, entries, stream.clock(), 0)
        assert not verdict.conflicts
        assert not verdict.unreadable
        for _, batch in verdict.fresh:
            table = thaw(batch.payload)
            assert table.n == batch.n
            found.events += [table.event(row) for row in range(table.n)]
        found.redelivered += sum(batch.n for _, batch in verdict.duplicates)
        found.payloads += [record.payload for _, record in entries if isinstance(record, Batch)]
        lanes: list[LaneState] = list(verdict.lanes.values())
        found.lanes += len(lanes)
        found.lost += sum(lane.lost for lane in lanes)
        found.open_lanes += sum(not lane.closed for lane in lanes)
        for drops in verdict.drops.values():
            for reason, count in drops.items():
                found.drops[reason] = found.drops.get(reason, 0) + count
    return found


class Failing(MemoryStream):
    """A stream that can be told to fail: before an entry is in it, or behind that."""

    def __init__(self, shards: int = 4) -> None:
        super().__init__(shards=shards)
        self.down = False
        self.attempts = 0
        self.lose_every = 0  # each so many appends arrives, and fails all the same

    async def append(self, shard: int, record: Any) -> Any:
        """See `StreamPort.append`."""
        self.attempts += 1
        if self.down:
            raise ServerError("cannot append to Redis: it is down")
        entry_id = await super().append(shard, record)
        if self.lose_every and self.attempts % self.lose_every == 0:
            raise ServerError("cannot append to Redis: the reply was lost")
        return entry_id
