"""A spool's segments: whatever happens to a file, what comes out of it is what went in, or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture.segment import MAGIC, Contents, Label, Stowed, begin, frame, read, salt_of
from streamgauge.entry import Announcement, Batch, encode
from streamgauge.errors import NewerFrameError

LABEL = Label("streamgauge", True)

batches = st.builds(
    Batch, st.binary(min_size=16, max_size=16), st.integers(0, 2**45), st.integers(0, 9), st.integers(0, 2**40),
    st.integers(1, 500), st.binary(max_size=60),
)  # fmt: skip
announcements = st.builds(
    Announcement, st.binary(min_size=16, max_size=16), st.integers(0, 2**45), st.integers(0, 9), st.integers(0, 2**40),
    st.booleans(), st.dictionaries(st.sampled_from(["spool_full", "closed"]), st.integers(1, 9), max_size=2),
)  # fmt: skip
stowed = st.builds(Stowed, st.integers(0, 63), st.integers(0, 2**45), batches | announcements)


def segment(entries: list[Stowed]) -> tuple[bytes, list[int]]:
    """A file, and where each entry ends in it."""
    data = begin(LABEL)
    ends = []
    salt = salt_of(data)
    for each in entries:
        data += frame(salt, each)
        ends.append(len(data))
    return data, ends


@given(st.lists(stowed, max_size=6))
def test_entries_come_back_as_they_were_frozen_byte_for_byte(entries: list[Stowed]) -> None:
    found = read(segment(entries)[0])
    assert found == Contents(LABEL, entries, 0)
    assert [encode(each.record) for each in found.stowed] == [encode(each.record) for each in entries]


@given(st.lists(stowed, min_size=1, max_size=3))
def test_cut_at_every_byte_of_the_last_entry_all_earlier_ones_come_back(entries: list[Stowed]) -> None:
    data, ends = segment(entries)
    start = ends[-2] if len(ends) > 1 else len(begin(LABEL))
    for cut in range(start, len(data)):
        found = read(data[:cut])
        assert (found.stowed, found.label) == (entries[:-1], LABEL)
        assert found.damaged == cut - start


@given(st.lists(stowed, max_size=2))
def test_a_file_of_which_only_a_beginning_was_written_is_empty_and_never_raises(
    entries: list[Stowed],
) -> None:
    data, _ = segment(entries)
    for cut in range(len(begin(LABEL))):
        assert read(data[:cut]).stowed == []


@given(st.lists(stowed, min_size=1, max_size=4), st.data())
def test_whatever_is_damaged_nothing_raises_and_no_other_entry_comes_out(
    entries: list[Stowed], data: st.DataObject
) -> None:
    whole = bytearray(segment(entries)[0])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(len(MAGIC), len(whole) - 1))
        whole[place] ^= data.draw(st.integers(1, 255))
    found = read(bytes(whole)).stowed
    left = iter(entries)
    assert all(each in left for each in found)  # in their order


@given(st.lists(stowed, min_size=3, max_size=5), st.data())
def test_a_damaged_entry_takes_no_other_with_it(entries: list[Stowed], data: st.DataObject) -> None:
    whole, ends = segment(entries)
    hit = data.draw(st.integers(0, len(entries) - 1))
    start = ends[hit - 1] if hit else len(begin(LABEL))
    changed = bytearray(whole)
    changed[data.draw(st.integers(start, ends[hit] - 1))] ^= 0x55
    found = read(bytes(changed))
    assert found.stowed == entries[:hit] + entries[hit + 1 :]
    assert found.damaged == ends[hit] - start


@given(st.binary(max_size=300))
def test_any_other_file_is_no_segment_and_nothing_raises(data: bytes) -> None:
    found = read(b"x" + data)
    assert (found.stowed, found.damaged) == ([], len(data) + 1)


@given(stowed)
def test_what_an_event_contains_is_never_taken_for_an_entry(inner: Stowed) -> None:
    forged, _ = segment([inner])
    other = begin(LABEL)
    outer = Stowed(0, 1, Batch(b"l" * 16, 1, 0, 0, 1, forged))
    framed = bytearray(frame(salt_of(other), outer))
    framed[-1] ^= 1  # damaged, so that what is inside is looked through
    assert read(other + bytes(framed)).stowed == []


def test_a_segment_of_a_newer_version_is_not_for_us() -> None:
    data = bytearray(segment([])[0])
    data[len(MAGIC) - 1] += 1
    with pytest.raises(NewerFrameError, match="version 2"):
        read(bytes(data))
