"""Kept answers: bounded, computed once, never somebody else's."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.read.api.kept_answers import OVERHEAD, Kept, KeptAnswers, Key


def answering(tag: str, body: bytes, asked: list[str]) -> Callable[[], Awaitable[Kept]]:
    async def compute() -> Kept:
        asked.append(tag)
        await asyncio.sleep(0)
        return Kept(tag, body)

    return compute


async def test_an_answer_is_computed_once_and_then_kept() -> None:
    kept, asked = KeptAnswers(), list[str]()
    for _ in range(3):
        assert await kept.get(Key("t", "1"), answering("1", b"one", asked)) == Kept("1", b"one")
    assert asked == ["1"]


async def test_those_who_ask_together_get_one_answer() -> None:
    kept, asked = KeptAnswers(), list[str]()
    found = await asyncio.gather(*(kept.get(Key("t", "1"), answering("1", b"one", asked)) for _ in range(20)))
    assert set(found) == {Kept("1", b"one")}
    assert asked == ["1"]


async def test_the_same_tag_of_another_tenant_is_another_answer() -> None:
    kept, asked = KeptAnswers(), list[str]()
    one, two = await asyncio.gather(
        kept.get(Key("t", "1"), answering("1", b"one", asked)),
        kept.get(Key("u", "1"), answering("1", b"two", asked)),
    )
    assert (one.body, two.body) == (b"one", b"two")
    assert (await kept.get(Key("u", "1"), answering("1", b"three", asked))).body == b"two"


async def test_an_answer_is_kept_under_the_version_that_it_was_read_at() -> None:
    kept, asked = KeptAnswers(), list[str]()
    assert (await kept.get(Key("t", "old"), answering("new", b"n", asked))).tag == "new"
    assert (await kept.get(Key("t", "new"), answering("newer", b"m", asked))).body == b"n"
    # What was asked for as the old version was never one, so it is not kept as that.
    assert (await kept.get(Key("t", "old"), answering("newer", b"m", asked))).body == b"m"


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 900)), max_size=60), st.integers(2_500, 9_000))
def test_what_is_kept_never_grows_beyond_its_bound_and_is_counted_right(
    questions: list[tuple[int, int]], most: int
) -> None:
    async def ask_all() -> None:
        kept, asked = KeptAnswers(most), list[str]()
        recent: dict[str, int] = {}
        for number, size in questions:
            tag, body = f"{number}-{size}", b"x" * size
            assert (await kept.get(Key("t", tag), answering(tag, body, asked))).body == body
            await asyncio.sleep(0)
            assert kept.size <= most
            if size + OVERHEAD <= most // 4:
                recent.pop(tag, None)
                recent[tag] = size + OVERHEAD
        # The ones used last are still there, as many as fit.
        total, asked_before = 0, len(asked)
        for tag, cost in reversed(recent.items()):
            total += cost
            if total > most:
                break
            await kept.get(Key("t", tag), answering(tag, b"", asked))
        assert len(asked) == asked_before

    asyncio.run(ask_all())


async def test_an_answer_too_large_to_keep_is_given_all_the_same() -> None:
    kept, asked = KeptAnswers(10_000), list[str]()
    for _ in range(2):
        assert len((await kept.get(Key("t", "1"), answering("1", b"x" * 9_000, asked))).body) == 9_000
    assert asked == ["1", "1"]
    assert kept.size == 0


async def test_a_failure_reaches_everybody_who_waits_and_is_not_kept() -> None:
    kept, asked = KeptAnswers(), list[str]()

    async def fail() -> Kept:
        asked.append("bad")
        await asyncio.sleep(0)
        raise ValueError("no")

    for _ in range(2):
        found = await asyncio.gather(
            *(kept.get(Key("t", "1"), fail) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(each, ValueError) for each in found)
    assert asked == ["bad", "bad"]
    assert (await kept.get(Key("t", "1"), answering("1", b"well", asked))).body == b"well"


async def test_who_goes_away_takes_nobody_elses_answer_along_and_leaves_no_complaint() -> None:
    kept, asked, begun = KeptAnswers(), list[str](), asyncio.Event()
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def slow() -> Kept:
        begun.set()
        await asyncio.sleep(0.01)
        return Kept("1", b"slow")

    async def fail() -> Kept:
        await asyncio.sleep(0.01)
        raise ValueError("nobody hears this")

    first = asyncio.create_task(kept.get(Key("t", "1"), slow))
    await begun.wait()
    second = asyncio.create_task(kept.get(Key("t", "1"), answering("1", b"never", asked)))
    alone = asyncio.create_task(kept.get(Key("t", "2"), fail))
    await asyncio.sleep(0)
    first.cancel()
    alone.cancel()
    assert (await second).body == b"slow"
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.sleep(0.02)
    gc.collect()
    assert (asked, complaints) == ([], [])
