"""Promises about streaks: what walking through every single day gives, in every time zone, whatever comes late."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.domains.gamification.streaks import FREEZES, Freezes, Streak, steps, streak
from streamgauge.errors import SettingsError
from streamgauge.summaries.calendar import Calendar
from tests.unit.domains.gamification.deeds import ZONES

FIRST = date(2011, 12, 1)  # Samoa skipped 30 December 2011
LAST = FIRST + timedelta(60)
CALENDARS = {zone: Calendar([(None, zone)]) for zone in ZONES}
days = st.sets(st.integers(0, 60).map(lambda number: FIRST + timedelta(number)), max_size=61)
runs = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 4)), max_size=8).map(
    lambda lengths: {
        FIRST + timedelta(sum(active + missed for active, missed in lengths[:place]) + each)
        for place, (active, _) in enumerate(lengths)
        for each in range(active)
    }
)
freezings = st.builds(Freezes, st.integers(1, 9), st.integers(0, 3))
zones = st.sampled_from(ZONES)


def walked(active: set[date], today: date, zone: str, freezes: Freezes) -> Streak:
    """Every day that there was, one after another."""
    length, longest, saved = 0, 0, Fraction(0)
    day = FIRST - timedelta(3)
    while day <= today:
        skipped = zone == "Pacific/Apia" and day == date(2011, 12, 30)
        if day in active:
            length += 1
            saved = min(saved + Fraction(1, freezes.earned_every), Fraction(freezes.most))
            longest = max(longest, length)
        elif not skipped and day != today:
            if saved >= 1:
                saved -= 1
            else:
                length, saved = 0, Fraction(0)
        day += timedelta(1)
    known = [day for day in active if day <= today]
    return Streak(length, longest, int(saved), today in active, max(known, default=None))


@given(st.one_of(days, runs), st.integers(0, 60), zones, freezings)
def test_a_streak_is_what_walking_through_every_day_gives(
    active: set[date], today: int, zone: str, freezes: Freezes
) -> None:
    now = FIRST + timedelta(today)
    # The clock skipped that day: nobody can be active on it, and it is nobody's today.
    skipped = date(2011, 12, 30)
    if zone == "Pacific/Apia":
        active, now = active - {skipped}, now + timedelta(now == skipped)
    found = streak([*active, *active], now, CALENDARS[zone], freezes)
    assert found == walked(active, now, zone, freezes)


@given(runs, days, zones, freezings)
def test_active_days_that_come_late_never_make_a_streak_shorter(
    active: set[date], late: set[date], zone: str, freezes: Freezes
) -> None:
    before, after = (streak(each, LAST, CALENDARS[zone], freezes) for each in (active, active | late))
    assert (after.current, after.longest) >= (before.current, before.longest)
    assert after.current >= before.current
    assert after.longest >= before.longest


def consecutive(count: int, of: date = FIRST) -> list[date]:
    return [of + timedelta(each) for each in range(count)]


UTC_CALENDAR = CALENDARS["UTC"]


def test_today_does_not_break_a_streak_before_it_is_over() -> None:
    active = consecutive(3)
    assert streak(active, active[-1], UTC_CALENDAR) == Streak(3, 3, 0, True, active[-1])
    assert streak(active, active[-1] + timedelta(1), UTC_CALENDAR) == Streak(3, 3, 0, False, active[-1])
    assert streak(active, active[-1] + timedelta(2), UTC_CALENDAR) == Streak(0, 3, 0, False, active[-1])


def test_seven_days_in_a_row_earn_a_freeze_that_one_missed_day_uses() -> None:
    week = consecutive(7)
    assert streak(consecutive(6), week[-1], UTC_CALENDAR).freezes == 0
    assert streak(week, week[-1], UTC_CALENDAR).freezes == 1
    missed_one = streak(week, week[-1] + timedelta(2), UTC_CALENDAR)
    assert (missed_one.current, missed_one.freezes) == (7, 0)
    assert streak(week, week[-1] + timedelta(3), UTC_CALENDAR).current == 0
    again = streak([*week, week[-1] + timedelta(2)], week[-1] + timedelta(2), UTC_CALENDAR)
    assert (again.current, again.longest, again.freezes) == (8, 8, 0)


@pytest.mark.parametrize("active", [14, 20, 40])
def test_no_more_than_two_freezes_are_held_and_nothing_is_saved_up_beside_them(active: int) -> None:
    done = consecutive(active)
    assert streak(done, done[-1], UTC_CALENDAR).freezes == 2
    assert streak(done, done[-1] + timedelta(3), UTC_CALENDAR).current == active
    assert streak(done, done[-1] + timedelta(4), UTC_CALENDAR).current == 0
    # Both were used: the next six days do not earn one, the seventh does.
    more = consecutive(7, done[-1] + timedelta(3))
    assert streak([*done, *more[:6]], more[5], UTC_CALENDAR).freezes == 0
    assert streak([*done, *more], more[6], UTC_CALENDAR).freezes == 1


def test_a_date_that_the_clock_skipped_is_not_missed() -> None:
    active = [date(2011, 12, 28), date(2011, 12, 29), date(2011, 12, 31)]
    assert streak(active, active[-1], CALENDARS["Pacific/Apia"]).current == 3
    assert streak(active, active[-1], UTC_CALENDAR).current == 1


def test_days_are_local_where_clocks_change() -> None:
    calendar = CALENDARS["America/New_York"]
    # 23:30 on 31 October and 00:30 on 2 November 2026, New York: the day between has 25 hours.
    moments = [datetime(2026, 11, 1, 3, 30, tzinfo=UTC), datetime(2026, 11, 2, 5, 30, tzinfo=UTC)]
    local = [calendar.date_of(int(each.timestamp())) for each in moments]
    assert local == [date(2026, 10, 31), date(2026, 11, 2)]
    assert streak(local, local[-1], calendar).current == 1
    between = int(datetime(2026, 11, 2, 4, 59, tzinfo=UTC).timestamp())
    assert streak([*local, calendar.date_of(between)], local[-1], calendar).current == 3


def test_nobody_who_did_nothing_has_a_streak_and_days_to_come_do_not_count() -> None:
    assert streak([], FIRST, UTC_CALENDAR) == Streak(0, 0, 0, False, None)
    assert streak([FIRST + timedelta(1)], FIRST, UTC_CALENDAR) == Streak(0, 0, 0, False, None)


def test_a_gap_of_a_century_is_found_without_walking_through_it() -> None:
    assert streak([date(1970, 1, 2)], date(2100, 1, 1), UTC_CALENDAR).current == 0
    assert [step.length for step in steps([date(1970, 1, 2), date(2100, 1, 1)], UTC_CALENDAR)] == [1, 1]


@pytest.mark.parametrize(("earned_every", "most"), [(0, 2), (7, -1), (7, 101)])
def test_freezes_that_make_no_sense_are_refused(earned_every: int, most: int) -> None:
    with pytest.raises(SettingsError, match="freezes are earned"):
        Freezes(earned_every, most)
    assert Freezes() == FREEZES == Freezes(7, 2)
