"""The host's side: names by pseudonyms that it computes itself, for who shows the token, and not counted as its requests."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from streamgauge.capture.host_keys import HostKeys
from streamgauge.directory import host
from streamgauge.directory.directory import MemoryDirectory, NoDirectory, matching
from streamgauge.directory.remote import HttpDirectory
from streamgauge.errors import SettingsError
from streamgauge.settings import Settings
from streamgauge.testing import FixedKeys, RecordingGauge, recording_gauge

PEOPLE = {"ada-1815": "Ada L.", "grace-1906": "Grace H.", "alan-1912": "alan T."}
TOKEN = "a-token-of-the-tests"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}
KEYS = FixedKeys()


def pseudonym_of(tenant: str, external: str) -> bytes:
    return KEYS.tenant(tenant).pseudonym("actor", external)


def names(tenant: str) -> Mapping[str, str]:
    return PEOPLE if tenant == "school" else {}


def search(tenant: str, q: str, limit: int) -> Sequence[str]:
    return matching(names(tenant), q, limit)


async def names_later(tenant: str) -> Mapping[str, str]:
    return names(tenant)


async def search_later(tenant: str, q: str, limit: int) -> Sequence[str]:
    return search(tenant, q, limit)


@pytest.fixture(params=[(names, search), (names_later, search_later)], ids=["plain", "async"])
def app(request: pytest.FixtureRequest) -> FastAPI:
    made = FastAPI()
    given: tuple[Callable[..., Any], Callable[..., Any]] = request.param
    made.include_router(host.router(Settings(), names=given[0], search=given[1], token=TOKEN, keys=KEYS))
    return made


def ask(client: TestClient, path: str, body: object, **headers: str) -> Any:
    return client.post(f"{host.PREFIX}{path}", json=body, headers={**SHOWN, **headers})


def test_names_are_told_of_those_who_are_asked_for(app: FastAPI) -> None:
    asked = [pseudonym_of("school", "ada-1815").hex(), "01" + "f" * 32]
    with TestClient(app) as client:
        assert ask(client, "", {"tenant": "school", "actors": asked}).json() == {
            "names": {asked[0]: "Ada L."}
        }
        # The same people of another tenant have other pseudonyms, and this one knows nobody there.
        assert ask(client, "", {"tenant": "other", "actors": asked}).json() == {"names": {}}
        found = ask(client, "/search", {"tenant": "school", "q": "A", "limit": 2})
        assert found.json() == {"external_ids": ["ada-1815", "grace-1906"]}


def test_who_does_not_show_the_token_gets_nothing(app: FastAPI) -> None:
    with TestClient(app) as client:
        for shown in ("", "Bearer ", "Bearer wrong", TOKEN, f"bearer {TOKEN}", f"Bearer {TOKEN}x"):
            for path, body in (
                ("", {"tenant": "school", "actors": []}),
                ("/search", {"tenant": "school", "q": "a"}),
            ):
                answer = ask(client, path, body, Authorization=shown)
                assert (answer.status_code, "Ada" in answer.text) == (401, False)


def test_questions_are_bounded(app: FastAPI) -> None:
    with TestClient(app) as client:
        for path, body in (
            ("", {"tenant": "school", "actors": ["01" + "f" * 32] * 201}),
            ("", {"tenant": "school", "actors": ["ada"]}),
            ("", {"tenant": "", "actors": []}),
            ("/search", {"tenant": "school", "q": "a", "limit": 101}),
            ("/search", {"tenant": "school", "q": ""}),
        ):
            assert ask(client, path, body).status_code == 422, body


def test_a_token_must_be_long_enough_to_be_one() -> None:
    with pytest.raises(SettingsError, match="16 characters"):
        host.router(Settings(), names=names, search=search, token="short")


def test_the_directory_is_not_counted_among_the_hosts_requests() -> None:
    with recording_gauge() as gauge:
        assert isinstance(gauge, RecordingGauge)
        app = FastAPI()
        gauge.instrument(app)
        app.include_router(host.router(gauge.settings, names=names, search=search, token=TOKEN, keys=KEYS))
        with TestClient(app) as client:
            assert ask(client, "", {"tenant": "school", "actors": []}).status_code == 200
            assert ask(client, "/search", {"tenant": "school", "q": "a"}).status_code == 200
        assert gauge.events == []


def test_pseudonyms_are_those_of_the_hosts_keyring(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    made = HostKeys(settings).tenant("school").pseudonym("actor", "ada-1815").hex()
    app = FastAPI()
    app.include_router(host.router(settings, names=names, search=search, token=TOKEN))
    with TestClient(app) as client:
        told = ask(client, "", {"tenant": "school", "actors": [made]}).json()
        assert told == {"names": {made: "Ada L."}}
        # For a tenant that is none of the host's no keys are made.
        ask(client, "", {"tenant": "stranger", "actors": [made]})
    assert "stranger" not in settings.keyring.read_text()


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The application at a port of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        (listener,) = (each for running in server.servers for each in running.sockets)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}{host.PREFIX}"
    finally:
        server.should_exit = True
        thread.join()


async def test_server_and_host_understand_each_other(app: FastAPI) -> None:
    with served(app) as url:
        directory, known = HttpDirectory(url, TOKEN), MemoryDirectory(pseudonym_of, {"school": PEOPLE})
        asked = [pseudonym_of("school", each) for each in (*PEOPLE, "nobody")]
        assert await directory.names("school", asked) == await known.names("school", asked)
        assert len(await directory.names("school", asked)) == 3
        for q in ("a", "1906", "ALAN", "zz"):
            assert list(await directory.search("school", q, 2)) == list(await known.search("school", q, 2))


async def test_without_a_directory_nobody_has_a_name() -> None:
    nobody = NoDirectory()
    assert await nobody.names("school", [bytes(17)]) == {}
    assert await nobody.search("school", "ada", 5) == ()
