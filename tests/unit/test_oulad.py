"""OULAD's rows as events: which ones, when, and the same ones whenever they are made."""

import gzip
import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge.errors import InputError
from streamgauge.event import Event
from streamgauge.summaries.calendar import Calendar
from streamgauge.table import thaw
from streamgauge_imports.local_days import noon
from streamgauge_imports.oulad import Oulad, OuladSubmissions, OuladViews
from streamgauge_imports.oulad_folder import find_folder
from streamgauge_imports.repetitions import Repetitions

KEYS = TenantKeys("school", 1, b"k" * 32, b"e" * 32)
DATA = Path(__file__).resolve().parents[1] / "data" / "oulad"
HEADERS = {
    "studentVle": "code_module,code_presentation,id_student,id_site,date,sum_click",
    "vle": '"id_site","code_module","code_presentation","activity_type","week_from","week_to"',
    "assessments": "code_module,code_presentation,id_assessment,assessment_type,date,weight",
    "studentAssessment": "id_assessment,id_student,date_submitted,is_banked,score",
}


def write(folder: Path, **files: Iterable[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in files.items():
        (folder / f"{name}.csv").write_text("\n".join([HEADERS[name], *rows]) + "\n")
    return folder


def made(
    kind: type[Oulad], folder: Path, zone: str = "UTC", start: date = date(2013, 10, 5), shards: int = 2
) -> tuple[list[Event], dict[str, Any]]:
    """All events and the summary."""
    source = kind(find_folder(folder), start, ((None, zone),), KEYS, shards, 1000, folder / "rejects")
    summary: dict[str, Any] = {}
    events = []
    for frame in source.frames(summary):
        table = thaw(frame.payload)
        events += [table.event(row) for row in range(frame.n)]
    return events, summary


def test_a_row_is_a_view_at_noon_of_its_day_and_whoever_appears_is_enrolled(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "o",
        studentVle=["AAA,2013J,28400,546652,0,4", "AAA,2013J,28400,7,-10,1", "BBB,2013J,28400,546652,1,2"],
        vle=['"546652","AAA","2013J","forumng","",""'],
    )
    events, summary = made(OuladViews, folder, "Asia/Kolkata")
    actor = KEYS.pseudonym("actor", "28400")
    told = [
        (each.name, datetime.fromtimestamp(each.occurred_at / 1e6, UTC), dict(each.properties))
        for each in events
    ]
    at = [
        datetime(2013, 9, 25, 6, 30, tzinfo=UTC),
        datetime(2013, 10, 5, 6, 30, tzinfo=UTC),
        datetime(2013, 10, 6, 6, 30, tzinfo=UTC),
    ]
    view = {"course.id": "AAA-2013J", "views": 4, "material.id": "546652", "material.type": "forumng"}
    assert sorted(told, key=str) == sorted(
        [
            ("course.enrolled", at[0], {"course.id": "AAA-2013J"}),
            ("course.enrolled", at[2], {"course.id": "BBB-2013J"}),
            ("material.viewed", at[1], view),
            ("material.viewed", at[0], {"course.id": "AAA-2013J", "views": 1, "material.id": "7"}),
            # A material has its type in one course, and not in all.
            ("material.viewed", at[2], {"course.id": "BBB-2013J", "views": 2, "material.id": "546652"}),
        ],
        key=str,
    )
    assert {(each.actor, each.tenant, each.source) for each in events} == {(actor, "school", "import")}
    assert summary["kinds"] == {"course.enrolled": 2, "material.viewed": 3}
    assert summary["rows"] == 5


def test_equal_rows_are_facts_of_their_own_and_have_the_same_keys_whatever_stands_between_them(
    tmp_path: Path,
) -> None:
    row, other = "AAA,2013J,1,7,0,4", "AAA,2013J,2,7,0,4"
    first, _ = made(OuladViews, write(tmp_path / "a", studentVle=[row, other, row, row]))
    again, _ = made(OuladViews, write(tmp_path / "b", studentVle=[row, row, row, other]), shards=3)
    keys = {each.key for each in first}
    assert len(first) == len(keys) == 6
    assert {each.key for each in again} == keys
    fewer, _ = made(OuladViews, write(tmp_path / "c", studentVle=[row, row]))
    assert {each.key for each in fewer} < keys


def test_the_sample_becomes_as_many_different_events_as_it_has_rows_and_learners() -> None:
    facts = json.loads((DATA / "facts.json").read_text())
    events, summary = made(OuladViews, DATA)
    assert summary["kinds"] == {"course.enrolled": facts["learners"], "material.viewed": facts["rows"]}
    assert len({each.key for each in events}) == len(events) == summary["rows"]
    assert sum(int(each.properties.get("views", 0)) for each in events) == facts["clicks"] == 61_980
    assert summary["rejected"] == {}


def test_what_was_handed_in_has_its_score_or_none_and_banked_results_are_told(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "o",
        studentVle=["AAA,2013J,1,7,0,4"],
        assessments=["AAA,2013J,11,TMA,19,10.0", "AAA,2013J,12,Exam,,100"],
        studentAssessment=[
            "11,1,18,0,78",
            "11,2,20,0,?",
            "12,2,19,0,60.0",
            "11,3,-1,1,60",
            "99,1,3,0,1",
            "11,4,,0,1",
            "11,5,1,0,7x",
        ],
    )
    events, summary = made(OuladSubmissions, folder)
    submitted = [dict(each.properties) for each in events if each.name == "assignment.submitted"]
    course = {"course.id": "AAA-2013J"}
    assert sorted(submitted, key=str) == sorted(
        [
            {"assignment.id": "11", **course, "score": 78, "max_score": 100},
            {"assignment.id": "11", **course},
            {"assignment.id": "12", **course, "score": 60, "max_score": 100},
        ],
        key=str,
    )
    # 1 is enrolled by a click; 2 by the earlier of two; 5 appeared, too.
    enrolled = {(each.actor, each.occurred_at) for each in events if each.name == "course.enrolled"}
    noon_of = {
        day: int(datetime(2013, 10, 5 + day, 12, tzinfo=UTC).timestamp()) * 1_000_000 for day in (1, 19)
    }
    assert enrolled == {
        (KEYS.pseudonym("actor", "2"), noon_of[19]),
        (KEYS.pseudonym("actor", "5"), noon_of[1]),
    }
    assert summary["rejected"] == {
        "banked": 1,
        "unknown_assessment": 1,
        "missing_value": 1,
        "invalid_number": 1,
    }
    assert summary["rows"] == len(events) + 4


@pytest.mark.parametrize(("row", "reason"), [
    ("AAA,2013J,1,7,0,0", "invalid_property"), ("AAA,2013J,1,7,0,1000001", "invalid_property"), ("AAA,2013J,1,7,0,-1", "invalid_property"),
    ("AAA,2013J,1,7,x,1", "invalid_number"), ("AAA,2013J,1,7,0,1e3", "invalid_number"), ("AAA,2013J,,7,0,1", "missing_value"),
    ("AAA,2013J,1,7,999999,1", "invalid_time"), ("AAA,2013J,1,7,-99999,1", "invalid_time"), ("AAA,2013J,1,7,0", "wrong_width"),
    ("AAA,2013J,1,7,999999999,1", "invalid_time"), (f"AAA,2013J,{'1' * 513},7,0,1", "invalid_identity"), ("", "blank"),
    ("AAA,2013J,1,7,٣,1", "invalid_number"),
])  # fmt: skip
def test_a_row_that_cannot_be_is_told_with_its_line_and_the_others_are_kept(
    tmp_path: Path, row: str, reason: str
) -> None:
    good = "AAA,2013J,1,7,0,1"
    events, summary = made(OuladViews, write(tmp_path / "o", studentVle=[good, row, good]))
    assert len(events) == 3
    assert summary["rejected"] == {reason: 1}
    assert summary["rejected_lines"][0][0] == 3
    assert summary["rejected_lines"][0][1].startswith(f"{reason}: studentVle.csv: ")


def test_files_are_found_plain_or_packed_and_what_is_missing_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "o", studentVle=["AAA,2013J,1,7,0,1"])
    found = find_folder(folder)
    assert [each.split(" ")[0] for each in found.missing] == [
        "vle.csv",
        "assessments.csv",
        "studentAssessment.csv",
    ]
    packed = tmp_path / "p"
    packed.mkdir()
    (packed / "studentVle.csv.gz").write_bytes(gzip.compress((folder / "studentVle.csv").read_bytes()))
    assert find_folder(packed).files["studentVle"].digest == found.files["studentVle"].digest
    assert {each.key for each in made(OuladViews, packed)[0]} == {
        each.key for each in made(OuladViews, folder)[0]
    }
    (folder / "studentVle.csv.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"studentVle\.csv plain and packed"):
        find_folder(folder)
    with pytest.raises(InputError, match="is no folder"):
        find_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no studentVle\.csv"):
        find_folder(tmp_path / "empty")
    (packed / "vle.csv").write_text("id_site,code_module,code_presentation,kind\n")
    with pytest.raises(InputError, match=r"vle\.csv has no column 'activity_type'"):
        find_folder(packed)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=30))
def test_equal_rows_are_numbered_in_their_order(rows: list[tuple[str, str]]) -> None:
    repetitions = Repetitions(rows)
    assert [repetitions.number(row) for row in rows] == [
        rows[:place].count(row) for place, row in enumerate(rows)
    ]


@pytest.mark.parametrize(
    "zone", ["UTC", "Pacific/Auckland", "America/St_Johns", "Australia/Lord_Howe", "Africa/Cairo"]
)
def test_noon_is_twelve_on_the_clock_of_every_day_of_a_year(zone: str) -> None:
    calendar = Calendar([(None, zone)])
    days = [date.fromordinal(date(2024, 1, 1).toordinal() + number) for number in range(366)]
    noons = [noon(calendar, day) for day in days]
    assert {calendar.local_iso(each // 1_000_000)[11:19] for each in noons} == {"12:00:00"}
    starts = calendar.day_starts(np.array(noons, np.int64)).tolist()
    assert [calendar.date_of(each) for each in starts] == days


def test_a_day_without_its_noon_is_told_by_its_beginning() -> None:
    # Samoa had no 30 December 2011.
    calendar = Calendar([(None, "Pacific/Apia")])
    at = noon(calendar, date(2011, 12, 30)) // 1_000_000
    assert calendar.local_iso(at)[:13] in ("2011-12-31T12", "2011-12-31T00")
