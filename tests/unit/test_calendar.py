"""Local hours and days, against awkward clocks and against a definition that walks minute by minute."""

import importlib.resources
import struct
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamgauge.errors import InputError
from streamgauge.summaries.calendar import END_SECOND, Calendar, Interval, Period
from streamgauge.summaries.zones import load_zone, offset_changes, year_start, zone_names

HOUR, DAY = 3_600, 86_400


def utc(text: str) -> int:
    """The Unix second of '2015-05-17 10:00' in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def in_zone(name: str) -> Calendar:
    return Calendar([(None, name)])


def minutes_of_hours(calendar: Calendar, start: int, end: int) -> list[tuple[str, int]]:
    """Each hour's local clock at its start, and how many minutes it lasts."""
    hours = calendar.hours(start, end)
    return [(calendar.local_iso(hour.start)[11:16], (hour.end - hour.start) // 60) for hour in hours]


def hours_of_day(calendar: Calendar, day: date) -> float:
    (found,) = calendar.days(day, day)
    return (found.end - found.start) / HOUR


# --- zones that shift hours ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "second", "hour", "day"),
    [
        ("UTC", "2015-05-17 10:05:03", "2015-05-17T10:00:00+00:00", "2015-05-17T00:00:00+00:00"),
        ("Asia/Kolkata", "2015-05-17 18:29:59", "2015-05-17T23:00:00+05:30", "2015-05-17T00:00:00+05:30"),
        ("Asia/Kolkata", "2015-05-17 18:30:00", "2015-05-18T00:00:00+05:30", "2015-05-18T00:00:00+05:30"),
        ("Asia/Kathmandu", "2015-05-17 18:14:59", "2015-05-17T23:00:00+05:45", "2015-05-17T00:00:00+05:45"),
        ("Pacific/Chatham", "2015-05-17 11:15:00", "2015-05-18T00:00:00+12:45", "2015-05-18T00:00:00+12:45"),
        ("America/New_York", "2015-05-17 03:59:59", "2015-05-16T23:00:00-04:00", "2015-05-16T00:00:00-04:00"),
    ],
)
def test_hours_and_days_follow_the_wall_clock_of_the_zone(
    zone: str, second: str, hour: str, day: str
) -> None:
    calendar = in_zone(zone)
    assert calendar.local_iso(calendar.hour_of(utc(second))) == hour
    assert calendar.local_iso(calendar.day_of(utc(second))) == day


def test_both_one_oclock_hours_of_a_new_york_autumn_are_kept() -> None:
    calendar = in_zone("America/New_York")
    hours = minutes_of_hours(calendar, utc("2015-11-01 04:00"), utc("2015-11-01 08:00"))
    assert hours == [("00:00", 60), ("01:00", 60), ("01:00", 60), ("02:00", 60)]
    assert hours_of_day(calendar, date(2015, 11, 1)) == 25


def test_the_two_oclock_hour_of_a_new_york_spring_does_not_exist() -> None:
    calendar = in_zone("America/New_York")
    hours = minutes_of_hours(calendar, utc("2015-03-08 06:00"), utc("2015-03-08 08:00"))
    assert hours == [("01:00", 60), ("03:00", 60)]
    assert hours_of_day(calendar, date(2015, 3, 8)) == 23


def test_the_hour_in_which_lord_howe_goes_back_half_an_hour_lasts_ninety_minutes() -> None:
    calendar = in_zone("Australia/Lord_Howe")
    hours = minutes_of_hours(calendar, utc("2015-04-04 13:00"), utc("2015-04-04 16:30"))
    assert hours == [("00:00", 60), ("01:00", 90), ("02:00", 60)]
    assert hours_of_day(calendar, date(2015, 4, 5)) == 24.5


def test_the_hour_that_lord_howe_enters_in_the_middle_lasts_thirty_minutes() -> None:
    calendar = in_zone("Australia/Lord_Howe")
    hours = minutes_of_hours(calendar, utc("2015-10-03 14:30"), utc("2015-10-03 17:00"))
    assert hours == [("01:00", 60), ("02:30", 30), ("03:00", 60)]
    assert hours_of_day(calendar, date(2015, 10, 4)) == 23.5


def test_troll_repeats_two_hours_and_skips_two() -> None:
    calendar = in_zone("Antarctica/Troll")
    hours = minutes_of_hours(calendar, utc("2015-10-24 23:00"), utc("2015-10-25 03:00"))
    assert hours == [("01:00", 60), ("02:00", 60), ("01:00", 60), ("02:00", 60)]
    assert hours_of_day(calendar, date(2015, 10, 25)) == 26
    assert hours_of_day(calendar, date(2015, 3, 29)) == 22


# --- days whose midnight is odd -----------------------------------------------------------------------------


def test_a_sao_paulo_day_begins_at_one_oclock_when_midnight_is_skipped() -> None:
    calendar = in_zone("America/Sao_Paulo")
    assert calendar.local_iso(calendar.day_start(date(2015, 10, 18))) == "2015-10-18T01:00:00-02:00"
    assert hours_of_day(calendar, date(2015, 10, 18)) == 23
    assert hours_of_day(calendar, date(2015, 2, 21)) == 25


def test_a_havana_day_whose_midnight_hour_comes_twice_is_one_day() -> None:
    calendar = in_zone("America/Havana")
    assert calendar.local_iso(calendar.day_start(date(2015, 11, 1))) == "2015-11-01T00:00:00-04:00"
    assert hours_of_day(calendar, date(2015, 11, 1)) == 25
    hours = minutes_of_hours(calendar, utc("2015-11-01 04:00"), utc("2015-11-01 07:00"))
    assert hours == [("00:00", 60), ("00:00", 60), ("01:00", 60)]


def test_an_evening_that_saint_johns_repeats_after_midnight_stays_in_the_day_already_begun() -> None:
    calendar = in_zone("America/St_Johns")  # 00:01 on 7 November 2010 went back to 23:01 on the 6th
    assert hours_of_day(calendar, date(2010, 11, 6)) == 24
    assert hours_of_day(calendar, date(2010, 11, 7)) == 25
    repeated = utc("2010-11-07 02:40")
    assert calendar.local_iso(repeated) == "2010-11-06T23:10:00-03:30"
    assert calendar.date_of(calendar.day_of(repeated)) == date(2010, 11, 7)
    hours = minutes_of_hours(calendar, utc("2010-11-07 01:30"), utc("2010-11-07 04:30"))
    assert hours == [("23:00", 60), ("00:00", 1), ("23:01", 59), ("00:00", 60)]


def test_the_date_that_samoa_skipped_has_no_day() -> None:
    calendar = in_zone("Pacific/Apia")
    days = calendar.days(date(2011, 12, 28), date(2012, 1, 1))
    assert [day.date.day for day in days] == [28, 29, 31, 1]
    assert {day.end - day.start for day in days} == {DAY}
    assert calendar.days(date(2011, 12, 30), date(2011, 12, 30)) == []
    assert calendar.day_start(date(2011, 12, 30)) == calendar.day_start(date(2011, 12, 31))


# --- zones that change by date ------------------------------------------------------------------------------


def test_a_change_of_zone_holds_from_its_instant_and_leaves_earlier_buckets_alone() -> None:
    moved_at = utc("2024-06-10 12:00")
    before, after = in_zone("Asia/Kolkata"), in_zone("America/New_York")
    moving = Calendar([(None, "Asia/Kolkata"), (moved_at, "America/New_York")])
    assert moving.local_iso(moved_at - 1) == "2024-06-10T17:29:59+05:30"
    assert moving.local_iso(moved_at) == "2024-06-10T08:00:00-04:00"
    for second in range(moved_at - 3 * DAY, moved_at, 1_801):
        assert moving.hour_of(second) == before.hour_of(second)
        assert moving.day_of(second) == before.day_of(second)
    for second in range(moved_at + DAY, moved_at + 3 * DAY, 1_801):
        assert moving.hour_of(second) == after.hour_of(second)
        assert moving.day_of(second) == after.day_of(second)


def test_the_day_of_a_move_west_is_one_long_day_and_of_a_move_east_one_short_day() -> None:
    moved_at = utc("2024-06-10 12:00")
    west = Calendar([(None, "Asia/Kolkata"), (moved_at, "America/New_York")])
    assert hours_of_day(west, date(2024, 6, 10)) == 33.5
    east = Calendar([(None, "America/New_York"), (moved_at, "Asia/Kolkata")])
    assert hours_of_day(east, date(2024, 6, 10)) == 14.5


def test_a_move_west_across_midnight_never_gives_a_date_two_days() -> None:
    moved_at = utc("2024-06-10 05:00")  # 01:00 in New York, 22:00 the evening before in Los Angeles
    calendar = Calendar([(None, "America/New_York"), (moved_at, "America/Los_Angeles")])
    days = calendar.days(date(2024, 6, 9), date(2024, 6, 11))
    assert [(day.date.day, (day.end - day.start) / HOUR) for day in days] == [(9, 24), (10, 27), (11, 24)]


def test_only_going_back_a_whole_hour_begins_the_same_hour_again() -> None:
    moved_at = utc("2024-06-10 05:00")  # 10:30 in Kolkata, 10:00 in Karachi
    calendar = Calendar([(None, "Asia/Kolkata"), (moved_at, "Asia/Karachi")])
    assert minutes_of_hours(calendar, moved_at - 1, moved_at + HOUR + 1) == [("10:00", 90), ("11:00", 60)]


def test_a_move_between_zones_of_the_same_offset_changes_nothing() -> None:
    moved_at = utc("2024-06-10 12:34:56")
    calendar = Calendar([(None, "Europe/Berlin"), (moved_at, "Europe/Paris")])
    assert minutes_of_hours(calendar, moved_at, moved_at + 1) == [("14:00", 60)]


@pytest.mark.parametrize(
    "zones",
    [[], [(0, "UTC")], [(None, "UTC"), (None, "UTC")], [(None, "UTC"), (9, "UTC"), (9, "UTC")]],
)
def test_zones_without_a_beginning_or_out_of_order_are_refused(zones: list[tuple[int | None, str]]) -> None:
    with pytest.raises(InputError, match=r"Unix second|first zone"):
        Calendar(zones)


@pytest.mark.parametrize(
    "name",
    ["Mars/Base", "../UTC", "/etc/passwd", "Europe", "", "europe/berlin", "Europe/../UTC", "zones", "UTC\0"],
)
def test_an_unknown_zone_is_named_and_refused(name: str) -> None:
    with pytest.raises(InputError, match="Unknown time zone") as refused:
        in_zone(name)
    assert repr(name) in str(refused.value)


def test_a_misspelt_zone_is_answered_with_the_right_one() -> None:
    with pytest.raises(InputError, match="did you mean 'Asia/Kolkata'"):
        in_zone("Asia/Kolkatta")


def test_the_machines_own_zone_files_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "Asia").mkdir()
    utc_file = importlib.resources.files("tzdata.zoneinfo").joinpath("UTC").read_bytes()
    (tmp_path / "Asia" / "Karachi").write_bytes(utc_file)
    path_before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(tmp_path)])
    try:
        assert ZoneInfo.no_cache("Asia/Karachi").utcoffset(datetime(2024, 1, 1)) == timedelta(0)
        load_zone.cache_clear()
        assert in_zone("Asia/Karachi").local_iso(0) == "1970-01-01T05:00:00+05:00"
        assert list(zoneinfo.TZPATH) == [str(tmp_path)]
    finally:
        zoneinfo.reset_tzpath(path_before)


# --- weeks, months, texts, limits ---------------------------------------------------------------------------


def test_weeks_begin_on_monday_and_are_whole() -> None:
    calendar = in_zone("Europe/Berlin")
    weeks = calendar.weeks(date(2015, 3, 29), date(2015, 3, 30))
    assert [week.date for week in weeks] == [date(2015, 3, 23), date(2015, 3, 30)]
    assert [(week.end - week.start) // HOUR for week in weeks] == [7 * 24 - 1, 7 * 24]
    assert weeks[0].end == weeks[1].start == calendar.day_start(date(2015, 3, 30))


def test_months_are_whole_and_cross_the_year() -> None:
    months = in_zone("UTC").months(date(2015, 12, 31), date(2016, 2, 1))
    assert months == [
        Period(date(2015, 12, 1), utc("2015-12-01"), utc("2016-01-01")),
        Period(date(2016, 1, 1), utc("2016-01-01"), utc("2016-02-01")),
        Period(date(2016, 2, 1), utc("2016-02-01"), utc("2016-03-01")),
    ]


def test_a_range_whose_end_comes_first_is_empty() -> None:
    calendar = in_zone("Europe/Berlin")
    first, last = date(2015, 3, 30), date(2015, 1, 1)
    assert calendar.days(first, last) == []
    assert calendar.weeks(first, last) == calendar.months(first, last) == []
    assert calendar.hours(HOUR, 0) == calendar.hours(HOUR + 1, HOUR + 1) == []


def test_an_offset_with_seconds_is_written_to_the_nearest_minute_at_the_same_instant() -> None:
    calendar = in_zone("Africa/Monrovia")  # 44 minutes and 30 seconds behind UTC until 7 January 1972
    assert calendar.local_iso(0) == "1969-12-31T23:16:00-00:44"
    assert datetime.fromisoformat(calendar.local_iso(12_345)).timestamp() == 12_345
    assert calendar.hour_of(2_670) == 2_670  # midnight of the wall clock itself, not of its text
    assert calendar.hour_of(2_669) == 2_670 - HOUR
    assert calendar.date_of(calendar.day_of(2_670)) == date(1970, 1, 1)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])
def test_the_first_and_the_last_supported_day_are_whole_in_every_zone(zone: str) -> None:
    calendar = in_zone(zone)
    for day in (date(1970, 1, 1), date(2100, 12, 31)):
        (found,) = calendar.days(day, day)
        assert found.end - found.start == DAY
        assert calendar.date_of(found.start) == day
        assert len(calendar.hours(found.start, found.end)) == 24
    assert calendar.weeks(date(1970, 1, 1), date(1970, 1, 1))[0].date == date(1969, 12, 29)
    assert calendar.months(date(2100, 12, 31), date(2100, 12, 31))[0].date == date(2100, 12, 1)


def test_instants_and_dates_outside_1970_to_2100_are_refused() -> None:
    calendar = in_zone("UTC")
    assert calendar.hour_of(0) == 0
    assert calendar.hour_of(END_SECOND - 1) == END_SECOND - HOUR
    for second in (-1, END_SECOND, 10**30):
        with pytest.raises(InputError, match="1970 to 2100"):
            calendar.hour_of(second)
        with pytest.raises(InputError, match="1970 to 2100"):
            calendar.day_of(second)
    for microseconds in (-1, END_SECOND * 10**6):
        with pytest.raises(InputError, match="1970 to 2100"):
            calendar.hour_starts(np.array([0, microseconds], np.int64))
    for day in (date(1969, 12, 31), date(2101, 1, 1)):
        with pytest.raises(InputError, match="1970-01-01 to 2100-12-31"):
            calendar.day_start(day)
        with pytest.raises(InputError, match="1970-01-01 to 2100-12-31"):
            calendar.weeks(day, day)


def test_arrays_that_are_empty_or_not_whole_microseconds_are_told_apart() -> None:
    calendar = in_zone("UTC")
    assert calendar.day_starts(np.array([], np.int64)).size == 0
    with pytest.raises(InputError, match="int64"):
        calendar.day_starts(np.array([1.0]))


# --- against the files, and against the slow definition -----------------------------------------------------


def listed_changes(name: str) -> list[tuple[int, int]]:
    """Changes of offset that a zone's file lists itself: RFC 8536, second data block."""
    content = importlib.resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).read_bytes()
    is_ut, is_std, leaps, times, types, letters = struct.unpack(">6l", content[20:44])
    second = 44 + times * 5 + types * 6 + letters + leaps * 8 + is_std + is_ut
    *_, times, types, _ = struct.unpack(">6l", content[second + 20 : second + 44])
    at = second + 44
    seconds = struct.unpack(f">{times}q", content[at : at + 8 * times])
    kinds = content[at + 8 * times : at + 9 * times]
    offsets = [struct.unpack_from(">l", content, at + 9 * times + 6 * kind)[0] for kind in range(types)]
    return list(zip(seconds, (offsets[kind] for kind in kinds), strict=True))


def test_every_change_of_offset_in_every_zone_file_is_found_to_the_second() -> None:
    for name in zone_names():
        listed = listed_changes(name)
        pairs = pairwise(listed)
        changes = {at for (_, before), (at, after) in pairs if before != after}
        years = {datetime.fromtimestamp(at, UTC).year for at in changes if at >= year_start(1969)}
        for year in years:
            expected = sorted(at for at in changes if year_start(year) <= at < year_start(year + 1))
            found = [at for at in offset_changes(name, year) if at <= listed[-1][0] and at > listed[0][0]]
            assert found == expected, (name, year)


class Walked(NamedTuple):
    """What the slow definition says of the minute it came to."""

    hour: int
    day: int
    date: date


def walk(zones: list[tuple[int | None, str]], first: int, last: int) -> dict[int, Walked]:
    """The definition, minute by minute: plain datetimes of zoneinfo, nothing of the code under test."""
    root = importlib.resources.files("tzdata.zoneinfo")
    opened = []
    for begin, name in zones:
        with root.joinpath(*name.split("/")).open("rb") as file:
            opened.append((begin, ZoneInfo.from_file(file)))

    def clock(second: int) -> datetime:
        zone = next(zone for begin, zone in reversed(opened) if begin is None or begin <= second)
        return datetime.fromtimestamp(second, zone).replace(tzinfo=None)

    walked: dict[int, Walked] = {}
    hour = day = first
    before = clock(first - 60)
    latest = before.date()
    for second in range(first, last, 60):
        now = clock(second)
        back_one_hour = now.minute == 0 and before + timedelta(minutes=1) - now == timedelta(hours=1)
        if (now.date(), now.hour) != (before.date(), before.hour) or back_one_hour:
            hour = second
        if now.date() > latest:
            latest, day = now.date(), second
        walked[second] = Walked(hour, day, latest)
        before = now
    return walked


#: Zones and the UTC days about which something odd happens.
ODD_TIMES = [
    ("America/New_York", "2015-11-01"),
    ("America/New_York", "2015-03-08"),
    ("Australia/Lord_Howe", "2015-04-04"),
    ("Australia/Lord_Howe", "2015-10-03"),
    ("America/St_Johns", "2010-11-07"),
    ("America/St_Johns", "2010-03-14"),
    ("America/St_Johns", "1988-04-03"),
    ("America/Sao_Paulo", "2015-10-18"),
    ("America/Sao_Paulo", "2015-02-22"),
    ("America/Havana", "2015-11-01"),
    ("America/Havana", "2015-03-08"),
    ("Pacific/Apia", "2011-12-30"),
    ("Pacific/Kwajalein", "1993-08-21"),
    ("Pacific/Chatham", "2015-04-04"),
    ("Asia/Kathmandu", "1985-12-31"),
    ("Asia/Pyongyang", "2018-05-04"),
    ("America/Caracas", "2007-12-09"),
    ("Antarctica/Troll", "2015-10-25"),
    ("Antarctica/Casey", "2010-03-04"),
    ("Africa/Casablanca", "2087-04-20"),
    ("Europe/Dublin", "2099-10-25"),
    ("Asia/Kolkata", "2000-02-29"),
]
ZONES = sorted({zone for zone, _ in ODD_TIMES})


@pytest.mark.parametrize(("zone", "day"), ODD_TIMES)
def test_every_minute_about_an_odd_time_lies_in_the_bucket_the_definition_gives(zone: str, day: str) -> None:
    agrees_with_the_definition([(None, zone)], utc(day))


@given(st.sampled_from(ZONES), st.sampled_from(ZONES), st.sampled_from(ODD_TIMES), st.integers(-2_160, 2_160))
@example("Pacific/Apia", "Antarctica/Troll", ("Pacific/Apia", "2011-12-30"), 600)
@settings(max_examples=25, deadline=None)
def test_changes_of_zone_at_any_minute_agree_with_the_definition(
    first: str, second: str, odd: tuple[str, str], minutes: int
) -> None:
    middle = utc(odd[1])
    moved_at = middle + minutes * 60
    agrees_with_the_definition([(None, first), (moved_at, second), (moved_at + 1_500, odd[0])], middle)


@given(st.sampled_from(sorted(zone_names())), st.integers(1972 * 12 + 1, 2100 * 12))
@settings(max_examples=25, deadline=None)
def test_any_zone_at_any_time_agrees_with_the_definition(zone: str, month: int) -> None:
    # Around a change of that year, if there is one; before 1972 Monrovia's clock did not keep whole minutes.
    year = month // 12
    changes = [at for at in offset_changes(zone, year) if at > year_start(1972) + 30 * DAY]
    middle = changes[month % len(changes)] if changes else year_start(year) + (month % 12) * 30 * DAY
    agrees_with_the_definition([(None, zone)], middle // 60 * 60)


def agrees_with_the_definition(zones: list[tuple[int | None, str]], middle: int) -> None:
    """Buckets are the definition's, partition time, nest, and are the same for arrays, scalars and ranges."""
    calendar = Calendar(zones)
    walked = walk(zones, middle - 4 * DAY, middle + 2 * DAY)
    # The walk does not know when its first buckets began, nor a latest date from before it.
    seconds = [second for second in walked if second >= middle - 2 * DAY]
    at_us = np.array(seconds, np.int64) * 1_000_000 + 59_999_999
    hours, days = calendar.hour_starts(at_us).tolist(), calendar.day_starts(at_us).tolist()
    assert hours == [walked[second].hour for second in seconds]
    assert days == [walked[second].day for second in seconds]
    sample = range(0, len(seconds), 97)
    assert [calendar.hour_of(seconds[index] + 59) for index in sample] == [hours[index] for index in sample]
    assert [calendar.day_of(seconds[index] + 59) for index in sample] == [days[index] for index in sample]
    assert all(hour <= second for hour, second in zip(hours, seconds, strict=True))
    starts_of_days = sorted(set(days))
    assert set(starts_of_days[1:]) <= set(hours), "hours nest in days"
    for start in starts_of_days:
        named = calendar.date_of(start)
        assert named == walked[start].date
        assert calendar.day_start(named) == start
    listed = calendar.hours(seconds[0], seconds[-1])
    assert [hour.start for hour in listed] == sorted(set(hours) - {seconds[-1]} | {hours[0]})
    assert all(before.end == after.start for before, after in pairwise(listed))
    assert listed[-1].end >= seconds[-1]
    named_days = calendar.days(walked[seconds[0]].date, walked[seconds[-1]].date)
    assert [day.start for day in named_days] == starts_of_days
    assert [day.date for day in named_days] == [walked[start].date for start in starts_of_days]
    assert all(before.end == after.start for before, after in pairwise(named_days))


def test_an_hour_is_a_pair_of_start_and_end() -> None:
    assert in_zone("Asia/Kolkata").hours(0, 1) == [Interval(-1_800, 1_800)]


@given(st.lists(st.integers(0, END_SECOND * 10**6 - 1), min_size=1, max_size=20), st.sampled_from(ZONES))
@settings(max_examples=25, deadline=None)
def test_instants_years_apart_in_one_array_fall_where_they_fall_alone(at_us: list[int], zone: str) -> None:
    calendar = in_zone(zone)
    together = calendar.hour_starts(np.array(at_us, np.int64)).tolist()
    assert together == [in_zone(zone).hour_of(each // 10**6) for each in at_us]
    assert all(start <= each // 10**6 < start + 2 * HOUR for start, each in zip(together, at_us, strict=True))
