"""Promises about tallies: the vectorised fold against a loop over events, in any order and any batches."""

import random
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import SettingsError
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.fold import Scope
from streamgauge.summaries.tallies import ACTOR, EVENT, GROUP, Moment, State, Tally, TallyKey, merged
from streamgauge.summaries.tallying import event_ids, tally
from streamgauge.table import Table, join, thaw

ZONES = {"a": "Asia/Kolkata", "b": "Australia/Lord_Howe"}
SCOPES = {
    name: Scope(place + 1, Calendar([(None, zone)])) for place, (name, zone) in enumerate(ZONES.items())
}
TALLIES = (
    Tally("lessons", ("lesson.progressed",), (ACTOR, "course.id", "lesson.id"), last=("percent", "note")),
    Tally(
        "days", ("lesson.progressed", "quiz.attempted"), (ACTOR,), "day", sums=("score",), greatest=("score",)
    ),
    Tally("hours", ("quiz.attempted",), ("course.id",), "hour", sums=("score", "percent")),
    Tally("journal", ("quiz.attempted",), (ACTOR, EVENT), last=("score",)),
    Tally("classes", ("quiz.attempted",), (GROUP, "passed"), greatest=("percent",)),
)
START = 1_790_000_000_000_000
LANE = b"l" * 16

events = st.lists(
    st.builds(
        Event,
        name=st.sampled_from(["lesson.progressed", "quiz.attempted", "other"]),
        # Few moments, so that ties are common.
        occurred_at=st.integers(0, 6).map(lambda step: START + step * 11 * 3_600_000_000),
        tenant=st.sampled_from(sorted(ZONES)),
        actor=st.sampled_from([None, b"\1" * 17, b"\2" * 17]),
        group=st.sampled_from([None, "7b"]),
        properties=st.fixed_dictionaries(
            {},
            optional={
                "course.id": st.sampled_from(["c1", "c2"]),
                "lesson.id": st.sampled_from(["l1", "l2"]),
                "percent": st.integers(0, 100),
                "score": st.integers(0, 10),
                "note": st.sampled_from(["x", "y"]),
                "passed": st.booleans(),
            },
        ),
        key=st.one_of(st.none(), st.integers(0, 200).map(lambda number: number.to_bytes(16))),
    ),
    min_size=1,
    max_size=40,
)


def id_of(event: Event, number: int) -> bytes:
    return event.key or blake2b(LANE + number.to_bytes(8), digest_size=16).digest()


def plainly(events: Sequence[Event]) -> dict[TallyKey, State]:
    """What the fold is to give: one event after the other."""
    found: dict[TallyKey, list[tuple[Moment, Event]]] = {}
    for number, event in enumerate(events):
        scope = SCOPES[event.tenant]
        moment = Moment(event.occurred_at, id_of(event, number))
        for declared in TALLIES:
            values: dict[str, object] = {
                **event.properties, ACTOR: event.actor, GROUP: event.group, EVENT: moment.event_id.hex()
            }  # fmt: skip
            if event.name not in declared.events or any(values.get(part) is None for part in declared.by):
                continue
            starts = {"day": scope.calendar.day_starts, "hour": scope.calendar.hour_starts}
            at = thaw(freeze([event])).occurred_at
            bucket = 0 if declared.grain == "all" else int(starts[declared.grain](at)[0])
            parts = tuple(
                str(values[part]).lower() if isinstance(values[part], bool) else str(values[part])
                for part in declared.parts
            )
            actor = event.actor if ACTOR in declared.by else None
            key = TallyKey(scope.tenant_id, declared.name, bucket, actor, parts)
            found.setdefault(key, []).append((moment, event))
    return {key: state_of(key, rows) for key, rows in found.items()}


def state_of(key: TallyKey, rows: list[tuple[Moment, Event]]) -> State:
    declared = next(each for each in TALLIES if each.name == key.tally)
    rows = sorted(rows, key=lambda row: row[0])

    def values(name: str) -> list[int]:
        return [int(event.properties[name]) for _, event in rows if name in event.properties]

    said = {name: value for name, value in rows[-1][1].properties.items() if name in declared.last}
    return State(
        len(rows), tuple(sum(values(name)) for name in declared.sums),
        tuple(max(values(name), default=None) for name in declared.greatest), rows[0][0], rows[-1][0], said,
    )  # fmt: skip


def tables_of(events: Sequence[Event], cuts: Sequence[int]) -> list[Table]:
    edges = sorted({0, len(events), *(cut % (len(events) + 1) for cut in cuts)})
    pairs = pairwise(edges)
    return [thaw(freeze(events[first:end])).located(LANE, first) for first, end in pairs]


def folded(table: Table) -> list[tuple[TallyKey, State]]:
    return list(tally(table, [SCOPES[name] for name in table.tenant.values], TALLIES))


def repeats_a_key(events: Sequence[Event]) -> bool:
    """Of events with one key only the first is ever applied."""
    keys = [event.key for event in events if event.key is not None]
    return len(set(keys)) < len(keys)


@given(events, st.lists(st.integers(0, 40), max_size=4), st.randoms(use_true_random=False))
def test_whatever_the_batches_and_their_order_the_states_are_those_of_one_event_after_the_other(
    events: list[Event], cuts: list[int], chosen: random.Random
) -> None:
    if repeats_a_key(events):
        return
    tables = tables_of(events, cuts)
    chosen.shuffle(tables)
    expected = plainly(events)
    assert merged([state for table in tables for state in folded(table)]) == expected
    assert merged(folded(join(tables))) == expected


@given(events)
def test_within_one_table_every_key_comes_once(events: list[Event]) -> None:
    if repeats_a_key(events):
        return
    keys = [key for key, _ in folded(tables_of(events, ())[0])]
    assert len(keys) == len(set(keys))


def test_a_late_older_event_changes_what_was_first_and_not_what_was_said_last() -> None:
    older, newer = (
        Event("lesson.progressed", START + at, "a", b"\1" * 17, properties={"course.id": "c", "lesson.id": "l", "percent": percent})
        for at, percent in ((0, 90), (5, 40))
    )  # fmt: skip
    one, other = tables_of([newer, older], (1,))
    [(key, state)] = [
        each for each in merged([*folded(one), *folded(other)]).items() if each[0].tally == "lessons"
    ]
    assert key.parts == ("c", "l")
    assert (state.said, state.first.at, state.last.at) == ({"percent": 40}, START, START + 5)


def test_selecting_and_joining_keeps_where_events_were_numbered() -> None:
    events = [Event("quiz.attempted", START + number, "a", b"\1" * 17) for number in range(6)]
    one, other = tables_of(events, (3,))
    table = join([one, other]).select(join([one, other]).occurred_at % 2 == 0)
    rows = thaw(freeze(events)).located(LANE, 0)
    everything = event_ids(rows, rows.occurred_at - START)
    assert event_ids(table, np.arange(3)) == everything[::2]


def test_events_that_were_not_located_have_no_identity() -> None:
    table = thaw(freeze([Event("quiz.attempted", START, "a", b"\1" * 17)]))
    with pytest.raises(ValueError, match="not located"):
        folded(table)


@pytest.mark.parametrize(
    "given",
    [
        {"events": (), "by": (ACTOR,)},
        {"events": ("a",), "by": ()},
        {"events": ("a",), "by": ("1", "2", "3", "4", "5")},
        {"events": ("a",), "by": (ACTOR,), "sums": tuple("123456789")},
    ],
)
def test_a_tally_that_cannot_be_kept_is_refused(given: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(SettingsError, match="tally 't'"):
        Tally("t", **given)  # type: ignore[arg-type]  # the keys decide
