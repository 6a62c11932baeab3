"""Gauges with a spool: what the stream does not take waits in files, and arrives exactly once all the same."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from streamgauge.capture import kept_segment, outbox, replay, sender
from streamgauge.capture.delivery import Delivery
from streamgauge.capture.destination import Destination
from streamgauge.capture.gauge import Streamgauge
from streamgauge.capture.pending import ACCEPTED, Pending, Ticket
from streamgauge.capture.segment import read
from streamgauge.entry import Announcement, Batch, EntryId, Record, decode_all
from streamgauge.errors import ServerError, SettingsError
from streamgauge.memory_stream import MemoryStream
from streamgauge.ranges import Ranges
from streamgauge.testing import recording_gauge

from .sending import LESSON, PATIENCE, Failing, arrived, sending


class Away(Failing):
    """Down for everything, or for some shards; or hung."""

    def __init__(self, shards: int = 4) -> None:
        super().__init__(shards)
        self.hung = False
        self.down_shards: set[int] = set()

    async def append(self, shard: int, record: Record) -> EntryId:
        await self.suffer(shard)
        added: EntryId = await super().append(shard, record)
        return added

    async def append_many(self, shard: int, records: Sequence[Record]) -> list[EntryId]:
        await self.suffer(shard)
        return await super().append_many(shard, records)

    async def acknowledged(self, shard: int, lanes: Sequence[bytes]) -> list[int]:
        await self.suffer(shard)
        return await super().acknowledged(shard, lanes)

    async def suffer(self, shard: int) -> None:
        while self.hung:  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.005)
        if self.down or shard in self.down_shards:
            self.attempts += 1
            raise ServerError("cannot append to Redis: it is down")


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    with (
        patch.object(sender, "ANNOUNCE_SECONDS", 0.05),
        patch.object(outbox, "TAKEN_SECONDS", 0.05),
        patch.object(outbox.Outbox.deliver_or_spool, "__defaults__", (0.05,)),
        patch.object(replay, "ASK_SECONDS", 0.02),
        patch.object(replay, "PART_SECONDS", 0.2),
    ):
        yield


def track(gauge: Streamgauge, number: int) -> Ticket:
    return gauge.track(LESSON.name, actor=f"user-{number % 50}", lesson="l" * 50, percent=number)


def numbers(stream: MemoryStream) -> list[int]:
    return sorted(int(event.properties["percent"]) for event in arrived(stream).events)


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def spool_of(gauge: Streamgauge) -> dict[str, float]:
    found: dict[str, float] = gauge.status()["spool"]
    return found


def files(folder: Path) -> list[Path]:
    """Walked, as rglob fails when a folder is removed while it looks."""
    return [
        Path(place, name)
        for place, _, names in os.walk(folder / "spool")
        for name in names
        if name.endswith(".segment")
    ]


def announcements(stream: MemoryStream) -> list[Announcement]:
    found = [record for node in stream.nodes for _, record in decode_all(list(node.items))]
    return [record for record in found if isinstance(record, Announcement)]


def gone(stream: MemoryStream, folder: Path) -> bool:
    """Whether all files are, once a worker has done what it does behind a commit."""
    acknowledge(stream)
    return not files(folder)


def acknowledge(stream: MemoryStream) -> None:
    """What a worker does behind its commit."""
    for node in stream.nodes:
        done: dict[bytes, Ranges] = {}
        for _, record in decode_all(list(node.items)):
            if isinstance(record, Batch):
                done.setdefault(record.lane, Ranges()).add(record.first, record.end)
        node.acknowledged.update({lane: ranges.prefix for lane, ranges in done.items()})


@pytest.mark.parametrize("mode", ["disk", "durable"])
@pytest.mark.parametrize("how", ["down", "hung"])
def test_while_the_stream_is_away_the_buffer_never_fills_and_all_arrives_once_behind_that(
    tmp_path: Path, mode: str, how: str
) -> None:
    stream = Away()
    with sending(stream, tmp_path, buffer_events=300, capture_mode=mode) as gauge:
        track(gauge, 0)
        assert gauge.flush(PATIENCE)
        setattr(stream, how, True)
        for number in range(1, 3_001):
            assert track(gauge, number)
            if not number % 100:
                until(lambda: gauge.status()["waiting_bytes"] < 100_000)
        until(lambda: gauge.status()["waiting_bytes"] == 0)
        status = gauge.status()
        assert (status["accepted"], status["sent"], status["waiting"]) == (3_001, 1, 3_000)
        assert status["spool"]["bytes"] > 50_000
        assert 0 < status["spool"]["oldest_seconds"] < PATIENCE
        assert not gauge.flush(0)
        setattr(stream, how, False)
        assert gauge.flush(PATIENCE)
        if mode == "durable":
            until(lambda: gone(stream, tmp_path))
        until(lambda: not files(tmp_path))
        assert gauge.status()["dropped"] == {}
        assert gauge.close(PATIENCE)
    found = arrived(stream)
    assert numbers(stream) == list(range(3_001))
    assert (found.lost, found.open_lanes, found.lanes) == (0, 0, 4)
    assert not (tmp_path / "spool").exists() or not list((tmp_path / "spool").iterdir())


def test_no_announcement_says_more_than_is_in_the_stream_while_batches_lie_in_files(tmp_path: Path) -> None:
    stream = Away(shards=1)
    with sending(stream, tmp_path) as gauge:
        track(gauge, 0)
        assert gauge.flush(PATIENCE)
        stream.down = True
        for number in range(1, 20):
            track(gauge, number)
        until(lambda: gauge.status()["spool"]["batches"] and not gauge.status()["waiting_bytes"])
        with patch.object(Destination, "append_many", side_effect=ServerError("still away for batches")):
            stream.down = False
            delivery = gauge._outlet
            assert isinstance(delivery, Delivery)
            absent = delivery._sender._outbox._absences._delays
            gauge.track("no.such")
            until(lambda: absent.clear() or any(said.drops for said in announcements(stream)))  # type: ignore[func-returns-value]  # it is known to be there
            assert {said.end for said in announcements(stream)} == {1}
            assert not gauge.sign_off(0.1)
            assert not any(said.closed for said in announcements(stream))
        assert gauge.flush(PATIENCE)
    assert [said.end for said in announcements(stream)][-1] == 20
    assert (arrived(stream).lost, arrived(stream).open_lanes, numbers(stream)) == (0, 0, list(range(20)))


def test_one_absent_shard_does_not_hold_up_the_others(tmp_path: Path) -> None:
    stream = Away()
    stream.down_shards = {2}
    with sending(stream, tmp_path) as gauge:
        for number in range(500):
            track(gauge, number)
        until(lambda: gauge.status()["waiting_bytes"] == 0)
        sent = gauge.status()["sent"]
        assert 300 < sent < 500
        track(gauge, 500)
        for number in range(501, 600):
            track(gauge, number)
        until(lambda: gauge.status()["sent"] > sent + 50)
        in_files = [each.shard for path in files(tmp_path) for each in read(path.read_bytes()).stowed]
        assert set(in_files) == {2}
        stream.down_shards = set()
        assert gauge.flush(PATIENCE)
    assert numbers(stream) == list(range(600))
    assert arrived(stream).lost == 0


@pytest.mark.parametrize("mode", ["disk", "durable"])
def test_what_a_gauge_could_not_send_before_it_closed_is_sent_by_the_next_one_with_its_last_words(
    tmp_path: Path, mode: str
) -> None:
    stream = Away()
    with sending(stream, tmp_path, capture_mode=mode) as first:
        for number in range(100):
            track(first, number)
        assert first.flush(PATIENCE)
        stream.down = True
        for number in range(100, 200):
            track(first, number)
        first.track("no.such")
        assert first.close(1.0)  # nothing is given up
        status = first.status()
        assert (status["dropped"], status["waiting"]) == ({"undeclared_event": 1}, 100)
    assert arrived(stream).open_lanes == 4
    stream.down = False
    with sending(stream, tmp_path, capture_mode=mode) as second:
        track(second, 200)
        until(lambda: gone(stream, tmp_path))
        assert second.status()["accepted"] == second.status()["sent"] == 1
    found = arrived(stream)
    assert numbers(stream) == list(range(201))
    assert (found.lost, found.open_lanes, found.drops) == (0, 0, {"undeclared_event": 1})


def test_what_a_killed_process_had_in_files_is_adopted_while_a_living_ones_is_not(tmp_path: Path) -> None:
    stream = Away()
    stream.down = True
    with sending(stream, tmp_path) as living, sending(stream, tmp_path) as killed:
        for number in range(50):
            track(living, number)
            track(killed, 50 + number)
        for gauge in (living, killed):
            until(lambda gauge=gauge: gauge.status()["waiting_bytes"] == 0)
        delivery = killed._outlet
        assert isinstance(delivery, Delivery)
        delivery._sender._replay.step = _nothing  # type: ignore[union-attr, method-assign]  # it is dead
        delivery._sender._replay.disown()  # type: ignore[union-attr]  # as above
        with (
            patch.object(replay.Replay, "due", lambda each: each._adopted_at + 0.05),
            sending(stream, tmp_path) as third,
        ):
            stream.down = False
            track(third, 100)
            until(lambda: numbers(stream) == list(range(101)))
            assert third.status()["sent"] == 1
    assert arrived(stream).lost == 0


async def _nothing() -> None:
    await asyncio.sleep(0)


def test_a_gauge_that_has_no_time_left_to_send_puts_all_of_it_into_files(tmp_path: Path) -> None:
    stream = Away()
    stream.hung = True
    with sending(stream, tmp_path, flush_milliseconds=5_000) as first:
        for number in range(100):
            track(first, number)
        assert first.close(0.0)
        assert first.status()["dropped"] == {}
    stream.hung = False
    with sending(stream, tmp_path) as second:
        track(second, 100)
        until(lambda: not files(tmp_path))
    assert (numbers(stream), arrived(stream).lost, arrived(stream).open_lanes) == (list(range(101)), 0, 0)


def test_two_that_adopt_at_once_make_copies_at_most(tmp_path: Path) -> None:
    stream = Away()
    stream.down = True
    with sending(stream, tmp_path) as first:
        for number in range(400):
            track(first, number)
        first.close(0.3)
    stream.down = False
    with sending(stream, tmp_path) as one, sending(stream, tmp_path) as two:
        barrier = threading.Barrier(2)
        threads = [
            threading.Thread(target=lambda gauge=gauge: (barrier.wait(), track(gauge, 999)))
            for gauge in (one, two)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        until(lambda: not files(tmp_path))
    assert numbers(stream) == [*range(400), 999, 999]
    assert (arrived(stream).lost, arrived(stream).open_lanes) == (0, 0)


def test_a_full_spool_drops_behind_a_full_buffer_says_so_and_takes_again(tmp_path: Path) -> None:
    stream = Away()
    stream.down = True
    with sending(stream, tmp_path, buffer_events=100, spool_bytes=1024 * 1024) as gauge:
        number, accepted = 0, []
        while not gauge.status()["dropped"].get("spool_full"):
            ticket = gauge.track(
                LESSON.name, actor=f"user-{number}", lesson=os.urandom(900).hex(), percent=number
            )
            accepted += [number] if ticket else []
            number += 1
            assert ticket or ticket.reason in ("spool_full", "buffer_full")
            if not number % 20:
                time.sleep(0.002)
        assert 500 < len(accepted) < 2_000
        assert spool_of(gauge)["bytes"] <= 1024 * 1024
        stream.down = False
        assert gauge.flush(PATIENCE)
        assert track(gauge, number)
        dropped = gauge.status()["dropped"]
    assert numbers(stream) == [*accepted, number]
    assert (arrived(stream).lost, arrived(stream).drops) == (0, dropped)


def test_a_disk_that_fails_leaves_the_events_in_memory_and_is_tried_again(tmp_path: Path) -> None:
    stream = Away()
    stream.down = True
    (tmp_path / "spool").write_text("in the way")
    with sending(stream, tmp_path, buffer_events=200) as gauge:
        accepted = [number for number in range(300) if track(gauge, number)]
        until(lambda: gauge.status()["troubles"].get("spool_failed"))
        until(lambda: track(gauge, 999).reason == "spool_failed")
        assert len(accepted) >= 200
        (tmp_path / "spool").unlink()
        until(lambda: spool_of(gauge)["batches"])
        stream.down = False
        assert gauge.flush(PATIENCE)
    assert numbers(stream)[:200] == accepted[:200]
    assert arrived(stream).lost == 0


async def test_a_durable_ticket_is_answered_when_its_event_is_synced_and_one_sync_serves_many(
    tmp_path: Path,
) -> None:
    stream = Away()
    stream.hung = True
    fsync = os.fsync
    synced: list[int] = []

    def counted(descriptor: int) -> None:
        synced.append(descriptor)
        fsync(descriptor)

    with sending(stream, tmp_path, capture_mode="durable", flush_milliseconds=100) as gauge:
        with patch("os.fsync", counted):
            tickets = [track(gauge, number) for number in range(200)]
            assert await asyncio.gather(*(ticket.durable() for ticket in tickets)) == [True] * 200
        assert 3 <= len(synced) <= 30
        on_disk = [each for path in files(tmp_path) for each in read(path.read_bytes()).stowed]
        assert sum(each.record.n for each in on_disk if isinstance(each.record, Batch)) == 200
        assert all(ticket.durable_within(0) for ticket in tickets)
        assert await tickets[0].durable()
        stream.hung = False
        assert await asyncio.to_thread(gauge.flush, PATIENCE)


async def test_a_ticket_whose_event_cannot_be_kept_says_why_and_the_event_is_sent_all_the_same(
    tmp_path: Path,
) -> None:
    stream = Away()
    (tmp_path / "spool").write_text("in the way")
    with sending(stream, tmp_path, capture_mode="durable") as gauge:
        ticket = track(gauge, 1)
        assert not await ticket.durable()
        assert (ticket.accepted, ticket.reason) == (True, "spool_failed")
        assert await asyncio.to_thread(gauge.flush, PATIENCE)
        refused = gauge.track("no.such")
        assert (await refused.durable(), refused.reason) == (False, "undeclared_event")
        unsendable = gauge.offer(Pending(LESSON.name, 2**70, "default", None, None, None, None, "server", {}))
        assert (await unsendable.durable(), unsendable.reason) == (False, "unsendable")
    assert numbers(stream) == [1]


@pytest.mark.parametrize("mode", ["memory", "disk"])
async def test_a_gauge_that_is_not_durable_has_one_ticket_for_all_and_says_which_setting_it_takes(
    tmp_path: Path, mode: str
) -> None:
    with sending(MemoryStream(), tmp_path, capture_mode=mode) as gauge:
        ticket = track(gauge, 1)
        assert ticket is ACCEPTED
        with pytest.raises(SettingsError, match="STREAMGAUGE_CAPTURE_MODE=durable"):
            await ticket.durable()
        with pytest.raises(SettingsError, match="STREAMGAUGE_CAPTURE_MODE=durable"):
            ticket.durable_within(1)


async def test_whoever_waits_for_a_ticket_is_answered_when_the_gauge_ends_without_a_thread(
    tmp_path: Path,
) -> None:
    with sending(MemoryStream(), tmp_path, capture_mode="durable") as gauge:
        with patch("threading.Thread.start", side_effect=RuntimeError("can't start new thread")):
            ticket = track(gauge, 1)
            waiting = asyncio.ensure_future(ticket.durable())
            await asyncio.sleep(0.01)
            gauge.close(0.1)
        assert not await waiting
        assert ticket.reason == "undelivered"
        assert not ticket.durable_within(0)


async def test_durable_events_need_no_redis_to_be_on_disk_and_arrive_when_there_is_one(
    tmp_path: Path,
) -> None:
    stream = Away()
    with sending(stream, tmp_path, capture_mode="durable", redis_url=None) as first:
        assert await track(first, 1).durable()
        assert first.close(1.0)
        assert first.status()["dropped"] == {}
    with sending(stream, tmp_path, capture_mode="durable") as second:
        track(second, 2)
        until(lambda: gone(stream, tmp_path))
    assert numbers(stream) == [1, 2]
    assert (arrived(stream).lost, arrived(stream).open_lanes) == (0, 0)


def test_durable_batches_that_redis_lost_are_sent_again_and_those_it_has_are_not(tmp_path: Path) -> None:
    stream = Away(shards=1)
    with (
        patch.object(kept_segment, "RESEND_SECONDS", 0.3),
        sending(stream, tmp_path, capture_mode="durable") as gauge,
    ):
        for number in range(30):
            track(gauge, number)
        assert gauge.flush(PATIENCE)
        before = stream.nodes[0].added
        time.sleep(0.1)
        assert stream.nodes[0].added <= before + 1  # an announcement
        stream.wipe(0)
        assert numbers(stream) == []
        until(lambda: numbers(stream) == list(range(30)))
        until(lambda: gone(stream, tmp_path))
        assert gauge.status()["sent"] == 30
    assert (arrived(stream).lost, arrived(stream).open_lanes) == (0, 0)


def test_what_was_adopted_and_is_acknowledged_already_is_not_sent_again(tmp_path: Path) -> None:
    stream = Away()
    with sending(stream, tmp_path, capture_mode="durable") as first:
        for number in range(100):
            track(first, number)
        assert first.close(PATIENCE)
    assert files(tmp_path)
    acknowledge(stream)
    with sending(stream, tmp_path, capture_mode="durable") as second:
        track(second, 100)
        until(lambda: gone(stream, tmp_path))
    found = arrived(stream)
    assert (numbers(stream), found.redelivered, found.lost, found.open_lanes) == (list(range(101)), 0, 0, 0)


def test_a_spool_goes_to_the_generation_it_was_written_for(tmp_path: Path) -> None:
    stream = Away(shards=2)
    stream.down = True
    with sending(stream, tmp_path) as first:
        track(first, 1)
        first.close(0.3)
    stream.down = False
    newer = stream.of_generation(1, 2)
    with sending(newer, tmp_path, generation=1) as second:
        track(second, 2)
        until(lambda: not files(tmp_path))
    assert (numbers(stream), numbers(newer)) == ([1], [2])


def test_memory_mode_touches_no_files(tmp_path: Path) -> None:
    stream = Away()
    stream.down = True
    with sending(stream, tmp_path, capture_mode="memory") as gauge:
        track(gauge, 1)
        until(lambda: stream.attempts > 2)
        assert spool_of(gauge) == {"bytes": 0, "batches": 0, "oldest_seconds": 0.0}
    assert not (tmp_path / "spool").exists()


async def test_a_recording_gauge_answers_as_the_mode_it_stands_for(tmp_path: Path) -> None:
    with recording_gauge(event_types=[LESSON], capture_mode="durable") as gauge:
        ticket = track(gauge, 1)
        assert ticket
        assert await ticket.durable()
        assert ticket.durable_within(0)
    with recording_gauge(event_types=[LESSON]) as gauge:
        assert track(gauge, 1) is ACCEPTED
