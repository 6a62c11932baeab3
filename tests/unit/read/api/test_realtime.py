"""The live view: its window, and stripes merged into one picture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from streamgauge.read.api.realtime import BUCKET, MOST_SHOWN, WINDOW, handle, seen, window
from streamgauge.read.report import Answer, Result
from streamgauge.summaries.calendar import Interval

DAY = Answer(
    (Result((), (7,)),),
    {"as_of": "2026-01-01T00:00:00Z", "time_zone": "Asia/Kolkata"},
    {"date_range": ["2026-01-02T00:00:00+05:30", "2026-01-03T00:00:00+05:30"]},
)


@given(st.integers(10**9, 2 * 10**9))
def test_the_window_is_five_minutes_that_end_with_the_current_ten_seconds(now: int) -> None:
    start, end = window(now)
    assert start % BUCKET == end % BUCKET == 0
    assert end - start == WINDOW == 300
    assert end - BUCKET <= now < end


PEOPLE = st.sets(st.integers(1, 2**32 - 1), max_size=20)
ACTIVITIES = st.lists(st.integers(0, 4 * 10**15), max_size=15).map(lambda times: sorted(times, reverse=True))


def activity(at: int) -> dict[str, object]:
    return {
        "at": at,
        "name": "a.b",
        "actor": f"{at:034x}",
        "group": None,
        "session": False,
        "properties": {"n": at},
    }


@given(st.lists(PEOPLE, max_size=6), st.lists(ACTIVITIES, max_size=4))
def test_whoever_is_in_several_buckets_counts_once_and_the_newest_of_all_stripes_are_shown(
    buckets: list[set[int]], stripes: list[list[int]]
) -> None:
    parts = [BitMap(members).serialize() for members in buckets]
    found = seen(Interval(0, 300), parts, [[activity(at) for at in stripe] for stripe in stripes], DAY)
    assert found.actors == len(set().union(*buckets))
    newest = sorted((at for stripe in stripes for at in stripe), reverse=True)[:MOST_SHOWN]
    assert [each.properties["n"] for each in found.activities] == newest


DAMAGED: list[object] = [
    7, None, [], {}, {"at": 5}, {**activity(5), "at": "5"}, {**activity(5), "at": 5.0}, {**activity(5), "at": True},
    {**activity(5), "at": -1}, {**activity(5), "at": 2**63 - 1}, {**activity(5), "at": 253_402_300_800_000_000},
    {**activity(5), "name": 7}, {**activity(5), "actor": 7}, {**activity(5), "group": []}, {**activity(5), "properties": None},
    *({name: value for name, value in activity(5).items() if name != left_out} for left_out in ("name", "actor", "group", "properties")),
]  # fmt: skip


@pytest.mark.parametrize("damaged", DAMAGED)
def test_an_activity_that_is_none_is_left_out_and_counted(damaged: object) -> None:
    found = seen(Interval(0, 300), [], [[activity(9), damaged], [activity(8)]], DAY)
    assert [each.properties["n"] for each in found.activities] == [9, 8]
    assert found.damaged_parts == 1


@given(st.lists(st.sets(st.integers(1, 50)) | st.sampled_from([b"", b"x", b"nonsense"]), max_size=6))
def test_damaged_parts_are_left_out_and_counted_and_the_others_still_count(
    parts: list[set[int] | bytes],
) -> None:
    given_parts = [part if isinstance(part, bytes) else BitMap(part).serialize() for part in parts]
    stripes: list[object] = [None, {"at": 1}, "x", [activity(9)]]
    found = seen(Interval(0, 300), given_parts, stripes, DAY)
    people = [part for part in parts if not isinstance(part, bytes)]
    assert found.actors == len(set().union(*people))
    assert found.damaged_parts == len(parts) - len(people) + 3
    assert len(found.activities) == 1


def test_the_latest_instant_that_can_be_told_is_told() -> None:
    found = seen(Interval(0, 300), [], [[activity(253_402_300_799_999_999)]], DAY)
    assert found.activities[0].occurred_at == "9999-12-31T23:59:59.999999Z"
    assert found.damaged_parts == 0


def test_the_picture_tells_times_in_utc_and_people_by_short_names() -> None:
    shown = {"at": 1_767_225_600_123_456, "name": "quiz.done", "actor": "01" + "ab" * 16, "group": "7b", "session": True, "properties": {"score": 3}}  # fmt: skip
    found = seen(window(1_767_225_607), [], [[shown, {**activity(5), "actor": None}]], DAY)
    first, second = found.activities
    assert first.occurred_at == "2026-01-01T00:00:00.123456Z"
    assert (first.name, first.group, first.properties) == ("quiz.done", "7b", {"score": 3})
    assert first.actor == handle(shown["actor"])  # type: ignore[arg-type] # a text, beside numbers
    assert second.actor is None
    assert (found.window.start, found.window.end) == ("2025-12-31T23:55:10Z", "2026-01-01T00:00:10Z")
    assert (found.window.seconds, found.window.grain_seconds) == (300, 10)
    assert (found.events_today, found.today, found.time_zone) == (7, "2026-01-02", "Asia/Kolkata")
    assert found.as_of == "2026-01-01T00:00:00Z"


@given(st.binary(min_size=17, max_size=17), st.binary(min_size=17, max_size=17))
def test_a_short_name_tells_people_apart_and_holds_no_part_of_their_pseudonym(
    one: bytes, other: bytes
) -> None:
    name = handle(one.hex())
    assert name is not None
    assert name.startswith("user_")
    assert len(name) == len("user_") + 6
    assert name == handle(one.hex())
    # It is a hash and no cut: changing the last byte alone changes it.
    changed = one[:16] + bytes([one[16] ^ 1])
    assert handle(changed.hex()) != name
    assert (handle(other.hex()) == name) == (one == other)
