"""Programs that are started while a server is away wait for it and say so; what has to be changed first ends them at once."""

import asyncio
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

from tests.faults.proxy import Proxy
from tests.integration.program import Program, fetch, free_port, given

POSTGRES_SOCKET = ".s.PGSQL.5432"


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory whose name is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="sgw-", dir="/tmp") as directory:
        yield Path(directory)


def led_through(
    sockets: Path, server: str, redis_url: str, database_url: str
) -> tuple[dict[str, str], Proxy]:
    """Variables that lead to one of the servers through a proxy, which nobody has started yet."""
    if server == "redis":
        path = Path(unquote(urlsplit(redis_url).path))
        return given(f"unix://{sockets}/r?db=0", database_url), Proxy(sockets / "r", path)
    parts = urlsplit(database_url)
    path = Path(parse_qs(parts.query)["host"][0]) / POSTGRES_SOCKET
    led = parts._replace(query=f"host={quote(str(sockets), safe='')}").geturl()
    return given(redis_url, led), Proxy(sockets / POSTGRES_SOCKET, path)


def waits(port: int, reason: str) -> bool:
    """Whether a program says that it waits for a server."""
    answer = fetch(port, "/health/ready")
    return answer.status == 503 and reason in answer.json()["missing"].get("servers", "")


@pytest.mark.parametrize(
    ("command", "server"), [("worker", "redis"), ("worker", "postgresql"), ("serve", "postgresql")]
)
async def test_a_program_started_while_a_server_is_away_waits_for_it_says_so_and_can_be_ended(
    redis_url: str, database_url: str, tmp_path: Path, sockets: Path, command: str, server: str
) -> None:
    variables, proxy = led_through(sockets, server, redis_url, database_url)
    one, two = free_port(), free_port()
    reason = "cannot ask Redis" if server == "redis" else "PostgreSQL cannot be reached"
    with (
        Program(command, "--port", str(one), log=tmp_path / "one", **variables) as waiting,
        Program(command, "--port", str(two), log=tmp_path / "two", **variables) as ended,
    ):
        for program, port in ((waiting, one), (ended, two)):
            await asyncio.to_thread(program.until, partial(waits, port, reason), "it waited")
            assert fetch(port, "/health/live").status == 200
            assert fetch(port, "/metrics").status == 200
        assert await asyncio.to_thread(ended.stop) == 0, ended.output
        async with proxy:
            await asyncio.to_thread(waiting.until_ready, one)
            told = [line["event"] for line in waiting.lines()]
            assert told[0] == "waiting for a server"
            assert "the server is there" in told
            assert await asyncio.to_thread(waiting.stop) == 0, waiting.output


@pytest.mark.parametrize("command", ["worker", "serve"])
async def test_a_program_with_the_wrong_address_ends_at_once(
    redis_url: str, database_url: str, tmp_path: Path, command: str
) -> None:
    variables = given(redis_url, database_url.replace("/test_", "/nobody_made_"))
    with Program(command, "--port", str(free_port()), log=tmp_path / "log", **variables) as program:
        assert await asyncio.to_thread(program.ended) == 1
        assert "does not exist" in program.output
        assert "waiting" not in program.output


async def test_a_worker_with_another_number_of_shards_ends_at_once(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    variables = given(redis_url, database_url)
    with Program("worker", "--port", "0", log=tmp_path / "one", **variables) as first:
        await asyncio.to_thread(first.until, lambda: "shard taken" in first.output, "it worked")
        with Program(
            "worker", "--port", "0", log=tmp_path / "two", STREAMGAUGE_SHARDS="7", **variables
        ) as other:
            assert await asyncio.to_thread(other.ended) == 2
            assert "STREAMGAUGE_SHARDS is 7" in other.output


async def test_up_goes_on_while_its_worker_waits_for_a_given_redis(
    redis_url: str, database_url: str, tmp_path: Path, sockets: Path
) -> None:
    variables, proxy = led_through(sockets, "redis", redis_url, database_url)
    port, worker = free_port(), free_port()
    variables |= {
        "STREAMGAUGE_DATA_DIR": str(tmp_path / "data"),
        "STREAMGAUGE_WORKER_PORT": str(worker),
        "STREAMGAUGE_KEYRING": str(tmp_path / "keyring"),
    }
    with Program("up", "--no-demo", "--port", str(port), log=tmp_path / "log", **variables) as up:
        await asyncio.to_thread(up.until, partial(waits, worker, "cannot ask Redis"), "its worker waited")
        async with proxy:
            await asyncio.to_thread(up.until, lambda: "Ready in" in up.output, "it was ready")
            await asyncio.to_thread(up.until_ready, worker)
            assert await asyncio.to_thread(up.stop) == 0, up.output
