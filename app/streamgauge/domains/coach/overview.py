"""The coach's overview: answers of the query API in, one report out. Pure.

Every number is one that `POST /api/v1/query` gives, or follows from such numbers by whole-number arithmetic. All of them count events
by when they happened: a conversation that ends in the period counts as ended in it although it began before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from streamgauge.domains.coach.declarations import (
    CONVERSATION_ESCALATED,
    CONVERSATION_STARTED,
    LEAST_RATING,
    MOST_RATING,
)
from streamgauge.domains.coach.prices import LARGEST, Prices
from streamgauge.read.report import Answer
from streamgauge.read.tally import RATE_DECIMALS, Number, rounded

MOST_MODELS: Final = 100
RATINGS: Final = tuple(str(rating) for rating in range(LEAST_RATING, MOST_RATING + 1))
_RESOLVED: Final = "true"


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds within which so many percent of the messages were answered, within 0.8 %; null where none was."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of messages, those that did not tell them counting as none; null where none of some messages told them."""

    input: int | None
    output: int | None


@dataclass(frozen=True, slots=True)
class ModelUse:
    """One model. `cost`: micro-units of the currency, rounded half to even, once; null without a price or tokens."""

    model: str
    messages: int
    latency: Latency
    tokens: Tokens
    cost: int | None


@dataclass(frozen=True, slots=True)
class Ratings:
    """How often each rating was given, 1 being the worst, and their mean to 3 decimals; null where nobody rated."""

    count: int
    mean: float | None
    distribution: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CoachDay:
    """The figures of one local day, by its date."""

    date: str
    conversations_started: int
    conversations_ended: int
    conversations_resolved: int
    conversations_escalated: int
    messages: int
    active_users: int
    p95_latency: float | None
    mean_rating: float | None
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class CoachOverview:
    """The period's local days, their first and last instants, and what happened in them.

    - `active_users`: distinct actors of any of the coach's events. `active_users_are` says what that means: `distinct`, or
      `sum_daily_actors` over several days where visitors are known by a salt that changes every day.
    - `resolution_rate`: resolved endings / endings. `escalation_rate`: escalations / starts; above 1 where those that escalate began
      before the period, or escalate more than once. Both to 6 decimals, null where there is nothing to divide by.
    - `cost`: of all models together, in micro-units (millionths) of `currency`: the sum of their costs. Null as soon as one model's is,
      since a part of it would read as the whole.
    - `models`: the 100 with the most messages, of equal ones by name; `models_total` is how many there are. A model beyond the limit
      of values a day is among `(other)`, one that was not told is `(none)`.
    - `trend`: every day of the period, in order.
    """

    period_start: str
    period_end: str
    days: int
    time_zone: str
    as_of: str | None
    conversations_started: int
    conversations_ended: int
    conversations_resolved: int
    conversations_escalated: int
    resolution_rate: float | None
    escalation_rate: float | None
    messages: int
    active_users: int
    active_users_are: str
    latency: Latency
    ratings: Ratings
    tokens: Tokens
    currency: str | None
    cost: int | None
    models: tuple[ModelUse, ...]
    models_total: int
    trend: tuple[CoachDay, ...]


def overview(answers: Mapping[str, Answer], prices: Prices) -> CoachOverview:
    """The report: an answer to each of `questions` in, the overview out."""
    totals = answers["totals"]
    messages, p50, p95, p99, put_in, came_out, ended, mean = totals.results[0].metrics
    events, endings = _counts(answers["events"]), _counts(answers["endings"])
    started = events.get((CONVERSATION_STARTED.name,), 0)
    escalated = events.get((CONVERSATION_ESCALATED.name,), 0)
    resolved = endings.get((_RESOLVED,), 0)
    users = answers["users"]
    uses = _uses(answers["models"], prices)
    complete = answers["models"].meta["total_rows"] == len(uses)
    start, end = totals.query["date_range"]
    trend = _trend(answers)
    return CoachOverview(
        period_start=start,
        period_end=end,
        days=len(trend),
        time_zone=totals.meta["time_zone"],
        as_of=totals.meta["as_of"],
        conversations_started=started,
        conversations_ended=int(ended or 0),
        conversations_resolved=resolved,
        conversations_escalated=escalated,
        resolution_rate=_rate(resolved, int(ended or 0)),
        escalation_rate=_rate(escalated, started),
        messages=int(messages or 0),
        active_users=int(users.results[0].metrics[0] or 0),
        active_users_are="sum_daily_actors" if "actors" in users.meta["metric_warnings"] else "distinct",
        latency=Latency(p50, p95, p99),
        ratings=_ratings(answers["ratings"], mean),
        tokens=_tokens(put_in, came_out),
        currency=prices.currency,
        cost=_cost(uses, prices) if complete else None,
        models=uses[:MOST_MODELS],
        models_total=answers["models"].meta["total_rows"],
        trend=trend,
    )


def _counts(answer: Answer) -> Mapping[tuple[str, ...], int]:
    """The first metric of every row, by the row's dimensions."""
    return {row.dimensions: int(row.metrics[0] or 0) for row in answer.results}


def _uses(answer: Answer, prices: Prices) -> tuple[ModelUse, ...]:
    found = []
    for row in answer.results:
        messages, p50, p95, p99, *both = row.metrics
        tokens = _tokens(*both)
        (model,) = row.dimensions
        cost = prices.cost(model, tokens.input, tokens.output)
        found.append(ModelUse(model, int(messages or 0), Latency(p50, p95, p99), tokens, cost))
    return tuple(found)


def _cost(uses: tuple[ModelUse, ...], prices: Prices) -> int | None:
    """The costs together; None when one of them is not known, or no price is declared at all."""
    known = [use.cost for use in uses if use.cost is not None]
    if len(known) < len(uses) or prices.currency is None:
        return None
    cost = sum(known)
    return cost if cost <= LARGEST else None


def _ratings(answer: Answer, mean: Number) -> Ratings:
    given = _counts(answer)
    distribution = {rating: given.get((rating,), 0) for rating in RATINGS}
    return Ratings(sum(distribution.values()), mean, distribution)


def _trend(answers: Mapping[str, Answer]) -> tuple[CoachDay, ...]:
    users, events, endings = (_counts(answers[f"{part}_by_day"]) for part in ("users", "events", "endings"))
    days = []
    for row in answers["days"].results:
        (day,) = row.dimensions
        messages, p95, put_in, came_out, ended, mean = row.metrics
        days.append(
            CoachDay(
                date=day[:10],
                conversations_started=events.get((day, CONVERSATION_STARTED.name), 0),
                conversations_ended=int(ended or 0),
                conversations_resolved=endings.get((day, _RESOLVED), 0),
                conversations_escalated=events.get((day, CONVERSATION_ESCALATED.name), 0),
                messages=int(messages or 0),
                active_users=users.get((day,), 0),
                p95_latency=p95,
                mean_rating=mean,
                tokens=_tokens(put_in, came_out),
            )
        )
    return tuple(days)


def _tokens(put_in: Number, came_out: Number) -> Tokens:
    return Tokens(*(None if each is None else int(each) for each in (put_in, came_out)))


def _rate(part: int, whole: int) -> float | None:
    return rounded(Fraction(part, whole), RATE_DECIMALS) if whole else None
