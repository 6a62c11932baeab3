"""Promises about failpoints."""

import signal
import subprocess
import sys

import pytest

from streamgauge.failpoints import VARIABLE, Failpoints, parse

PROGRAM = """
from streamgauge.failpoints import reach
for number in range(5):
    reach("commit.before")
    print(number, flush=True)
"""


def run(text: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={VARIABLE: text}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.split()


def test_without_the_variable_nothing_happens() -> None:
    assert run("") == (0, ["0", "1", "2", "3", "4"])


def test_a_place_kills_its_process_the_time_it_was_told_to() -> None:
    assert run("commit.before=kill@3") == (-signal.SIGKILL, ["0", "1"])


def test_a_place_raises_every_time_when_no_time_was_given() -> None:
    failpoints = Failpoints({VARIABLE: "trim.before=raise, commit.after=stop@2"})
    assert [failpoints.action("trim.before") for _ in range(3)] == ["raise"] * 3
    assert [failpoints.action("commit.after") for _ in range(3)] == [None, "stop", None]
    assert failpoints.action("commit.before") is None


@pytest.mark.parametrize(
    "text", ["commit=kill", "commit.before=explode", "commit.before", "commit.before=kill@x"]
)
def test_what_it_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"commit|invalid literal"):
        parse(text)
