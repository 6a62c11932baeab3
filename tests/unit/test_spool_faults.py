"""What an unkind reader of the spool thought of: each of these lost something, counted it twice or said it wrongly."""

import asyncio
import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from streamgauge.capture import adoption, outbox, replay, sender
from streamgauge.capture.absences import Absences
from streamgauge.capture.delivery import Delivery
from streamgauge.capture.destination import Destination
from streamgauge.capture.forks import Undisturbed
from streamgauge.capture.kept_segment import LaneKey
from streamgauge.capture.publisher import Publisher
from streamgauge.capture.replay import Replay
from streamgauge.capture.segment import Label
from streamgauge.capture.spool import Spool
from streamgauge.capture.spool_folder import SpoolFolder
from streamgauge.capture.troubles import Troubles
from streamgauge.entry import Batch, EntryId, Record
from streamgauge.errors import ServerError
from streamgauge.memory_stream import MemoryStream
from streamgauge.settings import Settings

from .sending import PATIENCE, arrived, sending
from .test_spool import LANE, MIB, Told, batch, failing, kill, open_spool, owed
from .test_spool_sending import Away, acknowledge, announcements, files, gone, numbers, track, until


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


class Mute(Away):
    """Takes what it is sent, and does not say so while it is mute."""

    mute = False

    async def append(self, shard: int, record: Record) -> EntryId:
        added = await super().append(shard, record)
        if self.mute and isinstance(record, Batch):
            raise ServerError("the reply was lost")
        return added

    async def append_many(self, shard: int, records: Sequence[Record]) -> list[EntryId]:
        added = await super().append_many(shard, records)
        if self.mute:
            raise ServerError("the reply was lost")
        return added


class Accounts:
    """Who has to know what became of a process's own batches."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.done: list[tuple[LaneKey, int]] = []

    def replayed(self, batch: Batch, /) -> None:
        self.sent.append(batch.first)

    def acknowledged(self, key: LaneKey, prefix: int, /) -> None:
        self.done.append((key, prefix))

    def lost(self, key: LaneKey, first: int, end: int, /) -> None:
        self.done.append((key, -end))


def replaying(root: Path, stream: MemoryStream, spool: Spool | None = None, **settings: Any) -> Replay:
    chosen = Settings(redis_url="redis://stand-in", data_dir=root, shards=stream.shards, **settings)
    undisturbed = Undisturbed()
    destination = Destination(chosen, undisturbed, lambda _: stream)
    own = spool or open_spool(root)
    return Replay(own, root, destination, Absences(), Accounts(), Troubles(), undisturbed)


async def replay_all(each: Replay, steps: int = 200) -> None:
    for _ in range(steps):
        await each.step()


def left(root: Path, segments: int = 1, durable: bool = False, **written: Any) -> Path:
    """What a killed process leaves."""
    spool = open_spool(root, durable=durable, most=64 * MIB, **written)
    for number in range(segments):
        spool.write([(0, batch(number, lane=os.urandom(16)))])
        spool._end_segment()
    assert spool.folder is not None
    path = spool.folder.path
    kill(spool)
    return path


def test_what_is_acknowledged_before_it_could_be_sent_again_no_longer_waits(tmp_path: Path) -> None:
    stream = Mute(shards=1)
    with sending(stream, tmp_path, capture_mode="durable") as gauge:
        stream.mute = True
        for number in range(10):
            track(gauge, number)
        until(lambda: gauge.status()["waiting_bytes"] == 0 and numbers(stream) == list(range(10)))
        assert gauge.status()["waiting"] == 10
        acknowledge(stream)
        until(lambda: not files(tmp_path))
        stream.mute = False
        assert gauge.flush(PATIENCE)
        assert (gauge.status()["sent"], gauge.status()["waiting"]) == (10, 0)
    assert (arrived(stream).lost, arrived(stream).open_lanes) == (0, 0)


def test_what_is_being_sent_is_not_sent_from_its_file_at_the_same_time(tmp_path: Path) -> None:
    stream = Away(shards=1)
    slow = threading.Event()

    async def ask(*_: Any) -> list[int]:
        while not slow.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.002)
        return [0]

    with (
        patch.object(replay, "PART_SECONDS", PATIENCE),
        sending(stream, tmp_path, capture_mode="durable") as gauge,
    ):
        track(gauge, 0)
        assert gauge.flush(PATIENCE)
        with patch.object(Destination, "acknowledged", ask):
            time.sleep(0.1)  # it is asking now
            with (
                patch.object(outbox.Outbox.deliver_or_spool, "__defaults__", (1.0,)),
                patch.object(MemoryStream, "append", _late(stream)),
            ):
                track(gauge, 1)
                time.sleep(0.05)
                slow.set()
                assert gauge.flush(PATIENCE)
        acknowledge(stream)
        until(lambda: gone(stream, tmp_path))
        assert (gauge.status()["sent"], gauge.status()["waiting"]) == (2, 0)
    found = arrived(stream)
    assert (numbers(stream), found.redelivered, found.lost, found.open_lanes) == ([0, 1], 0, 0, 0)


def _late(stream: MemoryStream) -> Any:
    append = MemoryStream.append

    async def late(self: MemoryStream, shard: int, record: Record) -> EntryId:
        await asyncio.sleep(0.2)
        return await append(self, shard, record)

    return late


def test_a_file_that_cannot_be_read_does_not_keep_a_gauge_from_closing(tmp_path: Path) -> None:
    stream = Away(shards=1)
    stream.down = True
    with sending(stream, tmp_path) as gauge:
        track(gauge, 0)
        until(lambda: gauge.status()["spool"]["batches"] == 1 and gauge.status()["waiting_bytes"] == 0)
        with patch.object(Path, "read_bytes", side_effect=OSError(errno.EIO, "Input/output error")):
            stream.down = False
            until(lambda: gauge.status()["troubles"].get("spool_failed"))
            delivery = gauge._outlet
            assert isinstance(delivery, Delivery)
            absences = delivery._sender._outbox._absences
            with (
                patch.object(Absences, "holds", lambda *_: False),
                patch.object(Spool, "owed", autospec=True, side_effect=Spool.owed) as looked,
            ):
                absences.end(0)
                assert gauge.close(PATIENCE)
                assert looked.call_count < 100  # it does not try until the time is over
            assert delivery._sender.join(PATIENCE)
    with sending(stream, tmp_path) as second:
        track(second, 2)
        until(lambda: not files(tmp_path))
    assert (numbers(stream), arrived(stream).lost, arrived(stream).open_lanes) == ([0, 2], 0, 0)


async def test_a_file_whose_version_was_damaged_is_lost_and_holds_up_nothing(tmp_path: Path) -> None:
    stream = MemoryStream(shards=1)
    spool = open_spool(tmp_path)
    spool.write([(0, batch(0, 3))])
    spool._end_segment()
    spool.write([(0, batch(3))])
    path = spool.segments[0].path
    data = bytearray(path.read_bytes())
    data[7] ^= 0x40
    path.write_bytes(data)
    each = replaying(tmp_path, stream, spool)
    await replay_all(each, 5)
    account = each._account
    assert isinstance(account, Accounts)
    assert (account.sent, account.done) == ([3], [(LaneKey(0, 0, LANE), -3)])
    assert not list(tmp_path.rglob("*.segment"))
    each.close()


async def test_however_many_dead_spools_there_are_few_are_held_at_once_and_all_are_sent(
    tmp_path: Path,
) -> None:
    for _ in range(3 * adoption.MOST_HELD):
        left(tmp_path)
    stream = MemoryStream(shards=1)
    each = replaying(tmp_path, stream)
    before = len(os.listdir("/proc/self/fd"))
    most = 0
    for _ in range(20 * adoption.MOST_HELD):
        await each.step()
        most = max(most, len(os.listdir("/proc/self/fd")) - before)
    assert 0 < most <= adoption.MOST_HELD + 1
    assert len(arrived_batches(stream)) == 3 * adoption.MOST_HELD
    assert list(tmp_path.iterdir()) == []
    each.close()


def arrived_batches(stream: MemoryStream) -> list[Any]:
    return [item for node in stream.nodes for item in node.items if len(item[1][1][1]) == 1]


async def test_others_get_their_turn_while_a_large_dead_spool_is_read(tmp_path: Path) -> None:
    left(tmp_path, segments=50)
    each = replaying(tmp_path, MemoryStream(shards=1))
    turns: list[int] = []
    reads = Path.read_bytes

    def read(path: Path) -> bytes:
        turns[-1] += 1
        return reads(path)

    async def turn() -> None:
        while True:
            turns.append(0)
            await asyncio.sleep(0)

    with patch.object(Path, "read_bytes", read):
        other = asyncio.ensure_future(turn())
        await asyncio.sleep(0)
        await each.step()
        other.cancel()
    assert sum(turns) >= 50
    assert max(turns) <= 2
    each.close()


def test_whatever_else_lies_in_the_spools_directory_is_left_alone(tmp_path: Path) -> None:
    strange = [tmp_path / "uploads", tmp_path / "0123456789abcdeg", tmp_path / ("ab" * 9)]
    for path in strange:
        path.mkdir()
    target = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    target.mkdir()
    (tmp_path / ("0" * 16)).symlink_to(target)
    told = Told()
    assert list(SpoolFolder.abandoned(tmp_path, set(), told.meet)) == []
    assert all(path.is_dir() and not list(path.iterdir()) for path in [*strange, target])
    assert told == []


def test_one_folder_that_fails_does_not_keep_the_others_from_being_adopted(tmp_path: Path) -> None:
    paths = sorted(left(tmp_path) for _ in range(3))
    (paths[0] / "lock").unlink()
    (paths[0] / "lock").mkdir()
    told = Told()
    found = list(SpoolFolder.abandoned(tmp_path, set(), told.meet))
    assert sorted(each.path for each in found) == paths[1:]
    assert told == ["spool_failed"]
    for each in found:
        each.disown()


async def test_a_generation_that_cannot_be_sent_to_any_more_holds_up_only_itself(tmp_path: Path) -> None:
    old = open_spool(tmp_path)
    old.write([(0, Batch(os.urandom(16), 1, 0, 0, 1, b"p"))])
    kill(old)
    stream = Away(shards=1)
    stream.down = True  # the old generation's streams
    newer = MemoryStream(generation=1, shards=1)
    newer._siblings[0] = stream
    absences = Absences()
    own = Spool(tmp_path, Label("streamgauge", False), MIB, Told().meet)
    own.write([(0, Batch(LANE, 1, 1, 0, 1, b"p"))])
    chosen = Settings(redis_url="redis://stand-in", data_dir=tmp_path, shards=1, generation=1)
    undisturbed = Undisturbed()
    destination = Destination(chosen, undisturbed, lambda _: newer)
    each = Replay(own, tmp_path, destination, absences, Accounts(), Troubles(), undisturbed)
    await replay_all(each, 5)
    assert not absences.holds(0)
    assert len(newer.nodes[0].items) == 1
    each.close()


def test_a_file_that_cannot_be_closed_is_closed_all_the_same_and_never_written_to_again(
    tmp_path: Path,
) -> None:
    spool = open_spool(tmp_path, told := Told())
    spool.write([(0, batch(0))])
    assert spool._writer is not None
    writer, descriptor = spool._writer, spool._writer._file
    close, closed = os.close, []

    def fail(number: int) -> None:
        if number == descriptor:
            closed.append(number)
        if len(closed) <= 1:
            close(number)  # as Linux does, whatever it says
        if number == descriptor:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with patch("os.close", fail), failing("write"):
        assert spool.write([(0, batch(1))]) == 0
        writer.close()  # by now it may be somebody else's
    assert (list(told), len(closed)) == (["spool_failed"], 1)
    spool._retry_at = 0.0
    assert spool.write([(0, batch(1))]) == 1
    assert owed(spool) == [0, 1]


def test_what_a_failing_disk_leaves_behind_takes_no_room(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    for number in range(50):
        spool._retry_at = 0.0
        with failing("write"):
            assert spool.write([(0, batch(number, payload=bytes(200_000)))]) == 0
        assert spool.refusal == "spool_failed"
    assert (spool.segments, spool.bytes, list(tmp_path.rglob("*.segment"))) == ([], 0, [])
    spool._retry_at = 0.0
    assert spool.write([(0, batch(99))]) == 1


def test_the_directories_that_were_made_are_synced_too(tmp_path: Path) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    spool = open_spool(tmp_path / "new" / "spool", durable=True)
    with patch("os.fsync", note):
        spool.write([(0, batch(0))])
        assert spool.sync()
    assert {str(tmp_path), str(tmp_path / "new"), str(tmp_path / "new" / "spool")} <= set(synced)


def test_no_lane_is_ended_while_something_of_it_is_under_way(tmp_path: Path) -> None:
    stream = Away(shards=1)
    (tmp_path / "spool").write_text("in the way")
    with sending(stream, tmp_path) as gauge:
        track(gauge, 0)
        assert gauge.flush(PATIENCE)
        delivery = gauge._outlet
        assert isinstance(delivery, Delivery)
        with (
            patch.object(Absences, "holds", lambda *_: False),  # as if an older batch had just been taken
            patch.object(Away, "append", _only_announcements),
        ):
            track(gauge, 1)
            until(lambda: gauge.status()["troubles"].get("spool_failed"))
            assert not delivery._sender.sign_off(0.5)
            assert not any(said.closed for said in announcements(stream))
    assert (numbers(stream), arrived(stream).lost, arrived(stream).open_lanes) == ([0, 1], 0, 0)


async def _only_announcements(self: Away, shard: int, record: Record) -> EntryId:
    if isinstance(record, Batch):
        raise ServerError("still away for batches")
    return await MemoryStream.append(self, shard, record)


def test_what_was_dropped_is_told_by_an_adopter_even_if_no_redis_was_known(tmp_path: Path) -> None:
    stream = Away()
    with sending(stream, tmp_path, capture_mode="durable", redis_url=None) as first:
        track(first, 1)
        first.track("no.such")
        assert first.close(PATIENCE)
    with sending(stream, tmp_path, capture_mode="durable") as second:
        track(second, 2)
        until(lambda: gone(stream, tmp_path))
    assert (numbers(stream), arrived(stream).drops) == ([1, 2], {"undeclared_event": 1})


async def test_a_lane_that_cannot_be_announced_keeps_no_other_from_it() -> None:
    stream = Away(shards=3)
    publisher = Publisher(stream, lambda: 1_000, attempts=1)
    for shard in range(3):
        lane = publisher.lane(shard)
        lane.settle(lane.freeze(b"x", 1))
    stream.down_shards = {0}
    with pytest.raises(ServerError):
        await publisher.announce()
    assert len(announcements(stream)) == 2


def test_a_defect_while_sending_the_last_does_not_keep_the_rest_out_of_the_files(tmp_path: Path) -> None:
    stream = Away()
    stream.hung = True
    with sending(stream, tmp_path, flush_milliseconds=5_000) as first:
        for number in range(20):
            track(first, number)
        with patch.object(outbox.Outbox, "deliver_or_spool", side_effect=ZeroDivisionError):
            assert first.close(PATIENCE)
    stream.hung = False
    with sending(stream, tmp_path) as second:
        track(second, 20)
        until(lambda: not files(tmp_path))
    assert (numbers(stream), arrived(stream).lost) == (list(range(21)), 0)


async def test_a_short_absence_is_enough_for_durable_batches_to_be_sent_again_soon(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, durable=True)
    spool.write([(0, batch(0))])
    spool.sync()
    each = replaying(tmp_path, MemoryStream(shards=1), spool)
    await each.step()
    (segment,) = spool.segments
    segment.resend_after, segment.resend_at = 3_600.0, time.monotonic() + 3_600
    each._absences.stumble()
    await replay_all(each, 2)
    assert segment.resend_at is not None
    assert segment.resend_at < time.monotonic() + 31
    each.close()


async def test_an_announcement_that_redis_may_have_lost_is_said_again_after_a_while() -> None:
    stream, now = Away(shards=1), [1_000]
    publisher = Publisher(stream, lambda: now[0], attempts=1)
    lane = publisher.lane(0)
    lane.settle(lane.freeze(b"x", 3))
    for at in (1_000, 5_000, 60_999):
        now[0] = at
        await publisher.announce()
    assert len(announcements(stream)) == 1
    stream.wipe(0)
    for at in (61_000, 70_000, 500):  # the clock is put back
        now[0] = at
        await publisher.announce()
    assert [said.end for said in announcements(stream)] == [3, 3]


async def test_a_dead_spool_whose_files_cannot_be_removed_is_sent_once(tmp_path: Path) -> None:
    left(tmp_path)
    stream = MemoryStream(shards=1)
    each = replaying(tmp_path, stream)
    with (
        patch.object(Path, "unlink", side_effect=PermissionError),
        patch.object(replay, "ADOPT_SECONDS", 0.0),
    ):
        await replay_all(each, 10)
    assert len(arrived_batches(stream)) == 1
    each.close()


def test_whoever_closes_sends_what_is_in_memory_before_what_is_in_files(tmp_path: Path) -> None:
    stream = Away(shards=1)
    stream.down = True
    with sending(stream, tmp_path) as first:
        track(first, 0)
        first.close(0.3)
    stream.down = False
    busy = threading.Event()

    async def hang(*_: Any) -> list[EntryId]:
        busy.set()
        await asyncio.sleep(PATIENCE)
        return []

    with (
        patch.object(replay, "PART_SECONDS", PATIENCE),
        patch.object(Destination, "append_many", hang),
        sending(stream, tmp_path, flush_milliseconds=1_000) as second,
    ):
        track(second, 1)
        assert busy.wait(PATIENCE)
        time.sleep(0.06)
        track(second, 2)
        assert second.close(5.0)
        assert second.status()["sent"] == 2
    assert numbers(stream) == [1, 2]


def test_a_lock_that_was_removed_while_it_was_being_taken_is_nobodys(tmp_path: Path) -> None:
    flock = fcntl.flock
    removed: list[str] = []

    def remove(descriptor: int, how: int) -> None:
        if not removed:
            removed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            os.unlink(removed[0])
        flock(descriptor, how)

    with patch("fcntl.flock", remove):
        folder = SpoolFolder.make(tmp_path)
    assert str(folder.path / "lock") not in removed
    assert (folder.path / "lock").exists()
    folder.leave()


async def test_while_redis_is_away_no_file_is_read_again_and_again(tmp_path: Path) -> None:
    stream = Away(shards=1)
    stream.down = True
    spool = open_spool(tmp_path)
    spool.write([(0, batch(0))])
    each = replaying(tmp_path, stream, spool)
    reads = Path.read_bytes
    read: list[Path] = []

    def note(path: Path) -> bytes:
        read.append(path)
        return reads(path)

    with patch.object(Path, "read_bytes", note), patch.object(Absences, "may_try", lambda *_: True):
        await replay_all(each, 20)
        assert len(read) == 1
        stream.down = False
        await replay_all(each, 2)
    account = each._account
    assert isinstance(account, Accounts)
    assert account.sent == [0]
    each.close()


def test_a_disk_that_takes_only_some_at_a_time_gets_all_of_it(tmp_path: Path) -> None:
    write = os.write
    spool = open_spool(tmp_path)
    with patch("os.write", lambda descriptor, data: write(descriptor, data[:7])):
        assert spool.write([(0, batch(0, payload=bytes(100))), (0, batch(1))]) == 2
    assert owed(spool) == [0, 1]


def test_a_server_that_was_away_counts_as_one_that_may_have_lost_something() -> None:
    absences = Absences()
    absences.end(0)
    assert absences.stumbles == 0
    absences.fail(0)
    absences.end(0)
    absences.end(0)
    assert absences.stumbles == 1


async def test_a_lane_whose_server_is_away_is_not_said_to_have_ended() -> None:
    stream = Away(shards=2)
    publisher = Publisher(stream, lambda: 1_000, attempts=1)
    for shard in range(2):
        lane = publisher.lane(shard)
        lane.settle(lane.freeze(b"x", 1))
    with pytest.raises(ServerError, match="away"):
        await publisher.announce(closed=True, absent=lambda shard: shard == 0)
    assert [said.closed for said in announcements(stream)] == [True]
    assert [lane.shard for lane in publisher.unclosed()] == [0]
