"""The summary: whole local hours, and two answers made into one report."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.read.api.summary import METRICS, Figures, instants, last_hours, summarised
from streamgauge.read.report import Answer, Result
from streamgauge.summaries.calendar import Calendar

ZONES = ["UTC", "Asia/Kolkata", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Chatham"]


@given(st.sampled_from(ZONES), st.integers(10**9, 2 * 10**9), st.integers(1, 400))
def test_the_last_hours_are_whole_local_ones_and_end_with_the_current(
    zone: str, now: int, hours: int
) -> None:
    calendar = Calendar([(None, zone)])
    period = last_hours(calendar, now, hours)
    found = calendar.hours(period.start, period.end)
    assert len(found) == hours
    assert found[0].start == period.start
    assert found[-1].start <= now < found[-1].end == period.end


def test_an_hour_of_ninety_minutes_is_one_hour() -> None:
    # On Lord Howe the clock went back from 02:00 to 01:30: that hour lasts until 02:00 comes again.
    calendar = Calendar([(None, "Australia/Lord_Howe")])
    now = int(datetime(2026, 4, 4, 17, 10, tzinfo=UTC).timestamp())
    period = last_hours(calendar, now, 5)
    assert len(calendar.hours(*period)) == 5
    assert period.end - period.start == 5.5 * 3_600


def test_hours_that_moves_of_a_tenant_made_longer_are_made_up_for() -> None:
    # Three times half an hour to the west, each at ten minutes to the hour, which begins its second half once more.
    begin = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    moves = [
        (begin + 20 * 60, "Asia/Karachi"),
        (begin + 230 * 60, "Asia/Kabul"),
        (begin + 440 * 60, "Asia/Dubai"),
    ]
    calendar = Calendar([(None, "Asia/Kolkata"), *moves])
    period = last_hours(calendar, begin + 600 * 60, 20)
    assert len(calendar.hours(*period)) == 20
    assert period.end - period.start == 21.5 * 3_600


def test_a_year_of_hours_crosses_both_changes_of_the_clock() -> None:
    calendar = Calendar([(None, "Australia/Lord_Howe")])
    now = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp())
    period = last_hours(calendar, now, 8_760)
    assert len(calendar.hours(*period)) == 8_760
    # One hour of ninety minutes in April, one of thirty in October.
    assert period.end - period.start == 8_760 * 3_600


def test_before_1970_there_are_no_hours() -> None:
    period = last_hours(Calendar([(None, "UTC")]), 5 * 3_600, 24)
    assert period == (0, 6 * 3_600)


def test_the_period_is_told_with_its_local_offset() -> None:
    calendar = Calendar([(None, "Europe/Berlin")])
    now = int(datetime(2026, 3, 29, 1, 30, tzinfo=UTC).timestamp())
    assert instants(calendar, last_hours(calendar, now, 2)) == [
        "2026-03-29T01:00:00+01:00",
        "2026-03-29T04:00:00+02:00",
    ]


def answer(*rows: tuple[tuple[str, ...], tuple[int | float | None, ...]], **warnings: object) -> Answer:
    meta = {"as_of": "2026-01-01T00:00:00Z", "time_zone": "UTC", "metric_warnings": warnings}
    results = tuple(Result(dimensions, metrics) for dimensions, metrics in rows)
    return Answer(results, meta, {"date_range": ["a", "b"]})


VALUES = (9, 2, 0.777778, 5.5, 1.0, 20.0, 4.0, 19.0, 20.0, 3)


def test_the_report_names_every_figure_in_the_order_of_its_metrics() -> None:
    found = summarised(answer(((), VALUES)), answer((("a.b",), VALUES)), 24)
    assert (found.period_start, found.period_end, found.hours, found.as_of) == (
        "a",
        "b",
        24,
        "2026-01-01T00:00:00Z",
    )
    assert found.actors_are == "distinct"
    named = {
        "count": "events", "errors": "failed_events", "success_rate": "success_rate", "actors": "actors",
        **{f"{which}_duration": f"{which}_event_duration" for which in ("avg", "min", "max", "p50", "p95", "p99")},
    }  # fmt: skip
    for figures in (found.total, found.events[0].figures):
        for name, metric in named.items():
            assert getattr(figures, name) == VALUES[METRICS.index(metric)], name
    assert len(named) == len(METRICS) == len(Figures.__slots__)


@pytest.mark.parametrize(("warned", "meaning"), [({}, "distinct"), ({"actors": {}}, "sum_daily_actors")])
def test_what_the_number_of_actors_means_is_told(warned: dict[str, object], meaning: str) -> None:
    assert summarised(answer(((), VALUES), **warned), answer(), 1).actors_are == meaning


def test_nothing_that_happened_is_zero_events_without_rates() -> None:
    total = summarised(answer(((), (0, 0, None, None, None, None, None, None, None, 0))), answer(), 1).total
    assert (total.count, total.errors, total.actors, total.success_rate, total.p99_duration) == (
        0,
        0,
        0,
        None,
        None,
    )
