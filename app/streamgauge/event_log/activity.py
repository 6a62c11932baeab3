"""Where in the log something is: the hours in which summaries and their sets of actors say that it happened.

Nothing is stored for this, and the log is not looked at: the rollup of all events by name has every hour's counts and actors.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

from pyroaring import BitMap

from streamgauge.catalogue import EVENTS
from streamgauge.database import Connection
from streamgauge.sql import named_queries
from streamgauge.summaries.calendar import FIRST_DATE, Calendar, Interval
from streamgauge.summaries.rollups import OTHER

SQL = named_queries("streamgauge.event_log")
FIRST_VISITOR: Final = 1 << 31  #: actor ids from here on are daily-salted visitors
MOST_DAYS: Final = 8  # looked up together, begun with one: sets of many actors and names take room
_HOUR, _DAY = b"h", b"d"


@dataclass(frozen=True, slots=True)
class Where:
    """Whose hours are looked for. None does not narrow."""

    tenant_id: int
    calendar: Calendar
    name: str | None = None
    shards: Sequence[int] | None = None
    ids: BitMap | None = None  #: dense ids of actors


class Step(NamedTuple):
    """Time from `start` to before `end` (Unix seconds), and the hours of it in which there is something, newest first."""

    start: int
    end: int
    hours: Sequence[Interval]
    events: int  #: of anybody, in these hours and shards


async def steps(
    connection: Connection, where: Where, start: int, end: int, per_step: int, *, split: bool
) -> AsyncGenerator[Step]:
    """The time from `start` to before `end`, newest first and without gaps, in steps of about `per_step` events.

    With `split`, busier hours are taken in parts.
    """
    upto, days = end, 1
    while upto > start:
        begin = max(days_before(where.calendar, upto, days), start)
        hours = await _hours(connection, where, begin, upto)
        for step in grouped(hours, begin, upto, per_step, split=split):
            yield step
        upto, days = begin, min(days * 2, MOST_DAYS)


def days_before(calendar: Calendar, second: int, days: int) -> int:
    """The beginning of the local day that many days before a Unix second, the day it ends counted; always before it."""
    first = max(calendar.date_of(second - 1) - timedelta(days - 1), FIRST_DATE)
    # The day in which 1970 begins may be one of 1969.
    return min(calendar.day_start(first), calendar.day_of(second - 1))


def grouped(
    hours: Sequence[tuple[Interval, int]], start: int, end: int, per_step: int, *, split: bool
) -> Iterator[Step]:
    """Hours with their numbers of events, newest first, put together into steps that cover all of the time. Pure."""
    upto, together, events = end, list[Interval](), 0
    for place, (hour, count) in enumerate(hours):
        together.append(hour)
        events += count
        last = place + 1 == len(hours)
        if last or events + hours[place + 1][1] > per_step:
            begin = start if last else max(hours[place + 1][0].end, start)
            parts = -(-events // per_step) if split and len(together) == 1 else 1
            yield from _parts(Step(begin, upto, together, events), parts)
            upto, together, events = begin, [], 0
    if not hours:
        yield Step(start, end, (), 0)


def _parts(step: Step, parts: int) -> Iterator[Step]:
    if parts <= 1:
        yield step
        return
    (hour,) = step.hours
    cuts = sorted({hour.start + (hour.end - hour.start) * part // parts for part in range(1, parts)})
    bounds = [step.start, *(cut for cut in cuts if step.start < cut < step.end), step.end]
    for begin, end in zip(bounds[-2::-1], bounds[:0:-1], strict=True):
        within = Interval(max(begin, hour.start), min(end, hour.end))
        yield Step(begin, end, (within,) if within.start < within.end else (), step.events // parts)


async def _hours(connection: Connection, where: Where, start: int, end: int) -> list[tuple[Interval, int]]:
    """Hours with something in them, newest first, each with its number of events."""
    if where.ids is not None:
        days = await present(connection, where, start, end, "day")
        if not days:
            return []
        # Only days that somebody looked for was there on need a closer look.
        begin = max(min(days), where.calendar.day_of(start))
        last = where.calendar.days(*[where.calendar.date_of(max(days))] * 2)[0].end
        hours = await present(connection, where, begin, min(last, end), "hour")
        if not hours:
            return []
    names = None if where.name is None or where.ids is not None else [where.name, OTHER]
    # An hour that began before `start` counts too: some of it may lie behind.
    rows = await connection.fetch(
        SQL["busy_hours"],
        where.tenant_id,
        EVENTS.metric,
        where.calendar.hour_of(start),
        end,
        names,
        where.shards,
    )
    found = [
        (where.calendar.hours(row["start"], row["start"] + 1)[0], row["events"])
        for row in rows
        if where.ids is None or row["start"] in hours
    ]
    return sorted(found, reverse=True)


async def present(
    connection: Connection, where: Where, start: int, end: int, grain: str, *, exactly: bool = False
) -> Mapping[int, BitMap]:
    """Who was there, by the hours or days that begin before `end` and end after `start`; nobody: no entry.

    Visitors known for a day only are left out. A name beyond the cardinality limit is counted under "(other)", so that is looked at
    too; `exactly` does not, and misses it.
    """
    calendar = where.calendar
    begin = calendar.day_of(start) if grain == "day" else calendar.hour_of(start)
    names = None if where.name is None else [where.name] if exactly else [where.name, OTHER]
    rows = await connection.fetch(
        SQL["present_actors"],
        where.tenant_id,
        EVENTS.metric,
        begin,
        end,
        names,
        where.shards,
        _DAY if grain == "day" else _HOUR,
    )
    # Reading thousands of sets takes longer than the event loop may wait.
    return await asyncio.to_thread(_united, [(row["start"], row["parts"]) for row in rows], where.ids)


def _united(rows: Iterable[tuple[int, Sequence[bytes]]], ids: BitMap | None) -> Mapping[int, BitMap]:
    found: dict[int, BitMap] = {}
    for start, parts in rows:
        for part in parts:
            members = BitMap.deserialize(part)
            if ids is not None:
                members &= ids
            if start in found:
                found[start] |= members
            else:
                found[start] = members
    for members in found.values():
        members.remove_range(FIRST_VISITOR, 1 << 32)
    return {start: members for start, members in found.items() if members}
