"""Answers computed from rows: what they mean, how they are ordered, and that they do not depend on chance."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from math import ceil
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.read.rows import Verification

from .world import NOW, SALTED, Request, dates, utc, world

FIRST = date(2024, 4, 3)  # clocks go back on the 7th at Lord Howe, by half an hour
DAYS = 6
ZONES = st.sampled_from(["UTC", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Chatham", "America/New_York"])
REQUESTS = st.lists(
    st.builds(
        Request,
        at=st.integers(utc("2024-04-03 18:00"), utc("2024-04-08 02:00")),
        route=st.sampled_from(["/", "/a", "/a/{id}", "/b"]),
        method=st.sampled_from(["GET", "POST"]),
        status=st.sampled_from([200, 204, 301, 404, 500, 503]),
        path=st.sampled_from([None, "/a/1", "/a/2"]),
        duration=st.none() | st.integers(0, 127),  # such durations are exact in the histogram
        size=st.none() | st.integers(0, 10**9),
        actor=st.none() | st.integers(1, 9),
        shard=st.integers(0, 3),
    ),
    max_size=40,
)
SALTED_TOO = REQUESTS.map(
    lambda requests: [
        replace(request, actor=None if request.actor is None else SALTED + request.actor)
        if place % 2
        else request
        for place, request in enumerate(requests)
    ]
)
DIMENSIONS = ["http.route", "http.request.method", "http.response.status_code", "http.response.status_class"]
ALL_DAYS = dates(FIRST, DAYS)


def known(values: Sequence[int | None]) -> list[int]:
    return [value for value in values if value is not None]


@settings(deadline=None)  # the machine may be busy
@given(REQUESTS, ZONES)
def test_every_metric_equals_its_definition(requests: list[Request], zone: str) -> None:
    names = "requests errors error_rate visitors bytes avg_bytes min_duration avg_duration max_duration"
    found = world(requests, zone).ask(f"{names} p50_duration p90_duration p99_duration", ALL_DAYS)["results"]
    count, errors = len(requests), sum(request.status >= 500 for request in requests)
    sizes = known([request.size for request in requests])
    times = sorted(known([request.duration for request in requests]))

    def mean(values: list[int], scale: int) -> float | None:
        return float(round(Fraction(sum(values), len(values) * scale), 3)) if values else None

    def quantile(percent: int) -> float | None:
        return times[ceil(Fraction(percent * len(times), 100)) - 1] / 1000 if times else None

    assert found == [
        {
            "dimensions": [],
            "metrics": [
                count,
                errors,
                round(errors / count, 6) if count else None,
                len({request.actor for request in requests} - {None}),
                sum(sizes) if sizes or not count else None,
                float(round(Fraction(sum(sizes), count), 3)) if sizes else None,
                times[0] / 1000 if times else None,
                mean(times, 1000),
                times[-1] / 1000 if times else None,
                quantile(50),
                quantile(90),
                quantile(99),
            ],
        }
    ]


@settings(deadline=None)  # the machine may be busy
@given(REQUESTS, ZONES, st.sampled_from(DIMENSIONS))
def test_rows_of_a_dimension_add_up_to_the_total(requests: list[Request], zone: str, dimension: str) -> None:
    asked = world(requests, zone)
    rows = asked.rows("requests errors bytes", ALL_DAYS, dimensions=[dimension])
    total = asked.rows("requests errors bytes", ALL_DAYS)[()]
    assert [sum(row[place] or 0 for row in rows.values()) for place in range(3)] == [
        value or 0 for value in total
    ]


@settings(deadline=None)  # the machine may be busy
@given(REQUESTS, ZONES, st.integers(1, DAYS - 1))
def test_a_range_split_in_two_adds_up(requests: list[Request], zone: str, days: int) -> None:
    asked = world(requests, zone)
    parts = [dates(FIRST, days), dates(FIRST + timedelta(days), DAYS - days)]
    for metric in ("requests", "errors", "bytes", "sum_daily_visitors", "events", "sum_daily_actors"):
        assert (asked.total(metric, ALL_DAYS) or 0) == sum(asked.total(metric, part) or 0 for part in parts)


@settings(deadline=None)  # the machine may be busy
@given(REQUESTS, ZONES, st.data())
def test_a_range_split_at_any_hour_adds_up(requests: list[Request], zone: str, data: st.DataObject) -> None:
    asked = world(requests, zone)
    plan = asked.plan({"tenant": "t", "metrics": ["requests"], "date_range": ALL_DAYS, "now": NOW})
    hours = asked.calendar.hours(*plan.range)
    cut = asked.calendar.local_iso(data.draw(st.sampled_from(hours[1:])).start)
    first, last = (asked.calendar.local_iso(second) for second in plan.range)
    assert asked.total("requests", [first, cut]) + asked.total("requests", [cut, last]) == len(requests)


@settings(deadline=None)  # the machine may be busy
@given(REQUESTS, ZONES, st.sampled_from(["time:hour", "time:day", "time:week", "time:month"]))
def test_every_grain_of_time_adds_up_to_the_total(requests: list[Request], zone: str, grain: str) -> None:
    rows = world(requests, zone).rows("requests", ALL_DAYS, dimensions=[grain])
    assert sum(row[0] for row in rows.values()) == len(requests)


@settings(deadline=None)  # the machine may be busy
@given(REQUESTS, st.sampled_from(DIMENSIONS), st.sampled_from(["/a", "GET", "404", "4xx", "0", "none"]))
def test_a_filter_and_its_opposite_add_up(requests: list[Request], dimension: str, value: str) -> None:
    asked = world(requests)
    for operator, opposite in (("is", "is_not"), ("contains", "contains_not")):
        kept = asked.total("requests", ALL_DAYS, filters=[[operator, dimension, [value]]])
        for other in ([opposite, dimension, [value]], ["not", [operator, dimension, [value]]]):
            assert kept + asked.total("requests", ALL_DAYS, filters=[other]) == len(requests)


@settings(deadline=None)  # the machine may be busy
@given(REQUESTS, st.sampled_from(["/", "/a", "/b"]), st.sampled_from(["2xx", "4xx", "5xx"]))
def test_a_filter_counts_what_its_dimension_shows(requests: list[Request], route: str, status: str) -> None:
    asked = world(requests)
    row = asked.rows("requests bytes", ALL_DAYS, dimensions=["http.response.status_class", "http.route"])
    filters = [["is", "http.route", [route]], ["is", "http.response.status_class", [status]]]
    both = asked.rows("requests bytes", ALL_DAYS, filters=filters)[()]
    assert row.get((status, route), [0, 0]) == both
    assert asked.rows("requests bytes", ALL_DAYS, filters=[["and", filters]])[()] == both


@settings(deadline=None)  # the machine may be busy
@given(REQUESTS, ZONES)
def test_visitors_of_a_range_are_at_most_the_sum_of_its_days(requests: list[Request], zone: str) -> None:
    visitors, daily = world(requests, zone).rows("visitors sum_daily_visitors", ALL_DAYS)[()]
    days = world(requests, zone).rows("visitors", ALL_DAYS, dimensions=["time:day"])
    assert max((row[0] for row in days.values()), default=0) <= visitors <= daily
    assert daily == sum(row[0] for row in days.values())


@settings(deadline=None)  # the machine may be busy
@given(SALTED_TOO, ZONES, st.sampled_from([[], ["http.route"], ["time:week"]]))
def test_stripes_and_the_order_of_rows_do_not_change_a_byte(
    requests: list[Request], zone: str, dimensions: list[str]
) -> None:
    question: dict[str, object] = {
        "tenant": "t", "metrics": ["requests", "visitors", "p95_duration", "bytes"], "date_range": ALL_DAYS, "now": NOW,
        "dimensions": dimensions,
    }  # fmt: skip
    one_stripe = [replace(request, shard=0) for request in requests]
    assert world(requests, zone).answer(question) == world(one_stripe, zone, reverse=True).answer(question)


@settings(deadline=None)  # the machine may be busy
@given(SALTED_TOO, ZONES, st.sampled_from([["time"], ["http.route", "time:day"], ["http.route"], []]))
def test_the_question_as_understood_has_the_same_results(
    requests: list[Request], zone: str, dimensions: list[str]
) -> None:
    asked = world(requests, zone)
    first = asked.ask(
        "requests visitors", "28d", dimensions=dimensions, filters=[["is_not", "http.route", ["/b"]]]
    )
    again = orjson.loads(asked.answer(first["query"]))
    assert again["results"] == first["results"]
    assert again["query"] == first["query"]


@settings(deadline=None)  # the machine may be busy
@given(REQUESTS, st.integers(1, 7))
def test_pages_put_together_are_the_whole(requests: list[Request], limit: int) -> None:
    asked = world(requests)
    shape: dict[str, Any] = {"dimensions": ["http.route", "http.response.status_code"]}
    whole = asked.ask("requests", ALL_DAYS, **shape, include={"total_rows": True})
    pages = [
        asked.ask("requests", ALL_DAYS, **shape, pagination={"limit": limit, "offset": offset})["results"]
        for offset in range(0, len(whole["results"]) + 1, limit)
    ]
    assert [row for page in pages for row in page] == whole["results"]
    assert whole["meta"]["total_rows"] == len(whole["results"])


def test_ninety_percent_of_ten_durations_is_the_ninth() -> None:
    requests = [Request(utc("2024-04-05 12:00"), duration=1000 + place) for place in range(10)]
    assert world(requests).total("p90_duration") == pytest.approx(1.008, rel=0.00782)
    small = [Request(utc("2024-04-05 12:00"), duration=place) for place in range(1, 11)]
    assert world(small).total("p90_duration") == 0.009


def test_daily_salted_visitors_of_several_days_are_never_called_visitors() -> None:
    requests = [Request(utc(f"2024-04-0{day} 12:00"), actor=SALTED + day) for day in (4, 5)]
    answer = world([*requests, Request(utc("2024-04-05 12:00"), actor=3)]).ask("visitors", "28d")
    assert answer["query"]["metrics"] == ["sum_daily_visitors"]
    assert answer["query"]["order_by"] == [["sum_daily_visitors", "desc"]]
    assert answer["results"] == [{"dimensions": [], "metrics": [3]}]
    assert answer["meta"]["metric_warnings"]["visitors"]["code"] == "daily_salted_visitors"
    actors = world(requests).ask("actors", "28d")
    assert actors["query"]["metrics"] == ["sum_daily_actors"]


@pytest.mark.parametrize("dimensions", [["time:day"], ["time:hour"], ["time:day", "http.route"]])
def test_daily_salted_visitors_within_a_day_are_visitors(dimensions: list[str]) -> None:
    requests = [Request(utc(f"2024-04-0{day} 12:00"), actor=SALTED + day) for day in (4, 4, 5)]
    answer = world(requests).ask("visitors", "28d", dimensions=dimensions)
    assert answer["query"]["metrics"] == ["visitors"]
    assert sum(row["metrics"][0] for row in answer["results"]) == 2
    assert answer["meta"]["metric_warnings"] == {}


def test_one_day_of_daily_salted_visitors_is_answered_exactly() -> None:
    answer = world([Request(utc("2024-04-04 12:00"), actor=SALTED)]).ask(
        "visitors", ["2024-04-04", "2024-04-04"]
    )
    assert answer["results"] == [{"dimensions": [], "metrics": [1]}]
    assert answer["query"]["metrics"] == ["visitors"]


def test_keyed_visitors_of_several_days_are_counted_once() -> None:
    requests = [Request(utc(f"2024-04-0{day} 12:00"), actor=7) for day in (4, 5, 6)]
    assert world(requests).rows("visitors sum_daily_visitors") == {(): [1, 3]}


def test_a_time_series_lists_empty_buckets_with_zeros_and_nulls() -> None:
    requests = [Request(utc("2024-04-18 12:00"), duration=5000)]
    assert world(requests).rows("requests error_rate bytes p50_duration", "7d", dimensions=["time"]) == {
        (f"2024-04-{day}T00:00:00+00:00",): [1, 0.0, None, 5.0] if day == 18 else [0, None, 0, None]
        for day in range(14, 21)
    }


def test_a_time_series_ends_with_the_bucket_of_now_but_labels_the_whole_range() -> None:
    answer = world().ask("requests", "day", dimensions=["time"], include={"time_labels": True})
    assert len(answer["results"]) == 13  # it is noon
    assert len(answer["meta"]["time_labels"]) == 24
    assert answer["query"]["dimensions"] == ["time:hour"]


def test_time_is_ordered_upwards_and_weeks_begin_on_monday() -> None:
    requests = [Request(utc("2024-04-18 12:00")), Request(utc("2024-04-01 12:00"))]
    rows = world(requests, "Asia/Kolkata").rows("requests", dimensions=["time:week"])
    assert list(rows.items()) == [
        (("2024-04-01T00:00:00+05:30",), [1]),
        (("2024-04-08T00:00:00+05:30",), [0]),
        (("2024-04-15T00:00:00+05:30",), [1]),
    ]


def test_rows_are_ordered_by_the_first_metric_downwards_then_by_dimension() -> None:
    at = utc("2024-04-18 12:00")
    requests = [Request(at, route) for route in ("/c", "/b", "/b", "/a")]
    assert list(world(requests).rows("requests", dimensions=["http.route"])) == [("/b",), ("/a",), ("/c",)]


def test_rows_without_a_value_come_last_whichever_way_they_are_ordered() -> None:
    at = utc("2024-04-18 12:00")
    requests = [
        Request(at, "/none"),
        Request(at, "/slow", duration=90_000),
        Request(at, "/fast", duration=100),
    ]
    asked = world(requests)
    for direction, expected in (("asc", ["/fast", "/slow", "/none"]), ("desc", ["/slow", "/fast", "/none"])):
        rows = asked.rows("avg_duration", dimensions=["http.route"], order_by=[["avg_duration", direction]])
        assert [route for (route,) in rows] == expected


def test_averages_are_rounded_half_to_even_at_the_third_decimal() -> None:
    at = utc("2024-04-18 12:00")
    assert world([Request(at, duration=1), Request(at, duration=2)]).total("avg_duration") == 0.002  # 0.0015
    assert world([Request(at, duration=2), Request(at, duration=3)]).total("avg_duration") == 0.002  # 0.0025


def test_values_beyond_the_limit_are_read_as_other_on_their_day_alone() -> None:
    days = [utc("2024-04-18 00:00"), utc("2024-04-19 00:00")]
    requests = [Request(day + 3600, route, actor=5) for day in days for route in ("/kept", "/beyond")]
    asked = world(requests, excess={("http.route", days[0]): frozenset({"/beyond"})})
    rows = asked.rows("requests", dimensions=["http.route"])
    assert rows == {("/kept",): [2], ("(other)",): [1], ("/beyond",): [1]}
    hours = asked.rows("visitors", ["2024-04-18", "2024-04-18"], dimensions=["time:hour", "http.route"])
    assert {route for _, route in hours} == {"/kept", "(other)"}
    assert asked.total("requests", filters=[["is", "http.route", ["/beyond"]]]) == 1
    assert asked.total("requests", filters=[["is", "http.route", ["(other)"]]]) == 1
    assert asked.ask("requests", dimensions=["http.route"])["meta"]["approximations"] == [
        {
            "code": "cardinality_limit", "dimension": "http.route", "limit": 1000, "days": 1,
            "first_day": "2024-04-18", "last_day": "2024-04-18",
        }
    ]  # fmt: skip
    assert asked.ask("requests")["meta"]["approximations"] == []


def test_percentiles_are_declared_as_approximations() -> None:
    meta = world().ask("requests p50_duration p99_duration")["meta"]
    assert meta["approximations"] == [
        {"code": "histogram", "metrics": ["p50_duration", "p99_duration"], "relative_error": 0.00782}
    ]


def test_a_range_is_final_once_its_end_plus_lateness_plus_a_minute_has_passed() -> None:
    asked = world()
    for now, final in (("2024-04-13T00:01:00Z", False), ("2024-04-13T00:01:01Z", True)):
        assert asked.ask("requests", ["2024-04-05", "2024-04-05"], now=now)["meta"]["final"] is final


def test_requests_without_a_path_are_told_when_paths_are_asked_for() -> None:
    requests = [Request(utc("2024-04-18 12:00"), path=path) for path in ("/x", None, None)]
    answer = world(requests, left_out=2).ask("requests", dimensions=["url.path"])
    assert answer["results"] == [{"dimensions": ["/x"], "metrics": [1]}]
    assert answer["meta"]["left_out"] == {"dimensions": ["url.path"], "events": 2}


def test_how_far_the_data_reach_and_what_was_verified_is_told() -> None:
    at = datetime(2024, 4, 19, 1, 2, 3, 456789, tzinfo=UTC)
    states = {(0, False): "verified", (0, True): "stale", (2, False): "differences", (2, True): "differences"}
    for (differences, stale), state in states.items():
        meta = world(applied_at=at, verification=Verification(at, differences, stale)).ask("requests")["meta"]
        assert meta["as_of"] == "2024-04-19T01:02:03.456789Z"
        assert meta["verification"] == {"state": state, "verified_at": "2024-04-19T01:02:03.456789Z"}
    meta = world().ask("requests")["meta"]
    assert meta["as_of"] is None
    assert meta["verification"] == {"state": "unverified", "verified_at": None}


def test_metrics_of_several_rollups_stand_in_one_row() -> None:
    requests = [Request(utc("2024-04-18 12:00"), size=10, actor=1), Request(utc("2024-04-18 13:00"), size=5)]
    assert world(requests).rows("events bytes requests actors") == {(): [2, 15, 2, 1]}
    assert world(requests).rows("events actors", dimensions=["event.name"]) == {("http.request",): [2, 1]}
