"""Long computations on the event loop that let it breathe: leases are renewed and health is told meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

LONGEST = 0.02  # seconds at a time
#: Of one statement: its arguments are encoded in one go, about 50 ms for so many rows with histograms.
MOST_ROWS = 2_000

#: Items between two looks at the clock: a coroutine's step for each would cost as much as what is done with it.
STRIDE = 64

T = TypeVar("T")


async def breathing(items: Iterable[T]) -> AsyncIterator[list[T]]:
    """The same items, some at a time; the loop gets its turn in between, when it has had none for long."""
    due = time.monotonic() + LONGEST
    rest = iter(items)
    while some := list(islice(rest, STRIDE)):
        if time.monotonic() >= due:
            await asyncio.sleep(0)
            due = time.monotonic() + LONGEST
        yield some


def parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Rows in their order, as many at a time as one statement takes."""
    for first in range(0, len(rows), MOST_ROWS):
        yield rows[first : first + MOST_ROWS]
