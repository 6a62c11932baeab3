"""The keyring of a host: names that come from outside do not make it grow without bound."""

import json
import logging
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from streamgauge.capture import delivery
from streamgauge.capture.host_keys import MOST_TENANTS, HostKeys, TooManyTenantsError
from streamgauge.capture.pseudonyms import Keyring
from streamgauge.errors import SettingsError
from streamgauge.memory_stream import MemoryStream
from streamgauge.settings import Settings

from .sending import LESSON, PATIENCE, arrived, sending


def settings(folder: Path) -> Settings:
    return Settings(data_dir=folder, tenant="home")


def stored(folder: Path) -> set[str]:
    return set(json.loads((folder / "keyring.json").read_text())["tenants"])


def test_keys_are_made_for_as_many_tenants_as_may_be(tmp_path: Path) -> None:
    keys = HostKeys(settings(tmp_path), most=3)
    for name in ("a", "b", "c"):
        assert keys.tenant(name).tenant == name
    for name in ("d", "e", "d"):
        with pytest.raises(
            TooManyTenantsError, match=r"holds 3 tenants, and events may bring it to 3.*create"
        ):
            keys.tenant(name)
    assert stored(tmp_path) == {"a", "b", "c"}


def test_who_has_keys_keeps_them_however_many_there_are(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path / "keyring.json")
    made = [keyring.tenant(str(number)) for number in range(10)]
    keys = HostKeys(settings(tmp_path), most=3)
    assert [keys.tenant(str(number)) for number in range(5)] == made[:5]
    with pytest.raises(TooManyTenantsError):
        keys.tenant("new")
    # Known to the file, and asked for here only now.
    assert [keys.tenant(str(number)) for number in range(10)] == made


def test_the_tenant_of_the_settings_is_never_refused(tmp_path: Path) -> None:
    keys = HostKeys(settings(tmp_path), most=1)
    keys.tenant("a")
    assert keys.tenant("home").tenant == "home"


def test_keys_that_an_operator_makes_are_used_at_once(tmp_path: Path) -> None:
    keys = HostKeys(settings(tmp_path), most=1)
    keys.tenant("a")
    with pytest.raises(TooManyTenantsError):
        keys.tenant("b")
    made = Keyring(tmp_path / "keyring.json").tenant("b")
    assert keys.tenant("b") == made


def test_without_a_bound_there_is_none(tmp_path: Path) -> None:
    keys = HostKeys(settings(tmp_path))
    for number in range(20):
        keys.tenant(str(number))
    assert len(stored(tmp_path)) == 20


def test_a_full_keyring_is_not_read_for_everybody_who_is_refused(tmp_path: Path) -> None:
    keys = HostKeys(settings(tmp_path), most=1)
    keys.tenant("a")
    with patch.object(Keyring, "names", autospec=True, side_effect=Keyring.names) as read:
        for number in range(50):
            with pytest.raises(TooManyTenantsError):
                keys.tenant(str(number))
    assert read.call_count == 1


def test_a_folder_that_may_not_be_looked_into_is_told_as_what_it_is(tmp_path: Path) -> None:
    def forbidden(path: object, *_: object, **__: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    keys = HostKeys(settings(tmp_path), most=1)
    with (
        patch("os.stat", forbidden),
        patch.object(Path, "open", side_effect=PermissionError(13, "Permission denied")),
        pytest.raises(SettingsError, match=r"cannot be read \(Permission denied\)"),
    ):
        keys.tenant("a")


def test_a_thousand_tenants_are_enough_for_names_from_outside() -> None:
    assert MOST_TENANTS == 1_000


def test_events_of_tenants_too_many_are_dropped_as_that_and_nobody_elses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = MemoryStream(shards=1)
    Keyring(tmp_path / "keyring.json").tenant("north")
    with (
        patch.object(delivery, "MOST_TENANTS", 2),
        caplog.at_level(logging.WARNING, "streamgauge"),
        sending(stream, tmp_path, flush_milliseconds=100) as gauge,
    ):
        for tenant in ("south", "made up 1", "made up 2", "north", "made up 1", None):
            assert gauge.track(LESSON.name, tenant=tenant, actor="ada", percent=1)
        assert not gauge.flush(PATIENCE)
        assert gauge.status()["dropped"] == {"too_many_tenants": 3}
        assert gauge.status()["troubles"] == {"too_many_tenants": 2}
        assert "events may bring it to 2" in caplog.text
        assert "streamgauge keys create" in caplog.text
    found = arrived(stream)
    assert [event.tenant for event in found.events] == ["south", "north", "default"]
    assert (found.drops, found.lost) == ({"too_many_tenants": 3}, 0)
    assert stored(tmp_path) == {"north", "south", "default"}
