"""Promises about the children's log files."""

import stat
from pathlib import Path

from streamgauge_local import logs


def test_a_log_is_readable_by_its_owner_alone_and_only_ever_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "server.log"
    for text in (b"one\n", b"two\n"):
        with logs.open_for_append(path) as file:
            file.write(text)
    assert path.read_text() == "one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_long_log_is_kept_once_and_its_writer_goes_on_writing(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    with logs.open_for_append(path) as file:
        file.write(b"x" * 100)
        file.flush()
        assert not logs.rotate(path, 100)
        assert logs.rotate(path, 99)
        file.write(b"after")
    assert path.read_text() == "after"
    assert (tmp_path / "server.log.1").read_text() == "x" * 100
    assert not logs.rotate(tmp_path / "none.log")


def test_the_tail_is_the_last_lines_of_this_run(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("an earlier run\none\ntwo\nthree\n")
    assert logs.tail(path, 2) == "two\nthree"
    assert logs.tail(path, 9, len("an earlier run\n")) == "one\ntwo\nthree"
    assert logs.tail(path, 9, 10_000) == "an earlier run\none\ntwo\nthree", "rotated meanwhile: all there is"
    assert logs.tail(tmp_path / "none.log", 9) == ""


def test_the_tail_of_a_huge_log_reads_its_end_only(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_bytes(b"\xff" * 1_000_000 + b"\nend\n")
    assert logs.tail(path, 1) == "end"
