"""The range of a question: two dates, two instants, or a span that ends today.

Relative ranges include the current day (or hour) and everything of it that is still to come, so that a range's buckets do not
depend on the minute of asking. Months and years are calendar ones: `6mo` is this month and the five before it.
"""

import re
from datetime import UTC, date, datetime, timedelta

from streamgauge.errors import InputError
from streamgauge.summaries.calendar import FIRST_DATE, LAST_DATE, Calendar, Interval
from streamgauge.summaries.grid import HOUR

DAYS = {"day": 1, "7d": 7, "28d": 28, "30d": 30, "91d": 91}
MONTHS = {"month": 1, "6mo": 6, "12mo": 12}
RELATIVE = ("day", "24h", "7d", "28d", "30d", "91d", "month", "6mo", "12mo", "year", "all")
MOST_DAYS = 3_660  # ten years

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def parse_instant(text: str, field: str) -> datetime:
    """An RFC 3339 instant between 1970 and 2100. Raises InputError."""
    try:
        if not _INSTANT.fullmatch(text):
            raise ValueError
        instant = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(
            f"{field} is {text[:80]!r}: give an RFC 3339 instant with its offset, such as 2015-05-21T00:00:00Z",
            field,
        ) from None
    if not FIRST_DATE <= instant.date() <= LAST_DATE:
        raise InputError(f"{field} is {text!r}: instants from 1970 to 2100 are supported", field)
    return instant


def resolve(
    asked: str | tuple[str, str], calendar: Calendar, now: int, extent: tuple[date, date] | None
) -> Interval:
    """The Unix seconds of a range, from the start of its first bucket to the end of its last.

    `extent` holds the first and last local date the tenant has rows of, for `all`. Raises InputError for `date_range`.
    """
    if isinstance(asked, tuple):
        return _between(*asked, calendar)
    today = calendar.date_of(now)
    if asked == "24h":
        return Interval(calendar.hour_of(max(now - 23 * HOUR, 0)), calendar.hours(now, now + 1)[0].end)
    if asked == "all":
        first, last = extent or (today, today)
    elif asked in DAYS:
        first, last = _not_before_1970(today, DAYS[asked] - 1), today
    elif asked in MONTHS:
        number = max(today.year * 12 + today.month - MONTHS[asked], FIRST_DATE.year * 12)
        first, last = date(number // 12, number % 12 + 1, 1), today
    elif asked == "year":
        first, last = date(today.year, 1, 1), today
    else:
        raise InputError(
            f"date_range is {asked[:80]!r}: give one of {', '.join(RELATIVE)}, two dates, or two RFC 3339 instants",
            "date_range",
        )
    return _days(first, last, calendar)


def _not_before_1970(today: date, days: int) -> date:
    return max(today - timedelta(days), FIRST_DATE)


def _between(first: str, last: str, calendar: Calendar) -> Interval:
    if _DATE.fullmatch(first) and _DATE.fullmatch(last):
        dates = _date(first), _date(last)
        _check_order(*dates, first, last)
        return _days(*dates, calendar)
    if _DATE.fullmatch(first) or _DATE.fullmatch(last):
        raise InputError(
            f"date_range is {[first[:40], last[:40]]}: give two dates or two instants, not one of each",
            "date_range",
        )
    start, end = parse_instant(first, "date_range"), parse_instant(last, "date_range")
    _check_order(start.date(), end.date(), first, last)
    if start >= end:
        raise InputError(
            f"date_range is {[first, last]}: the second instant must lie after the first", "date_range"
        )
    return Interval(_whole_hour(start, calendar), _whole_hour(end, calendar))


def _date(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InputError(f"date_range holds {text!r}, which is not in the calendar", "date_range") from None
    if not FIRST_DATE <= day <= LAST_DATE:
        raise InputError(f"date_range holds {text}: dates from 1970 to 2100 are supported", "date_range")
    return day


def _check_order(first: date, last: date, *given: str) -> None:
    if first > last:
        raise InputError(
            f"date_range is {list(given)}: the first must not lie after the second", "date_range"
        )
    if (last - first).days >= MOST_DAYS:
        raise InputError(
            f"date_range is {list(given)}, {(last - first).days + 1} days: up to {MOST_DAYS} (ten years) are allowed",
            "date_range",
        )


def _days(first: date, last: date, calendar: Calendar) -> Interval:
    days = calendar.days(first, last)
    if not days:
        raise InputError(
            f"date_range is {first} to {last}: the tenant's calendar skipped these dates", "date_range"
        )
    return Interval(days[0].start, days[-1].end)


def _whole_hour(instant: datetime, calendar: Calendar) -> int:
    second = int(instant.timestamp())
    if instant.microsecond or calendar.hour_of(second) != second:
        near = calendar.local_iso(calendar.hour_of(second))
        raise InputError(
            f"date_range holds {instant.isoformat()}, which does not begin an hour of the tenant's time zone: rows are kept "
            f"by local hours, the one it lies in begins at {near}",
            "date_range",
        )
    return second
