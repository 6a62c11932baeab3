"""The number of shards is changed under traffic: every event counts once, a caller's key in whichever generation it comes."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streamgauge.capture.publisher import Publisher
from streamgauge.database import open_connection, open_pool
from streamgauge.errors import InputError, ServerError, SettingsError
from streamgauge.event import Event, Value
from streamgauge.frame import freeze
from streamgauge.settings import Settings
from streamgauge.sharding import shard_of
from streamgauge_workers import generations, metrics
from streamgauge_workers.event_keys import EventKeys
from streamgauge_workers.generations import Generation
from streamgauge_workers.retired_streams import RetiredStreams
from streamgauge_workers.retirement import retire
from tests.integration.program import Program, given

from .engine import PATIENCE, Engine, open_engine

#: More connections than the engine's own pools have: several generations are read at once.
KEYS = 40


@dataclass
class Application:
    """A producer of one generation."""

    publisher: Publisher
    shards: int

    async def send(self, events: Sequence[Event]) -> None:
        """Send events where they belong, a few to a frame."""
        placed: dict[int, list[Event]] = {}
        for event in events:
            placed.setdefault(shard_of(event.actor, None, event.key, b"", self.shards), []).append(event)
        for shard, chosen in placed.items():
            for first in range(0, len(chosen), 20):
                frame = chosen[first : first + 20]
                await self.publisher.publish(shard, freeze(frame), len(frame))


Begin = Callable[[Generation], Application]


@asynccontextmanager
async def applications(engine: Engine) -> AsyncIterator[Begin]:
    """Begins producers, and closes their connections in the end."""
    async with AsyncExitStack() as stack:

        def begin(generation: Generation) -> Application:
            stream = engine.stream.of_generation(generation.generation, generation.shards)
            stack.push_async_callback(stream.aclose)
            return Application(Publisher(stream, lambda: time.time_ns() // 1_000_000), generation.shards)

        yield begin


def requests(seed: int, count: int) -> list[Event]:
    """Half of them keyed, and many keys more than once."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        properties: dict[str, Value] = {
            "http.route": f"/r/{chance.randrange(4)}",
            "http.response.status_code": 200,
            "duration": chance.randrange(10**6),
        }
        key = chance.randrange(KEYS).to_bytes(16) if chance.random() < 0.5 else None
        actor = None if key else bytes([1]) + chance.randrange(9).to_bytes(16)
        at = time.time_ns() // 1_000 - chance.randrange(10**9)
        found.append(Event("http.request", at, "delhi", actor, properties=properties, key=key))
    return found


async def until_read(engine: Engine, events: int) -> None:
    await engine.until("SELECT coalesce(sum(events), 0) >= $1 FROM outcome_ledger", events)


def expected(events: Sequence[Event]) -> dict[tuple[str, str], int]:
    """Every keyless event, and one of each key."""
    applied = sum(event.key is None for event in events) + len({event.key for event in events if event.key})
    return {("applied", ""): applied, ("repeated_key", ""): len(events) - applied}


async def test_four_shards_become_two_and_then_six_under_traffic_and_every_event_counts_once(
    redis_url: str, database_url: str
) -> None:
    async with (
        open_engine(redis_url, database_url, accepted_loss_seconds=0) as engine,
        applications(engine) as begin,
    ):
        async with engine.working(3):
            await engine.until("SELECT count(*) = 5 FROM leases")
            batches = [requests(seed, 150) for seed in range(7)]
            first = begin(Generation(0, 4, None))
            await first.send(batches[0])
            two = await generations.change(engine.connection, 2)
            assert two == Generation(1, 2, None)
            second = begin(two)
            # The hosts are restarted one by one: for a while there are some of each, with the same keys.
            await asyncio.gather(first.send(batches[1]), second.send(batches[2]))
            six = await generations.change(engine.connection, 6)
            third = begin(six)
            await asyncio.gather(first.send(batches[3]), second.send(batches[4]), third.send(batches[5]))
            await third.send(batches[6])
            sent = [event for batch in batches for event in batch]
            await until_read(engine, len(sent))
            assert await engine.connection.fetchval("SELECT count(*) FROM leases") == 15
            assert await engine.outcomes() == expected(sent)
            assert (await engine.verified()).differences == []
            numbers = [
                row["shard"] for row in await engine.connection.fetch("SELECT shard FROM shards ORDER BY 1")
            ]
            assert numbers == list(range(15))
            await _retire_in_time(engine)
            assert (
                await engine.connection.fetchval("SELECT count(*) FROM shards WHERE retired_at IS NULL") == 7
            )
            await third.send(batches[0])
            await until_read(engine, len(sent) + len(batches[0]))
        assert await engine.outcomes() == expected([*sent, *batches[0]])
        assert (await engine.verified()).differences == []


async def _retire_in_time(engine: Engine) -> None:
    """Both older generations are refused while they were just sent to, and retired when they are quiet."""
    for generation in (0, 1):
        chosen = generations.chosen(await generations.listed(engine.connection), generation)
        stream = engine.stream.of_generation(generation, chosen.shards)
        with pytest.raises(ServerError, match=r"was sent to 0\.0 hours ago, and 8 days must pass"):
            await retire(engine.connection, stream, chosen, engine.settings)
        await engine.connection.execute(
            "UPDATE lanes SET touched = touched - 9 * 86400000::bigint FROM shards WHERE lanes.shard = shards.shard AND generation = $1",
            generation,
        )
        assert await retire(engine.connection, stream, chosen, engine.settings) == []
        assert [await stream.length(number) for number in range(chosen.shards)] == [0] * chosen.shards
        await stream.aclose()


async def test_a_generation_with_something_unread_is_not_retired_and_reopening_it_reads_what_came_late(
    redis_url: str, database_url: str
) -> None:
    async with open_engine(redis_url, database_url) as engine, applications(engine) as begin:
        async with engine.working():
            await engine.until("SELECT count(*) = 5 FROM leases")
        old, events = begin(Generation(0, 4, None)), requests(1, 40)
        await generations.change(engine.connection, 2)
        await old.send(events)
        known = await generations.listed(engine.connection)
        with pytest.raises(ServerError, match="has entries that are not read yet"):
            await retire(engine.connection, engine.stream, known[0], engine.settings)
        with pytest.raises(InputError, match="newest generation cannot be retired"):
            generations.chosen(known, 1)
        given_up = await retire(engine.connection, engine.stream, known[0], engine.settings, force=True)
        assert given_up
        assert await engine.stream.length(0) == 0
        with pytest.raises(InputError, match="retired already"):
            generations.chosen(await generations.listed(engine.connection), 0)
        late = requests(2, 40)
        await old.send(late)  # a host that nobody restarted
        async with engine.working():
            await engine.until("SELECT count(*) = 3 FROM leases")
            assert await engine.outcomes() == {}
            await generations.reopen(engine.connection, 0)
            await until_read(engine, len(late))
        assert await engine.outcomes() == expected(late)
        assert (await engine.verified()).differences == []


async def test_what_is_sent_to_a_retired_generation_is_told_until_it_is_reopened(
    redis_url: str, database_url: str
) -> None:
    """A producer that is not restarted, or the files of one that comes back late."""

    def told() -> float | None:
        return metrics.REGISTRY.get_sample_value("streamgauge_retired_entries", {"generation": "0"})

    async with open_engine(redis_url, database_url) as engine, applications(engine) as begin:
        pool = await open_pool(database_url, 1)
        looking = RetiredStreams(engine.stream, pool, asyncio.Event())
        try:
            await generations.agree(engine.connection, engine.settings)
            await generations.change(engine.connection, 2)
            await generations.mark_retired(engine.connection, 0)
            await looking.look()
            assert told() == 0
            await begin(Generation(0, 4, None)).send(requests(3, 40))
            await begin(Generation(1, 2, None)).send(requests(4, 40))
            entries = sum([await engine.stream.length(shard) for shard in range(4)])
            with capture_logs() as logs:
                await looking.look()
                await looking.look()
            assert told() == entries > 0
            assert [(each["generation"], each["entries"]) for each in logs] == [(0, entries)]
            assert "streamgauge shards reopen 0" in logs[0]["event"]
            await generations.reopen(engine.connection, 0)
            await looking.look()
            assert told() is None
        finally:
            await pool.close()


async def test_a_worker_or_an_import_with_a_layout_that_is_not_there_is_told_what_to_set(
    database_url: str,
) -> None:
    connection = await open_connection(database_url)
    await generations.agree(connection, Settings(shards=4))
    await generations.change(connection, 2)
    assert await generations.to_send_to(connection, Settings(shards=2, generation=1)) == [5, 6]
    await generations.agree(
        connection, Settings(shards=4)
    )  # a worker that has not been told reads both all the same
    with pytest.raises(SettingsError, match=r"STREAMGAUGE_GENERATION is 7, and there is none .* one of 0, 1"):
        await generations.agree(connection, Settings(generation=7))
    with pytest.raises(
        SettingsError, match="STREAMGAUGE_SHARDS is 4, and 2 in the database for generation 1"
    ):
        await generations.agree(connection, Settings(shards=4, generation=1))
    for number in (0, 65):
        with pytest.raises(InputError, match="1 to 64 shards"):
            await generations.change(connection, number)
    with pytest.raises(InputError, match="has 2 shards already"):
        await generations.change(connection, 2)
    await generations.mark_retired(connection, 0)
    with pytest.raises(SettingsError, match="STREAMGAUGE_GENERATION is 0, which is retired"):
        await generations.to_send_to(connection, Settings(shards=4))
    await connection.close()


async def test_the_same_key_in_two_generations_at_the_same_time_is_applied_once_and_repeated_once(
    redis_url: str, database_url: str
) -> None:
    """Both look before either has stored it: one of them has to come back."""
    async with open_engine(redis_url, database_url) as engine, applications(engine) as begin:
        async with engine.working():
            await engine.until("SELECT count(*) = 5 FROM leases")
        new = begin(await generations.change(engine.connection, 2))
        old = begin(Generation(0, 4, None))
        key = [Event("http.request", time.time_ns() // 1_000, "delhi", key=b"k" * 16)]
        both, looked = asyncio.Event(), 0
        repeated = EventKeys.repeated

        async def together(*arguments: object) -> object:
            nonlocal looked
            found = await repeated(*arguments)  # type: ignore[arg-type]  # what it is called with
            looked += 1
            if looked >= 2:
                both.set()
            await asyncio.wait_for(both.wait(), PATIENCE)
            return found

        await old.send(key)
        await new.send(key)
        patched = pytest.MonkeyPatch()
        patched.setattr(EventKeys, "repeated", together)
        async with engine.working():
            await until_read(engine, 2)
        patched.undo()
        assert looked == 3
        assert await engine.outcomes() == {("applied", ""): 1, ("repeated_key", ""): 1}
        assert (await engine.verified()).differences == []


async def test_the_command_changes_shows_and_retires(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with open_engine(redis_url, database_url) as engine:
        async with engine.working():
            await engine.until("SELECT count(*) = 5 FROM leases")
        urls = given(redis_url, database_url)

        def run(*arguments: str) -> tuple[int, str]:
            with Program("shards", *arguments, log=tmp_path / "log", **urls) as program:
                return program.ended(), program.output

        code, text = await asyncio.to_thread(run, "change", "2")
        assert code == 0, text
        assert "STREAMGAUGE_GENERATION=1 and STREAMGAUGE_SHARDS=2" in text
        code, text = await asyncio.to_thread(run)
        assert code == 0, text
        assert "generation 0: 4 shards, read until it is retired" in text
        assert "generation 1: 2 shards, to be sent to" in text
        assert "shard    6 = stream  1" in text
        assert "shard    7 = overflow" in text
        code, text = await asyncio.to_thread(run, "retire")
        assert (code, text) == (0, "Generation 0 is retired.\n")
        code, text = await asyncio.to_thread(run, "retire")
        assert code == 2, text
