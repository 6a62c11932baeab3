"""Judging a read: what is new, what is a copy, what is missing."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.entry import Announcement, Batch, Entry, EntryId, Record, Unreadable
from streamgauge.ranges import Ranges
from streamgauge_workers.delivery import LaneState, Ledger, forgettable, judge, ledger

NOW, HORIZON = 10_000, 1_000
LANE, OTHER = b"L" * 16, b"O" * 16


def batch(first: int, n: int = 1, lane: bytes = LANE, born: int = 5_000, payload: bytes = b"") -> Batch:
    return Batch(lane, born, 0, first, n, payload)


def announcement(end: int, closed: bool = False, **drops: int) -> Announcement:
    return Announcement(LANE, 5_000, 0, end, closed, drops)


def entries(*records: Record | Unreadable) -> list[Entry]:
    return [(EntryId(1, sequence), record) for sequence, record in enumerate(records)]


def firsts(found: Sequence[tuple[EntryId, Batch]]) -> list[int]:
    return [judged.first for _, judged in found]


def after(*records: Record | Unreadable) -> LaneState:
    return judge({}, entries(*records), NOW, HORIZON).lanes[LANE]


def test_a_batch_sent_twice_counts_once() -> None:
    verdict = judge({}, entries(batch(0, 3), batch(0, 3)), NOW, HORIZON)
    assert (firsts(verdict.fresh), firsts(verdict.duplicates)) == ([0], [0])
    again = judge(verdict.lanes, entries(batch(0, 3)), NOW, HORIZON)
    assert (firsts(again.fresh), firsts(again.duplicates)) == ([], [0])


def test_a_batch_that_comes_late_fills_its_hole() -> None:
    verdict = judge({}, entries(batch(3, 2), batch(0, 3)), NOW, HORIZON)
    assert firsts(verdict.fresh) == [3, 0]
    assert verdict.lanes[LANE].done == Ranges([(0, 5)])


def test_equal_numbers_of_two_lanes_are_not_the_same_events() -> None:
    verdict = judge({}, entries(batch(0), batch(0, lane=OTHER)), NOW, HORIZON)
    assert len(verdict.fresh) == 2
    assert set(verdict.lanes) == {LANE, OTHER}


def test_of_equal_numbers_with_different_payloads_the_first_wins() -> None:
    verdict = judge({}, entries(batch(0, payload=b"a"), batch(0, payload=b"b")), NOW, HORIZON)
    assert [judged.payload for _, judged in verdict.fresh] == [b"a"]


@pytest.mark.parametrize("overlapping", [batch(2, 4), batch(0, 9), batch(5, 2)])
def test_a_batch_of_which_a_part_is_done_is_never_applied_and_leaves_its_numbers_open(
    overlapping: Batch,
) -> None:
    before = {LANE: LaneState(done=Ranges([(3, 6)]), touched=NOW)}
    verdict = judge(before, entries(overlapping), NOW, HORIZON)
    assert (verdict.fresh, verdict.duplicates, firsts(verdict.conflicts)) == ([], [], [overlapping.first])
    assert verdict.lanes[LANE].done == Ranges([(3, 6)])


def test_what_cannot_be_read_is_set_aside_and_the_rest_goes_on() -> None:
    damaged = Unreadable([(b"x", b"y")], "not ours")
    verdict = judge({}, entries(batch(0), damaged, batch(1)), NOW, HORIZON)
    assert verdict.unreadable == [(EntryId(1, 1), damaged)]
    assert firsts(verdict.fresh) == [0, 1]


def test_judging_changes_none_of_its_inputs() -> None:
    before = {LANE: LaneState(done=Ranges([(0, 2)]), end=2, touched=7), OTHER: LaneState()}
    copies = {lane: state.copy() for lane, state in before.items()}
    verdict = judge(before, entries(batch(5), announcement(9, True)), NOW, HORIZON)
    assert before == copies
    assert set(verdict.lanes) == {LANE}


def test_a_loss_is_counted_when_the_announcement_is_passed_and_not_before() -> None:
    assert after(batch(0), batch(4)).lost == 0
    assert after(batch(0), batch(4), announcement(5)).lost == 3
    assert after(batch(0), batch(4), announcement(2)).lost == 1


def test_a_lost_tail_is_counted_though_nothing_follows_it() -> None:
    assert after(batch(0, 2), announcement(7)).lost == 5


def test_a_lane_that_lost_everything_is_counted() -> None:
    assert after(announcement(4)).lost == 4


def test_a_loss_is_taken_back_when_its_events_turn_up() -> None:
    assert after(announcement(4), batch(0, 4)).lost == 0


def test_a_late_copy_of_an_announcement_takes_nothing_back() -> None:
    state = after(announcement(7, closed=True), announcement(3))
    assert (state.end, state.closed) == (7, True)


def test_drops_are_cumulative_so_the_greatest_stands() -> None:
    verdict = judge({}, entries(announcement(0, full=5, late=1), announcement(0, full=2)), NOW, HORIZON)
    assert verdict.drops == {LANE: {"full": 5, "late": 1}}


def test_a_new_hole_asks_for_one_other_read_and_no_more() -> None:
    first = judge({}, entries(batch(0), announcement(3)), NOW, HORIZON)
    assert first.rescan
    second = judge(first.lanes, entries(batch(0), announcement(3)), NOW, HORIZON)
    assert not second.rescan
    third = judge(second.lanes, entries(announcement(4)), NOW, HORIZON)
    assert third.rescan


def test_a_hole_that_filled_and_opened_again_asks_again() -> None:
    lanes = judge({}, entries(announcement(1)), NOW, HORIZON).lanes
    lanes = judge(lanes, entries(batch(0)), NOW, HORIZON).lanes
    assert judge(lanes, entries(announcement(2)), NOW, HORIZON).rescan


def test_a_hole_that_the_same_read_fills_asks_for_nothing() -> None:
    assert not judge({}, entries(announcement(2), batch(0, 2)), NOW, HORIZON).rescan
    assert not judge({}, entries(batch(7)), NOW, HORIZON).rescan


def test_an_unknown_lane_from_before_the_horizon_is_processed_and_never_counted_lost() -> None:
    verdict = judge({}, entries(batch(6, born=999)), NOW, HORIZON)
    verdict = judge(verdict.lanes, entries(announcement(9)), NOW, HORIZON)
    state = verdict.lanes[LANE]
    assert (state.stray, state.lost, verdict.rescan) == (True, 0, False)
    assert firsts(judge({}, entries(batch(6, born=999)), NOW, HORIZON).fresh) == [6]
    assert not judge({}, entries(batch(6, born=1_000)), NOW, HORIZON).lanes[LANE].stray


def test_a_stray_is_still_protected_against_copies() -> None:
    verdict = judge({}, entries(batch(6, born=0), batch(6, born=0)), NOW, HORIZON)
    assert (len(verdict.fresh), len(verdict.duplicates)) == (1, 1)


def test_a_known_lane_does_not_become_a_stray_with_age() -> None:
    assert not judge({LANE: LaneState(born=0)}, entries(batch(0, born=0)), NOW, HORIZON).lanes[LANE].stray


def test_a_trusted_lane_may_be_as_old_as_it_likes_and_is_never_forgotten() -> None:
    verdict = judge({}, entries(batch(0, born=0)), NOW, HORIZON, trusted={LANE})
    state = verdict.lanes[LANE]
    assert (state.stray, state.trusted) == (False, True)
    assert not forgettable(state, NOW + 10**12, 1)


def test_a_lane_is_forgotten_only_after_its_idle_time() -> None:
    state = after(batch(0))
    assert not forgettable(state, NOW + 500, 500)
    assert forgettable(state, NOW + 501, 500)


def test_a_clock_set_back_does_not_age_a_lane() -> None:
    verdict = judge({LANE: LaneState(touched=NOW)}, entries(batch(0)), NOW - 5_000, HORIZON)
    assert verdict.lanes[LANE].touched == NOW


@pytest.mark.parametrize(
    ("records", "settled"),
    [
        ([batch(0, 3), announcement(3, closed=True)], True),
        ([batch(0, 3), announcement(3)], False),
        ([batch(0, 2), announcement(3, closed=True)], False),
        ([batch(0, 3), batch(5), announcement(3, closed=True)], False),
        ([announcement(0, closed=True)], True),
    ],
)
def test_only_a_closed_lane_without_holes_is_settled(records: list[Record], settled: bool) -> None:
    assert after(*records).settled is settled


def test_holes_above_the_announced_end_are_pending_and_below_it_lost() -> None:
    state = after(batch(0, 2), batch(4, 2), announcement(5), batch(8, 2))
    assert ledger(state, caught_up=True) == Ledger(announced=10, processed=6, pending=2, lost=2)


def test_after_a_rewind_every_hole_is_pending_until_the_position_has_caught_up() -> None:
    state = after(batch(0, 2), announcement(5))
    assert ledger(state, caught_up=False) == Ledger(announced=5, processed=2, pending=3, lost=0)


def test_a_stray_has_announced_what_was_processed() -> None:
    state = replace(after(batch(90, 5)), stray=True, end=200)
    assert ledger(state, caught_up=True) == Ledger(announced=5, processed=5, pending=0, lost=0)


# A lane's frozen batches, some of which get lost, and the order in which copies of the others are read.
sizes = st.lists(st.integers(1, 5), min_size=1, max_size=8)


@given(sizes=sizes, data=st.data())
def test_every_order_of_any_copies_in_any_reads_gives_the_same_lane_and_one_application_each(
    sizes: list[int], data: st.DataObject
) -> None:
    frozen = [batch(sum(sizes[:i]), size) for i, size in enumerate(sizes)]
    arrived = data.draw(st.lists(st.sampled_from(frozen), min_size=1, max_size=20))
    said = [announcement(end) for end in data.draw(st.lists(st.integers(0, sum(sizes)), max_size=3))]
    everything: list[Record] = [*arrived, *said, announcement(sum(sizes))]
    records = data.draw(st.permutations(everything))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(records)), max_size=3)))
    lanes: dict[bytes, LaneState] = {}
    applied: list[int] = []
    for start, stop in zip([0, *cuts], [*cuts, len(records)], strict=True):
        verdict = judge(lanes, entries(*records[start:stop]), NOW, HORIZON)
        lanes |= verdict.lanes
        applied += firsts(verdict.fresh)
        assert not verdict.conflicts
    assert sorted(applied) == sorted({judged.first for judged in arrived})
    lost = sum(judged.n for judged in frozen if judged not in arrived)
    assert lanes[LANE].lost == lost
    assert ledger(lanes[LANE], caught_up=True) == Ledger(sum(sizes), sum(sizes) - lost, 0, lost)
