"""Pseudonyms tell nobody who somebody was, and their keys are neither lost, leaked nor made twice."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.capture.pseudonyms import Keyring, TenantKeys, daily_pseudonym
from streamgauge.errors import SettingsError
from streamgauge.event import PSEUDONYM_BYTES

KEYS = TenantKeys("shop", 7, b"k" * 32, b"e" * 32)
PARTS = st.lists(st.binary(max_size=20), max_size=4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


@given(PARTS, PARTS)
def test_other_parts_or_the_same_bytes_cut_elsewhere_are_somebody_else(
    one: list[bytes], other: list[bytes]
) -> None:
    assert (KEYS.pseudonym(*one) == KEYS.pseudonym(*other)) == (one == other)


def test_bytes_moved_over_a_parts_border_are_somebody_else() -> None:
    assert KEYS.pseudonym("ab", "c") != KEYS.pseudonym("a", "bc")
    assert KEYS.pseudonym("1:a", "") != KEYS.pseudonym("1", "a")


def test_a_pseudonym_is_its_keys_version_and_sixteen_bytes() -> None:
    assert len(KEYS.pseudonym("a")) == PSEUDONYM_BYTES
    assert KEYS.pseudonym("a")[0] == 7


@given(st.text(st.characters()))
def test_text_is_its_utf8_bytes_and_never_fails(text: str) -> None:
    assert KEYS.pseudonym(text) == KEYS.pseudonym(text.encode("utf-8", "surrogatepass"))


def test_pseudonyms_of_other_keys_versions_and_purposes_differ() -> None:
    same = [
        KEYS.pseudonym("a"),
        TenantKeys("shop", 7, b"K" * 32, b"e" * 32).pseudonym("a"),
        TenantKeys("shop", 8, b"k" * 32, b"e" * 32).pseudonym("a"),
        daily_pseudonym(b"k" * 32, "a"),
    ]
    assert len(set(same)) == 4
    assert len({pseudonym[1:] for pseudonym in same}) == 3


@given(st.binary(max_size=20), st.none() | st.binary(max_size=20), st.none() | st.text(max_size=20))
def test_an_event_id_follows_the_key_and_whom_it_is_about(
    key: bytes, actor: bytes | None, session: str | None
) -> None:
    found = KEYS.event_id("quiz.done", key, actor, session)
    assert len(found) == 16
    assert found == TenantKeys("shop", 9, b"other" + b"k" * 27, b"e" * 32).event_id(
        "quiz.done", key, actor, session
    )
    assert found != KEYS.event_id("quiz.begun", key, actor, session)
    assert found != KEYS.event_id("quiz.done", key + b"x", actor, session)
    assert found != TenantKeys("bank", 7, b"k" * 32, b"e" * 32).event_id("quiz.done", key, actor, session)
    if actor is not None:
        assert found == KEYS.event_id("quiz.done", key, actor, "another session")
        assert found != KEYS.event_id("quiz.done", key, None, actor.hex())


def test_a_daily_pseudonym_has_version_zero_and_lives_with_its_salt() -> None:
    assert daily_pseudonym(b"s" * 16, "host", "agent")[0] == 0
    assert daily_pseudonym(b"s" * 16, "host", "agent") == daily_pseudonym(b"s" * 16, b"host", b"agent")
    assert daily_pseudonym(b"s" * 16, "host") != daily_pseudonym(b"t" * 16, "host")
    with pytest.raises(SettingsError, match="16 to 64 bytes, not 15"):
        daily_pseudonym(b"s" * 15, "host")


def test_keys_are_made_once_and_found_again(path: Path) -> None:
    first = Keyring(path).tenant("shop")
    assert Keyring(path).tenant("shop") == first
    assert Keyring(path).tenant("bank").key != first.key
    assert Keyring(path).tenant("shop") == first
    assert first.version == 1
    assert first.key != first.event_key


def test_the_file_is_its_owners_alone_and_nothing_is_left_beside_it(path: Path) -> None:
    Keyring(path).tenant("shop")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(os.listdir(path.parent)) == [".keyring.json.lock", "keyring.json"]


def test_rotation_changes_pseudonyms_and_keeps_event_ids(path: Path) -> None:
    ring = Keyring(path)
    old = ring.tenant("shop")
    new = ring.rotate("shop")
    assert (old.version, new.version) == (1, 2)
    assert ring.tenant("shop") == new == Keyring(path).tenant("shop")
    assert old.pseudonym("a")[1:] != new.pseudonym("a")[1:]
    assert old.event_id("quiz.done", "1", "a") == new.event_id("quiz.done", "1", "a")
    assert set(json.loads(path.read_text())["tenants"]["shop"]["keys"]) == {"1", "2"}, "old keys are kept"


def test_there_is_no_version_after_255(path: Path) -> None:
    ring = Keyring(path)
    ring.tenant("shop")
    content = json.loads(path.read_text())
    entry = content["tenants"]["shop"]
    entry["current"], entry["keys"]["255"] = 255, entry["keys"]["1"]
    path.write_text(json.dumps(content))
    with pytest.raises(SettingsError, match="all 255"):
        ring.rotate("shop")


def test_processes_that_need_a_key_at_the_same_time_get_the_same(path: Path) -> None:
    program = (
        "import pathlib, sys; from streamgauge.capture.pseudonyms import Keyring; "
        "sys.stdout.write(Keyring(pathlib.Path(sys.argv[1])).tenant('shop').pseudonym('somebody').hex())"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) for _ in range(4)
    ]
    pseudonyms = {process.communicate(timeout=60)[0] for process in processes}
    assert pseudonyms == {Keyring(path).tenant("shop").pseudonym("somebody").hex().encode()}


def test_a_key_made_by_another_process_meanwhile_is_not_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, read = Keyring(path), Keyring._read
    made: list[TenantKeys] = []

    def overtaken(ring: Keyring) -> object:
        found = read(ring)
        if not made:
            monkeypatch.setattr(Keyring, "_read", read)
            made.append(Keyring(path).tenant("shop"))
        return found

    monkeypatch.setattr(Keyring, "_read", overtaken)
    assert late.tenant("shop") == made[0]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_use_is_refused(path: Path, mode: int) -> None:
    Keyring(path).tenant("shop")
    path.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        Keyring(path).tenant("shop")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"tenants": []}',
        '{"tenants": {"shop": {}}}',
        '{"tenants": {"shop": {"current": 1, "keys": {"1": "ab"}, "event_key": "ab"}}}',
        '{"tenants": {"shop": {"current": 2, "keys": {"1": "KEY"}, "event_key": "KEY"}}}',
        '{"tenants": {"shop": {"current": true, "keys": {"True": "KEY"}, "event_key": "KEY"}}}',
    ],
)
def test_a_damaged_file_is_told_and_left_as_it_is(path: Path, content: str) -> None:
    content = content.replace("KEY", "ab" * 32)
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="damaged"):
        Keyring(path).tenant("shop")
    assert path.read_text() == content


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"the folder .*missing does not exist"):
        Keyring(tmp_path / "missing" / "keyring.json").tenant("shop")


def test_a_folder_in_the_files_place_is_a_clear_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        Keyring(path).tenant("shop")


def test_a_failed_write_leaves_the_old_keys(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Keyring(path).tenant("shop")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match="No space left"):
        Keyring(path).tenant("bank")
    assert Keyring(path).tenant("shop") == first
    assert sorted(os.listdir(path.parent)) == [".keyring.json.lock", "keyring.json"]


def test_keys_do_not_show_in_logs(path: Path) -> None:
    keys = Keyring(path).tenant("shop")
    assert keys.key.hex() not in repr(keys)
    assert keys.event_key.hex() not in repr(keys)
    assert keys.fingerprint.startswith("1-")
