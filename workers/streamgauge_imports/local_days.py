"""An instant for what is only known to have happened on some day."""

from datetime import date, datetime

from streamgauge.summaries.calendar import Calendar

HALF_A_DAY = 43_200  # seconds


def noon(calendar: Calendar, day: date) -> int:
    """The UTC microsecond of a local date's noon.

    Of all times of a day it is the farthest from its ends: the day stays the same one if its zone turns out to be another by less than
    twelve hours, and no clock is put forward or back then. Of a day without its noon, it is the day's beginning. Raises InputError
    outside of 1970 to 2100.
    """
    start = calendar.day_start(day)
    wall = datetime.fromisoformat(calendar.local_iso(start + HALF_A_DAY))
    # Where the clock was changed that night, it is not twelve yet, or past it.
    second = start + 2 * HALF_A_DAY - (wall.hour * 3600 + wall.minute * 60 + wall.second)
    return 1_000_000 * (second if calendar.day_of(second) == start else start)
