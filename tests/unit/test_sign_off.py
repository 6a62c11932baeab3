"""Signing off: everything is told as if the process ended, and the gauge goes on all the same."""

import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from streamgauge.capture import sender
from streamgauge.capture.gauge import Streamgauge
from streamgauge.memory_stream import MemoryStream
from streamgauge.settings import Settings

from .sending import LESSON, PATIENCE, Failing, arrived, sending


def track(gauge: Streamgauge, number: int) -> bool:
    return bool(gauge.track(LESSON.name, actor=f"user-{number % 50}", percent=number))


def numbers(stream: MemoryStream) -> list[int]:
    return sorted(int(event.properties["percent"]) for event in arrived(stream).events)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "streamgauge"]


def test_who_signs_off_has_sent_everything_told_its_drops_and_ended_its_lanes(tmp_path: Path) -> None:
    stream = MemoryStream(shards=4)
    with sending(stream, tmp_path, flush_milliseconds=10_000) as gauge:
        for number in range(100):
            track(gauge, number)
        gauge.track("no.such")
        assert gauge.sign_off(PATIENCE)
        found = arrived(stream)
        assert numbers(stream) == list(range(100))
        assert (found.lanes, found.open_lanes, found.lost) == (4, 0, 0)
        assert found.drops == {"undeclared_event": 1}


def test_behind_a_sign_off_events_and_drops_open_lanes_of_their_own(tmp_path: Path) -> None:
    stream = MemoryStream(shards=1)
    with sending(stream, tmp_path) as gauge:
        for number in range(3):
            track(gauge, number)
            gauge.track("no.such")
            assert gauge.sign_off(PATIENCE)
        gauge.track("no.such")
    found = arrived(stream)
    assert numbers(stream) == [0, 1, 2]
    assert found.drops == {"undeclared_event": 4}
    assert (found.lanes, found.open_lanes, found.lost, found.redelivered) == (4, 0, 0, 0)


def test_signing_off_twice_says_nothing_new(tmp_path: Path) -> None:
    stream = MemoryStream(shards=1)
    with sending(stream, tmp_path) as gauge:
        track(gauge, 1)
        assert gauge.sign_off(PATIENCE)
        said = stream.nodes[0].added
        assert gauge.sign_off(PATIENCE)
    assert stream.nodes[0].added == said


def test_several_may_sign_off_while_events_go_on_coming_and_none_is_lost(tmp_path: Path) -> None:
    stream = Failing()
    stream.lose_every = 7
    signed: list[bool] = []
    with sending(stream, tmp_path) as gauge:
        leaving = [threading.Thread(target=lambda: signed.append(gauge.sign_off(PATIENCE))) for _ in range(8)]
        for number in range(800):
            assert track(gauge, number)
            if number % 100 == 50:
                leaving[number // 100].start()
        for each in leaving:
            each.join()
        assert gauge.sign_off(PATIENCE)
        assert arrived(stream).open_lanes == 0
    assert signed == [True] * 8
    assert (numbers(stream), arrived(stream).lost) == (list(range(800)), 0)


def test_an_announcement_that_fails_is_tried_again_while_somebody_waits_for_it(tmp_path: Path) -> None:
    stream = Failing(shards=1)
    with sending(stream, tmp_path) as gauge:
        track(gauge, 1)
        assert gauge.flush(PATIENCE)
        stream.down = True
        threading.Timer(0.3, setattr, (stream, "down", False)).start()
        assert gauge.sign_off(PATIENCE)
        assert arrived(stream).open_lanes == 0


def test_signing_off_from_a_redis_that_hangs_ends_in_time_and_leaves_the_lanes_open(tmp_path: Path) -> None:
    stream = Failing(shards=1)
    with sending(stream, tmp_path) as gauge:
        track(gauge, 1)
        assert gauge.flush(PATIENCE)
        stream.down = True
        track(gauge, 2)
        assert not gauge.sign_off(0.2)
        stream.down = False
        assert gauge.flush(PATIENCE)
        assert (numbers(stream), arrived(stream).open_lanes) == ([1, 2], 1)


def test_who_was_never_used_has_nothing_to_say(tmp_path: Path) -> None:
    with sending(Failing(), tmp_path) as gauge:
        assert gauge.sign_off(0)
        assert threads() == []
        gauge.close(PATIENCE)
        assert gauge.sign_off(0)
    with Streamgauge(Settings(enabled=False)) as disabled:
        assert disabled.track(LESSON.name).reason == "disabled"
        assert disabled.sign_off(0)
        assert threads() == []


def test_without_an_address_signing_off_does_not_wait_for_one(tmp_path: Path) -> None:
    with sending(MemoryStream(), tmp_path, redis_url=None) as gauge:
        gauge.track("no.such")
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(gauge.sign_off(3_600)))
        asking.start()
        asking.join(PATIENCE)
        assert answers == [False]


def test_drops_are_announced_although_no_event_was_ever_taken(tmp_path: Path) -> None:
    stream = MemoryStream(shards=1)
    with patch.object(sender, "ANNOUNCE_SECONDS", 0.02), sending(stream, tmp_path) as gauge:
        gauge.track("no.such")
        gauge.track(LESSON.name, percent="many")
        deadline = time.monotonic() + PATIENCE
        while arrived(stream).drops != {"undeclared_event": 1, "invalid_property": 1}:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_drops_alone_are_told_at_the_end_too(tmp_path: Path) -> None:
    stream = MemoryStream(shards=1)
    with sending(stream, tmp_path) as gauge:
        gauge.track("no.such")
        assert gauge.close(PATIENCE)
    found = arrived(stream)
    assert (found.drops, found.lanes, found.open_lanes) == ({"undeclared_event": 1}, 1, 0)


def test_signing_off_tells_whether_everything_was_sent(tmp_path: Path) -> None:
    with sending(MemoryStream(), tmp_path, keyring=tmp_path / "missing" / "keyring.json") as gauge:
        track(gauge, 1)
        assert not gauge.sign_off(PATIENCE)
        assert gauge.status()["dropped"] == {"unsendable": 1}
