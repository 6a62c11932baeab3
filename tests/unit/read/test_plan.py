"""Plans: the fewest rows that can answer."""

from typing import Any

import pytest

from streamgauge.catalogue import CATALOGUE
from streamgauge.domains.web.declarations import DURATION_METRIC
from streamgauge.errors import InputError
from streamgauge.read.plan import Plan, make_plan
from streamgauge.read.query import parse_query
from streamgauge.summaries.calendar import Calendar

from .world import NOW, utc

CALENDAR = Calendar([(None, "Asia/Kolkata")])


def plan(metrics: str = "requests", date_range: object = "7d", **more: object) -> Plan:
    question = {"tenant": "t", "metrics": metrics.split(), "date_range": date_range, "now": NOW, **more}
    return make_plan(parse_query(question, CATALOGUE), CATALOGUE, CALENDAR, utc("2024-04-20 12:00"), None)


@pytest.mark.parametrize(
    ("more", "grouping"),
    [
        ({}, 0),
        ({"dimensions": ["time:day"]}, 0),
        ({"dimensions": ["http.route"]}, 1),
        ({"filters": [["is", "http.response.status_class", ["5xx"]]]}, 2),
        ({"dimensions": ["http.route"], "filters": [["contains", "url.path", ["x"]]]}, 3),
    ],
)
def test_the_smallest_grouping_with_all_dimensions_is_read(more: dict[str, Any], grouping: int) -> None:
    (source,) = plan(**more).sources
    assert (source.metric, source.grouping) == (DURATION_METRIC, grouping)


def test_whole_days_come_from_the_daily_table_and_the_edges_from_the_hourly_one() -> None:
    spans = plan(date_range=["2024-04-16T22:00:00+05:30", "2024-04-19T03:00:00+05:30"]).spans
    assert [(span.grain, len(span.buckets)) for span in spans] == [("hourly", 2), ("daily", 2), ("hourly", 3)]
    assert [(span.grain, len(span.buckets)) for span in plan().spans] == [("daily", 7)]
    by_hour = plan(date_range="day", dimensions=["time:hour"]).spans
    assert [(span.grain, len(span.buckets)) for span in by_hour] == [("hourly", 24)]
    assert [bucket.period for bucket in by_hour[0].buckets] == list(range(24))


def test_each_bucket_counts_towards_the_period_it_lies_in() -> None:
    found = plan(date_range=["2024-04-13", "2024-04-16"], dimensions=["time:week"])
    assert [bucket.period for span in found.spans for bucket in span.buckets] == [0, 0, 1, 1]
    assert [CALENDAR.local_iso(period.start)[:10] for period in found.periods] == ["2024-04-08", "2024-04-15"]


@pytest.mark.parametrize(
    ("date_range", "grain"),
    [("day", "hour"), ("24h", "hour"), ("7d", "day"), ("91d", "day"), ("6mo", "month")],
)
def test_time_alone_takes_the_grain_that_fits_the_range(date_range: str, grain: str) -> None:
    assert plan(date_range=date_range, dimensions=["time"]).dimensions == (f"time:{grain}",)


def test_hours_of_a_very_long_range_are_refused() -> None:
    with pytest.raises(InputError, match="up to 400 are allowed") as raised:
        plan(date_range=["2022-01-01", "2024-01-01"], dimensions=["time:hour"])
    assert raised.value.field == "dimensions"


def test_distinct_actors_and_histograms_are_read_only_when_asked_for() -> None:
    (plain,) = plan("requests avg_duration").sources
    assert (plain.histograms, plain.members) == (False, False)
    (asked,) = plan("visitors p50_duration").sources
    assert (asked.histograms, asked.members) == (True, True)
    assert len(plan("requests bytes events").sources) == 2
    assert (plain.totals, plan("bytes").sources[0].totals) == (0, 2)


@pytest.mark.parametrize(
    ("filters", "allowed"),
    [
        ([["is", "http.route", ["/a", "/b"]]], ((1, ("/a", "/b")),)),
        ([["and", [["is", "http.route", ["/a"]], ["is", "http.request.method", ["GET"]]]]], ((1, ("/a",)), (2, ("GET",)))),
        ([["or", [["is", "http.route", ["/a"]]]]], ()),
        ([["not", ["is", "http.route", ["/a"]]]], ()),
        ([["is_not", "http.route", ["/a"]]], ()),
        ([["is", "http.route", ["/a", "(other)"]]], ()),
        ([["is", "http.response.status_class", ["5xx"]]], ()),
    ],
)  # fmt: skip
def test_only_filters_that_must_hold_as_they_stand_narrow_what_is_read(
    filters: object, allowed: tuple[object, ...]
) -> None:
    (source,) = plan(filters=filters).sources
    assert source.allowed == allowed


def test_paths_need_a_count_of_requests_without_one() -> None:
    assert plan(dimensions=["http.route"]).left_out is None
    left_out = plan(dimensions=["url.path", "http.route"]).left_out
    assert left_out is not None
    assert [source.grouping for source in left_out] == [1, 3]
