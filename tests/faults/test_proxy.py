"""The fault proxy does to a connection what it is told, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.proxy import Proxy, Trouble
from tests.faults.wire import PostgresTalk, RedisTalk, resp_end

COMMAND = b"*2\r\n$4\r\nECHO\r\n$1\r\n%c\r\n"


@pytest.fixture
async def echo(tmp_path: Path) -> AsyncIterator[Path]:
    """A server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "echo")
    yield tmp_path / "echo"
    server.close()
    await server.wait_closed()


async def talk(proxy: Proxy, *sent: bytes, expected: int) -> bytes:
    """What comes back, at most so many bytes: less when the connection ends."""
    assert isinstance(proxy.listen, Path)
    reader, writer = await asyncio.open_unix_connection(proxy.listen)
    try:
        got = b""
        for each in sent:
            writer.write(each)
        while len(got) < expected:
            data = await reader.read(1024)
            if not data:
                break
            got += data
        return got
    except ConnectionError:
        return got
    finally:
        writer.close()


async def test_without_trouble_everything_passes(tmp_path: Path, echo: Path) -> None:
    async with Proxy(tmp_path / "p", echo) as proxy:
        assert await talk(proxy, b"hello", expected=5) == b"hello"
        assert not proxy.fired


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_connection_is_cut_behind_exactly_so_many_bytes(tmp_path: Path, echo: Path, way: str) -> None:
    async with Proxy(tmp_path / "p", echo) as proxy:
        setattr(proxy.trouble, f"cut_{way}", 7)
        got = await talk(proxy, b"0123456789", expected=10)
        # What the server still answered may be lost with the connection; never does more come through.
        assert b"0123456".startswith(got)
        assert way == "up" or got == b"0123456"
        assert proxy.fired == {f"cut_{way}": 1}


async def test_exactly_one_answer_of_the_named_command_is_swallowed(tmp_path: Path, echo: Path) -> None:
    async with Proxy(tmp_path / "p", echo, "redis") as proxy:
        proxy.trouble = Trouble(answer=b"ECHO", times=1)
        one, two, three = (COMMAND % each for each in b"abc")
        assert await talk(proxy, one, two, three, expected=2 * len(one)) == two + three
        assert proxy.fired == {"swallow": 1}


async def test_an_answer_to_another_command_passes(tmp_path: Path, echo: Path) -> None:
    async with Proxy(tmp_path / "p", echo, "redis") as proxy:
        proxy.trouble = Trouble(answer=b"XADD", times=1)
        assert await talk(proxy, COMMAND % b"a", expected=len(COMMAND) - 1) == COMMAND % b"a"
        assert not proxy.fired


async def test_a_commit_is_cut_off_and_what_was_said_before_it_arrives(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"C\x00\x00\x00\x0aBEGIN\x00C\x00\x00\x00\x0bCOMMIT\x00Z\x00\x00\x00\x05I")
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "server")
    async with server, Proxy(tmp_path / "p", tmp_path / "server", "postgres") as proxy:
        proxy.trouble = Trouble(answer=b"COMMIT", deed="cut", times=1)
        assert await talk(proxy, b"x", expected=100) == b"C\x00\x00\x00\x0aBEGIN\x00"
        assert proxy.fired == {"cut": 1}


async def test_a_stalled_connection_stays_open_and_goes_on_where_it_was(tmp_path: Path, echo: Path) -> None:
    async with Proxy(tmp_path / "p", echo) as proxy:
        proxy.trouble.flowing.clear()
        waiting = asyncio.create_task(talk(proxy, b"hello", expected=5))
        while not proxy.fired["stall"]:  # noqa: ASYNC110 - the proxy counts, it tells nobody
            await asyncio.sleep(0.01)
        assert not waiting.done()
        proxy.trouble.flowing.set()
        assert await waiting == b"hello"


async def test_a_reset_over_tcp_is_a_reset(echo: Path) -> None:
    async with Proxy(("127.0.0.1", 0), echo) as proxy:
        assert isinstance(proxy.listen, tuple)
        reader, writer = await asyncio.open_connection(*proxy.listen)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert proxy.reset_all() == 1
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


def test_answers_are_told_from_each_other_however_they_are_cut() -> None:
    answers = [
        b"+OK\r\n",
        b"$5\r\nhello\r\n",
        b"*2\r\n:1\r\n*1\r\n$-1\r\n",
        b"$-1\r\n",
        b"-ERR no\r\n",
        b"*-1\r\n",
    ]
    whole = b"".join(answers)
    talk, found = RedisTalk(), []
    talk.sent(b"".join(COMMAND % 97 for _ in answers))
    for place in range(len(whole)):
        found += talk.answers(whole[place : place + 1])
    assert found == [(b"ECHO", answer) for answer in answers]
    assert resp_end(b"$5\r\nhell") is None
    with pytest.raises(ValueError, match="not RESP"):
        resp_end(b"hello\r\n")


def test_a_commit_is_known_and_a_query_that_speaks_of_one_is_not() -> None:
    commit, other = b"C\x00\x00\x00\x0bCOMMIT\x00", b"D\x00\x00\x00\x0bCOMMIT\x00"
    assert PostgresTalk().answers(commit + other + b"C\x00") == [(b"COMMIT", commit), (b"", other)]
