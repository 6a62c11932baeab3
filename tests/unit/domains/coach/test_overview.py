"""Promises about the overview: every figure follows from the raw events, in whatever order, batches and copies they come."""

import dataclasses
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.domains.coach.overview import CoachOverview, overview
from streamgauge.domains.coach.prices import Price, Prices
from streamgauge.domains.coach.questions import last_days, questions
from streamgauge.event import Event
from streamgauge.summaries.calendar import Calendar
from tests.unit.domains.coach.answering import Answering

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
SECOND = 1_000_000
PRICES = Prices("EUR", {"small": Price(2_500_000, 10_000_000), "large": Price(3, 7)})
ACTORS = [None, *(bytes([1, number]) + bytes(15) for number in range(4))]


@st.composite
def events(draw: st.DrawFn) -> Event:
    """An event of the coach in the five days before NOW, often with a key."""
    name = draw(
        st.sampled_from(
            ["conversation.started", "conversation.ended", "message.exchanged", "feedback.rated", "conversation.escalated"]
        )
    )  # fmt: skip
    choices: dict[str, dict[str, st.SearchStrategy[int | str | bool]]] = {
        "conversation.ended": {"resolved": st.booleans()},
        "feedback.rated": {"rating": st.integers(1, 5)},
        "message.exchanged": {
            "gen_ai.request.model": st.sampled_from(["small", "large", "free"]),
            "duration": st.integers(0, 10**7),
            "gen_ai.usage.input_tokens": st.integers(0, 10**6),
            "gen_ai.usage.output_tokens": st.integers(0, 10**6),
        },
    }
    properties = {
        each: draw(values) for each, values in choices.get(name, {}).items() if draw(st.integers(0, 9))
    }
    at = int(NOW.timestamp()) - draw(st.integers(0, 5 * 86_400))
    key = draw(st.none() | st.integers(0, 3).map(lambda number: bytes([number]) * 16))
    return Event(name, at * SECOND, "school", draw(st.sampled_from(ACTORS)), properties=properties, key=key)


def told(
    events: Sequence[Event], days: int, zone: str, seed: int | None = None, prices: Prices = PRICES
) -> CoachOverview:
    answering = Answering(events, zone, seed)
    asked = questions(last_days(answering.calendar, int(NOW.timestamp()), days))
    return overview(
        {part: answering.ask(question, NOW.isoformat()) for part, question in asked.items()}, prices
    )


def once(events: Sequence[Event]) -> list[Event]:
    """The events without repetitions of a key."""
    kept: dict[object, Event] = {}
    for number, event in enumerate(events):
        kept.setdefault(event.key or number, event)
    return list(kept.values())


def local(event: Event, zone: str) -> date:
    return datetime.fromtimestamp(event.occurred_at / SECOND, ZoneInfo(zone)).date()


def with_value(events: Sequence[Event], name: str, property: str) -> list[int]:
    return [
        int(each.properties[property]) for each in events if each.name == name and property in each.properties
    ]


def near(value: float | None, exact: int | None) -> bool:
    """Whether milliseconds are these microseconds, within the histogram's error and rounding."""
    if value is None or exact is None:
        return value is None and exact is None
    return abs(value * 1_000 - exact) <= exact * 0.00782 + 1


def quantile(values: list[int], percent: int) -> int | None:
    return sorted(values)[math.ceil(Fraction(percent, 100) * len(values)) - 1] if values else None


def ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


ZONES = ["UTC", "Europe/Berlin", "Pacific/Chatham", "America/New_York"]


@settings(max_examples=30)
@given(st.lists(events(), max_size=30), st.sampled_from(ZONES), st.integers(1, 6))
def test_every_figure_follows_from_the_raw_events(given_events: list[Event], zone: str, days: int) -> None:
    found = told(given_events, days, zone)
    today = NOW.astimezone(ZoneInfo(zone)).date()
    dates = [today - timedelta(back) for back in reversed(range(days))]
    inside = [each for each in once(given_events) if local(each, zone) in dates]
    names = [each.name for each in inside]
    started, ended = names.count("conversation.started"), names.count("conversation.ended")
    escalated = names.count("conversation.escalated")
    resolved = sum(with_value(inside, "conversation.ended", "resolved"))
    assert (found.conversations_started, found.conversations_ended) == (started, ended)
    assert (found.conversations_resolved, found.conversations_escalated) == (resolved, escalated)
    assert (found.resolution_rate, found.escalation_rate) == (
        ratio(resolved, ended),
        ratio(escalated, started),
    )
    assert found.messages == names.count("message.exchanged")
    assert (found.active_users, found.active_users_are) == (
        len({each.actor for each in inside} - {None}),
        "distinct",
    )
    latencies = with_value(inside, "message.exchanged", "duration")
    for percent in (50, 95, 99):
        assert near(getattr(found.latency, f"p{percent}"), quantile(latencies, percent))
    ratings = with_value(inside, "feedback.rated", "rating")
    mean = float(round(Fraction(sum(ratings), len(ratings)), 3)) if ratings else None
    assert (found.ratings.count, found.ratings.mean) == (len(ratings), mean)
    assert found.ratings.distribution == {str(each): ratings.count(each) for each in range(1, 6)}
    assert (found.days, [each.date for each in found.trend]) == (days, [each.isoformat() for each in dates])
    for day, at in zip(found.trend, dates, strict=True):
        those = [each for each in inside if local(each, zone) == at]
        own = [each.name for each in those]
        assert (day.conversations_started, day.conversations_ended, day.conversations_escalated, day.messages) == tuple(
            own.count(f"{name}") for name in ("conversation.started", "conversation.ended", "conversation.escalated", "message.exchanged")
        )  # fmt: skip
        assert day.conversations_resolved == sum(with_value(those, "conversation.ended", "resolved"))
        assert day.active_users == len({each.actor for each in those} - {None})
        assert near(day.p95_latency, quantile(with_value(those, "message.exchanged", "duration"), 95))
        own_ratings = with_value(those, "feedback.rated", "rating")
        assert day.mean_rating == (
            float(round(Fraction(sum(own_ratings), len(own_ratings)), 3)) if own_ratings else None
        )


@settings(max_examples=30)
@given(st.lists(events(), max_size=30))
def test_tokens_and_costs_are_those_of_each_model(given_events: list[Event]) -> None:
    found = told(given_events, 30, "UTC")
    messages = [each for each in once(given_events) if each.name == "message.exchanged"]
    by_model: dict[str, list[Event]] = {}
    for each in messages:
        by_model.setdefault(str(each.properties.get("gen_ai.request.model", "(none)")), []).append(each)
    order = sorted(by_model, key=lambda model: (-len(by_model[model]), model))
    assert [(use.model, use.messages) for use in found.models] == [
        (model, len(by_model[model])) for model in order
    ]
    assert found.models_total == len(order)
    costs = []
    for use in found.models:
        both = [
            with_value(by_model[use.model], "message.exchanged", f"gen_ai.usage.{way}_tokens")
            for way in ("input", "output")
        ]
        put_in, came_out = (sum(values) if values else None for values in both)
        assert (use.tokens.input, use.tokens.output) == (put_in, came_out)
        price = PRICES.models.get(use.model)
        known = price is not None and (put_in is not None or came_out is not None)
        exact = Fraction(
            (put_in or 0) * (price.input if price else 0) + (came_out or 0) * (price.output if price else 0),
            1_000_000,
        )
        assert use.cost == (round(exact) if known else None)
        costs.append(use.cost)
        latencies = with_value(by_model[use.model], "message.exchanged", "duration")
        assert near(use.latency.p95, quantile(latencies, 95))
    assert found.cost == (None if None in costs else sum(each for each in costs if each is not None))
    assert found.currency == "EUR"


@settings(max_examples=30)
@given(st.lists(events(), max_size=25), st.integers(), st.sampled_from(ZONES), st.data())
def test_order_batches_and_repetitions_change_nothing(
    given_events: list[Event], seed: int, zone: str, data: st.DataObject
) -> None:
    # With every event keyed by itself, copies of any of them may come at any place.
    keyed = [
        dataclasses.replace(each, key=number.to_bytes(16, "big")) for number, each in enumerate(given_events)
    ]
    copies = data.draw(st.lists(st.sampled_from(keyed), max_size=8)) if keyed else []
    plain = orjson.dumps(told(keyed, 4, zone))
    assert orjson.dumps(told(data.draw(st.permutations([*keyed, *copies])), 4, zone, seed)) == plain


def message(model: str = "small", days_ago: int = 0, **tokens: int) -> Event:
    at = int((NOW - timedelta(days_ago)).timestamp()) * SECOND
    properties: dict[str, int | str] = {"gen_ai.request.model": model, "duration": 1_000}
    properties |= {f"gen_ai.usage.{way}_tokens": number for way, number in tokens.items()}
    return Event("message.exchanged", at, "school", properties=properties)


def test_a_cost_is_of_the_whole_period_and_not_rounded_day_by_day() -> None:
    prices = Prices("EUR", {"small": Price(400_000, 0)})
    found = told([message(days_ago=day, input=1) for day in range(5)], 30, "UTC", prices=prices)
    assert found.cost == found.models[0].cost == 2


@pytest.mark.parametrize(
    ("prices", "models", "cost"),
    [
        (Prices(), ["small"], None),
        (Prices(), [], None),
        (PRICES, [], 0),
        (PRICES, ["small"], 25),
        (PRICES, ["small", "free"], None),
        (Prices("EUR", {**PRICES.models, "free": Price(0, 0)}), ["small", "free"], 25),
    ],
)
def test_the_whole_cost_is_not_known_where_a_part_of_it_is_not(
    prices: Prices, models: list[str], cost: int | None
) -> None:
    found = told([message(model, input=10) for model in models], 1, "UTC", prices=prices)
    assert (found.cost, found.currency) == (cost, prices.currency)


def test_of_many_models_the_busiest_are_told_and_all_are_paid_for() -> None:
    names = [f"m{number:03}" for number in range(120)]
    prices = Prices("EUR", {name: Price(1_000_000, 0) for name in names})
    busy = [message("m119", input=1)]
    found = told([*(message(name, input=1) for name in names), *busy], 1, "UTC", prices=prices)
    assert [use.model for use in found.models] == ["m119", *names[:99]]
    assert (found.models_total, found.cost) == (120, 121)


def test_an_event_that_comes_late_is_counted_where_it_belongs_and_what_is_older_than_the_period_nowhere() -> (
    None
):
    before, late = [message(), message(days_ago=30)], message(days_ago=6)
    one, two = told(before, 30, "UTC"), told([*before, late], 30, "UTC")
    assert (one.messages, two.messages) == (1, 2)
    changed = [old.date for old, new in zip(one.trend, two.trend, strict=True) if old != new]
    assert changed == ["2026-03-25"]


def test_nothing_that_happened_is_zero_and_nothing_to_divide_by_is_null() -> None:
    found = told([], 7, "UTC")
    assert (found.messages, found.active_users, found.conversations_started, found.models) == (0, 0, 0, ())
    assert (found.resolution_rate, found.escalation_rate, found.ratings.mean, found.latency.p99) == (
        None,
    ) * 4
    assert len(found.trend) == 7
    assert {each.tokens.input for each in found.trend} == {0}


def test_the_days_end_with_today_and_never_begin_before_the_calendar_does() -> None:
    calendar = Calendar([(None, "Pacific/Auckland")])
    at = int(datetime(2026, 3, 31, 12, tzinfo=UTC).timestamp())
    assert last_days(calendar, at, 2) == ("2026-03-31", "2026-04-01")
    assert last_days(calendar, 86_400, 365) == ("1970-01-01", "1970-01-02")
