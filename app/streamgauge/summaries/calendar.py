"""A tenant's calendar: the local hours and days into which instants fall.

A bucket's key is the UTC second of its start, so the two 01:00 hours of a New York autumn stay apart.

- An **hour** begins wherever the wall clock shows another date or hour than just before, and where it reads
  HH:00 because it went back one whole hour. Going back half an hour (Lord Howe, 02:00 to 01:30) makes an hour
  of 90 minutes.
- A **day** begins when the wall clock shows a later date than it ever did. A date never has two days: when
  the clock goes back across midnight (Saint John's at 00:01, or a tenant moving west at night), the repeated
  evening belongs to the day already begun. A skipped date (Samoa, 30 December 2011) has no day; a change of
  zone lengthens or shortens its day.

Both rules look only at the past, so appending a zone never moves earlier buckets; hours nest in days.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from streamgauge.errors import InputError
from streamgauge.summaries.grid import HOUR, Grid, Int64s
from streamgauge.summaries.zones import DAY, load_zone, offset_at, offset_changes, year_start

FIRST_DATE, LAST_DATE = date(1970, 1, 1), date(2100, 12, 31)
#: The supported instants: Unix seconds from the first to before the second.
FIRST_SECOND, END_SECOND = 0, year_start(2101)
#: A bucket, week or month of a supported instant may begin or end this much outside.
_MARGIN = 40 * DAY
_EPOCH = FIRST_DATE.toordinal()


class Interval(NamedTuple):
    """A bucket: Unix seconds, from ``start`` to before ``end``."""

    start: int
    end: int


class Day(NamedTuple):
    """A local day: its date, and Unix seconds from ``start`` to before ``end``."""

    date: date
    start: int
    end: int


class Period(NamedTuple):
    """A local week or month: the date it is named after (Monday, or the first), and its Unix seconds."""

    date: date
    start: int
    end: int


class _Grids(NamedTuple):
    first_year: int
    last_year: int
    hour: Grid
    day: Grid


class Calendar:
    """The hours, days, weeks and months of a tenant whose IANA time zone may change.

    ``zones`` holds pairs of the Unix second from which a zone holds (None for the first) and its name.
    Instants and dates from 1970 to 2100 are supported, others raise InputError; so do unknown zones and zones
    out of order.
    """

    def __init__(self, zones: Sequence[tuple[int | None, str]]) -> None:
        if not zones or zones[0][0] is not None:
            raise InputError(
                "A calendar needs a first zone that holds from None, the beginning.", field="zones"
            )
        begins = [begin for begin, _ in zones[1:] if begin is not None]
        if len(begins) != len(zones) - 1 or begins != sorted(set(begins)):
            raise InputError(
                "Zones after the first need a rising Unix second from which they hold.", field="zones"
            )
        for _, name in zones:
            load_zone(name)
        self._begins, self._names = begins, [name for _, name in zones]
        self._grids: _Grids | None = None

    def hour_starts(self, at_us: Int64s) -> Int64s:
        """For instants in microseconds, the Unix second at which the local hour of each begins."""
        return self._start_each(at_us, lambda grids: grids.hour)

    def day_starts(self, at_us: Int64s) -> Int64s:
        """For instants in microseconds, the Unix second at which the local day of each begins."""
        return self._start_each(at_us, lambda grids: grids.day)

    def hour_of(self, second: int) -> int:
        """The Unix second at which the local hour of an instant begins."""
        return self._covering(_checked(second)).hour.start(second)

    def day_of(self, second: int) -> int:
        """The Unix second at which the local day of an instant begins."""
        return self._covering(_checked(second)).day.start(second)

    def date_of(self, day_start_s: int) -> date:
        """The date of the local day in which a Unix second lies, usually the day's start."""
        day = self._covering(_checked(day_start_s, _MARGIN)).day
        return date.fromordinal(_EPOCH + day.number(day_start_s))

    def day_start(self, day: date) -> int:
        """The Unix second at which a local date begins; for a skipped date, that of the next one."""
        return self._day_start(_checked_date(day))

    def hours(self, start_s: int, end_s: int) -> list[Interval]:
        """The whole hours that share time with ``start_s`` (included) to ``end_s`` (excluded), in order."""
        start, end = _checked(start_s, _MARGIN), _checked(end_s, _MARGIN)
        grid = self._covering(start, end).hour
        hours: list[Interval] = []
        begin = grid.start(start)
        while begin < end and start < end:
            hours.append(Interval(begin, grid.end(begin)))
            begin = hours[-1].end
        return hours

    def days(self, first_date: date, last_date: date) -> list[Day]:
        """The local days from one date to another, both included, without those that the clock skipped."""
        end = self._day_start(_checked_date(last_date) + timedelta(1))
        begin = self.day_start(first_date)
        grid = self._covering(begin, max(begin, end)).day
        days: list[Day] = []
        while begin < end:
            days.append(Day(date.fromordinal(_EPOCH + grid.number(begin)), begin, grid.end(begin)))
            begin = days[-1].end
        return days

    def weeks(self, first_date: date, last_date: date) -> list[Period]:
        """The whole ISO 8601 weeks, from Monday, that hold any date of the range."""
        monday = _checked_date(first_date) - timedelta(first_date.weekday())
        last = _checked_date(last_date)
        mondays = [monday + timedelta(days) for days in range(0, (last - monday).days + 1, 7)]
        return [self._period(monday, monday + timedelta(7)) for monday in mondays]

    def months(self, first_date: date, last_date: date) -> list[Period]:
        """The whole calendar months that hold any date of the range."""
        first, last = _checked_date(first_date), _checked_date(last_date)
        numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
        firsts = [date(number // 12, number % 12 + 1, 1) for number in (*numbers, numbers.stop)]
        return [self._period(each, following) for each, following in pairwise(firsts)]

    def local_iso(self, second: int) -> str:
        """An instant in RFC 3339 with its local offset: ``2015-05-17T10:00:00+05:30``.

        RFC 3339 knows no seconds in an offset. Where a zone has them (Monrovia before 1972), the nearest
        minute is written, as its section 5.8 does for the Netherlands of 1937; the instant stays exact.
        """
        seconds = self._offset(_checked(second, _MARGIN))
        minutes = (seconds + 30) // 60
        return datetime.fromtimestamp(second, timezone(timedelta(minutes=minutes))).isoformat()

    def _start_each(self, at_us: Int64s, unit: Callable[[_Grids], Grid]) -> Int64s:
        if at_us.dtype != np.int64:
            raise InputError(f"Instants must be int64 microseconds, not {at_us.dtype}.", field="at_us")
        if not at_us.size:
            return np.empty_like(at_us)
        first = _checked(int(at_us.min()) // 1_000_000)
        last = _checked(int(at_us.max()) // 1_000_000)
        return unit(self._covering(first, last)).start_each(at_us, first, last)

    def _period(self, first: date, after: date) -> Period:
        return Period(first, self._day_start(first), self._day_start(after))

    def _day_start(self, day: date) -> int:
        number = day.toordinal() - _EPOCH
        return self._covering(number * DAY - 2 * DAY, number * DAY + 2 * DAY).day.start_numbered(number)

    def _offset(self, second: int) -> int:
        return offset_at(self._names[bisect_right(self._begins, second)], second)

    def _covering(self, first: int, last: int | None = None) -> _Grids:
        """The grids of at least a whole year around these seconds: made once, extended when needed."""
        first_year = _year(first)
        last_year = first_year if last is None else _year(last)
        grids = self._grids
        if grids is None:
            grids = self._grids = self._build(first_year, last_year)
        elif first_year < grids.first_year or last_year > grids.last_year:
            # One assignment of a complete object: threads that share a calendar at worst build it twice.
            grids = self._build(min(first_year, grids.first_year), max(last_year, grids.last_year))
            self._grids = grids
        return grids

    def _build(self, first_year: int, last_year: int) -> _Grids:
        # A year more on either side: days depend on what came before, and buckets end after it.
        begin, end = year_start(first_year - 1), year_start(last_year + 2)
        changes = {second for second in self._begins if begin < second < end}
        for year in range(first_year - 1, last_year + 2):
            for name in self._names:
                changes.update(offset_changes(name, year))
        starts, offsets = [begin], [self._offset(begin)]
        for second in sorted(changes - {begin}):
            offset = self._offset(second)
            if offset != offsets[-1]:
                starts.append(second)
                offsets.append(offset)
        return _Grids(first_year, last_year, Grid(HOUR, starts, offsets), Grid(DAY, starts, offsets))


def _year(second: int) -> int:
    return date.fromordinal(_EPOCH + second // DAY).year


def _checked(second: int, margin: int = 0) -> int:
    if not FIRST_SECOND - margin <= second < END_SECOND + margin:
        raise InputError(
            f"Instants from 1970 to 2100 are supported, not the Unix second {second}.", field="at"
        )
    return second


def _checked_date(day: date) -> date:
    if not FIRST_DATE <= day <= LAST_DATE:
        raise InputError(f"Dates from {FIRST_DATE} to {LAST_DATE} are supported, not {day}.", field="date")
    return day
