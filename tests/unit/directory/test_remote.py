"""The directory over HTTP, against servers that answer well, badly, slowly, at length, or send one elsewhere."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from streamgauge.directory import remote
from streamgauge.directory.remote import DirectoryError, HttpDirectory
from streamgauge.errors import SettingsError

ADA, GRACE = (bytes([1]) + bytes([each]) * 16 for each in (1, 2))
TOKEN = "a-token-of-the-tests"
Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


def told(handler: BaseHTTPRequestHandler, answer: object, status: int = 200, **headers: str) -> None:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def serving(reply: Reply) -> Iterator[tuple[str, list[tuple[str, str, dict[str, Any]]]]]:
    """A server; its address, and what it was asked: path, authorization, body."""
    asked: list[tuple[str, str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers["Authorization"], body))
            try:
                reply(self, body)
            except OSError:
                self.close_connection = True  # nobody waits any more

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/names", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_names_and_external_identifiers_are_asked_for_with_the_token() -> None:
    def reply(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        names = {ADA.hex(): "Ada L.", GRACE.hex(): 5, "01" + "f" * 32: "Somebody else"}
        told(handler, {"external_ids": ["ada", 7, "", "grace"]} if "q" in body else {"names": names})

    with serving(reply) as (url, asked):
        directory = HttpDirectory(url + "/", TOKEN)
        assert await directory.names("school", [ADA, GRACE]) == {ADA: "Ada L."}
        assert await directory.names("school", []) == {}
        assert await directory.search("school", "a", 5) == ["ada", "grace"]
        assert await directory.search("school", "a", 1) == ["ada"]
    assert asked[0] == ("/names", f"Bearer {TOKEN}", {"tenant": "school", "actors": [ADA.hex(), GRACE.hex()]})
    assert asked[1] == ("/names/search", f"Bearer {TOKEN}", {"tenant": "school", "q": "a", "limit": 5})


async def test_many_actors_are_asked_for_in_several_questions() -> None:
    people = [bytes([1]) + number.to_bytes(16) for number in range(450)]

    def reply(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        told(handler, {"names": {each: f"name {each}" for each in body["actors"]}})

    with serving(reply) as (url, asked):
        found = await HttpDirectory(url, TOKEN).names("school", people)
    assert [len(each[2]["actors"]) for each in asked] == [200, 200, 50]
    assert found == {each: f"name {each.hex()}" for each in people}


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "two\nlines", "\u202eevil", None, ["a"]])
async def test_what_is_no_name_is_none(name: object) -> None:
    with serving(lambda handler, _: told(handler, {"names": {ADA.hex(): name}})) as (url, _):
        assert await HttpDirectory(url, TOKEN).names("school", [ADA]) == {}


@pytest.mark.parametrize("answer", [b"", b"no JSON", b"[]", b"{}", b'{"names": []}', b'{"external_ids": {}}'])
async def test_an_answer_of_another_form_is_a_failure(answer: bytes) -> None:
    with serving(lambda handler, _: told(handler, answer)) as (url, _):
        directory = HttpDirectory(url, TOKEN)
        with pytest.raises(DirectoryError):
            await directory.names("school", [ADA])
        with pytest.raises(DirectoryError):
            await directory.search("school", "ada", 5)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_nobody_is_followed_elsewhere(status: int) -> None:
    with serving(lambda handler, _: told(handler, {"names": {ADA.hex(): "Eve"}})) as (elsewhere, visited):
        redirecting = serving(lambda handler, _: told(handler, {}, status, Location=elsewhere))
        with redirecting as (url, _), pytest.raises(DirectoryError, match=str(status)):
            await HttpDirectory(url, TOKEN).names("school", [ADA])
    assert visited == []


async def test_an_endless_answer_is_cut_off() -> None:
    sent = 0

    def reply(handler: BaseHTTPRequestHandler, _: object) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        while sent < 64 * 1024 * 1024:
            handler.wfile.write(b"x" * 65536)
            sent += 65536

    with serving(reply) as (url, _), pytest.raises(DirectoryError, match="longer than"):
        await HttpDirectory(url, TOKEN).names("school", [ADA])
    assert sent < 16 * 1024 * 1024


@pytest.mark.parametrize("begun", [False, True])
async def test_a_slow_answer_is_not_waited_for(begun: bool) -> None:
    ended = threading.Event()

    def reply(handler: BaseHTTPRequestHandler, _: object) -> None:
        if begun:
            handler.send_response(200)
            handler.end_headers()
        while not ended.wait(0.02):
            if begun:
                handler.wfile.write(b" ")
                handler.wfile.flush()

    with serving(reply) as (url, _):
        directory = HttpDirectory(url, TOKEN, patience=0.2)
        try:
            with pytest.raises(DirectoryError, match="within"):
                await directory.names("school", [ADA])
            # Its thread comes back as well: slow answers do not use threads up.
            await asyncio.to_thread(directory._threads.shutdown)
        finally:
            ended.set()


async def test_a_directory_that_is_not_there_is_a_failure_that_names_nobody() -> None:
    with serving(lambda handler, _: told(handler, {})) as (url, _):
        pass
    with pytest.raises(DirectoryError) as raised:
        await HttpDirectory(url, TOKEN).search("school", "ada lovelace", 5)
    assert "ada" not in str(raised.value)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://directory.example.org/names",
        "http://10.0.0.1/names",
        "http://127.0.0.1.example.org/",
        "http://localhost.example.org/",
        "https://ada:secret@example.org/",
        "https://example.org/?token=1",
        "https://example.org/#names",
        "https:///names",
        "https://example.org:99999/",
        "https://example.org/a b",
        "https://example.org/a\r\nX: y",
        "file:///etc/passwd",
        "example.org",
    ],
)
def test_an_address_must_be_https_or_of_this_machine(url: str) -> None:
    with pytest.raises(SettingsError, match="STREAMGAUGE_DIRECTORY_URL"):
        HttpDirectory(url, TOKEN)


def test_usable_addresses_and_tokens_are_taken() -> None:
    for url in ("https://example.org", "https://example.org:8443/names", "http://127.0.0.1:8401/x", "http://[::1]:1/", "http://localhost/"):  # fmt: skip
        HttpDirectory(url, TOKEN)
    for token in ("", "two words", "line\n", "ü"):
        with pytest.raises(SettingsError, match="STREAMGAUGE_DIRECTORY_TOKEN"):
            HttpDirectory("https://example.org", token)
    assert remote.PATIENCE == 2.0
