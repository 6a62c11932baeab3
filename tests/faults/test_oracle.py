"""The oracle holds producers back while somebody looks, and for good when they are to end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.faults.ledger import Fact, Ledger, Outcome, intention, outcome
from tests.faults.oracle import Oracle, Witness

FACT = Fact(7, "red", 1_000_000, 3)


@asynccontextmanager
async def witnesses(folder: Path) -> AsyncIterator[tuple[Witness, Witness]]:
    """A producer's connection to an oracle, and the judge's."""
    oracle = Oracle(folder / "ledger")
    server = await asyncio.start_unix_server(oracle.serve, folder / "o")
    writing = asyncio.create_task(oracle.write())
    producer, judge = await Witness.open(str(folder / "o")), await Witness.open(str(folder / "o"))
    try:
        yield producer, judge
    finally:
        await producer.aclose()
        await judge.aclose()
        server.close()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def test_a_producer_waits_while_the_judge_looks_and_then_goes_on(tmp_path: Path) -> None:
    async with witnesses(tmp_path) as (producer, judge):
        await judge.pause()
        meaning = asyncio.create_task(producer.tell(intention("a", [FACT])))
        await asyncio.sleep(0.05)
        assert not meaning.done()
        assert not Ledger.read(tmp_path / "ledger").facts
        await judge.resume()
        assert await meaning
        assert Ledger.read(tmp_path / "ledger").facts == {7: FACT}


async def test_a_producer_that_waits_hears_that_it_is_to_end(tmp_path: Path) -> None:
    async with witnesses(tmp_path) as (producer, judge):
        await judge.pause()
        meaning = asyncio.create_task(producer.tell(intention("a", [FACT])))
        await judge.stop_producers()
        await judge.resume()
        assert not await meaning
        assert not Ledger.read(tmp_path / "ledger").facts


async def test_a_ledger_that_is_followed_takes_each_line_once(tmp_path: Path) -> None:
    path, ledger = tmp_path / "ledger", Ledger()
    ledger.follow(path)
    whole = intention("a", [FACT]) + outcome("a", Outcome.UNKNOWN)
    path.write_bytes(whole + outcome("a", Outcome.ACKED)[:9])
    ledger.follow(path)
    assert ledger.outcomes == {7: Outcome.UNKNOWN}
    path.write_bytes(whole + outcome("a", Outcome.ACKED))
    ledger.follow(path)
    ledger.follow(path)
    assert ledger.outcomes == {7: Outcome.ACKED}
