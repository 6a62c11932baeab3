"""The smallest producer: numbers once, sends the same bytes again, says how far it got."""

import asyncio
import multiprocessing
import os
from collections.abc import Callable

import pytest

from streamgauge.capture.publisher import DeterministicLane, Lane, Publisher
from streamgauge.entry import BEGINNING, Announcement, Batch, EntryId, Record
from streamgauge.errors import InputError, ServerError
from streamgauge.memory_stream import MemoryStream


async def no_sleep(seconds: float) -> None:
    assert 0 <= seconds <= 2


@pytest.fixture
def stream() -> MemoryStream:
    return MemoryStream(generation=7, shards=2)


@pytest.fixture
def publisher(stream: MemoryStream) -> Publisher:
    return Publisher(stream, clock=lambda: 1234, attempts=3, sleep=no_sleep)


async def retained(stream: MemoryStream, shard: int = 0) -> list[Record]:
    reader = await stream.open_reader(shard)
    found = [record for _, record in (await reader.read(BEGINNING, 100, 0)).entries]
    assert all(isinstance(record, Batch | Announcement) for record in found)
    return [record for record in found if isinstance(record, Batch | Announcement)]


async def test_events_are_numbered_one_after_the_other(stream: MemoryStream, publisher: Publisher) -> None:
    await publisher.publish(0, b"a", 3)
    await publisher.publish(0, b"b", 2)
    lane = publisher.lane(0).id
    assert await retained(stream) == [Batch(lane, 1234, 7, 0, 3, b"a"), Batch(lane, 1234, 7, 3, 2, b"b")]


async def test_every_shard_has_a_lane_of_its_own(stream: MemoryStream, publisher: Publisher) -> None:
    await publisher.publish(0, b"", 1)
    await publisher.publish(1, b"", 1)
    (one,), (two,) = await retained(stream, 0), await retained(stream, 1)
    assert one.lane != two.lane


async def test_a_lost_reply_sends_the_same_batch_again(stream: MemoryStream, publisher: Publisher) -> None:
    stream.lose_replies(2)
    assert isinstance(await publisher.publish(0, b"a", 3), EntryId)
    first, second, third = await retained(stream)
    assert first == second == third


async def test_a_batch_given_up_raises_and_leaves_its_numbers_to_the_measured_loss(
    stream: MemoryStream, publisher: Publisher
) -> None:
    stream.refuse(3)
    with pytest.raises(ServerError, match="refused"):
        await publisher.publish(0, b"a", 3)
    await publisher.publish(0, b"b", 2)
    await publisher.announce()
    found, said = await retained(stream)
    assert isinstance(found, Batch)
    assert isinstance(said, Announcement)
    assert (found.first, said.end, said.closed) == (3, 5, False)


async def test_a_closed_announcement_ends_the_lane_and_the_next_batch_starts_another(
    stream: MemoryStream, publisher: Publisher
) -> None:
    await publisher.publish(0, b"a", 3)
    old = publisher.lane(0).id
    await publisher.announce(closed=True)
    await publisher.publish(0, b"b", 1)
    _, said, new = await retained(stream)
    assert said == Announcement(old, 1234, 7, 3, True, {})
    assert isinstance(new, Batch)
    assert (new.lane != old, new.first) == (True, 0)


async def test_a_lane_that_has_nothing_to_say_is_not_announced(
    stream: MemoryStream, publisher: Publisher
) -> None:
    publisher.lane(0)
    await publisher.announce()
    assert await stream.length(0) == 0
    publisher.lane(0).drops["full"] += 4
    await publisher.announce()
    (said,) = await retained(stream)
    assert isinstance(said, Announcement)
    assert said.drops == {"full": 4}


def test_an_announcement_stops_at_the_oldest_batch_still_under_way() -> None:
    lane = Lane(0, 1)
    batches = [lane.freeze(b"", 2) for _ in range(3)]
    assert lane.announcement().end == 0
    lane.settle(batches[1])
    lane.settle(batches[0])
    assert lane.announcement().end == 4
    assert lane.announcement(closed=True).end == 6
    lane.settle(batches[2])
    assert lane.announcement().end == 6


def test_a_batch_of_no_events_takes_no_number() -> None:
    lane = Lane(0, 1)
    with pytest.raises(InputError):
        lane.freeze(b"", 0)
    assert lane.announcement().end == lane.next == 0


async def test_a_batch_under_way_is_not_announced_lost(stream: MemoryStream) -> None:
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await wake.wait()

    publisher = Publisher(stream, clock=lambda: 0, sleep=sleep)
    stream.refuse(1)
    under_way = asyncio.create_task(publisher.publish(0, b"slow", 5))
    await asleep.wait()
    await publisher.publish(0, b"fast", 1)
    await publisher.announce()
    wake.set()
    await under_way
    await publisher.announce()
    assert [record.end for record in await retained(stream)] == [6, 0, 5, 6]


def in_a_forked_child(work: Callable[[], object]) -> object:
    """What `work` returns in a child forked from this process."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send(work()))
    child.start()
    found: object = ours.recv()
    child.join()
    ours.close()
    theirs.close()
    return found


async def test_a_forked_child_starts_a_lane_of_its_own(publisher: Publisher) -> None:
    await publisher.publish(0, b"a", 3)
    found = in_a_forked_child(lambda: (os.getpid(), publisher.lane(0).id, publisher.lane(0).next))
    assert isinstance(found, tuple)
    assert found[0] != os.getpid()
    assert (found[1] != publisher.lane(0).id, found[2]) == (True, 0)
    assert publisher.lane(0).next == 3


def test_the_same_source_gives_the_same_lane_and_another_source_another() -> None:
    lanes = {
        DeterministicLane(shard, source).id
        for shard in (0, 1, 10)
        for source in [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), ()]
    }
    assert len(lanes) == 12
    assert DeterministicLane(1, (b"x",)).freeze(b"p", 1) == DeterministicLane(1, (b"x",)).freeze(b"p", 1)
    assert len(DeterministicLane(1, (b"x",)).id) == 16


async def test_an_import_published_twice_has_the_same_numbers(
    stream: MemoryStream, publisher: Publisher
) -> None:
    for _ in range(2):
        await publisher.publish(0, b"rows", 4, DeterministicLane(0, (b"digest",), generation=7))
    first, second = await retained(stream)
    assert first == second


async def test_what_was_announced_already_is_not_said_again(
    stream: MemoryStream, publisher: Publisher
) -> None:
    await publisher.publish(0, b"a", 3)
    for _ in range(3):
        await publisher.announce()
    assert await stream.length(0) == 2
    await publisher.publish(0, b"b", 1)
    await publisher.announce()
    assert [record.end for record in await retained(stream)] == [3, 3, 4, 4]


async def test_what_could_not_be_announced_is_said_the_next_time(
    stream: MemoryStream, publisher: Publisher
) -> None:
    await publisher.publish(0, b"a", 3)
    stream.refuse(3)
    with pytest.raises(ServerError):
        await publisher.announce()
    await publisher.announce()
    assert len(await retained(stream)) == 2


async def test_an_idle_lane_is_closed_and_followed_by_a_new_one(stream: MemoryStream) -> None:
    now = [0]
    publisher = Publisher(stream, clock=lambda: now[0], attempts=1)
    await publisher.publish(0, b"a", 3)
    await publisher.publish(1, b"b", 1)
    old = publisher.lane(0).id
    now[0] = 50
    publisher.lane(1)
    now[0] = 101
    await publisher.renew(100)
    _, said = await retained(stream)
    assert said == Announcement(old, 0, 7, 3, True, {})
    assert await stream.length(1) == 1
    assert (publisher.lane(0).id != old, publisher.lane(0).born) == (True, 101)


async def test_a_lane_with_a_batch_under_way_is_not_renewed(stream: MemoryStream) -> None:
    now = [0]
    publisher = Publisher(stream, clock=lambda: now[0], attempts=1)
    lane = publisher.lane(0)
    batch = lane.freeze(b"a", 1)
    now[0] = 1_000
    await publisher.renew(100)
    assert await stream.length(0) == 0
    lane.settle(batch)
    await publisher.renew(100)
    assert await stream.length(0) == 1


async def test_a_lane_whose_goodbye_could_not_be_said_stays(stream: MemoryStream) -> None:
    now = [0]
    publisher = Publisher(stream, clock=lambda: now[0], attempts=1)
    await publisher.publish(0, b"a", 1)
    old = publisher.lane(0).id
    now[0] = 1_000
    stream.refuse(1)
    with pytest.raises(ServerError):
        await publisher.renew(100)
    assert publisher.lane(0).id == old
