"""Promises about the local servers as a whole: they keep data, die with their owner, and never collide."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis

from streamgauge.errors import ServerError, SettingsError
from streamgauge.settings import Settings
from streamgauge_local.stack import Stack, open_stack
from tests.integration.local.held import Held, until_gone


async def write(redis_url: str, database_url: str, text: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("text", text)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS texts (text text)")
        await connection.execute("INSERT INTO texts VALUES ($1)", text)
    finally:
        await connection.close()


async def read(redis_url: str, database_url: str) -> tuple[str, list[str]]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        text = client.get("text")
    connection = await asyncpg.connect(database_url)
    try:
        return str(text), [row["text"] for row in await connection.fetch("SELECT text FROM texts")]
    finally:
        await connection.close()


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose path has a space and which no server works in after the test."""
    directory = tmp_path / "data dir"
    yield directory
    assert until_gone(directory), "a test left servers behind"


async def test_a_restart_keeps_what_was_written(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir)
    async with open_stack(settings, "up") as first:
        assert first.source == "started"
        await write(first.redis_url, first.database_url, "kept")
    assert until_gone(data_dir, 0), "servers outlived their context"
    async with open_stack(settings, "up") as second:
        assert await read(second.redis_url, second.database_url) == ("kept", ["kept"])


async def test_after_kill_9_of_the_owner_its_servers_are_gone_and_the_next_start_has_the_data(
    data_dir: Path,
) -> None:
    with Held(data_dir) as owner:
        told = owner.wait()
        assert len(owner.servers()) >= 2
        await write(told["redis_url"], told["database_url"], "acknowledged")
        sockets = Path(told["redis_url"].removeprefix("unix://").partition("?")[0]).parent
        owner.process.kill()
        owner.process.wait()
        assert until_gone(data_dir, 5), "servers outlived their killed owner"
        assert sockets.exists(), "nobody was left to remove it; the next start does"
        async with open_stack(Settings(data_dir=data_dir), "up") as endpoints:
            found = await read(endpoints.redis_url, endpoints.database_url)
        assert found == ("acknowledged", ["acknowledged"])
        assert not sockets.exists()


async def test_the_next_start_waits_for_servers_that_are_still_dying(data_dir: Path) -> None:
    with Held(data_dir) as owner:
        owner.wait()
        owner.process.kill()
        owner.process.wait()
        # No pause: the servers are ending now.
        async with open_stack(Settings(data_dir=data_dir), "up") as endpoints:
            await write(endpoints.redis_url, endpoints.database_url, "next")
            assert await read(endpoints.redis_url, endpoints.database_url) == ("next", ["next"])


async def test_two_data_directories_run_side_by_side(data_dir: Path, tmp_path: Path) -> None:
    with Held(data_dir) as one, Held(tmp_path / "other") as other:
        first, second = one.wait(), other.wait()
        await write(first["redis_url"], first["database_url"], "one")
        await write(second["redis_url"], second["database_url"], "other")
        assert await read(first["redis_url"], first["database_url"]) == ("one", ["one"])
        assert await read(second["redis_url"], second["database_url"]) == ("other", ["other"])


async def test_a_command_uses_the_servers_of_a_running_up(data_dir: Path) -> None:
    with Held(data_dir) as owner:
        told = owner.wait()
        async with open_stack(Settings(data_dir=data_dir), "command") as endpoints:
            assert endpoints.source == "running"
            assert (endpoints.redis_url, endpoints.database_url) == (told["redis_url"], told["database_url"])
            assert not endpoints.database_is_ours
        assert owner.servers(), "a command stopped servers that are not its own"


async def test_a_second_up_over_the_same_data_is_refused_and_told_by_whom(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge_local.ownership._UP_PATIENCE", 0.2)
    with Held(data_dir) as owner:
        owner.wait()
        with pytest.raises(
            ServerError, match=rf"`streamgauge up` \(process {owner.process.pid}\).*--data-dir"
        ):
            async with open_stack(Settings(data_dir=data_dir), "up"):
                pass


async def test_a_command_keeps_its_servers_until_the_last_other_command_is_done(data_dir: Path) -> None:
    with Held(data_dir, "command") as owner, Held(data_dir, "command") as user:
        owner.wait()
        told = user.wait()
        assert {owner.told["source"], told["source"]} == {"started", "running"}
        starter, guest = (owner, user) if told["source"] == "running" else (user, owner)
        assert starter.process.stdin is not None
        starter.process.stdin.close()
        await write(told["redis_url"], told["database_url"], "still there")
        assert starter.process.poll() is None
        assert guest.end() == 0
        assert starter.process.wait(30) == 0
        assert until_gone(data_dir, 0)


async def test_an_up_does_not_wait_for_commands_that_use_its_servers(data_dir: Path) -> None:
    with Held(data_dir) as owner:
        owner.wait()
        with Held(data_dir, "command") as guest:
            assert guest.wait()["source"] == "running"
            assert owner.end() == 0
            assert until_gone(data_dir, 0)


async def test_given_addresses_start_nothing(data_dir: Path) -> None:
    settings = Settings(
        data_dir=data_dir, redis_url="redis://given:1/0", database_url="postgresql://given/database"
    )
    async with open_stack(settings, "up") as endpoints:
        assert endpoints.source == "given"
        assert (endpoints.redis_url, endpoints.database_url) == (settings.redis_url, settings.database_url)
    assert not data_dir.exists()


async def test_with_one_given_address_only_the_other_server_is_started(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir, database_url="postgresql://given/database")
    async with open_stack(settings, "up") as endpoints:
        assert endpoints.source == "started"
        assert endpoints.database_url == settings.database_url
        assert not endpoints.database_is_ours
        assert not (data_dir / "postgres").exists()
        with redis.Redis.from_url(endpoints.redis_url) as client:
            assert client.ping()


async def test_a_command_that_needs_a_server_the_running_one_lacks_is_told_so(data_dir: Path) -> None:
    given = {"STREAMGAUGE_DATABASE_URL": "postgresql://given/database"}
    with Held(data_dir, environment=given) as owner:
        owner.wait()
        with pytest.raises(ServerError, match=r"no PostgreSQL.*STREAMGAUGE_DATABASE_URL"):
            async with open_stack(Settings(data_dir=data_dir), "command"):
                pass


async def test_migrations_run_before_others_see_the_database(data_dir: Path) -> None:
    seen: list[str] = []

    async def prepare(database_url: str) -> None:
        assert '"ready": false' in (data_dir / "endpoints.json").read_text()
        seen.append(database_url)

    async with open_stack(Settings(data_dir=data_dir), "command", prepare) as endpoints:
        assert seen == [endpoints.database_url]


async def test_servers_are_stopped_when_preparing_the_database_fails(data_dir: Path) -> None:
    async def fail(_: str) -> None:
        raise ServerError("no")

    with pytest.raises(ServerError, match="no"):
        async with open_stack(Settings(data_dir=data_dir), "command", fail):
            pass
    assert until_gone(data_dir, 0)
    assert not (data_dir / "endpoints.json").exists()


async def test_a_server_that_dies_is_reported_with_its_last_words(data_dir: Path) -> None:
    data_dir.mkdir()
    async with Stack(data_dir, ephemeral=True, postgres=False) as stack:
        assert stack.failure() is None
        with redis.Redis.from_url(stack.redis_url) as client:
            client.shutdown(nosave=True)
        until_gone(data_dir)
        assert "Valkey ended with exit code 0" in (stack.failure() or "")


async def test_servers_listen_on_no_network(data_dir: Path) -> None:
    with Held(data_dir) as owner:
        owner.wait()
        inodes = {
            line.split()[9]
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        }
        for pid in owner.servers():
            links = [entry.readlink() for entry in Path(f"/proc/{pid}/fd").iterdir()]
            sockets = {str(link).removeprefix("socket:[").removesuffix("]") for link in links}
            assert not sockets & inodes


async def test_what_is_stored_is_closed_to_others(data_dir: Path) -> None:
    async with open_stack(Settings(data_dir=data_dir), "up") as endpoints:
        sockets = Path(endpoints.redis_url.removeprefix("unix://").partition("?")[0]).parent
        for directory in (data_dir, data_dir / "postgres", data_dir / "valkey", data_dir / "logs", sockets):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700, directory
        assert stat.S_IMODE((data_dir / "endpoints.json").stat().st_mode) == 0o600


async def test_a_directory_that_holds_other_things_is_left_alone(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o755)
    (data_dir / "thesis.tex").touch()
    with pytest.raises(SettingsError, match="holds other things"):
        async with open_stack(Settings(data_dir=data_dir), "up"):
            pass
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o755
    assert os.listdir(data_dir) == ["thesis.tex"]


async def test_a_data_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot be used \(Not a directory\).*--data-dir"):
        async with open_stack(Settings(data_dir=tmp_path / "file" / "data"), "up"):
            pass
