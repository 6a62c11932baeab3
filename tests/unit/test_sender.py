"""The thread that sends: everything accepted arrives exactly once, whatever the stream does meanwhile."""

import asyncio
import gc
import json
import logging
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch
from weakref import WeakSet

import pytest

from streamgauge.capture import exits, outbox, sender
from streamgauge.capture.bell import Bell
from streamgauge.capture.delivery import Delivery
from streamgauge.capture.gauge import Streamgauge
from streamgauge.capture.outbox import IDLE_MS
from streamgauge.capture.pending import Pending
from streamgauge.entry import Announcement, Batch, decode_all
from streamgauge.frame import freeze
from streamgauge.memory_stream import MemoryStream
from streamgauge.settings import Settings

from .sending import LESSON, PATIENCE, Failing, arrived, sending


def track(gauge: Streamgauge, number: int) -> bool:
    return bool(gauge.track(LESSON.name, actor=f"user-{number % 50}", lesson="l", percent=number))


def numbers(stream: MemoryStream) -> list[int]:
    return sorted(int(event.properties["percent"]) for event in arrived(stream).events)


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_is_tracked_arrives_once_in_all_shards_and_the_lanes_say_goodbye(tmp_path: Path) -> None:
    stream = MemoryStream(shards=4)
    with sending(stream, tmp_path) as gauge:
        assert all(track(gauge, number) for number in range(1_000))
        assert gauge.flush(PATIENCE)
        assert gauge.close(PATIENCE)
        assert gauge.status()["sent"] == 1_000
    found = arrived(stream)
    assert numbers(stream) == list(range(1_000))
    assert (found.lanes, found.open_lanes, found.lost, found.redelivered) == (4, 0, 0, 0)


def test_tracking_works_before_a_loop_inside_one_and_after_it_ended(tmp_path: Path) -> None:
    stream = MemoryStream(shards=2)

    async def serve(gauge: Streamgauge) -> None:
        assert track(gauge, 1)
        await asyncio.sleep(0)
        assert track(gauge, 2)

    with sending(stream, tmp_path) as gauge:
        assert track(gauge, 0)
        asyncio.run(serve(gauge))
        asyncio.run(serve(gauge))
        assert track(gauge, 3)
        assert gauge.flush(PATIENCE)
    assert numbers(stream) == [0, 1, 1, 2, 2, 3]


def test_eight_threads_track_and_nothing_is_lost_or_counted_twice(tmp_path: Path) -> None:
    stream = Failing()
    stream.lose_every = 5
    accepted = [0] * 8

    def work(thread: int) -> None:
        for number in range(500):
            accepted[thread] += track(gauge, 1_000 * thread + number)

    with sending(stream, tmp_path, buffer_events=1_500) as gauge:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert gauge.flush(PATIENCE)
        status = gauge.status()
    assert status["accepted"] == status["sent"] == sum(accepted) == len(numbers(stream))
    assert len(set(numbers(stream))) == sum(accepted)
    assert sum(accepted) + status["dropped"].get("buffer_full", 0) == 4_000
    assert arrived(stream).lost == 0


def test_a_batch_whose_reply_was_lost_is_sent_again_with_the_same_bytes_and_numbers(tmp_path: Path) -> None:
    stream = Failing()
    stream.lose_every = 2
    with sending(stream, tmp_path) as gauge:
        for number in range(40):
            track(gauge, number)
            gauge.flush(PATIENCE)
    found = arrived(stream)
    assert numbers(stream) == list(range(40))
    assert found.redelivered > 5
    batches: dict[tuple[bytes, int], set[Batch]] = {}
    for node in stream.nodes:
        for _, record in decode_all(node.items):
            if isinstance(record, Batch):
                batches.setdefault((record.lane, record.first), set()).add(record)
    assert all(len(copies) == 1 for copies in batches.values())


def test_events_wait_while_the_stream_is_down_and_all_arrive_when_it_is_back(tmp_path: Path) -> None:
    stream = Failing()
    with sending(stream, tmp_path, buffer_events=300, capture_mode="memory") as gauge:
        assert track(gauge, 0)
        assert gauge.flush(PATIENCE)
        stream.down = True
        accepted = [number for number in range(1, 1_001) if track(gauge, number)]
        assert len(accepted) == 300
        until(lambda: gauge.status()["redis"] == "failing")
        assert not gauge.flush(0.01)
        assert (gauge.status()["waiting"], gauge.status()["dropped"]) == (300, {"buffer_full": 700})
        assert gauge.status()["last_error"] == "redis_failed: cannot append to Redis: it is down"
        stream.down = False
        assert gauge.flush(PATIENCE)
        assert gauge.status()["redis"] == "connected"
    assert numbers(stream) == [0, *accepted]
    assert arrived(stream).drops == {"buffer_full": 700}


def test_closing_while_the_stream_is_down_ends_in_time_and_counts_what_was_not_delivered(
    tmp_path: Path,
) -> None:
    stream = Failing()
    stream.down = True
    with sending(stream, tmp_path, capture_mode="memory") as gauge:
        for number in range(10):
            track(gauge, number)
        until(lambda: stream.attempts > 0)
        track(gauge, 10)
        assert not gauge.close(0.1)
        status = gauge.status()
        assert (status["waiting"], status["sent"], status["dropped"]) == (0, 0, {"undelivered": 11})
        assert gauge.track(LESSON.name).reason == "closed"
    assert threads() == []


def test_closing_while_the_stream_hangs_ends_all_the_same(tmp_path: Path) -> None:
    class Hung(Failing):
        async def append(self, shard: int, record: Any) -> Any:
            self.attempts += 1
            await asyncio.sleep(3600)

    stream = Hung()
    with sending(stream, tmp_path, capture_mode="memory") as gauge:
        track(gauge, 1)
        until(lambda: stream.attempts)
        assert not gauge.close(0.1)
        assert gauge.status()["dropped"] == {"undelivered": 1}
    assert threads() == []


def test_what_was_numbered_and_given_up_is_lost_numbers_and_not_counted_as_dropped_too(
    tmp_path: Path,
) -> None:
    stream = Failing(shards=1)
    give_up = outbox.Outbox.give_up

    def back_for_the_last_words(each: outbox.Outbox) -> None:
        stream.down = False
        give_up(each)

    with sending(stream, tmp_path, capture_mode="memory") as gauge:
        track(gauge, 0)
        gauge.flush(PATIENCE)
        stream.down = True
        track(gauge, 1)
        until(lambda: gauge.status()["redis"] == "failing")
        gauge.track("no.such")
        with patch.object(outbox.Outbox, "give_up", back_for_the_last_words):
            assert not gauge.close(0.2)
        assert gauge.status()["dropped"] == {"undeclared_event": 1, "undelivered": 1}
    found = arrived(stream)
    assert (len(found.events), found.lost, found.open_lanes) == (1, 1, 0)
    assert found.drops == {"undeclared_event": 1}


def test_without_an_address_events_wait_and_are_dropped_as_not_configured_when_closing(
    tmp_path: Path,
) -> None:
    with sending(MemoryStream(), tmp_path / "nowhere", redis_url=None) as gauge:
        assert track(gauge, 1)
        assert not gauge.flush(0.05)
        assert (gauge.status()["redis"], gauge.status()["waiting"]) == ("not_configured", 1)
        assert not gauge.close(PATIENCE)
        assert gauge.status()["dropped"] == {"not_configured": 1}
    assert not (tmp_path / "nowhere").exists()


def test_an_event_that_cannot_be_frozen_takes_no_other_with_it(tmp_path: Path) -> None:
    stream = MemoryStream(shards=1)
    with sending(stream, tmp_path, flush_milliseconds=200) as gauge:
        for number in range(20):
            assert track(gauge, number)
        (pending,) = [each for each in gauge_events(gauge) if each.properties["percent"] == 7]
        assert gauge.offer(pending._replace(properties={"lesson": "\ud800"}))
        assert gauge.offer(pending._replace(occurred_at=2**70))
        assert gauge.offer(pending._replace(visitor=(1, 2), actor=None))
        gauge.flush(PATIENCE)
        assert gauge.status()["dropped"] == {"unsendable": 3}
        assert gauge.status()["troubles"]["unsendable"] == 3
    assert numbers(stream) == list(range(20))
    assert (arrived(stream).lost, arrived(stream).drops) == (0, {"unsendable": 3})


def gauge_events(gauge: Streamgauge) -> list[Any]:
    delivery = gauge._outlet
    assert isinstance(delivery, Delivery)
    return list(delivery._buffer._queue)


def test_without_a_usable_keyring_the_host_goes_on_and_its_events_are_counted_unsendable(
    tmp_path: Path,
) -> None:
    stream = MemoryStream(shards=1)
    keyring = tmp_path / "missing" / "keyring.json"
    with sending(stream, tmp_path, keyring=keyring) as gauge:
        assert track(gauge, 1)
        gauge.flush(PATIENCE)
        assert gauge.status()["dropped"] == {"unsendable": 1}
        assert gauge.status()["troubles"] == {"keyring_failed": 1}
        keyring.parent.mkdir()
        assert track(gauge, 2)
        assert gauge.flush(PATIENCE)
    assert numbers(stream) == [2]


def test_a_data_directory_that_is_missing_is_made_for_the_keyring_and_nobody_else_may_read_it(
    tmp_path: Path,
) -> None:
    stream = MemoryStream()
    with sending(stream, tmp_path / "a" / "b") as gauge:
        assert not (tmp_path / "a").exists()
        track(gauge, 1)
        assert gauge.flush(PATIENCE)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "b" / "keyring.json").stat().st_mode & 0o777 == 0o600


def test_a_defect_while_sending_is_counted_and_the_next_events_are_sent(tmp_path: Path) -> None:
    stream = MemoryStream()
    with sending(stream, tmp_path) as gauge, patch.object(sender, "LOOK_SECONDS", 0.01):
        with patch.object(outbox, "shard_of", side_effect=ZeroDivisionError):
            assert track(gauge, 1)
            gauge.flush(PATIENCE)
        assert track(gauge, 2)
        assert gauge.flush(PATIENCE)
        assert gauge.status()["dropped"] == {"unsendable": 1}
        assert gauge.status()["troubles"] == {"sender_failed": 1}
    assert numbers(stream) == [2]


def test_an_error_of_the_client_that_nobody_thought_of_is_retried_like_any_other(tmp_path: Path) -> None:
    class Odd(Failing):
        async def append(self, shard: int, record: Any) -> Any:
            if self.attempts < 3:
                self.attempts += 1
                raise ValueError("odd")
            return await super().append(shard, record)

    stream = Odd()
    with sending(stream, tmp_path) as gauge:
        track(gauge, 1)
        assert gauge.flush(PATIENCE)
        assert gauge.status()["troubles"] == {"sender_failed": 3}
    assert numbers(stream) == [1]


def test_lanes_are_announced_when_something_changed_and_only_then(tmp_path: Path) -> None:
    stream = MemoryStream(shards=1)
    with patch.object(sender, "ANNOUNCE_SECONDS", 0.02), sending(stream, tmp_path) as gauge:
        for number in range(5):
            track(gauge, number)
        assert gauge.flush(PATIENCE)
        until(lambda: announcements(stream))
        time.sleep(0.1)
        (said,) = announcements(stream)
        assert (said.end, said.closed, said.drops) == (5, False, {})
        gauge.track("no.such")
        until(lambda: len(announcements(stream)) == 2)
        assert announcements(stream)[1].drops == {"undeclared_event": 1}
        gauge.close(PATIENCE)
    assert [(each.end, each.closed) for each in announcements(stream)] == [(5, False), (5, False), (5, True)]


def announcements(stream: MemoryStream) -> list[Announcement]:
    found = [record for node in stream.nodes for _, record in decode_all(list(node.items))]
    return [record for record in found if isinstance(record, Announcement)]


def test_drops_are_cumulative_over_a_lane_and_begin_anew_with_the_next_one(tmp_path: Path) -> None:
    stream = MemoryStream(shards=1)
    with (
        patch.object(sender, "ANNOUNCE_SECONDS", 0.02),
        patch.object(outbox, "IDLE_MS", -1),
        sending(stream, tmp_path) as gauge,
    ):
        for number in range(3):
            track(gauge, number)
            assert gauge.flush(PATIENCE)
            gauge.track("no.such")
            said = number + 1
            until(lambda: sum(arrived(stream).drops.values()) == said)  # noqa: B023 - asked at once
    found = arrived(stream)
    assert found.drops == {"undeclared_event": 3}
    assert found.lanes >= 3
    assert (found.open_lanes, found.lost) == (0, 0)
    assert numbers(stream) == [0, 1, 2]


def test_a_lane_is_renewed_after_a_day_without_use_and_long_before_a_worker_forgets_it() -> None:
    assert 3_600_000 < IDLE_MS <= 24 * 3_600_000


@pytest.mark.parametrize("name", [LESSON.name, "no.such"], ids=["taken", "dropped"])
def test_one_thread_is_started_by_the_first_event_and_by_nothing_else(tmp_path: Path, name: str) -> None:
    with sending(MemoryStream(), tmp_path) as gauge:
        gauge.status()
        gauge.flush(0)
        gauge.sign_off(0)
        assert threads() == []
        gauge.track(name)
        gauge.track(name)
        track(gauge, 2)
        assert len(threads()) == 1
        gauge.close(PATIENCE)
        gauge.track(name)
    assert threads() == []


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "streamgauge"]


def test_a_process_that_can_have_no_thread_keeps_the_events_and_tries_again(tmp_path: Path) -> None:
    stream = MemoryStream()
    with sending(stream, tmp_path, buffer_events=2_000) as gauge:
        with patch("threading.Thread.start", side_effect=RuntimeError("can't start new thread")):
            assert all(track(gauge, number) for number in range(499))
        assert gauge.status()["troubles"] == {"sender_not_started": 1}
        assert track(gauge, 499)
        assert gauge.flush(PATIENCE)
    assert numbers(stream) == list(range(500))


def test_a_thread_that_could_not_be_started_is_tried_for_again_although_the_buffer_is_full(
    tmp_path: Path,
) -> None:
    stream = MemoryStream()
    with sending(stream, tmp_path, buffer_events=100) as gauge:
        with patch("threading.Thread.start", side_effect=RuntimeError("can't start new thread")):
            assert [track(gauge, number) for number in range(101)] == [True] * 100 + [False]
        assert not track(gauge, 101)
        assert gauge.flush(PATIENCE)
    assert numbers(stream) == list(range(100))


def test_a_host_without_file_descriptors_is_no_reason_to_give_up_sending(tmp_path: Path) -> None:
    stream = MemoryStream()
    with (
        patch.object(sender, "LOOK_SECONDS", 0.01),
        patch.object(sender.Sender, "_make_loop", side_effect=OSError(24, "Too many open files")),
        sending(stream, tmp_path) as gauge,
    ):
        track(gauge, 1)
        until(lambda: gauge.status()["troubles"].get("sender_failed", 0) >= 2)
        with patch.object(sender.Sender, "_make_loop", _MAKE_LOOP):
            assert gauge.flush(PATIENCE)
    assert numbers(stream) == [1]


_MAKE_LOOP = sender.Sender._make_loop


def test_a_host_that_ends_without_file_descriptors_ends(tmp_path: Path) -> None:
    with (
        patch.object(sender.Sender, "_make_loop", side_effect=OSError(24, "Too many open files")),
        sending(MemoryStream(), tmp_path) as gauge,
    ):
        track(gauge, 1)
        assert not gauge.close(0.1)
        assert gauge.status()["dropped"] == {"undelivered": 1}
    assert threads() == []


def test_a_gauge_that_nobody_holds_any_more_sends_what_it_has_and_ends(tmp_path: Path) -> None:
    stream = MemoryStream(shards=4)
    settings = Settings(redis_url="redis://stand-in", data_dir=tmp_path, flush_milliseconds=10_000)
    gauge = Streamgauge(
        settings, event_types=(LESSON,), outlet=Delivery(settings, open_stream=lambda _: stream)
    )
    track(gauge, 1)
    (thread,) = threads()
    del gauge
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert numbers(stream) == [1]
    assert arrived(stream).open_lanes == 0


def test_at_the_end_of_a_process_all_gauges_are_closed_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    begin, finish = Delivery.begin_to_close, Delivery.finish_closing

    def begin_to_close(each: Delivery, seconds: float) -> None:
        steps.append("begin")
        begin(each, seconds)

    def finish_closing(each: Delivery, seconds: float) -> None:
        assert seconds <= 0.3
        steps.append("finish")
        finish(each, seconds)

    monkeypatch.setattr(exits, "_open", WeakSet())
    monkeypatch.setattr(exits, "SECONDS", 0.3)
    stream = Failing()
    stream.down = True
    with (
        sending(stream, tmp_path, capture_mode="memory") as one,
        sending(stream, tmp_path, capture_mode="memory") as two,
        sending(stream, tmp_path, capture_mode="memory") as three,
    ):
        for gauge in (one, two, three):
            track(gauge, 1)
        monkeypatch.setattr(Delivery, "begin_to_close", begin_to_close)
        monkeypatch.setattr(Delivery, "finish_closing", finish_closing)
        exits._close_all()
        # A hung Redis takes its time from all of them at once.
        assert steps == ["begin"] * 3 + ["finish"] * 3
        assert [gauge.status()["dropped"] for gauge in (one, two, three)] == [{"undelivered": 1}] * 3
        exits._close_all()
        assert len(steps) == 6


def test_salts_are_destroyed_although_no_visitor_comes_any_more(tmp_path: Path) -> None:
    stream = MemoryStream(shards=4)
    visit = Pending("http.request", 1, "t", None, None, None, None, "server", {}, None, ("192.0.2.7", "x"))
    with patch.object(sender, "ANNOUNCE_SECONDS", 0.02), sending(stream, tmp_path) as gauge:
        assert gauge.offer(visit._replace(occurred_at=time.time_ns() // 1_000))
        assert gauge.flush(PATIENCE)
        salts = json.loads((tmp_path / "salts.json").read_text())["salts"]
        assert len(salts) == 1
        later = time.time() + 3 * 86_400
        delivery = gauge._outlet
        assert isinstance(delivery, Delivery)
        delivery._salts._clock = lambda: later
        until(lambda: json.loads((tmp_path / "salts.json").read_text())["salts"] == {})
    assert arrived(stream).events[0].actor is not None


def test_salts_are_destroyed_although_redis_is_away_for_days(tmp_path: Path) -> None:
    stream = Failing()
    visit = Pending("http.request", 1, "t", None, None, None, None, "server", {}, None, ("192.0.2.7", "x"))
    with patch.object(sender, "ANNOUNCE_SECONDS", 0.02), sending(stream, tmp_path) as gauge:
        stream.down = True
        assert gauge.offer(visit._replace(occurred_at=time.time_ns() // 1_000))
        until((tmp_path / "salts.json").exists)
        later = time.time() + 3 * 86_400
        delivery = gauge._outlet
        assert isinstance(delivery, Delivery)
        delivery._salts._clock = lambda: later
        until(lambda: json.loads((tmp_path / "salts.json").read_text())["salts"] == {})
        assert delivery._salts._salts == {}


def test_salts_that_cannot_be_kept_are_told_and_visitors_are_counted_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "salts.json").write_text("{}")
    stream = MemoryStream(shards=4)
    visit = Pending("http.request", 1, "t", None, None, None, None, "server", {}, None, ("192.0.2.7", "x"))
    with patch.object(sender, "ANNOUNCE_SECONDS", 0.02), sending(stream, tmp_path) as gauge:
        assert gauge.offer(visit._replace(occurred_at=time.time_ns() // 1_000))
        assert gauge.flush(PATIENCE)
        until(lambda: gauge.status()["troubles"] == {"salts_failed": 1})
    assert arrived(stream).events[0].actor is not None


def test_several_gauges_of_one_process_have_lanes_of_their_own(tmp_path: Path) -> None:
    stream = MemoryStream()
    with sending(stream, tmp_path) as one, sending(stream, tmp_path) as two:
        track(one, 1)
        track(two, 2)
        assert one.flush(PATIENCE)
        assert two.flush(PATIENCE)
    assert (numbers(stream), arrived(stream).lanes) == ([1, 2], 2)


def test_big_backlogs_are_sent_in_several_batches(tmp_path: Path) -> None:
    stream = MemoryStream(shards=1)
    with (
        patch.object(sender, "MOST_EVENTS", 100),
        sending(stream, tmp_path, flush_milliseconds=100) as gauge,
    ):
        assert all(track(gauge, number) for number in range(450))
        assert gauge.flush(PATIENCE)
    assert numbers(stream) == list(range(450))
    assert len(arrived(stream).payloads) >= 5


def test_the_log_is_told_once_a_minute_and_never_of_anybody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Failing()
    stream.down = True
    with caplog.at_level(logging.INFO, "streamgauge"), sending(stream, tmp_path) as gauge:
        track(gauge, 1)
        until(lambda: stream.attempts >= 4)
        gauge.close(0.05)
    lines = [record.getMessage() for record in caplog.records if "redis_failed" in record.getMessage()]
    assert lines == ["redis_failed: cannot append to Redis: it is down"]
    assert "user-" not in caplog.text


def test_a_bell_is_heard_once_however_often_it_was_rung() -> None:
    bell = Bell()
    assert not bell.wait(0)
    bell.ring()
    bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)
    threading.Timer(0.01, bell.ring).start()
    assert bell.wait(PATIENCE)


def test_the_frames_of_a_shard_are_what_the_worker_reads(tmp_path: Path) -> None:
    stream = MemoryStream(shards=1)
    with sending(stream, tmp_path, flush_milliseconds=100) as gauge:
        track(gauge, 1)
        track(gauge, 2)
        assert gauge.flush(PATIENCE)
    found = arrived(stream)
    assert found.payloads == [freeze(found.events)]
