"""One entry of the event log: its row without the payload, and how a payload is read."""

import hashlib
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, NamedTuple

import numpy as np
import zstandard

from streamgauge.errors import FrameError
from streamgauge.outcomes import APPLIED
from streamgauge.table import Mask, Table, thaw

LARGEST: Final = (
    64 * 1024 * 1024
)  # bytes of one entry's content; what travels through a stream is far smaller


class Place(NamedTuple):
    """Where an event is in order: by time, of equal times by its place in the log, which is its own for ever."""

    at: int  #: microseconds since 1970
    shard: int
    lane: bytes
    number: int

    @property
    def name(self) -> str:
        """What tells an event from every other."""
        return f"{self.shard}-{self.lane.hex()}-{self.number}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log without its payload. `size`: compressed bytes; `last_at`: of its latest event, microseconds since 1970."""

    applied_day: date
    shard: int
    lane: bytes
    first: int
    n: int
    outcomes: bytes | None
    digest: bytes
    size: int
    last_at: int

    @classmethod
    def of(cls, row: Any) -> "Entry":
        """From a row of the query `entries`."""
        return cls(
            row["applied_day"], row["shard"], bytes(row["lane"]), row["first"], row["n"], row["outcomes"], bytes(row["digest"]),
            row["size"], row["last_at"],
        )  # fmt: skip

    @property
    def key(self) -> tuple[int, bytes, int]:
        """Names it in the log."""
        return self.shard, self.lane, self.first

    def applied(self) -> Mask:
        """Which of its events count: the others were rejected, dead-lettered, or are repetitions."""
        if self.outcomes is None:
            return np.ones(self.n, np.bool_)
        outcomes = np.frombuffer(self.outcomes, np.uint8)
        if len(outcomes) != self.n:
            raise FrameError(f"it has {len(outcomes)} outcomes for {self.n} events")
        applied: Mask = outcomes == APPLIED
        return applied

    def table(self, content: bytes) -> Table:
        """Its events. Raises FrameError when content or outcomes are not what was stored."""
        if digest(content, self.outcomes) != self.digest:
            raise FrameError("its content or outcomes do not match its digest")
        table = thaw(content)
        if table.n != self.n:
            raise FrameError(f"it holds {table.n} events, its row says {self.n}")
        return table


def content_of(payload: bytes) -> bytes:
    """The frame in a payload. Raises FrameError when it cannot be decompressed, or says that it is larger than LARGEST."""
    try:
        size = zstandard.frame_content_size(payload)
        if not 0 <= size <= LARGEST:
            raise FrameError(f"its content would be {size} bytes long, it may be {LARGEST}")
        return zstandard.ZstdDecompressor().decompress(payload)
    except zstandard.ZstdError as error:
        raise FrameError(f"its payload cannot be decompressed: {error}") from error


def digest(content: bytes, outcomes: bytes | None) -> bytes:
    """16 bytes over what an entry held and what was decided, so that a change of either in the log is noticed."""
    return hashlib.blake2b(content, digest_size=16, key=hashlib.blake2b(outcomes or b"").digest()).digest()
