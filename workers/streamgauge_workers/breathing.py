"""Long computations on the event loop that let it breathe: leases are renewed and health is told meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TypeVar

LONGEST = 0.02  # seconds at a time
#: Of one statement: its arguments are encoded in one go, about 50 ms for so many rows with histograms.
MOST_ROWS = 2_000

T = TypeVar("T")


async def breathing(items: Iterable[T]) -> AsyncIterator[T]:
    """The same items; the loop gets its turn between two of them, when it has had none for long."""
    due = time.monotonic() + LONGEST
    for item in items:
        if time.monotonic() >= due:
            await asyncio.sleep(0)
            due = time.monotonic() + LONGEST
        yield item


def parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Rows in their order, as many at a time as one statement takes."""
    for first in range(0, len(rows), MOST_ROWS):
        yield rows[first : first + MOST_ROWS]
