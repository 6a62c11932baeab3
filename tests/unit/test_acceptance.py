"""What becomes of an event: every outcome, every limit to the microsecond, and which reason comes first."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.catalogue import CATALOGUE
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.outcomes import CODES
from streamgauge.summaries.rollups import Rollup
from streamgauge.table import thaw
from streamgauge_workers.acceptance import AHEAD, LONGEST_TEXT, judge

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 5, 4, 3, 2, 1, 123_457, tzinfo=UTC)
LATENESS = timedelta(days=7)
CATALOGUE_WITH_BALANCE = CATALOGUE.extended(Rollup("balance", "account.changed", value="balance"))


def microseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


GOOD = Event("http.request", microseconds(NOW), "acme", properties={"http.route": "/", "duration": 5})


def outcomes(events: list[Event], trusted: bool = False, now: datetime = NOW) -> list[tuple[str, str]]:
    table = thaw(freeze(events))
    found = judge(
        table, np.full(table.n, trusted), {"acme", "école"}, CATALOGUE_WITH_BALANCE, now, LATENESS
    )  # fmt: skip
    return [(CODES[code].name, CODES[code].reason) for code in found.tolist()]


def outcome(trusted: bool = False, now: datetime = NOW, **changes: Any) -> str:
    """The reason why an event is refused, alone and among good ones; "" when it is applied."""
    event = replace(GOOD, **changes)
    (alone,) = outcomes([event], trusted, now)
    good = replace(GOOD, occurred_at=microseconds(now))
    assert outcomes([good, event, good], trusted, now) == [("applied", ""), alone, ("applied", "")]
    return alone[1]


MICROSECOND = timedelta(microseconds=1)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2060, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


@given(MOMENTS)
def test_lateness_is_exact_to_the_microsecond(now: datetime) -> None:
    oldest = microseconds(now - LATENESS)
    assert outcome(now=now, occurred_at=oldest) == ""
    assert outcome(now=now, occurred_at=oldest - 1) == "late"


@given(MOMENTS)
def test_five_minutes_ahead_is_exact_to_the_microsecond(now: datetime) -> None:
    newest = microseconds(now + AHEAD)
    assert outcome(now=now, occurred_at=newest) == ""
    assert outcome(now=now, occurred_at=newest + 1) == "future"


def test_late_and_future_are_dead_letters_and_the_other_reasons_rejections() -> None:
    assert outcomes([replace(GOOD, occurred_at=GOOD.occurred_at - 8 * 86_400_000_000)]) == [
        ("dead_lettered", "late")
    ]
    assert outcomes([replace(GOOD, occurred_at=GOOD.occurred_at + 600_000_000)]) == [
        ("dead_lettered", "future")
    ]
    assert outcomes([replace(GOOD, tenant="nobody")]) == [("rejected", "unknown_tenant")]
    assert outcomes([replace(GOOD, occurred_at=-1)]) == [("rejected", "invalid_time")]
    assert outcomes([replace(GOOD, session="\0")]) == [("rejected", "invalid_text")]
    assert outcomes([replace(GOOD, properties={"duration": -1})]) == [("rejected", "invalid_value")]


def test_a_trusted_event_may_be_as_old_as_1970_but_not_ahead() -> None:
    # From the second day on, so that the local day lies within the calendar in every zone.
    assert outcome(trusted=True, occurred_at=86_400_000_000) == ""
    assert outcome(trusted=True, occurred_at=86_400_000_000 - 1) == "invalid_time"
    assert outcome(trusted=True, occurred_at=microseconds(NOW + AHEAD) + 1) == "future"


def test_times_that_no_calendar_holds_are_invalid_and_not_late_or_future() -> None:
    assert outcome(occurred_at=-1) == "invalid_time"
    assert outcome(occurred_at=86_400_000_000) == "late"
    assert outcome(occurred_at=-(2**63)) == "invalid_time"
    assert outcome(occurred_at=2**63 - 1) == "invalid_time"
    end = microseconds(datetime(2101, 1, 1, tzinfo=UTC))
    assert outcome(occurred_at=end - 1) == "future"
    assert outcome(occurred_at=end) == "invalid_time"


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"duration": 0}, ""),
        ({"duration": 2**48 - 1}, ""),
        ({"duration": 2**48}, "invalid_value"),
        ({"duration": 2**63 - 1}, "invalid_value"),
        ({"duration": -1}, "invalid_value"),
        ({"duration": -(2**63)}, "invalid_value"),
        ({"duration": 1.5}, ""),  # not a whole number: not measured, and so no reason to refuse
        ({"http.response.body.size": 2**48}, "invalid_value"),
        ({"balance": -(2**48) + 1}, ""),  # without a histogram a value may be negative
        ({"balance": -(2**48)}, "invalid_value"),
        ({"anything": 2**63 - 1}, ""),  # measured by nobody
        ({"anything": math.nan}, "invalid_value"),
        ({"anything": math.inf}, "invalid_value"),
        ({"anything": -math.inf}, "invalid_value"),
        ({"anything": 1e308}, ""),
    ],
)
def test_numbers(properties: dict[str, Any], reason: str) -> None:
    assert outcome(properties=properties) == reason


@pytest.mark.parametrize("field", ["name", "session", "group", "device"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("x" * LONGEST_TEXT, ""),
        ("x" * (LONGEST_TEXT + 1), "invalid_text"),
        ("a\0b", "invalid_text"),
    ],
)
def test_texts(field: str, text: str, reason: str) -> None:
    changes: dict[str, Any] = {field: text}
    assert outcome(**changes) == reason
    assert outcome(properties={"http.route": text}) == reason


def test_a_text_is_as_long_as_its_bytes_because_an_index_row_is() -> None:
    for letter in ("é", "字", "😀"):
        most = LONGEST_TEXT // len(letter.encode())
        assert outcome(properties={"http.route": letter * most}) == ""
        assert outcome(properties={"http.route": letter * (most + 1)}) == "invalid_text"


def test_the_name_of_a_property_is_a_text_too() -> None:
    assert outcome(properties={"a\0b": 1}) == "invalid_text"
    assert outcome(properties={"x" * (LONGEST_TEXT + 1): "y"}) == "invalid_text"
    assert outcome(properties={"é": 1}) == ""


def test_an_unknown_tenant_is_unknown_whatever_else_is_wrong() -> None:
    bad = replace(GOOD, tenant="nobody", occurred_at=-1, session="\0", properties={"duration": -1})
    order: list[tuple[str, dict[str, Any]]] = [
        ("unknown_tenant", {"tenant": "acme"}), ("invalid_text", {"session": None}),
        ("invalid_value", {"properties": {}}), ("invalid_time", {"occurred_at": GOOD.occurred_at}), ("", {}),
    ]  # fmt: skip
    for reason, cure in order:
        assert outcomes([bad])[0][1] == reason
        bad = replace(bad, **cure)


def test_a_text_that_no_event_uses_any_more_condemns_nobody() -> None:
    table = thaw(freeze([replace(GOOD, session="\0", tenant="nobody"), GOOD])).select(np.array([False, True]))
    found = judge(table, np.zeros(1, np.bool_), {"acme"}, CATALOGUE, NOW, LATENESS)
    assert found.tolist() == [0]


EVENTS = st.lists(
    st.builds(
        Event,
        name=st.sampled_from(["http.request", "\0"]),
        occurred_at=st.sampled_from([
            GOOD.occurred_at, -1, GOOD.occurred_at - 8 * 86_400_000_000, GOOD.occurred_at + 10**9,
        ]),
        tenant=st.sampled_from(["acme", "école", "nobody"]),
        session=st.sampled_from([None, "s", "\0"]),
        properties=st.dictionaries(
            st.sampled_from(["duration", "x"]), st.sampled_from([1, -1, 1.5, math.nan, "a", "\0", True]), max_size=2
        ),
    ),
    min_size=1,
    max_size=12,
)  # fmt: skip


@given(EVENTS, st.booleans())
def test_an_event_is_judged_by_itself_whatever_it_travels_with(events: list[Event], trusted: bool) -> None:
    assert outcomes(events, trusted) == [outcomes([event], trusted)[0] for event in events]


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"percent": 100}, ""),
        ({"percent": 0}, ""),
        ({"percent": 101}, "invalid_value"),
        ({"percent": -1}, "invalid_value"),
    ],
)
def test_a_number_outside_its_declared_bounds_is_refused(properties: dict[str, Any], reason: str) -> None:
    assert outcome(name="lesson.progressed", properties=properties) == reason


def test_bounds_are_those_of_the_event_type_and_no_others() -> None:
    assert outcome(name="of.somebody", properties={"percent": 140, "score": 9, "max_score": 5}) == ""


@pytest.mark.parametrize(("score", "most", "reason"), [(5, 5, ""), (0, 5, ""), (6, 5, "invalid_value")])
def test_a_score_above_the_most_there_was_is_refused(score: int, most: int, reason: str) -> None:
    assert outcome(name="quiz.attempted", properties={"score": score, "max_score": most}) == reason
    assert outcome(name="quiz.attempted", properties={"score": score}) == ""
