"""Files of statements: whichever way they were written, each statement is read once, and what is none is told."""

import gzip
import json
from pathlib import Path

import pytest

from streamgauge.errors import InputError
from streamgauge_imports import xapi_file
from streamgauge_imports.text_files import MAX_LINE
from streamgauge_imports.xapi_file import read_file

STATEMENTS = [{"id": number, "verb": "caf\u00e9"} for number in range(4_000)]
WAYS = {
    "lines": "\n".join(map(json.dumps, STATEMENTS)),
    "lines with a mark and blank ones": "\ufeff\n\n" + "\r\n\r\n".join(map(json.dumps, STATEMENTS)) + "\n",
    "list": json.dumps(STATEMENTS),
    "list over many lines": "\n " + json.dumps(STATEMENTS, indent=1),
    "answer": json.dumps({"more": "", "statements": STATEMENTS}),
    "answer over many lines": json.dumps({"statements": STATEMENTS, "more": ""}, indent=2),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_statements_is_read(tmp_path: Path, way: str, packed: bool) -> None:
    path = tmp_path / "statements"
    content = WAYS[way].encode()
    assert len(content) > MAX_LINE
    path.write_bytes(gzip.compress(content) if packed else content)
    assert [found.given for found in read_file(path)] == STATEMENTS


def test_one_statement_over_many_lines_is_one(tmp_path: Path) -> None:
    path = tmp_path / "statements"
    path.write_text(json.dumps(STATEMENTS[0], indent=1))
    assert [found.given for found in read_file(path)] == STATEMENTS[:1]


def test_lines_that_are_no_json_or_too_long_are_told_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "statements"
    path.write_text("\n".join(["broken", '{"id": 1}', '{"id": "' + "x" * MAX_LINE + '"}', "{", '{"id": 2}']))
    assert [(found.number, found.given, found.wrong.partition(":")[0]) for found in read_file(path)] == [
        (1, None, "not_json"), (2, {"id": 1}, ""), (3, None, "too_long"), (4, None, "not_json"), (5, {"id": 2}, ""),
    ]  # fmt: skip


def test_a_list_that_is_broken_or_too_large_is_refused_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "statements"
    path.write_text('[{"id": 1}, {"id": 2]')
    with pytest.raises(InputError, match="is no JSON"):
        list(read_file(path))
    monkeypatch.setattr(xapi_file, "MOST_BYTES", 10)
    with pytest.raises(
        InputError, match="more than 10 bytes, which is read whole: write one statement on each line"
    ):
        list(read_file(path))
