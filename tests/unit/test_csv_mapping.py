"""Tables with a mapping: what a row becomes, and what is told of one that becomes nothing."""

import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge.catalogue import CATALOGUE
from streamgauge.errors import InputError
from streamgauge.event import Event
from streamgauge.summaries.rollups import EventType, Property
from streamgauge.table import thaw
from streamgauge_imports.csv_file import CsvFile
from streamgauge_imports.csv_mapping import ColumnMapping, load_mapping, parse_mapping
from streamgauge_imports.table_rows import BadRow, Row, read_rows
from streamgauge_imports.text_files import MAX_LINE, examine_text

KEYS = TenantKeys("school", 1, b"k" * 32, b"e" * 32)
EVERYTHING = EventType(
    "thing.done", "tests",
    {"text": Property(str, ""), "whole": Property(int, ""), "real": Property(float, ""), "flag": Property(bool, ""), "to": Property(str, "", identity=True)},
)  # fmt: skip
TYPES = (*CATALOGUE.event_types, EVERYTHING)
QUIZ = {
    "event": {"constant": "quiz.attempted"}, "occurred_at": "when", "actor": "who",
    "properties": {"quiz.id": "quiz", "score": {"column": "points", "type": "int"}},
}  # fmt: skip


def made(
    path: Path, mapping: ColumnMapping, zone: str = "UTC", shards: int = 2
) -> tuple[list[Event], dict[str, Any]]:
    """The events in the order of their time, and the summary."""
    source = CsvFile(
        examine_text(path), mapping, ((None, zone),), KEYS, shards, 100, path.with_name("rejects")
    )
    summary: dict[str, Any] = {}
    events = []
    for frame in pickle.loads(pickle.dumps(source)).frames(summary):  # noqa: S301 - our own, as it is sent to its process
        table = thaw(frame.payload)
        events += [table.event(row) for row in range(frame.n)]
    return sorted(events, key=lambda each: each.occurred_at), summary


def table(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def micros(*at: int) -> int:
    return int(datetime(*at, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[arg-type, misc]  # year, month, day ...


def test_columns_become_what_the_mapping_says(tmp_path: Path) -> None:
    mapping = parse_mapping(
        {
            "event": "kind", "occurred_at": "at", "actor": "who", "session": "visit", "group": {"constant": "7b"}, "idempotency_key": "no",
            "properties": {
                "text": "t", "whole": {"column": "seconds", "times": 1_000_000}, "real": "r", "flag": {"column": "f", "type": "bool"},
                "to": "friend", "course.id": "t",
            },
        },
        TYPES,
    )  # fmt: skip
    path = table(
        tmp_path,
        "no,unused,kind,at,who,visit,t,seconds,r,f,friend",
        "1,x,thing.done,2026-03-01T12:00:00+01:00,ada,v1,caf\u00e9,1.5,0.25,Yes,bob",
        "2,x,course.enrolled,2026-03-02T00:00:00Z,,,maths,,,,",
    )
    (first, second), summary = made(path, mapping)
    assert first == Event(
        "thing.done", micros(2026, 3, 1, 11), "school", KEYS.pseudonym("actor", "ada"), KEYS.pseudonym("session", "v1").hex(), "7b", None,
        "import", {"text": "caf\u00e9", "whole": 1_500_000, "real": 0.25, "flag": True, "to": KEYS.pseudonym("actor", "bob").hex()},
        KEYS.event_id("thing.done", "1", "ada", "v1"),
    )  # fmt: skip
    assert (second.name, second.actor, second.properties) == ("course.enrolled", None, {"course.id": "maths"})
    assert summary["kinds"] == {"course.enrolled": 1, "thing.done": 1}


def test_rows_without_a_key_of_their_own_are_known_by_their_line_and_the_file(tmp_path: Path) -> None:
    row = "ada,2026-03-01,q,1"
    path = table(tmp_path, "who,when,quiz,points", row, row)
    mapping = parse_mapping(QUIZ, TYPES)
    keys = {each.key for each in made(path, mapping)[0]}
    assert len(keys) == 2
    assert {each.key for each in made(path, mapping, shards=3)[0]} == keys
    assert not {each.key for each in made(table(tmp_path, "who,when,quiz,points", row), mapping)[0]} & keys


@pytest.mark.parametrize(("text", "more", "expected"), [
    ("2026-03-01T12:00:00Z", {}, micros(2026, 3, 1, 12)),
    ("2026-03-01 12:00", {}, micros(2026, 3, 1, 6, 30)),
    ("2026-03-01 12:00", {"time_zone": "Europe/Berlin"}, micros(2026, 3, 1, 11)),
    ("2026-03-01", {}, micros(2026, 3, 1, 6, 30)),
    ("2026-03-01", {"time_zone": "Europe/Berlin"}, micros(2026, 3, 1, 6, 30)),
    ("1772366400", {"time_format": "unix_seconds"}, micros(2026, 3, 1, 12)),
    ("1772366400.5", {"time_format": "unix_seconds"}, micros(2026, 3, 1, 12) + 500_000),
    ("1772366400001", {"time_format": "unix_milliseconds"}, micros(2026, 3, 1, 12) + 1_000),
    ("01.03.2026 12:00", {"time_format": "%d.%m.%Y %H:%M", "time_zone": "UTC"}, micros(2026, 3, 1, 12)),
    # The clock shows 02:30 twice that night: the first is meant.
    ("2026-10-25 02:30", {"time_zone": "Europe/Berlin"}, micros(2026, 10, 25, 0, 30)),
])  # fmt: skip
def test_times_are_read_as_they_are_written(
    tmp_path: Path, text: str, more: dict[str, Any], expected: int
) -> None:
    path = table(tmp_path, "who,when,quiz,points", f"ada,{text},q,1")
    events, summary = made(path, parse_mapping({**QUIZ, **more}, TYPES), "Asia/Kolkata")
    assert [each.occurred_at for each in events] == [expected], summary


@pytest.mark.parametrize(("row", "told"), [
    ("ada,yesterday,q,1", "invalid_time: column when: is no time in 'iso8601'"),
    ("ada,,q,1", "missing_value: column when: is empty"),
    ("ada,1969-12-31,q,1", "invalid_time: column when: is no time in 'iso8601'"),
    ("ada,2101-01-01T00:00:00Z,q,1", "invalid_time: it lies outside of 1970 to 2100"),
    ("ada,2026-03-01,q,one", "invalid_number: column points: is no whole number within \u00b12**53"),
    ("ada,2026-03-01,q,1.5", "invalid_number: column points: is no whole number within \u00b12**53"),
    ("ada,2026-03-01,q,-1", "invalid_property: property 'score' is not within 0 to 1000000"),
    (f"{'a' * 513},2026-03-01,q,1", "invalid_identity: actor has 1 to 512 characters"),
    (f"ada,2026-03-01,{'q' * 2049},1", "invalid_property: property 'quiz.id' has more than 2048 bytes"),
    ("ada,2026-03-01,q", "wrong_width: has 3 cells, the header 4"),
    ("ada,2026-03-01,q,1,2", "wrong_width: has 5 cells, the header 4"),
    ('ada,2026-03-01,"q"x,1', "bad_quote: something follows the end of a quoted cell"),
    ('ada,2026-03-01,"q,1', f"unterminated_quote: a quote is not closed within {MAX_LINE:,} bytes"),
    ("x" * 70_000, f"too_long: has more than {MAX_LINE:,} bytes"),
    ("ada,2026-03-01,q\0,1", "not_text: holds U+0000"),
    ("ada,2026-03-01,q\udcff,1", "not_text: is not UTF-8"),
    ("", "blank: nothing in it"),
])  # fmt: skip
def test_a_bad_row_is_told_with_line_column_and_limit_and_costs_no_other(
    tmp_path: Path, row: str, told: str
) -> None:
    path = tmp_path / "table.csv"
    good = ["ada,2026-03-01,q,1"] * 3
    lines = ["who,when,quiz,points", *good, row, *good]
    # Where U+0000 is among the first bytes, a file is taken for binary; far behind them it is one bad row.
    before = good * (5_000 if "\0" in row else 0)
    lines[1:1] = before
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape") + b"\n")
    events, summary = made(path, parse_mapping(QUIZ, TYPES))
    assert len(events) == len(before) + 6
    assert summary["rejected_lines"] == [(len(before) + 5, told)]
    assert summary["rejected"] == {told.partition(":")[0]: 1}
    assert summary["rows"] == len(before) + 7


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_characters="\0\r", codec="utf-8"), max_size=8),
            min_size=2,
            max_size=3,
        ),
        max_size=12,
    )
)
def test_whatever_was_written_by_the_rules_is_read_as_it_was(rows: list[list[str]]) -> None:
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    lines = "\n".join(quoted).encode().split(b"\n") if quoted else []
    found = list(read_rows(enumerate(lines, 1)))
    expected = [row if any(row) else None for row in rows]
    assert [list(each.cells) if isinstance(each, Row) else None for each in found] == expected


@given(
    st.lists(
        st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")), max_size=20
    )
)
def test_every_line_is_accounted_for_whatever_it_holds(lines: list[bytes]) -> None:
    found = list(read_rows(enumerate(lines, 1)))
    starts = [each.line for each in found]
    assert starts == sorted(set(starts))
    assert (starts[:1] or [1]) == [1]
    # A bad row is one line, unless a quoted cell goes over several that cannot be read.
    for one, following in zip(found, [*starts[1:], len(lines) + 1], strict=False):
        if isinstance(one, BadRow) and one.reason in ("bad_quote", "unterminated_quote", "too_long"):
            assert following == one.line + 1


@pytest.mark.parametrize(("change", "field"), [
    ({"event": None}, "event"), ({"event": {"constant": "no.such"}}, "event"), ({"event": {"constant": 7}}, "event"), ({"event": {}}, "event"),
    ({"event": {"column": "a", "constant": "b"}}, "event"), ({"occurred_at": None}, "occurred_at"), ({"occurred_at": {"constant": "x"}}, "occurred_at"),
    ({"colour": 1}, "colour"), ({"properties": []}, "properties"), ({"properties": {"nope": "a"}}, "properties.nope"),
    ({"properties": {"score": {"column": "a", "type": "float"}}}, "properties.score"), ({"properties": {"score": {"column": "a", "type": "uuid"}}}, "properties.score"),
    ({"properties": {"score": {"constant": "8"}}}, "properties.score"), ({"properties": {"quiz.id": {"column": "a", "times": 2}}}, "properties.quiz.id"),
    ({"properties": {"score": {"column": "a", "times": 0}}}, "properties.score"), ({"properties": {"score": {"column": "a", "colour": 1}}}, "properties.score"),
    ({"delimiter": ";;"}, "delimiter"), ({"delimiter": '"'}, "delimiter"), ({"time_format": "iso"}, "time_format"), ({"time_format": "%H:%M"}, "time_format"),
    ({"time_zone": "Europe/Berln"}, "zone"), ({"time_zone": 7}, "time_zone"), ({"actor": {"column": ""}}, "actor"), ({"actor": {"column": "a", "type": "str"}}, "actor"),
])  # fmt: skip
def test_a_mapping_that_cannot_be_is_refused_with_its_member(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_mapping({**QUIZ, **change}, TYPES)
    assert caught.value.field == field


def test_a_mapping_is_json_or_toml_and_says_the_same(tmp_path: Path) -> None:
    as_json, as_toml = tmp_path / "m.json", tmp_path / "m.toml"
    as_json.write_text(json.dumps(QUIZ))
    as_toml.write_text(
        'event = {constant = "quiz.attempted"}\noccurred_at = "when"\nactor = "who"\n'
        '[properties]\n"quiz.id" = "quiz"\nscore = {column = "points", type = "int"}\n'
    )
    one, other = load_mapping(as_json, TYPES), load_mapping(as_toml, TYPES)
    assert one == other
    assert one.digest == other.digest
    assert one.columns == ["when", "who", "quiz", "points"]
    as_json.write_text("{")
    for path in (as_json, tmp_path / "none.json"):
        with pytest.raises(InputError, match="the mapping"):
            load_mapping(path, TYPES)


@pytest.mark.parametrize(("header", "told"), [
    ("who,when,quiz", "has no column 'points', but 'who', 'when', 'quiz'"), ("who,when,quiz,points,who", "has the column 'who' twice"),
    ("who;when;quiz;points", "is ',' what separates them"), ("", "the first line has to name the columns"),
])  # fmt: skip
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, header: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        made(table(tmp_path, header, "ada,2026-03-01,q,1"), parse_mapping(QUIZ, TYPES))


@pytest.mark.parametrize(("content", "told"), [(b"", "is empty"), (b"\0\1\2", "is not text in UTF-8")])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        examine_text(path)


def test_a_mark_in_front_of_the_header_is_none_of_it(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbfwho,when,quiz,points\r\nada,2026-03-01,q,1\r\n")
    assert len(made(path, parse_mapping(QUIZ, TYPES))[0]) == 1
