"""Frames: what goes in comes out, tables join and select as lists do, and damaged bytes are refused, never misread into a crash."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.errors import FrameError, InputError, NewerFrameError
from streamgauge.event import Event
from streamgauge.frame import MAX_EVENTS, VERSION, freeze
from streamgauge.table import Table, join, thaw

from .event_strategies import BATCHES

FULL = [
    Event(
        "http.request", 1_700_000_000_000_000, "acme", b"\1" + bytes(16), "s1", "class 5b", "phone", "browser",
        {"http.route": "/a", "status": 200, "ratio": 0.5, "cached": True}, b"k" * 16,
    ),
    Event("lesson.read", -5, "école", properties={"status": "open", "http.route": "/ü"}),
    Event("lesson.read", 7, "acme", b"\0" + b"v" * 16, source="import", properties={"cached": False}),
]  # fmt: skip


def typed(event: Event) -> Any:
    """An event with the types of its values: 1, 1.0 and True are equal in Python and different to us."""
    properties = {name: (type(value), repr(value)) for name, value in event.properties.items()}
    return replace(event, properties={}), properties


def events(table: Table) -> list[Any]:
    return [typed(table.event(row)) for row in range(table.n)]


@settings(max_examples=40)
@given(BATCHES)
def test_what_is_frozen_is_thawed(batch: list[Event]) -> None:
    assert events(thaw(freeze(batch))) == [typed(event) for event in batch]


def test_every_kind_of_value_and_every_missing_one_comes_back() -> None:
    assert events(thaw(freeze(FULL))) == [typed(event) for event in FULL]


@settings(max_examples=40)
@given(BATCHES)
def test_equal_events_freeze_to_equal_bytes(batch: list[Event]) -> None:
    assert freeze(batch) == freeze([replace(event) for event in batch])


@settings(max_examples=30)
@given(st.lists(BATCHES, min_size=1, max_size=4))
def test_joined_tables_hold_the_events_of_all_in_order(batches: list[list[Event]]) -> None:
    joined = join([thaw(freeze(batch)) for batch in batches])
    assert events(joined) == [typed(event) for batch in batches for event in batch]


@settings(max_examples=30)
@given(st.lists(BATCHES, min_size=2, max_size=4))
def test_joining_step_by_step_is_joining_at_once(batches: list[list[Event]]) -> None:
    tables = [thaw(freeze(batch)) for batch in batches]
    stepwise = tables[0]
    for table in tables[1:]:
        stepwise = join([stepwise, table])
    assert events(stepwise) == events(join(tables))


@settings(max_examples=40)
@given(BATCHES, st.data())
def test_selecting_rows_is_selecting_events(batch: list[Event], data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch)))
    selected = thaw(freeze(batch)).select(np.array(mask))
    assert selected.n == sum(mask)
    assert events(selected) == [typed(event) for event, kept in zip(batch, mask, strict=True) if kept]


@settings(max_examples=40)
@given(BATCHES, BATCHES, st.data())
def test_selecting_from_a_join_is_joining_selections(
    left: list[Event], right: list[Event], data: st.DataObject
) -> None:
    mask = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(left + right), max_size=len(left + right)))
    )
    tables = thaw(freeze(left)), thaw(freeze(right))
    parts = [tables[0].select(mask[: len(left)]), tables[1].select(mask[len(left) :])]
    assert events(join(tables).select(mask)) == events(join(parts))


def intact(table: Table) -> None:
    """Every code names a value and every row is there, so that nothing that reads the table can fail on it."""
    assert len(table.occurred_at) == table.n
    labels = (
        table.name, table.tenant, table.source, table.actor, table.session, table.group, table.device,
    )  # fmt: skip
    for label in labels:
        assert len(label.codes) == table.n
        assert all(-1 <= code < len(label.values) for code in label.codes.tolist())
    texts = [label.values for label in labels if label is not table.actor]
    for column in table.columns.values():
        rows = column.rows.tolist()
        assert all(0 <= row < table.n for row in rows)
        assert rows == sorted(set(rows))
        assert len(column.values) == len(rows)
        if column.dictionary is not None:
            assert all(0 <= code < len(column.dictionary) for code in column.values.tolist())
            texts.append(column.dictionary)
    assert all(0 <= row < table.n for row in table.key_rows.tolist())
    assert len(table.keys) == len(table.key_rows)
    assert all(isinstance(text, str) for values in texts for text in values)
    assert all(isinstance(name, str) and kind in "ifsb" for name, kind in table.columns)
    assert events(table)


def thaw_or_refuse(payload: bytes) -> None:
    # Some damage gives another whole frame: that is what the entry's CRC is for. It must then be one that can be folded.
    try:
        table = thaw(payload)
    except FrameError:
        return
    intact(table)


@settings(max_examples=120)
@given(BATCHES | st.just(FULL), st.data())
def test_a_frame_with_flipped_bits_is_refused_or_another_whole_frame(
    batch: list[Event], data: st.DataObject
) -> None:
    payload = bytearray(freeze(batch))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    thaw_or_refuse(bytes(payload))


@settings(max_examples=40)
@given(BATCHES, st.data())
def test_a_frame_cut_short_or_with_bytes_behind_it_is_refused(
    batch: list[Event], data: st.DataObject
) -> None:
    payload = freeze(batch)
    with pytest.raises(FrameError):
        thaw(payload[: data.draw(st.integers(0, len(payload) - 1))])
    with pytest.raises(FrameError):
        thaw(payload + data.draw(st.binary(min_size=1, max_size=9)))


@given(st.binary(max_size=300))
def test_no_bytes_make_thaw_raise_anything_else(payload: bytes) -> None:
    thaw_or_refuse(payload)
    thaw_or_refuse(bytes([VERSION]) + payload)


HEADERS = [
    b"[]", b"null", b"3", b'"n"', b"{}", b'{"n":-1}', b'{"n":1e300}', b'{"n":99999999999999999999}', b'{"n":9223372036854775807}',
    b'{"n":true,"name":["a"],"tenant":["t"],"source":["server"],"actors":0,"columns":[]}',
    b'{"n":0,"name":["a"],"tenant":["t"],"source":["server"],"actors":0,"columns":[]}',
    b'{"n":1,"name":"a","tenant":["t"],"source":["server"],"actors":0,"columns":[]}',
    b'{"n":1,"name":[1],"tenant":["t"],"source":["server"],"actors":0,"columns":[]}',
    b'{"n":1,"name":["a"],"tenant":[null],"source":["server"],"actors":0,"columns":[]}',
    b'{"n":1,"name":["a"],"tenant":["t"],"source":["server"],"actors":-1,"columns":[]}',
    b'{"n":1,"name":["a"],"tenant":["t"],"source":["server"],"actors":0,"keys":-1,"columns":[]}',
    b'{"n":1,"name":["a"],"tenant":["t"],"source":["server"],"actors":0,"columns":[["x","s",-1]]}',
    b'{"n":1,"name":["a"],"tenant":["t"],"source":["server"],"actors":0,"columns":[[["x"],"i",-1]]}',
    b'{"n":1,"name":["a"],"tenant":["t"],"source":["server"],"actors":0,"columns":[["x","?",0]]}',
    b'{"n":1,"name":["a"],"tenant":["t"],"source":["server"],"actors":0,"columns":{"x":1}}',
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("columns", [b"", bytes(8), bytes(16), b"\xff" * 30])
def test_a_header_that_says_nonsense_is_refused(header: bytes, columns: bytes) -> None:
    with pytest.raises(FrameError):
        thaw(bytes([VERSION]) + len(header).to_bytes(4, "little") + header + columns)


def test_rows_of_a_column_that_are_out_of_order_or_not_there_are_refused() -> None:
    batch = [Event("a", row, "t", properties={"x": row} if row != 2 else {}) for row in range(4)]
    payload = freeze(batch)
    rows = np.array([0, 1, 3], "<u2").tobytes()
    assert payload.count(rows) == 1
    for wrong in ([0, 9, 3], [1, 0, 3], [0, 0, 3], [0, 1, 9]):
        with pytest.raises(FrameError):
            thaw(payload.replace(rows, np.array(wrong, "<u2").tobytes()))


def test_a_newer_version_is_told_apart_from_damage() -> None:
    payload = freeze(FULL)
    with pytest.raises(NewerFrameError, match="version 2"):
        thaw(bytes([VERSION + 1]) + payload[1:])
    for older in (b"", b"\0" + payload[1:]):
        with pytest.raises(FrameError) as raised:
            thaw(older)
        assert not isinstance(raised.value, NewerFrameError)


@pytest.mark.parametrize("count", [0, MAX_EVENTS + 1])
def test_an_empty_or_oversized_batch_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=str(MAX_EVENTS)):
        freeze([Event("a", 0, "t")] * count)


def test_the_largest_batch_has_room_for_as_many_different_values() -> None:
    batch = [
        Event(
            f"n{row}", row, "t", bytes([1]) + row.to_bytes(16, "big"), f"s{row}", key=row.to_bytes(16, "big")
        )
        for row in range(MAX_EVENTS)
    ]
    table = thaw(freeze(batch))
    for row in (0, 1, MAX_EVENTS - 1):
        assert table.event(row) == batch[row]
    assert len(table.keys) == MAX_EVENTS


@pytest.mark.parametrize(
    "wrong",
    [
        {"actor": b"short"},
        {"key": b"short"},
        {"name": "\ud800"},
        {"properties": {"\ud800": 1}},
        {"properties": {"x": "\ud800"}},
        {"properties": {"x": None}},
        {"properties": {"x": [1]}},
        {"properties": {"x": 2**63}},
        {"occurred_at": 2**63},
        {"occurred_at": -(2**63) - 1},
    ],
)
def test_a_value_that_no_column_can_hold_is_an_input_error_that_names_it(wrong: dict[str, Any]) -> None:
    event = replace(Event("a", 0, "t"), **wrong)
    with pytest.raises(InputError):
        freeze([Event("a", 0, "t"), event])


def test_a_property_whose_type_changes_keeps_both_types() -> None:
    batch = [Event("a", 0, "t", properties={"x": value}) for value in (1, "1", 1.0, True)]
    table = thaw(freeze(batch))
    assert {kind for _, kind in table.columns} == {"i", "s", "f", "b"}
    assert events(table) == [typed(event) for event in batch]
