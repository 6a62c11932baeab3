"""The newest events of a table, and what is shown of them."""

from typing import Any

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.summaries.rollups import Catalogue, EventType, Property
from streamgauge.table import Table, thaw
from streamgauge_workers.recent_activity import (
    LONGEST_TEXT,
    MOST_PROPERTIES,
    MOST_SHOWN,
    RecentActivity,
    activities,
    newest,
    stored,
)

ACTOR = bytes(range(1, 18))
LESSON = EventType(
    "lesson.read", "progress",
    {"percent": Property(int, "how far"), "title": Property(str, "which"), "done": Property(bool, "at its end"),
     "share": Property(float, "of the course")},
)  # fmt: skip
WIDE = EventType("wide.one", "width", {f"p{number}": Property(int, "a number") for number in range(9)})
NOTHING = Catalogue((), ())
DECLARED = {LESSON.name: LESSON, WIDE.name: WIDE}


def table_of(*events: Event) -> Table:
    return thaw(freeze(list(events)))


def shown(*events: Event) -> list[Any]:
    table = table_of(*events)
    return [orjson.loads(text) for _, text in activities(table, np.arange(table.n), DECLARED)]


def test_an_activity_says_what_happened_when_and_by_which_pseudonym() -> None:
    event = Event(
        LESSON.name,
        5,
        "t",
        ACTOR,
        "session",
        "class 7",
        properties={"percent": 40, "done": True, "share": 0.5},
    )
    assert shown(event, Event("other.one", 6, "t")) == [
        {
            "at": 5, "name": "lesson.read", "actor": ACTOR.hex(), "group": "class 7", "session": True,
            "properties": {"percent": 40, "done": True, "share": 0.5},
        },
        {"at": 6, "name": "other.one", "actor": None, "group": None, "session": False, "properties": {}},
    ]  # fmt: skip


def test_a_session_is_told_of_and_never_told() -> None:
    table = table_of(Event("a.b", 1, "t", session="the-secret-cookie"))
    ((_, text),) = activities(table, np.arange(1), DECLARED)
    assert b"secret" not in text


def test_what_is_not_declared_or_of_another_type_is_not_shown() -> None:
    found = shown(
        Event(
            LESSON.name, 1, "t", properties={"percent": "call me at 555", "email": "a@b.example", "share": 1}
        ),
        Event("unknown.one", 1, "t", properties={"percent": 3}),
    )
    assert [each["properties"] for each in found] == [{"share": 1}, {}]


def test_texts_are_cut_and_the_first_declared_properties_win() -> None:
    found = shown(
        Event("n" * 999, 1, "t", group="g" * 999),
        Event(LESSON.name, 1, "t", properties={"title": "ü" * 999}),
        Event(WIDE.name, 1, "t", properties={f"p{number}": number for number in reversed(range(9))}),
    )
    assert (len(found[0]["name"]), len(found[0]["group"])) == (LONGEST_TEXT, LONGEST_TEXT)
    assert found[1]["properties"] == {"title": "ü" * LONGEST_TEXT}
    assert list(found[2]["properties"]) == [f"p{number}" for number in range(MOST_PROPERTIES)]


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 12))
def test_the_newest_are_the_greatest_times_and_of_equal_ones_the_later(times: list[int], most: int) -> None:
    ordered = sorted(range(len(times)), key=lambda place: (times[place], place), reverse=True)
    assert newest(np.array(times, np.int64), most).tolist() == ordered[:most]


def test_a_stored_list_is_read_back_and_whatever_is_no_activity_is_left_out() -> None:
    kept = activities(table_of(Event("a.b", 1, "t"), Event("a.b", 2, "t")), np.array([1, 0]), DECLARED)
    text = "[" + ",".join(each.decode() for _, each in kept) + "]"
    assert stored(text) == kept
    assert (
        stored(text.replace("[", '[7, null, {"at": "x"}, {"at": -1}, {"at": true}, {"at": 1e99},', 1)) == kept
    )
    assert stored("{}") == stored("7") == []


class Kept:
    """A stand-in for the table: what was stored last, and how often anything was."""

    def __init__(self) -> None:
        self.rows: dict[int, str] = {}
        self.writes = 0

    async def fetch(self, _: str, __: int, tenant_ids: list[int]) -> list[dict[str, Any]]:
        return [
            {"tenant_id": each, "activities": self.rows[each]} for each in tenant_ids if each in self.rows
        ]

    async def execute(self, _: str, __: int, tenant_ids: list[int], texts: list[str]) -> None:
        self.writes += 1
        self.rows.update(zip(tenant_ids, texts, strict=True))

    def times(self, tenant_id: int) -> list[int]:
        return [each["at"] for each in orjson.loads(self.rows[tenant_id])]


batches = st.lists(
    st.lists(st.tuples(st.integers(0, 90), st.sampled_from("abc")), min_size=1, max_size=40), max_size=6
)


@given(batches, st.booleans())
async def test_any_batching_and_any_change_of_owner_keeps_the_same_ten(
    sent: list[list[tuple[int, str]]], forgetful: bool
) -> None:
    kept, recent = Kept(), RecentActivity(0, NOTHING)
    for batch in sent:
        table = table_of(*[Event("a.b", at, tenant) for at, tenant in batch])
        ids = [ord(name) for name in table.tenant.values]
        await recent.store(kept, table, ids)  # type: ignore[arg-type]  # a stand-in for a connection
        if forgetful:
            recent = RecentActivity(0, NOTHING)
    for tenant in "abc":
        times = sorted((at for batch in sent for at, name in batch if name == tenant), reverse=True)
        assert not times or kept.times(ord(tenant)) == times[:MOST_SHOWN]
        assert times or ord(tenant) not in kept.rows


async def test_of_one_microsecond_the_latest_applied_comes_first() -> None:
    kept, recent = Kept(), RecentActivity(0, NOTHING)
    for name in ("a.a", "a.b"):
        await recent.store(kept, table_of(Event(name, 5, "t"), Event(name * 2, 5, "t")), [1])  # type: ignore[arg-type]  # as above
    assert [each["name"] for each in orjson.loads(kept.rows[1])] == ["a.ba.b", "a.b", "a.aa.a", "a.a"]


async def test_history_that_changes_nothing_writes_nothing() -> None:
    kept, recent = Kept(), RecentActivity(0, NOTHING)
    await recent.store(kept, table_of(*[Event("a.b", 1000 + at, "t") for at in range(MOST_SHOWN)]), [1])  # type: ignore[arg-type]  # as above
    await recent.store(kept, table_of(*[Event("a.b", at, "t") for at in range(500)]), [1])  # type: ignore[arg-type]  # as above
    assert kept.writes == 1
    assert min(kept.times(1)) == 1000
