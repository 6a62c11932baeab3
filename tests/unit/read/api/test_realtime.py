"""The live view: its window, and stripes merged into one picture."""

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
