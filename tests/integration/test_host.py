"""Real servers with an instrumented application: uvicorn in processes of its own, events in a real Redis."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import redis

from streamgauge.capture.pseudonyms import Keyring
from streamgauge.entry import EntryId, decode_all
from streamgauge.event import DAILY, Event
from streamgauge.table import thaw
from streamgauge_workers.delivery import Verdict, judge
from tests.integration.program import PATIENCE, clean_environment, fetch

ROOT = Path(__file__).resolve().parents[2]
SHARDS = 4
CHUNK = b"0123456789abcdef" * 64  # as the application sends it


class Server:
    """The application, served; leaving the context kills whatever still runs."""

    def __init__(self, redis_url: str, folder: Path, *options: str, prefork: int = 0) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self.listener.getsockname()[1]
        self.log = folder / "server.log"
        number = str(self.listener.fileno())
        command = (
            ["tests.integration.prefork", number, str(prefork)]
            if prefork
            else ["uvicorn", "tests.integration.host:app", "--fd", number, *options]
        )
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[self.listener.fileno()],
                env={
                    **clean_environment(),
                    "STREAMGAUGE_REDIS_URL": redis_url,
                    "STREAMGAUGE_DATA_DIR": str(folder),
                    "STREAMGAUGE_SHARDS": str(SHARDS),
                },
                start_new_session=True,
            )
        self.listener.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> list[Event]:
        """End it as an operator does; everything it sent."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) in (0, -signal.SIGTERM), self.log.read_text()
        return arrived(self.redis_url)

    def kill(self) -> None:
        """End every process of it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def serving(redis_url: str, folder: Path, *options: str, prefork: int = 0) -> Iterator[Server]:
    server = Server(redis_url, folder, *options, prefork=prefork)
    try:
        deadline = time.monotonic() + PATIENCE
        while fetch(server.port, "/process").status != 200:
            assert server.process.poll() is None, server.log.read_text()
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.05)
        yield server
    finally:
        server.kill()


def verdicts(redis_url: str) -> list[Verdict]:
    """What a worker makes of each stream."""
    found = []
    with redis.Redis.from_url(redis_url) as client:
        for key in sorted(client.scan_iter("*", _type="stream")):
            raw: Any = client.xrange(key)
            entries = decode_all((EntryId.parse(entry_id), fields.items()) for entry_id, fields in raw)
            found.append(judge({}, entries, int(time.time() * 1000), 0))
            assert not found[-1].unreadable
            assert not found[-1].conflicts
    return found


def arrived(redis_url: str) -> list[Event]:
    """Every event in the streams, once, as a worker counts them."""
    events = []
    for verdict in verdicts(redis_url):
        for _, batch in verdict.fresh:
            table = thaw(batch.payload)
            events += [table.event(row) for row in range(table.n)]
    return events


def drops(redis_url: str) -> Counter[str]:
    """What was announced as dropped; every lane must have been ended, with nothing lost."""
    total: Counter[str] = Counter()
    for verdict in verdicts(redis_url):
        assert [lane for lane in verdict.lanes.values() if not lane.closed or lane.lost] == []
        for told in verdict.drops.values():
            total.update(told)
    return total


def routes(events: list[Event]) -> Counter[object]:
    return Counter(
        (event.properties["http.route"], event.properties["http.response.status_code"])
        for event in events
        if event.name == "http.request"
    )


def only(events: list[Event], route: str) -> Event:
    (found,) = (event for event in events if event.properties.get("http.route") == route)
    return found


@pytest.fixture
def server(redis_url: str, tmp_path: Path) -> Iterator[Server]:
    with serving(redis_url, tmp_path) as running:
        yield running


def test_a_stream_is_timed_to_its_last_byte(server: Server) -> None:
    began = time.perf_counter_ns()
    content = httpx.get(server.url + "/stream/5", timeout=PATIENCE).content
    took = (time.perf_counter_ns() - began) // 1000
    inside = int(content.removeprefix(CHUNK * 5))
    event = only(server.stop(), "/stream/{chunks}")
    duration = event.properties["duration"]
    assert isinstance(duration, int)
    assert 100_000 <= inside <= duration <= took
    assert event.properties["http.response.body.size"] == len(content)
    assert event.properties["http.response.status_code"] == 200


def test_a_client_that_leaves_a_stream_is_counted_with_what_it_got(server: Server, tmp_path: Path) -> None:
    got = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(f"GET /endless{tmp_path} HTTP/1.1\r\nHost: school.example\r\n\r\n".encode())
        while got.count(b"data: tick") < 3:
            got += client.recv(4096)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "left").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    properties = only(server.stop(), "/endless/{folder:path}").properties
    size = properties["http.response.body.size"]
    assert isinstance(size, int)
    assert size >= got.count(b"data: tick\n\n") * 12
    assert size % 12 == 0
    assert properties["http.response.status_code"] == 200
    assert "error.type" not in properties
    assert "Traceback" not in server.log.read_text()


def test_an_exception_is_the_servers_500_and_its_log_is_the_hosts(server: Server) -> None:
    answer = httpx.get(server.url + "/fail")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    properties = only(server.stop(), "/fail").properties
    assert properties["http.response.status_code"] == 500
    assert properties["error.type"] == "ZeroDivisionError"
    log = server.log.read_text()
    assert log.count("Traceback (most recent call last)") == 1
    assert "ZeroDivisionError: ada@school.example" in log


def test_bodies_routes_and_one_connection_for_many_requests(server: Server) -> None:
    with httpx.Client(base_url=server.url, headers={"user-agent": "Mozilla/5.0 (iPhone) Mobile"}) as client:
        assert client.post("/echo", content=b"x" * 200_000).content == b"x" * 200_000
        assert client.get("/items/7").json() == "7"
        assert client.head("/items/7").status_code == 405
        assert client.get("/shops/1/orders/2").json() == 2
        assert client.get("/wp-admin").status_code == 404
        assert (
            client.options("/items/7").status_code == 405
        )  # counted: the list of exclusions is the host's own
        bot = client.get("/items/8", headers={"user-agent": "Googlebot/2.1"})
        assert bot.status_code == 200
    events = server.stop()
    assert routes(events) == {
        ("/echo", 200): 1,
        ("/items/{item}", 200): 1,
        ("/items/{item}", 405): 2,
        ("/shops/{shop}/orders/{order}", 200): 1,
        ("__unmatched__", 404): 1,
    }
    echo = only(events, "/echo").properties
    assert (echo["http.request.body.size"], echo["http.response.body.size"]) == (200_000, 200_000)
    (bot_event,) = (event for event in events if event.name == "bot.request")
    assert (bot_event.actor, bot_event.device) == (None, "bot")
    visitors = {event.actor for event in events if event.name == "http.request"}
    assert {(actor or b"?")[0] for actor in visitors} == {DAILY}
    assert len(visitors) == 1
    assert {event.device for event in events if event.name == "http.request"} == {"mobile"}


async def test_fifty_requests_at_once_keep_their_actors(server: Server, tmp_path: Path) -> None:
    users = [f"user {number}" for number in range(50)]
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        answers = await asyncio.gather(
            *(
                client.get(f"/visits/{('async', 'thread')[number % 2]}/{user}")
                for number, user in enumerate(users)
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    events = server.stop()
    keys = Keyring(tmp_path / "keyring.json").tenant("default")
    pseudonyms = {keys.pseudonym("actor", user): user for user in users}
    checked = [event for event in events if event.name == "visit.checked"]
    assert [pseudonyms[event.actor or b""] for event in checked] == [
        event.properties["user"] for event in checked
    ]
    assert Counter(event.properties["where"] for event in checked) == {
        "loop": 25, "task": 25, "thread": 25, "background": 50,
    }  # fmt: skip
    requests = [event for event in events if event.name == "http.request"]
    assert sorted(pseudonyms[event.actor or b""] for event in requests) == sorted(users)
    assert {event.properties["authenticated"] for event in requests} == {True}


def processes(url: str, wanted: int) -> set[int]:
    """The processes that answer, asked on new connections until there are as many as wanted."""
    found: set[int] = set()
    deadline = time.monotonic() + PATIENCE
    while len(found) < wanted:
        assert time.monotonic() < deadline
        found.add(httpx.get(url + "/process").json())
    return found


async def hammer(url: str, count: int) -> None:
    async with httpx.AsyncClient(
        base_url=url, timeout=PATIENCE, limits=httpx.Limits(max_connections=20)
    ) as client:
        answers = await asyncio.gather(*(client.get(f"/items/{number}") for number in range(count)))
    assert {answer.status_code for answer in answers} == {200}


async def test_several_workers_of_uvicorn_count_exactly(redis_url: str, tmp_path: Path) -> None:
    with serving(redis_url, tmp_path, "--workers", "2") as server:
        processes(server.url, 2)
        await hammer(server.url, 400)
        assert routes(server.stop()) == {("/items/{item}", 200): 400}


async def test_a_server_that_forks_after_loading_counts_exactly(redis_url: str, tmp_path: Path) -> None:
    with serving(redis_url, tmp_path, prefork=2) as server:
        processes(server.url, 2)
        await hammer(server.url, 400)
        events = server.stop()
    assert routes(events) == {("/items/{item}", 200): 400}
    # What the parent had before is sent once, by the parent.
    assert [event.properties["where"] for event in events if event.name == "visit.checked"] == [
        "before the fork"
    ]


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_a_server_that_is_told_to_end_has_told_its_drops_and_ended_its_lanes(
    redis_url: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    with serving(redis_url, tmp_path, *options) as server:
        for number in range(20):
            assert httpx.get(server.url + f"/items/{number}").status_code == 200
        assert httpx.get(server.url + "/refused/7").status_code == 200
        assert routes(server.stop()) == {("/items/{item}", 200): 20}
    assert drops(redis_url) == {"undeclared_event": 7}


def test_a_server_whose_every_event_was_refused_has_told_so_in_the_end(
    redis_url: str, tmp_path: Path
) -> None:
    with serving(redis_url, tmp_path) as server:
        assert httpx.get(server.url + "/refused/3").status_code == 200
        assert server.stop() == []
    assert drops(redis_url) == {"undeclared_event": 3}


def test_a_proxys_prefix_is_no_part_of_routes_or_exclusions(redis_url: str, tmp_path: Path) -> None:
    with serving(redis_url, tmp_path, "--root-path", "/behind") as server:
        assert httpx.get(server.url + "/items/7").status_code == 200
        assert httpx.get(server.url + "/shops/1/orders/2").status_code == 200
        assert routes(server.stop()) == {("/items/{item}", 200): 1, ("/shops/{shop}/orders/{order}", 200): 1}


def test_without_redis_the_host_answers_and_ends_as_ever(tmp_path: Path) -> None:
    with serving("redis://127.0.0.1:1/0", tmp_path) as server:
        assert httpx.get(server.url + "/items/7").json() == "7"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) in (0, -signal.SIGTERM)
