"""Promises about the locks of a data directory."""

import os
import stat
from pathlib import Path

import pytest

from streamgauge.errors import ServerError, SettingsError
from streamgauge_local import ownership
from streamgauge_local.ownership import Lock, Ownership, Record, prepare_directory


def record(pid: int, *, ready: bool = True) -> Record:
    return Record(pid, "up", "/none/sg-none", ready, "unix:///redis", "postgresql:///d", "servers")


def test_a_lock_is_held_by_one_and_shared_only_among_sharers(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.try_exclusive()
    assert not second.try_shared()
    first.release()
    assert second.try_shared()
    assert first.try_shared()
    assert not first.try_exclusive()
    second.close()
    assert first.try_exclusive()
    first.close()


async def test_the_first_owns_and_the_second_uses_what_it_published(tmp_path: Path) -> None:
    with Ownership(tmp_path) as owner, Ownership(tmp_path) as user:
        assert await owner.own_or_join() is None
        owner.publish(record(os.getpid()))
        assert await user.own_or_join() == record(os.getpid())


async def test_servers_that_are_not_ready_or_whose_owner_is_dead_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "_COMMAND_PATIENCE", 0.1)
    with Ownership(tmp_path) as owner, Ownership(tmp_path) as user:
        await owner.own()
        dead = 2**22 + 1  # above the largest number Linux gives
        for published in (None, record(dead), record(os.getpid(), ready=False)):
            if published is not None:
                owner.publish(published)
            with pytest.raises(ServerError, match="does not get its servers"):
                await user.own_or_join()
        assert owner.left_behind() == record(os.getpid(), ready=False)


async def test_an_owner_that_waits_for_users_lets_nobody_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "_COMMAND_PATIENCE", 0.1)
    with Ownership(tmp_path) as owner, Ownership(tmp_path) as late:
        await owner.own()
        owner.publish(record(os.getpid()))
        with Ownership(tmp_path) as user:
            await user.own_or_join()
        await owner.wait_for_users()
        with pytest.raises(ServerError):
            await late.own_or_join()


def test_what_is_no_record_is_read_as_none(tmp_path: Path) -> None:
    with Ownership(tmp_path) as owner:
        for text in ("", "[]", '{"pid": 1}', '{"unknown": 1}'):
            (tmp_path / "endpoints.json").write_text(text)
            assert owner.left_behind() is None
        owner.withdraw()
        owner.withdraw()


@pytest.mark.parametrize("held", [[], ["lost+found"], ["keyring.json", "something"]])
def test_an_empty_or_our_own_directory_becomes_closed_to_others(tmp_path: Path, held: list[str]) -> None:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o755)
    for name in held:
        (directory / name).touch()
    assert prepare_directory(directory) == directory
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(SettingsError, match=r"cannot be used \(.*\): give another"):
        prepare_directory(tmp_path / "data")
