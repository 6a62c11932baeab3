"""Promises about long computations on the event loop."""

import asyncio
import time

from streamgauge_workers.breathing import MOST_ROWS, STRIDE, breathing, parts


async def test_everything_comes_once_and_in_order() -> None:
    for count in (0, 1, STRIDE, STRIDE + 1, 5 * STRIDE):
        assert [item async for some in breathing(range(count)) for item in some] == list(range(count))
    assert [len(part) for part in parts(range(2 * MOST_ROWS + 1))] == [MOST_ROWS, MOST_ROWS, 1]


async def test_others_have_their_turns_while_it_goes_on() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(others())
    async for _ in breathing(range(20 * STRIDE)):
        time.sleep(0.005)  # noqa: ASYNC251 - a computation that lets nobody else
    other.cancel()
    assert turns >= 3
