"""Entries survive the wire, and damage is noticed."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.entry import Announcement, Batch, EntryId, Record, Unreadable, checksum, decode, encode
from streamgauge.errors import InputError, NewerFrameError

lanes = st.binary(min_size=16, max_size=16)
milliseconds = st.integers(-(2**53), 2**53 - 1)
generations = st.integers(0, 2**32 - 1)
batches = st.builds(
    Batch,
    lane=lanes,
    born=milliseconds,
    generation=generations,
    first=st.integers(0, 2**53 - 2**32 - 1),
    n=st.integers(1, 32_768),
    payload=st.binary(max_size=60),
)
announcements = st.builds(
    Announcement,
    lane=lanes,
    born=milliseconds,
    generation=generations,
    end=st.integers(0, 2**53 - 1),
    closed=st.booleans(),
    drops=st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(str.isprintable),
        st.integers(0, 2**53 - 1),
        max_size=3,
    ),
)
records = batches | announcements

BATCH = Batch(b"L" * 16, 1_700_000_000_000, 0, 7, 3, b"payload")


def pairs(record: Record) -> list[tuple[bytes, bytes]]:
    return list(encode(record).items())


def sealed(body: bytes, payload: bytes = b"") -> list[tuple[bytes, bytes]]:
    """An entry with any header and a checksum that is right."""
    return [(b"h", body + struct.pack(">I", checksum(body, [(b"p", payload)]))), (b"p", payload)]


@given(record=records)
def test_what_is_encoded_is_decoded_equal(record: Record) -> None:
    assert decode(pairs(record)) == record


@given(record=records)
def test_every_retry_has_the_same_bytes(record: Record) -> None:
    assert encode(record) == encode(record)


def test_the_bytes_do_not_depend_on_the_order_in_which_drops_were_counted() -> None:
    one = Announcement(b"L" * 16, 0, 0, 0, False, {"full": 1, "late": 2})
    assert encode(one) == encode(Announcement(b"L" * 16, 0, 0, 0, False, {"late": 2, "full": 1}))


@given(record=records, data=st.data())
def test_one_flipped_bit_anywhere_is_noticed(record: Record, data: st.DataObject) -> None:
    fields = [[name, value] for name, value in pairs(record)]
    places = [(f, part, at) for f in range(2) for part in range(2) for at in range(len(fields[f][part]))]
    f, part, at = data.draw(st.sampled_from(places))
    damaged = bytearray(fields[f][part])
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    fields[f][part] = bytes(damaged)
    assert isinstance(decode([(name, value) for name, value in fields]), Unreadable)


def test_every_single_bit_of_one_entry_is_guarded() -> None:
    for position in range(2):
        value = pairs(BATCH)[position][1]
        for bit in range(len(value) * 8):
            damaged = bytearray(value)
            damaged[bit // 8] ^= 1 << bit % 8
            fields = pairs(BATCH)
            fields[position] = (fields[position][0], bytes(damaged))
            assert isinstance(decode(fields), Unreadable)


@given(
    fields=st.lists(
        st.tuples(st.sampled_from([b"h", b"p", b"x"]) | st.binary(max_size=3), st.binary(max_size=60))
    )
)
def test_foreign_fields_never_raise(fields: list[tuple[bytes, bytes]]) -> None:
    assert isinstance(decode(fields), Unreadable)


@given(record=records, cut=st.integers(0, 45))
def test_a_header_cut_short_is_unreadable(record: Record, cut: int) -> None:
    (name, header), payload = pairs(record)
    assert isinstance(decode([(name, header[:cut]), payload]), Unreadable)


def test_an_undamaged_newer_version_stops_the_reader_whatever_its_layout() -> None:
    with pytest.raises(NewerFrameError, match=r"version 2.*upgrade the workers"):
        decode(sealed(b"\x02" + b"a layout of tomorrow", b"x"))


@pytest.mark.parametrize(
    "body",
    [
        b"\x00" + encode(BATCH)[b"h"][1:-4],
        b"\x01" + b"short",
        encode(BATCH)[b"h"][:1] + b"\x09" + encode(BATCH)[b"h"][2:-4],
        encode(BATCH)[b"h"][:-8] + bytes(4),
    ],
    ids=["version 0", "short header", "unknown kind", "batch of no events"],
)
def test_an_undamaged_entry_that_means_nothing_is_unreadable(body: bytes) -> None:
    assert isinstance(decode(sealed(body)), Unreadable)


@pytest.mark.parametrize("drops", [b"", b"[]", b'{"a":true}', b'{"a":-1}', b'{"a":1.5}', b'{"a":'])
def test_drops_that_are_not_counts_are_unreadable(drops: bytes) -> None:
    body = encode(Announcement(b"L" * 16, 0, 0, 0, False))[b"h"][:-4]
    assert isinstance(decode(sealed(body, drops)), Unreadable)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lane": b"short"}, "lane"),
        ({"n": 0}, "n"),
        ({"first": -1}, "first"),
        ({"generation": 2**32}, "generation"),
    ],
)
def test_a_batch_that_cannot_exist_is_refused_by_name(change: dict[str, object], named: str) -> None:
    values: dict[str, object] = {
        "lane": b"L" * 16,
        "born": 0,
        "generation": 0,
        "first": 0,
        "n": 1,
        "payload": b"",
    }
    with pytest.raises(InputError) as refused:
        Batch(**{**values, **change})  # type: ignore[arg-type]  # wrong on purpose
    assert refused.value.field == named


def test_entry_ids_sort_as_numbers_and_read_their_own_text() -> None:
    assert EntryId(9, 10) > EntryId(9, 9) > EntryId(8, 99)
    assert EntryId.parse(b"12-3") == EntryId.parse("12-3") == EntryId(12, 3)
    assert str(EntryId(12, 3)) == "12-3"


@pytest.mark.parametrize("text", ["", "12", "-1-2", "a-b", "1-2-3", b"\xff-1", "\u0661-\u0661"])
def test_a_malformed_id_is_refused(text: str | bytes) -> None:
    with pytest.raises(InputError, match="milliseconds-sequence"):
        EntryId.parse(text)


@pytest.mark.parametrize(
    "record",
    [
        lambda: Batch(b"L" * 16, 0, 0, 0, 32_769, b""),  # more than one transaction takes
        lambda: Announcement(b"L" * 16, 0, 0, 2**53, False),  # sums of such ends would not fit
        lambda: Announcement(b"L" * 16, 0, 0, 0, False, {"a\0b": 1}),  # no JSON of PostgreSQL's can hold it
        lambda: Announcement(b"L" * 16, 0, 0, 0, False, {"x" * 65: 1}),
        lambda: Announcement(b"L" * 16, 0, 0, 0, False, {str(number): 1 for number in range(65)}),
    ],
)
def test_what_no_worker_could_store_is_no_record(record: Callable[[], Record]) -> None:
    with pytest.raises(InputError):
        record()
