"""The newest events before a place, of any number that are offered."""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from streamgauge.event import Event
from streamgauge.event_log.entries import Entry, Place
from streamgauge.table import Ints, Table


class Found(NamedTuple):
    """An event and where it is in order. Places are all different, so events are never compared."""

    place: Place
    event: Event


class Newest:
    """Keeps `most` events of those that lie before a place and not before a microsecond, `since`."""

    def __init__(self, most: int, before: Place, since: int = 0) -> None:
        self.most = most
        self.before = before
        self.earliest = since
        self._heap: list[Found] = []

    def take(self, entry: Entry, table: Table, rows: Ints) -> None:
        """Offer rows of an entry."""
        at = table.occurred_at[rows]
        # Within an entry, later rows have higher numbers: a stable sort, read from its end, is in order.
        for place in np.argsort(at, kind="stable")[::-1].tolist():
            row = int(rows[place])
            # The heap's least is the first to go.
            key = Place(int(at[place]), entry.shard, entry.lane, entry.first + row)
            if key >= self.before:
                continue
            if key.at < self.earliest:
                break
            if len(self._heap) < self.most:
                heapq.heappush(self._heap, Found(key, table.event(row)))
            elif key > self._heap[0].place:
                heapq.heapreplace(self._heap, Found(key, table.event(row)))
            else:
                break

    def full_from(self, floor: int) -> bool:
        """Whether no event from before this microsecond can be among them any more."""
        return len(self._heap) == self.most and self._heap[0].place.at >= floor

    def since(self, floor: int) -> Iterator[Found]:
        """Those from this microsecond on, newest first."""
        return (found for found in sorted(self._heap, reverse=True) if found.place.at >= floor)
