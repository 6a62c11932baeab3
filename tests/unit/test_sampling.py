"""A share of actors, always the same ones."""

import os
import random
import subprocess
import sys

import pytest

from streamgauge.capture.pending import Pending
from streamgauge.capture.sampling import Sample
from streamgauge.testing import recording_gauge

from .sending import LESSON

BARE = Pending("a.b", 1, "t", None, None, None, None, "server", {})


@pytest.mark.parametrize("percent", [1, 10, 50, 90])
@pytest.mark.parametrize("pattern", ["{}", "user-{}", "{:032x}", "ada{}@example.org"])
def test_the_share_of_actors_is_about_what_was_asked_for(percent: int, pattern: str) -> None:
    sample = Sample(percent)
    kept = sum(sample.holds(BARE._replace(actor=pattern.format(number))) for number in range(20_000))
    assert abs(kept / 20_000 - percent / 100) < 0.015


def test_all_or_nobody_is_exactly_that() -> None:
    actors = [BARE._replace(actor=str(number)) for number in range(2_000)]
    assert all(Sample(100).holds(each) for each in actors)
    assert Sample(100).everybody
    assert not any(Sample(0).holds(each) for each in [*actors, *[BARE] * 100])


def test_an_actor_is_measured_always_or_never_whatever_happens_around_it() -> None:
    sample = Sample(50)
    for number in range(200):
        event = BARE._replace(actor=f"user-{number}")
        other = event._replace(name="c.d", session="s", key="k", occurred_at=5, visitor=("192.0.2.1", "x"))
        assert sample.holds(event) == sample.holds(other)


def test_whoever_is_in_a_small_share_is_in_a_greater_one() -> None:
    for number in range(1_000):
        event = BARE._replace(actor=str(number))
        assert Sample(10).holds(event) <= Sample(11).holds(event) <= Sample(60).holds(event)


@pytest.mark.parametrize("field", ["session", "key", "visitor"])
def test_without_an_actor_the_session_the_visitor_or_the_key_decides(field: str) -> None:
    sample, answers = Sample(50), set()
    for number in range(100):
        value = (f"192.0.2.{number}", "agent") if field == "visitor" else f"{number}"
        given = {field: value}
        event = BARE._replace(**given)  # type: ignore[arg-type]  # one field or another
        answers.add(sample.holds(event))
        assert len({sample.holds(event) for _ in range(20)}) == 1
    assert answers == {True, False}


def test_events_of_nobody_are_kept_by_chance() -> None:
    random.seed(5)
    kept = sum(Sample(30).holds(BARE) for _ in range(20_000))
    assert abs(kept / 20_000 - 0.3) < 0.015


def test_every_process_gives_the_same_answer() -> None:
    program = (
        "from streamgauge.capture.pending import Pending; from streamgauge.capture.sampling import Sample; s = Sample(37); "
        "print(''.join(str(int(s.holds(Pending('a', 1, 't', str(n), None, None, None, 'server', {})))) for n in range(300)))"
    )
    shown = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert shown[0] == shown[1]
    assert {"0", "1"} <= set(shown[0])


def test_what_is_not_measured_is_counted_as_sampled_out() -> None:
    with recording_gauge(event_types=[LESSON], capture_percent=25) as gauge:
        tickets = [gauge.track(LESSON.name, actor=f"user-{number % 40}") for number in range(400)]
        kept = {each.actor for each in gauge.pending}
        assert gauge.drops == {"sampled_out": 400 - len(gauge.pending)}
        assert {ticket.reason for ticket in tickets} == {None, "sampled_out"}
        assert len(gauge.pending) == 10 * len(kept)
        assert 0 < len(kept) < 25
