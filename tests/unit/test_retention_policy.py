"""Promises about which days leave the event log."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from streamgauge_workers.retention.policy import LogDay, day_of, due, expired

TODAY = date(2026, 11, 21)
MANY = 10**15
logs = st.dictionaries(st.integers(-5, 60), st.integers(0, 10**9), max_size=30).map(
    lambda sizes: [LogDay(TODAY - timedelta(days=ago), size) for ago, size in sizes.items()]
)


def ago(days: int, size: int = 10) -> LogDay:
    return LogDay(TODAY - timedelta(days=days), size)


def test_days_before_the_retention_leave_oldest_first() -> None:
    log = [ago(0), ago(31), ago(30), ago(40), ago(1)]
    assert due(log, TODAY, 30, MANY) == [ago(40), ago(31)]


def test_the_oldest_days_leave_until_the_rest_has_few_enough_bytes() -> None:
    log = [ago(5, 100), ago(4, 100), ago(3, 100), ago(0, 100)]
    assert due(log, TODAY, 30, 400) == []
    assert due(log, TODAY, 30, 399) == [ago(5, 100)]
    assert due(log, TODAY, 30, 200) == [ago(5, 100), ago(4, 100)]


def test_today_and_yesterday_and_days_of_a_clock_that_was_ahead_never_leave() -> None:
    log = [ago(2, MANY), ago(1, MANY), ago(0, MANY), ago(-3, MANY)]
    assert due(log, TODAY, 1, 1) == [ago(2, MANY)]


@given(logs, st.integers(1, 60), st.integers(1, 10**10))
def test_what_stays_is_young_and_small_enough_or_may_not_leave(
    log: list[LogDay], keep: int, most: int
) -> None:
    leaving = due(log, TODAY, keep, most)
    assert leaving == sorted(leaving, key=lambda each: each.day)
    stays = [each for each in log if each not in leaving]
    can_leave = [each for each in stays if each.day < TODAY - timedelta(days=1)]
    assert not can_leave or sum(each.size for each in stays) <= most
    assert all(each.day >= TODAY - timedelta(days=keep) for each in can_leave)
    assert all(each.day < TODAY - timedelta(days=1) for each in leaving)
    # No day leaves that need not.
    for each in leaving:
        rest = [other for other in log if other.day >= each.day]
        assert each.day < TODAY - timedelta(days=keep) or sum(other.size for other in rest) > most


@given(st.dates(date(1000, 1, 1)))
def test_a_partitions_name_tells_its_day(day: date) -> None:
    assert day_of(LogDay(day, 0).partition) == day


def test_other_tables_are_no_days() -> None:
    for name in (
        "event_log",
        "event_log_default",
        "event_log_20261301",
        "event_log_2026112",
        "event_keys_20261121",
        "event_log_" + "\uff12" * 8,
    ):
        assert day_of(name) is None


def test_a_tenants_retention_is_over_the_day_after_its_last() -> None:
    kept = {"short": 3, "long": 300}
    assert expired(TODAY - timedelta(days=3), TODAY, kept) == set()
    assert expired(TODAY - timedelta(days=4), TODAY, kept) == {"short"}
    assert expired(TODAY - timedelta(days=301), TODAY, kept) == {"short", "long"}
