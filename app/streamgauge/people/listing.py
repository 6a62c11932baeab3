"""Who was there last: actors by the local hour of their last activity, from the summaries' sets alone."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pyroaring import BitMap

from streamgauge.database import Connection
from streamgauge.event_log.activity import MOST_DAYS, Where, days_before, present

_FIRST_DAYS: Final = 1  # looked up at once; doubled until MOST_DAYS


class Seen(NamedTuple):
    """An actor, and the Unix second at which the hour of its last activity began."""

    hour: int
    actor_id: int


async def last_seen(
    connection: Connection, where: Where, start: int, end: int, after: Seen | None, most: int
) -> list[Seen]:
    """Up to `most` actors, the latest first and in the same hour the one known longest (the lowest id), behind `after`.

    Considers hours that begin from `start` to before `end`. Days are looked at one by one, the newest first, and their hours only
    when somebody was there for the last time.
    """
    found: list[Seen] = []
    gone = BitMap()  # who was there later, and so is not to be listed again
    upto, days = end, _FIRST_DAYS
    while upto > start and len(found) < most:
        begin = days_before(where.calendar, upto, days)
        by_day = await present(connection, where, begin, upto, "day", exactly=True)
        for day in sorted(by_day, reverse=True):
            fresh = by_day[day] - gone
            if not fresh or len(found) >= most:
                continue
            span = where.calendar.days(*[where.calendar.date_of(day)] * 2)[0]
            if after is None or span.start <= after.hour:
                by_hour = await present(
                    connection, where, span.start, min(span.end, end), "hour", exactly=True
                )
                found += picked(by_hour, fresh, start, after)
            gone |= fresh
        upto, days = begin, min(days * 2, MOST_DAYS)
    return found[:most]


def picked(by_hour: Mapping[int, BitMap], fresh: BitMap, start: int, after: Seen | None) -> Sequence[Seen]:
    """Those of `fresh` by the last of a day's hours in which each was there, from `start` on and behind `after`. Pure."""
    left, found = BitMap(fresh), list[Seen]()
    for hour in sorted((each for each in by_hour if each >= start), reverse=True):
        there = by_hour[hour] & left
        left -= there
        if after is not None and hour >= after.hour:
            there = BitMap() if hour > after.hour else there
            there.remove_range(0, after.actor_id + 1)
        found += [Seen(hour, actor_id) for actor_id in there]
    return found
