"""A spool's files: what they keep, for how long, and what becomes of it when disks and processes fail."""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamgauge.capture import spool as spool_module
from streamgauge.capture.adoption import HeldSpool, abandoned, read_on
from streamgauge.capture.kept_segment import LONGEST_RESEND, RESEND_SECONDS, KeptSegment, LaneKey
from streamgauge.capture.publisher import Publisher
from streamgauge.capture.segment import Label
from streamgauge.capture.spool import Spool
from streamgauge.capture.spool_folder import SpoolFolder
from streamgauge.entry import Announcement, Batch, decode_all
from streamgauge.memory_stream import MemoryStream
from streamgauge.ranges import Ranges

LANE = b"l" * 16
MIB = 1024 * 1024
KEY = LaneKey(0, 0, LANE)


def batch(first: int, n: int = 1, payload: bytes = b"p", lane: bytes = LANE) -> Batch:
    return Batch(lane, 1, 0, first, n, payload)


class Told(list[str]):
    """What went wrong."""

    def meet(self, what: str, detail: str) -> None:
        self.append(what)


def open_spool(root: Path, told: Told | None = None, durable: bool = False, most: int = MIB) -> Spool:
    return Spool(root, Label("streamgauge", durable), most, (told if told is not None else Told()).meet)


def adopt(
    root: Path, told: Told | None = None, prefix: str = "streamgauge", known: Any = None
) -> list[HeldSpool]:
    meet = (told if told is not None else Told()).meet
    known = set() if known is None else known
    found = list(abandoned(root, Label(prefix, False), known, meet))
    return [held for held in found if all(read_on(held, prefix, known, meet) for _ in list(held.unread))]


def owed(spool: Spool) -> list[int]:
    """First numbers of everything that has to be sent, in order."""
    found: list[int] = []
    for segment in spool.segments:
        if segment.unsent:
            with patch.object(spool, "segments", [segment]):
                found += [
                    each.record.first
                    for each in spool.owed({(0, 0), (0, 1)})[0]
                    if isinstance(each.record, Batch)
                ]
    return found


def kill(spool: Spool) -> None:
    """What a `kill -9` leaves: files, and no lock."""
    spool.disown()


@contextmanager
def failing(call: str, number: int = errno.ENOSPC) -> Iterator[None]:
    with patch(f"os.{call}", side_effect=OSError(number, os.strerror(number))):
        yield


def test_what_was_written_is_owed_in_its_order_until_it_is_sent(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    assert spool.write([(0, batch(0, 3)), (1, batch(3)), (0, batch(4, 2))]) == 3
    assert owed(spool) == [0, 3, 4]
    spool.sent(1, batch(3))
    assert owed(spool) == [0, 4]
    spool.sent(0, batch(0, 3))
    spool.sent(0, batch(4, 2))
    (done,) = spool.finished()
    spool.remove(done)
    assert (spool.bytes, spool.status()["batches"], list(tmp_path.rglob("*.segment"))) == (0, 0, [])


def test_nobody_else_may_look_into_folder_and_files(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool")
    spool.write([(0, batch(0))])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert sorted(modes.values()) == [0o600, 0o600, 0o700, 0o700]


def test_nothing_is_made_on_disk_before_there_is_something_to_keep(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool")
    assert owed(spool) == []
    spool.close()
    assert not (tmp_path / "spool").exists()


def test_a_full_spool_refuses_and_takes_again_when_the_oldest_segment_is_gone(tmp_path: Path) -> None:
    told = Told()
    spool = open_spool(tmp_path, told)
    taken = spool.write([(0, batch(each, payload=bytes(50_000))) for each in range(30)])
    assert 18 <= taken < 21
    assert (spool.refusal, told) == ("spool_full", [])
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.segment")) == spool.bytes <= MIB
    assert spool.write([(0, batch(99))]) == 1  # a small one has room
    for each in range(10):
        spool.sent(0, batch(each))
    for done in spool.finished():
        spool.remove(done)
    assert spool.write([(0, batch(40, payload=bytes(50_000)))]) == 1
    assert spool.refusal is None
    assert owed(spool) == [*range(10, taken), 99, 40]


@pytest.mark.parametrize("call", ["write", "open", "mkdir"])
def test_a_disk_that_refuses_is_told_left_alone_for_a_moment_and_used_again(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "RETRY_SECONDS", 0.0)
    told = Told()
    spool = open_spool(tmp_path, told)
    with failing(call):
        assert spool.write([(0, batch(0))]) == 0
    assert (spool.refusal, told) == ("spool_failed", ["spool_failed"])
    assert owed(spool) == []
    assert spool.write([(0, batch(0))]) == 1
    assert (spool.refusal, owed(spool)) == (None, [0])


def test_a_disk_that_failed_is_not_asked_again_at_once(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    with failing("write"):
        spool.write([(0, batch(0))])
    assert spool.write([(0, batch(0))]) == 0
    assert spool.refusal == "spool_failed"


def test_what_a_failed_fsync_may_have_lost_is_not_kept_and_its_file_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "RETRY_SECONDS", 0.0)
    told = Told()
    spool = open_spool(tmp_path, told, durable=True)
    spool.write([(0, batch(0))])
    assert spool.sync()
    spool.write([(0, batch(1))])
    with failing("fsync", errno.EIO):
        assert not spool.sync()
    assert (owed(spool), told) == ([0], ["spool_failed"])
    assert spool.write([(0, batch(1))]) == 1
    assert spool.sync()
    assert (owed(spool), len(spool.segments)) == ([0, 1], 2)


def test_the_directory_is_synced_too_before_the_first_event_of_a_file_is_called_durable(
    tmp_path: Path,
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    (tmp_path / "spool").mkdir()
    spool = open_spool(tmp_path / "spool", durable=True)
    with patch("os.fsync", note):
        spool.write([(0, batch(0)), (0, batch(1))])
        assert synced == []
        assert spool.sync()
        assert spool.folder is not None
        folder = str(spool.folder.path)
        assert synced == [str(spool.segments[0].path), folder, str(tmp_path / "spool")]
        spool.write([(0, batch(2))])
        assert spool.sync()
        assert synced[3:] == [str(spool.segments[0].path)]  # one for all that was written


def test_a_folder_that_somebody_removed_is_made_again_and_what_was_in_it_is_told_as_lost(
    tmp_path: Path,
) -> None:
    told = Told()
    spool = open_spool(tmp_path / "spool", told)
    spool.write([(0, batch(0, 2)), (0, batch(2))])
    shutil.rmtree(tmp_path / "spool")
    assert spool.write([(0, batch(3))]) == 1
    stowed, lost = spool.owed({(0, 0)})
    assert (stowed, lost, told) == ([], [(KEY, 0, 3)], ["spool_damaged"])
    assert owed(spool) == [3]


def test_durable_batches_are_kept_until_they_are_acknowledged(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, durable=True)
    spool.write([(0, batch(0, 5)), (0, batch(5, 5))])
    spool.sync()
    for each in (batch(0, 5), batch(5, 5)):
        spool.sent(0, each)
    assert (owed(spool), spool.finished()) == ([], [])
    spool.acknowledge(KEY, 7)
    assert spool.finished() == []
    spool.acknowledge(KEY, 10)
    assert len(spool.finished()) == 1


def test_what_is_not_acknowledged_is_sent_again_ever_less_often_and_soon_after_a_fault() -> None:
    segment = KeptSegment(Path("x"), 0)
    segment.kept[KEY], segment.unsent[KEY] = Ranges([(0, 4)]), Ranges([(0, 4)])
    at, waits = 1_000.0, []
    for _ in range(12):
        segment.sent(KEY, batch(0, 4), at)
        assert segment.resend_at is not None
        waits.append(segment.resend_at - at)
        segment.resend_if_due(segment.resend_at - 0.1)
        assert not segment.unsent
        at = segment.resend_at
        segment.resend_if_due(at)
        assert segment.wants(KEY, batch(0, 4))
    assert waits[:3] == [RESEND_SECONDS, 2 * RESEND_SECONDS, 4 * RESEND_SECONDS]
    assert waits[-1] == LONGEST_RESEND
    segment.sent(KEY, batch(0, 4), at)
    segment.resend_soon(at)
    assert segment.resend_at == at + RESEND_SECONDS


def test_a_spool_is_adopted_when_its_owner_is_gone_and_never_before(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.write([(0, batch(0, 2)), (1, batch(2))])
    assert adopt(tmp_path) == []
    kill(spool)
    (held,) = adopt(tmp_path)
    assert owed(held.spool) == [0, 2]
    assert adopt(tmp_path) == []  # it has an owner again
    assert {key: (said.end, said.closed) for key, said in held.farewells.items()} == {
        KEY: (2, True), LaneKey(0, 1, LANE): (3, True),
    }  # fmt: skip


def test_an_owners_own_last_word_is_what_its_adopter_says(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.write([(0, batch(0)), (0, Announcement(LANE, 1, 0, 9, True, {"spool_full": 3}))])
    spool.close()
    (held,) = adopt(tmp_path)
    assert held.closings() == []
    held.spool.sent(0, batch(0))
    assert held.closings() == [(KEY, Announcement(LANE, 1, 0, 9, True, {"spool_full": 3}))]


def test_a_forked_child_does_not_keep_its_parents_spool_locked(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.write([(0, batch(0))])
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        spool.disown()
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        assert adopt(tmp_path) == []  # the parent lives
        kill(spool)
        assert len(adopt(tmp_path)) == 1
    finally:
        os.write(go[1], b"x")
        os.waitpid(child, 0)
        for end in (*ready, *go):
            os.close(end)


def test_another_installations_spool_and_a_newer_versions_are_left_alone(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.write([(0, batch(0))])
    kill(spool)
    known: set[Path] = set()
    assert adopt(tmp_path, prefix="other", known=known) == []
    assert len(known) == 1
    path = spool.segments[0].path
    data = bytearray(path.read_bytes())
    data[7] += 1
    path.write_bytes(data)
    told = Told()
    assert adopt(tmp_path, told) == []
    assert (told, path.exists()) == (["spool_not_adopted"], True)


def test_a_torn_tail_is_cut_off_and_told_when_a_spool_is_adopted(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.write([(0, batch(0)), (0, batch(1))])
    kill(spool)
    path = spool.segments[0].path
    path.write_bytes(path.read_bytes()[:-1])
    told = Told()
    (held,) = adopt(tmp_path, told)
    assert (owed(held.spool), told) == ([0], ["spool_damaged"])


def test_whoever_makes_a_folder_while_another_one_adopts_it_makes_another(tmp_path: Path) -> None:
    flock = fcntl.flock
    stolen: list[int] = []

    def steal(descriptor: int, how: int) -> None:
        if not stolen:
            stolen.append(descriptor)
            raise BlockingIOError
        flock(descriptor, how)

    with patch("fcntl.flock", steal):
        folder = SpoolFolder.make(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    folder.leave()


async def test_a_lane_of_which_something_is_spooled_is_neither_closed_nor_announced_beyond_that() -> None:
    stream = MemoryStream(shards=1)
    publisher = Publisher(stream, lambda: 1_000)
    lane = publisher.lane(0)
    sent, spooled, later = (lane.freeze(b"x", 2) for _ in range(3))
    lane.settle(sent)
    lane.spool(spooled)
    lane.settle(later)
    await publisher.announce(closed=True)
    assert lane.announcement(closed=True) == Announcement(lane.id, 1_000, 0, 2, False)
    assert (publisher.lane(0), publisher.unclosed()) == (lane, [lane])
    assert (lane.unspool(2, 4), lane.unspool(2, 4)) == (2, 0)
    await publisher.announce(closed=True)
    assert publisher.lane(0) is not lane
    said = [record for _, record in decode_all(stream.nodes[0].items)]
    assert [(each.end, each.closed) for each in said if isinstance(each, Announcement)] == [
        (2, False),
        (6, True),
    ]


def _order(entry: tuple[int, Batch]) -> tuple[int, int]:
    return entry[1].first, entry[0]


class SpoolMachine(RuleBasedStateMachine):
    """Append, settle, crash, adopt, full, failing disks: against a list of what must still be there."""

    def __init__(self) -> None:
        super().__init__()

        self.directory = tempfile.TemporaryDirectory()
        self.root = Path(self.directory.name)
        self.held: list[HeldSpool] = []
        self.next = 0

    @initialize(durable=st.booleans())
    def begin(self, durable: bool) -> None:
        self.durable = durable
        self.spool = open_spool(self.root, durable=durable)
        self.owed: list[tuple[int, Batch]] = []
        self.kept: list[tuple[int, Batch]] = []
        #: In files perhaps, and of no use any more: whoever adopts them cannot know that.
        self.done: list[tuple[int, Batch]] = []

    @rule(
        sizes=st.lists(st.sampled_from([1, 5_000, 240_000]), min_size=1, max_size=5), shard=st.integers(0, 1)
    )
    def append(self, sizes: list[int], shard: int) -> None:
        entries = []
        for size in sizes:
            entries.append((shard, batch(self.next, 2, bytes(size), bytes([shard]) * 16)))
            self.next += 2
        taken = self.spool.write(entries)
        assert self.spool.sync()
        assert taken == len(entries) or self.spool.refusal == "spool_full"
        self.owed += entries[:taken]
        self.kept += entries[:taken]

    @rule(size=st.sampled_from([1, 5_000]), call=st.sampled_from(["write", "fsync"]))
    def fail(self, size: int, call: str) -> None:
        entry = (0, batch(self.next, 2, bytes(size), bytes(16)))
        self.next += 2
        with failing(call), patch.object(spool_module, "RETRY_SECONDS", 0.0):
            taken = self.spool.write([entry])
            if taken and self.durable:
                taken = int(self.spool.sync())
        if taken:  # a disk that fails only to sync is as good as any to whoever does not ask for it
            self.owed.append(entry)
            self.kept.append(entry)
        else:
            self.done.append(entry)

    @precondition(lambda self: self.owed)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        shard, sent = self.owed.pop(data.draw(st.integers(0, len(self.owed) - 1)))
        for spool in self.spools():
            spool.sent(shard, sent)
        if not self.durable:
            self.kept.remove((shard, sent))
            self.done.append((shard, sent))

    @precondition(lambda self: self.durable)
    @rule(data=st.data(), shard=st.integers(0, 1))
    def acknowledge(self, data: st.DataObject, shard: int) -> None:
        prefix = 2 * data.draw(st.integers(0, self.next // 2))
        for spool in self.spools():
            spool.acknowledge(LaneKey(0, shard, bytes([shard]) * 16), prefix)
        gone = [(each, sent) for each, sent in self.kept if each == shard and sent.end <= prefix]
        self.kept = [each for each in self.kept if each not in gone]
        self.done += gone
        self.owed = [each for each in self.owed if each not in gone]

    @rule()
    def tidy(self) -> None:
        for spool in self.spools():
            for done in spool.finished():
                spool.remove(done)

    @rule()
    def crash(self) -> None:
        for spool in self.spools():
            kill(spool)
        self.spool = open_spool(self.root, durable=self.durable)
        self.held = adopt(self.root)
        # Nobody knows any more what was sent: copies are made of it, and what is kept is all there.
        found = self.found()
        assert all(each in found for each in self.kept)
        assert all(each in self.kept or each in self.done for each in found)
        self.owed, self.kept = found, [*found]
        self.done = [each for each in self.done if each not in found]

    def spools(self) -> list[Spool]:
        return [*(held.spool for held in self.held), self.spool]

    @invariant()
    def nothing_is_missing_and_nothing_is_made_up(self) -> None:
        if hasattr(self, "owed"):
            assert sorted(self.found(), key=_order) == sorted(self.owed, key=_order)
            assert self.spool.bytes <= MIB

    def found(self) -> list[tuple[int, Batch]]:
        return [
            (each.shard, each.record)
            for spool in self.spools()
            for segment in spool.segments
            if segment.unsent
            for each in self.owed_of(spool, segment)
        ]

    def owed_of(self, spool: Spool, segment: KeptSegment) -> list[Any]:
        with patch.object(spool, "segments", [segment]):
            stowed, lost = spool.owed({(0, 0), (0, 1)})
        assert lost == []
        return stowed

    def teardown(self) -> None:
        for spool in self.spools():
            spool.close()
        self.directory.cleanup()


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
