"""Walking back through the log: step by step, entries that end last first, until somebody has enough or a bound is reached."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from streamgauge.database import Connection
from streamgauge.errors import FrameError, InputError
from streamgauge.event_log.activity import SQL, Step
from streamgauge.event_log.entries import Entry, content_of
from streamgauge.event_log.wanted import Wanted
from streamgauge.table import Ints, Table

SECOND: Final = 1_000_000
MOST_ENTRIES: Final = 20_000  # looked at for one request
MOST_EVENTS: Final = 500_000  # decoded for one request
MOST_BYTES: Final = 128 * 1024 * 1024  # decompressed for one request
FIRST_TOGETHER, MOST_TOGETHER = 8, 512  # entries fetched together
BYTES_TOGETHER: Final = 4 * 1024 * 1024  # compressed
#: Events from the future are applied up to five minutes before they occur; a clock may differ a little more.
AHEAD: Final = timedelta(minutes=10)
DECODERS: Final = 2  # threads that decode at the same time, however many ask

#: What is done with an entry's wanted rows, in a thread.
Take = Callable[[Entry, Table, Ints], None]


@dataclass(slots=True)
class Budget:
    """What one request may read. Entries that reach beyond the moment it begins at are read in any case: else it would not get on."""

    entries: int = MOST_ENTRIES
    events: int = MOST_EVENTS
    content: int = MOST_BYTES
    looked_at: int = field(default=0, init=False)  #: entries
    decoded: int = field(default=0, init=False)  #: events
    #: Entries that are not what was stored, and are left out. One may be met several times.
    broken: set[tuple[int, bytes, int]] = field(default_factory=set, init=False)

    @property
    def damaged(self) -> int:
        """How many entries are."""
        return len(self.broken)

    @property
    def spent(self) -> bool:
        """Whether nothing more may be read."""
        return self.entries <= 0 or self.events <= 0 or self.content <= 0


class Log:
    """The event log as one server process reads it."""

    def __init__(self, decoders: int = DECODERS) -> None:
        self._decoding = asyncio.Semaphore(decoders)

    async def walk(
        self,
        connection: Connection,
        tenant_id: int,
        shards: Sequence[int] | None,
        wanted: Wanted,
        ahead: AsyncIterator[Step],
        upto: int,
        take: Take,
        budget: Budget,
    ) -> AsyncGenerator[int]:
        """Give `take` every wanted event before `upto` (microseconds), newest entries first.

        Yields, again and again, the microsecond from which on everything wanted was given. It ends before the steps do when the
        budget is spent. Raises InputError when more entries overlap one moment than may be read.
        """
        async for step in ahead:
            start, end = step.start * SECOND, min(step.end * SECOND, upto)
            if not step.hours or start >= end:
                yield min(start, end)
                continue
            listed, floor = await self._list(
                connection, tenant_id, shards, step, end, budget, first=end == upto
            )
            for part, following in together(listed):
                rows = await connection.fetch(SQL["payloads"], *_columns(part))
                payloads = {(row["shard"], bytes(row["lane"]), row["first"]): row["payload"] for row in rows}
                async with self._decoding:
                    await asyncio.to_thread(
                        _decode, [(entry, payloads[entry.key]) for entry in part], wanted, start, end, take, budget
                    )  # fmt: skip
                reached = floor if following is None else max(following.last_at + 1, start)
                yield min(reached, end)
                if budget.spent and reached < upto:
                    return
            if not listed:
                yield start
            elif floor > start:
                return

    async def _list(
        self,
        connection: Connection,
        tenant_id: int,
        shards: Sequence[int] | None,
        step: Step,
        end: int,
        budget: Budget,
        *,
        first: bool,
    ) -> tuple[list[Entry], int]:
        """A step's entries, and the microsecond from which on they are all there are."""
        most = max(budget.entries, 1)
        earliest = step.hours[-1].start
        rows = await connection.fetch(
            SQL["entries"], tenant_id, shards, applied_since(earliest), _instant(end), _instant(earliest * SECOND),
            [hour.start for hour in step.hours], [hour.end for hour in step.hours], most + 1,
        )  # fmt: skip
        found = [Entry.of(row) for row in rows]
        if len(found) <= most:
            return found, step.start * SECOND
        if first and found[most].last_at >= end:
            raise InputError(
                f"more than {most} entries of the event log hold events of the same moment: narrow the question by actor, or to an "
                "earlier time",
                "to",
            )
        return found[:most], found[most].last_at + 1


def together(entries: Sequence[Entry]) -> Iterator[tuple[list[Entry], Entry | None]]:
    """Entries that are fetched together, few at first, each time with the entry that follows."""
    most, part, size = FIRST_TOGETHER, list[Entry](), 0
    for place, entry in enumerate(entries):
        part.append(entry)
        size += entry.size
        following = entries[place + 1] if place + 1 < len(entries) else None
        if following is None or len(part) >= most or size + following.size > BYTES_TOGETHER:
            yield part, following
            part, size, most = [], 0, min(most * 2, MOST_TOGETHER)


def _decode(
    found: Iterable[tuple[Entry, bytes]], wanted: Wanted, start: int, end: int, take: Take, budget: Budget
) -> None:
    for entry, payload in found:
        budget.entries -= 1
        budget.looked_at += 1
        try:
            content = content_of(payload)
            budget.content -= len(content)
            if not wanted.may_be_in(content):
                continue
            table = entry.table(content)
            budget.events -= table.n
            budget.decoded += table.n
            rows = wanted.rows(table, entry.applied(), start, end)
        except FrameError:
            budget.broken.add(entry.key)
            continue
        if len(rows):
            take(entry, table, rows)


def applied_since(second: int) -> date:
    """The first day of application that events of this Unix second can be found on."""
    return (datetime.fromtimestamp(second, UTC) - AHEAD).date()


def _columns(entries: Sequence[Entry]) -> tuple[list[Any], ...]:
    return (
        [entry.applied_day for entry in entries],
        [entry.shard for entry in entries],
        [entry.lane for entry in entries],
        [entry.first for entry in entries],
    )


def _instant(microseconds: int) -> datetime:
    seconds, rest = divmod(microseconds, SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
