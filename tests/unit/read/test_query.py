"""Questions that can be asked, and clear words for those that cannot."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.catalogue import CATALOGUE
from streamgauge.errors import InputError
from streamgauge.read.filters import MOST_DEPTH, MOST_FILTERS, MOST_VALUES
from streamgauge.read.metrics import METRICS
from streamgauge.read.query import MOST_BYTES, Query, parse_query

GOOD: dict[str, Any] = {"tenant": "t", "metrics": ["requests"], "date_range": "7d"}


def parse(**more: object) -> Query:
    return parse_query(orjson.dumps(GOOD | more), CATALOGUE)


def nested(depth: int) -> list[object]:
    found: list[object] = ["is", "http.route", ["/"]]
    for _ in range(depth - 1):
        found = ["not", found]
    return found


def test_the_smallest_question_has_defaults_for_everything_else() -> None:
    query = parse()
    assert query.dimensions == ()
    assert query.filters == ()
    assert (query.pagination.limit, query.pagination.offset) == (10_000, 0)
    assert query.instant() is None


def test_a_question_may_be_text_bytes_or_an_object() -> None:
    assert parse_query(GOOD, CATALOGUE) == parse_query(orjson.dumps(GOOD).decode(), CATALOGUE) == parse()


def test_every_metric_has_a_rollup_and_a_sentence() -> None:
    for name, metric in METRICS.items():
        assert CATALOGUE.rollup(metric.rollup) is not None
        assert metric.name == name
        assert metric.description
        assert (metric.quantile is not None) == (metric.measure == "quantile")
        assert metric.daily is None or METRICS[metric.daily].measure == "daily_distinct"


def test_values_are_compared_as_text() -> None:
    first, second = (
        parse(filters=[["is", "http.response.status_code", [value]]]).filters for value in (404, "404")
    )
    assert first == second


@pytest.mark.parametrize(
    ("more", "field", "words"),
    [
        ({"metrics": ["requsts"]}, "metrics", "unknown metric 'requsts': did you mean 'requests'?"),
        ({"metrics": []}, "metrics", "1 to 20"),
        ({"metrics": ["requests"] * 21}, "metrics", "1 to 20"),
        ({"metrics": "requests"}, "metrics", "give a list of 1 to 20"),
        ({"metrics": [1]}, "metrics", "give a list"),
        ({"dimensions": ["http.rout"]}, "dimensions", "did you mean 'http.route'?"),
        ({"dimensions": ["time:minute"]}, "dimensions", "unknown dimension 'time:minute'"),
        ({"dimensions": ["time:day", "time:hour"]}, "dimensions", "more than one time dimension"),
        ({"dimensions": ["http.route", "http.route"]}, "dimensions", "twice"),
        ({"dimensions": ["http.route"] * 7}, "dimensions", "up to 6"),
        ({"dimensions": ["event.name"]}, "dimensions", "'requests' is not kept by: 'requests' has http.request.method"),
        ({"metrics": ["events"], "dimensions": ["http.route"]}, "dimensions", "'events' has event.name"),
        ({"filters": {}}, "filters", "give a list of filters"),
        ({"filters": ["is"]}, "filters[0]", "give a filter"),
        ({"filters": [["isnt", "http.route", ["/"]]]}, "filters[0]", "operator 'isnt': did you mean 'is_not'?"),
        ({"filters": [["is", "http.route", "/"]]}, "filters[0][2]", "1 to 200 values"),
        ({"filters": [["is", "http.route", []]]}, "filters[0][2]", "1 to 200 values"),
        ({"filters": [["is", "http.route", ["/"] * (MOST_VALUES + 1)]]}, "filters[0][2]", "1 to 200"),
        ({"filters": [["is", "http.route", ["a" * 2001]]]}, "filters[0][2]", "2000 characters"),
        ({"filters": [["is", "http.route", [True]]]}, "filters[0][2]", "a text or a whole number"),
        ({"filters": [["is", "http.route", [1.5]]]}, "filters[0][2]", "a text or a whole number"),
        ({"filters": [["is", "http.route"]]}, "filters[0]", "takes a dimension and a list of values"),
        ({"filters": [["is", "nothing", ["/"]]]}, "filters", "unknown dimension 'nothing'"),
        ({"filters": [["is", "time:day", ["/"]]]}, "filters", "narrow date_range instead"),
        ({"filters": [["and", []]]}, "filters[0]", "at least one filter"),
        ({"filters": [["and", nested(1), nested(1)]]}, "filters[0]", "exactly one thing"),
        ({"filters": [nested(MOST_DEPTH + 1)]}, "filters[0]" + "[1]" * MOST_DEPTH, "up to 8 levels"),
        ({"filters": [nested(1)] * (MOST_FILTERS + 1)}, "filters", "51 comparisons: up to 50"),
        ({"metrics": ["events"], "filters": [nested(1)]}, "filters", "'events' has event.name"),
        ({"order_by": [["errors", "desc"]]}, "order_by", "not asked for"),
        ({"order_by": [["requests", "down"]]}, "order_by", '"asc" or "desc"'),
        ({"order_by": [["requests", "asc"], ["requests", "desc"]]}, "order_by", "twice"),
        ({"pagination": {"limit": 10_001}}, "pagination", "1 to 10000"),
        ({"pagination": {"limit": 0}}, "pagination", "1 to 10000"),
        ({"pagination": {"limt": 5}}, "pagination.limt", "did you mean 'limit'?"),
        ({"pagination": {"limit": True}}, "pagination", "1 to 10000"),
        ({"include": {"total_row": True}}, "include.total_row", "did you mean 'total_rows'?"),
        ({"include": {"total_rows": 1}}, "include", "true or false"),
        ({"metric": []}, "metric", "did you mean 'metrics'?"),
        ({"tenant": ""}, "tenant", "1 to 100 characters"),
        ({"tenant": None}, "tenant", "give the tenant's name"),
        ({"tenant": "a\0b"}, "tenant", "\\u0000"),
        ({"filters": [["is", "http.route", ["\0"]]]}, "filters", "\\u0000"),
        ({"pagination": {"\0": 1}}, "pagination", "\\u0000"),
        ({"date_range": 7}, "date_range", "give two dates"),
        ({"date_range": ["2024-01-01"]}, "date_range", "give two dates"),
        ({"date_range": math.nan}, "date_range", "give two dates"),
        ({"now": "yesterday"}, "now", "RFC 3339"),
        ({"now": "2024-01-01T00:00:00"}, "now", "with its offset"),
        ({"now": "2024-02-30T00:00:00Z"}, "now", "RFC 3339"),
        ({"now": "1969-12-31T23:59:59Z"}, "now", "1970 to 2100"),
        ({"now": "0001-01-01T00:00:00+14:00"}, "now", "RFC 3339"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_named_with_what_is_allowed(
    more: dict[str, object], field: str, words: str
) -> None:
    with pytest.raises(InputError) as raised:
        parse(**more)
    assert words in str(raised.value)
    assert raised.value.field == field
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize("missing", ["tenant", "metrics", "date_range"])
def test_a_missing_field_is_named(missing: str) -> None:
    with pytest.raises(InputError, match=f"{missing} is missing: give") as raised:
        parse_query({name: value for name, value in GOOD.items() if name != missing}, CATALOGUE)
    assert raised.value.field == missing


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"tenant": NaN}', "not JSON"),
        (b'{"tenant": "\\ud800"}', "not JSON"),
        (b"[" * 5_000, "not JSON"),
        (b"[]", "give a JSON object"),
        (b"null", "give a JSON object"),
        (b'"' + b"a" * MOST_BYTES + b'"', "up to 65536 are allowed"),
        ("\ud800", "not JSON"),
        ({"tenant": "\ud800"}, "not JSON"),
        ({"tenant": object()}, "not JSON"),
    ],
)
def test_what_is_no_object_of_json_is_refused(text: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        parse_query(text, CATALOGUE)
    assert raised.value.field == "query"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from([*Query.model_fields, "other"]), JSON)
def test_no_value_of_any_field_does_worse_than_a_clear_error(field: str, value: object) -> None:
    with suppress(InputError):
        assert parse_query(GOOD | {field: value}, CATALOGUE).tenant


def test_filters_are_shown_as_they_were_given() -> None:
    raw: list[Any] = [
        ["and", [["is", "http.route", ["/"]], ["not", ["contains", "http.route", ["a", "b"]]]]],
        ["or", [["is_not", "http.request.method", ["GET"]]]],
    ]
    assert [part.plain() for part in parse(filters=raw).filters] == raw


@pytest.mark.parametrize(
    ("operator", "test"),
    [
        ("is", lambda value: value in ("/a", "/b")),
        ("is_not", lambda value: value not in ("/a", "/b")),
        ("contains", lambda value: "/a" in value or "/b" in value),
        ("contains_not", lambda value: "/a" not in value and "/b" not in value),
    ],
)
def test_operators_compare_with_any_of_the_values(operator: str, test: Callable[[str], bool]) -> None:
    (found,) = parse(filters=[[operator, "http.route", ["/a", "/b"]]]).filters
    for value in ("/a", "/b", "/a/b", "/", "/c"):
        assert found.matches({"http.route": value}) is test(value)
