"""Promises about scores: weights that are exact and fall, and boards against a count of the raw events."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.domains.collaboration import leaderboard
from streamgauge.domains.collaboration.leaderboard import Placer, Readers, Scored, board_report, scored
from streamgauge.domains.collaboration.scores import OLDEST, SCALE, Deeds, Metric, momentum, shown, weight
from streamgauge.event import Event
from tests.unit.domains.collaboration import drafting as oracle
from tests.unit.domains.collaboration.drafting import NOW, OWN, PEOPLE, VISITOR, ZONE, counting, events
from tests.unit.entities.folded import Folded, folded

DAYS = st.sampled_from([None, 1, 7, 8, 13, 365])


async def read(
    rows: Folded, metric: Metric, days: int | None = None, among: frozenset[bytes] | None = None
) -> list[Scored]:
    return await scored(Readers(rows.of(among), rows.of(None), among), metric, days, rows.calendar, NOW)


async def order(
    told: list[Event], metric: Metric, days: int | None = None, among: frozenset[bytes] | None = None
) -> list[Scored]:
    return await read(folded(told, ZONE, OWN), metric, days, among)


def test_weights_are_powers_of_two_rounded_down() -> None:
    for age in range(2 * OLDEST):
        # w <= 2^32 * 2^(-age / 7) < w + 1, without roots: both sides to the 7th power.
        assert weight(age) ** 7 * 2**age <= SCALE**7 < (weight(age) + 1) ** 7 * 2**age
    assert (weight(0), weight(7), weight(14)) == (SCALE, SCALE // 2, SCALE // 4)


def test_a_later_day_never_weighs_less_and_the_oldest_that_counts_is_told_rightly() -> None:
    weights = [weight(age) for age in range(2 * OLDEST)]
    assert all(later >= earlier for later, earlier in pairwise(weights))
    assert all(later > earlier for later, earlier in pairwise(weights[:100]))
    assert (weights[OLDEST - 1], weights[OLDEST]) == (1, 0)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=20))
def test_momentum_is_below_the_true_score_by_less_than_its_points_in_the_last_place(
    days: list[tuple[int, int, int]],
) -> None:
    found = momentum((age, Deeds(created=made, segments=written)) for age, made, written in days)
    points = sum(written + made * 5 for _, made, written in days)
    true = sum(
        (Decimal(written + made * 5) * Decimal(2) ** (Decimal(-age) / 7) for age, made, written in days),
        Decimal(0),
    )
    short = float(true - Decimal(found) / SCALE)
    assert -1e-12 <= short <= points / SCALE + 1e-12
    assert shown("momentum", found) == float(round(Fraction(found, SCALE), 3))


@settings(max_examples=30)
@given(events(), DAYS, st.integers(0, 99), st.sampled_from([None, 3, 0]))
async def test_boards_are_those_of_the_raw_events_in_whatever_order_and_however_often_they_come(
    told: list[Event], days: int | None, seed: int, members: int | None
) -> None:
    among = None if members is None else frozenset(PEOPLE[:members])
    own = counting(told, days)
    rows, mixed = (folded(told, ZONE, OWN, each) for each in (None, seed))
    for metric, formula in (
        ("collaboration", oracle.collaboration),
        ("consistency", oracle.consistency),
    ):
        expected = [each for each in oracle.ordered(own, formula) if among is None or each[0] in among]
        found = await read(rows, metric, days, among)  # type: ignore[arg-type]  # a metric's name
        assert [(each.actor, each.score) for each in found] == expected
        assert found == await read(mixed, metric, days, among)  # type: ignore[arg-type]  # as above


@settings(max_examples=30)
@given(events(), DAYS, st.integers(0, 99))
async def test_momentum_is_that_of_each_local_days_events(
    told: list[Event], days: int | None, seed: int
) -> None:
    own = counting(told, days)
    found = await order(told, "momentum", days)
    assert found == await read(folded(told, ZONE, OWN, seed), "momentum", days)
    scores = {each.actor: each.score for each in found}
    for actor in PEOPLE:
        true, points = oracle.momentum(own, actor)
        short = true - Decimal(scores.get(actor, 0)) / SCALE
        assert 0 <= short <= Decimal(points) / SCALE
    assert [each.actor for each in found] == sorted(scores, key=lambda actor: (-scores[actor], actor))


def event(name: str, actor: bytes, at: int = NOW, draft: str = "fable", **more: str) -> Event:
    return Event(name, at * 1_000_000, "school", actor, properties={"draft.id": draft, **more})


async def test_a_draft_counts_once_and_a_ring_each_time() -> None:
    ada, bob = PEOPLE[:2]
    told = [
        event("draft.created", ada),
        event("draft.created", ada, NOW - 90_000),
        event("segment.added", ada),
    ]
    told += [event("ring.passed", bob, to=ada.hex()) for _ in range(2)]
    assert await order(told, "collaboration") == [Scored(ada, 3 + 2 * 2 + 1)]
    assert await order(told, "consistency") == [Scored(ada, 5 + 2)]
    assert await order(told, "momentum") == [Scored(ada, 6 * SCALE + 5 * weight(1))]
    # Of a day without the creation, the segment still is a contribution.
    assert await order(told[2:], "consistency", 1) == [Scored(ada, 2)]


async def test_an_event_of_tomorrow_counts_from_tomorrow_on() -> None:
    # Clocks may be five minutes ahead, over midnight, too; and an admin may ask as of yesterday.
    rows = folded([event("segment.added", PEOPLE[0], NOW + 86_400)], ZONE, OWN)
    readers = Readers(rows.of(None), rows.of(None))
    for metric, score in (("collaboration", 4), ("consistency", 2), ("momentum", SCALE)):
        for days in (None, 1, 365):
            found = [
                await scored(readers, metric, days, rows.calendar, now)  # type: ignore[arg-type]  # a metric's name
                for now in (NOW, NOW + 86_400)
            ]
            assert found == [[], [Scored(PEOPLE[0], score)]]


async def test_visitors_and_who_is_no_pseudonym_are_on_no_board() -> None:
    told = [event("segment.added", VISITOR), event("segment.added", PEOPLE[0])]
    told += [event("ring.passed", PEOPLE[0], to=each) for each in (VISITOR.hex(), "ada", "zz" * 17)]
    for metric in ("collaboration", "consistency", "momentum"):
        found = await order(told, metric)
        assert [each.actor for each in found] == [PEOPLE[0]]


@pytest.mark.parametrize("few", [0, 100], ids=["many members", "few members"])
async def test_a_groups_board_has_its_members_rings_whoever_passed_them(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaderboard, "FEW", few)
    ada, bob, cy, _ = PEOPLE
    told = [event("ring.passed", cy, to=each.hex()) for each in (ada, bob, ada, cy)]
    expected = [Scored(ada, 4), Scored(bob, 2)]
    assert await order(told, "collaboration", among=frozenset({ada, bob})) == expected


async def test_equal_scores_are_in_the_order_of_ids() -> None:
    told = [event("segment.added", actor) for actor in PEOPLE]
    found = await order(told, "momentum")
    assert [each.actor for each in found] == sorted(PEOPLE)


def test_a_board_shows_ids_only_of_who_may_be_seen_and_the_caller_as_you_wherever_it_is() -> None:
    ada, bob, cy, dan = sorted(PEOPLE)
    found = [Scored(ada, 9), Scored(bob, 5), Scored(cy, 5), Scored(dan, 1)]
    names = {actor: actor.hex()[-1] for actor in PEOPLE}
    board = board_report(found, "consistency", "5b", 30, 2, Placer(dan, {bob, dan}, names))
    assert (board.metric, board.group, board.days, board.participants) == ("consistency", "5b", 30, 4)
    assert [(each.rank, each.id, each.name, each.score) for each in board.entries] == [
        (1, None, names[ada], 9), (2, bob.hex(), names[bob], 5),
    ]  # fmt: skip
    assert board.you is not None
    assert (board.you.rank, board.you.id, board.you.name, board.you.score) == (4, dan.hex(), "You", 1)
    every = board_report(found, "consistency", None, None, 100, Placer(None, None, names))
    assert [each.id for each in every.entries] == [actor.hex() for actor in (ada, bob, cy, dan)]
    assert every.you is None
    first = board_report(found, "momentum", None, None, 1, Placer(ada, frozenset(), names))
    assert (first.entries, first.entries[0].name, first.entries[0].id) == ((first.you,), "You", ada.hex())
    assert first.entries[0].score == round(9 / SCALE, 3)
