"""Ranges: which local hours and days they hold."""

from datetime import UTC, date, datetime

import pytest

from streamgauge.errors import InputError
from streamgauge.read.date_range import resolve
from streamgauge.summaries.calendar import Calendar

from .world import utc

LORD_HOWE = Calendar([(None, "Australia/Lord_Howe")])
KOLKATA = Calendar([(None, "Asia/Kolkata")])
PLAIN = Calendar([(None, "UTC")])
NOW = utc("2024-04-20 12:34")


def found(asked: str | tuple[str, str], calendar: Calendar = PLAIN, now: int = NOW) -> tuple[str, str]:
    start, end = resolve(asked, calendar, now, None)
    return calendar.local_iso(start), calendar.local_iso(end)


@pytest.mark.parametrize(
    ("asked", "first", "after"),
    [
        ("day", "2024-04-20", "2024-04-21"),
        ("7d", "2024-04-14", "2024-04-21"),
        ("28d", "2024-03-24", "2024-04-21"),
        ("30d", "2024-03-22", "2024-04-21"),
        ("91d", "2024-01-21", "2024-04-21"),
        ("month", "2024-04-01", "2024-04-21"),
        ("6mo", "2023-11-01", "2024-04-21"),
        ("12mo", "2023-05-01", "2024-04-21"),
        ("year", "2024-01-01", "2024-04-21"),
        ("all", "2024-04-20", "2024-04-21"),
        (("2024-02-28", "2024-02-29"), "2024-02-28", "2024-03-01"),
        (("1970-01-01", "1970-01-01"), "1970-01-01", "1970-01-02"),
        (("2100-12-31", "2100-12-31"), "2100-12-31", "2101-01-01"),
    ],
)
def test_a_range_of_days_ends_with_the_last_day_in_full(
    asked: str | tuple[str, str], first: str, after: str
) -> None:
    assert found(asked) == (f"{first}T00:00:00+00:00", f"{after}T00:00:00+00:00")


def test_a_day_is_the_tenants_and_begins_at_its_midnight() -> None:
    late = utc("2024-04-20 20:00")  # the 21st in Kolkata
    assert found("day", KOLKATA, late) == ("2024-04-21T00:00:00+05:30", "2024-04-22T00:00:00+05:30")
    day = found(("2024-04-07", "2024-04-07"), LORD_HOWE)
    assert day == ("2024-04-07T00:00:00+11:00", "2024-04-08T00:00:00+10:30")


def test_a_day_of_hours_ends_with_the_current_hour() -> None:
    assert found("24h") == ("2024-04-19T13:00:00+00:00", "2024-04-20T13:00:00+00:00")
    assert found("24h", KOLKATA) == ("2024-04-19T19:00:00+05:30", "2024-04-20T19:00:00+05:30")


def test_everything_reaches_from_the_first_to_the_last_day_with_rows() -> None:
    extent = date(2015, 5, 17), date(2015, 5, 20)
    assert resolve("all", PLAIN, NOW, extent) == (utc("2015-05-17 00:00"), utc("2015-05-21 00:00"))


def test_relative_ranges_stop_at_1970() -> None:
    now = int(datetime(1970, 1, 3, tzinfo=UTC).timestamp())
    for asked in ("24h", "91d", "12mo"):
        assert resolve(asked, PLAIN, now, None).start >= 0


def test_instants_may_be_written_in_any_offset() -> None:
    range_ = ("2024-04-20T00:00:00+05:30", "2024-04-20T01:30:00Z")
    assert found(range_, KOLKATA) == ("2024-04-20T00:00:00+05:30", "2024-04-20T07:00:00+05:30")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("8d", "give one of day, 24h"),
        ("", "give one of"),
        (("2024-04-20", "2024-04-19"), "must not lie after"),
        (("2014-04-20", "2024-04-30"), "ten years"),
        (("1969-12-31", "1970-01-01"), "1970 to 2100"),
        (("2024-02-30", "2024-03-01"), "not in the calendar"),
        (("2024-04-20", "2024-04-20T00:00:00Z"), "not one of each"),
        (("2024-04-20T00:00:00", "2024-04-21T00:00:00"), "with its offset"),
        (("2024-04-20T00:30:00Z", "2024-04-21T00:00:00Z"), r"begins at 2024-04-20T00:00:00\+00:00"),
        (("2024-04-20T00:00:00.5Z", "2024-04-21T00:00:00Z"), "does not begin an hour"),
        (("2024-04-20T00:00:00Z", "2024-04-20T00:00:00Z"), "after the first"),
        (("2014-04-20T00:00:00Z", "2024-04-30T00:00:00Z"), "ten years"),
        (("\u0662024-04-20", "\u0662024-04-21"), "RFC 3339"),
    ],
)
def test_a_range_that_cannot_be_is_refused(asked: str | tuple[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        resolve(asked, PLAIN, NOW, None)
    assert raised.value.field == "date_range"


def test_a_whole_hour_elsewhere_need_not_be_one_of_the_tenant() -> None:
    with pytest.raises(InputError, match=r"begins at 2024-04-20T05:00:00\+05:30"):
        found(("2024-04-20T00:00:00Z", "2024-04-21T00:00:00Z"), KOLKATA)


def test_a_date_the_clock_skipped_is_refused() -> None:
    apia = Calendar([(None, "Pacific/Apia")])
    with pytest.raises(InputError, match="skipped"):
        found(("2011-12-30", "2011-12-30"), apia)
