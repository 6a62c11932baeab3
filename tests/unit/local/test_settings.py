"""Promises about settings: what is read from where, and what is refused how."""

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import SettingsError
from streamgauge.settings import Settings, without_password

ENV_EXAMPLE = Path(__file__).resolve().parents[3] / ".env.example"
NUMBERS = {
    field.metadata["env"][0]: (field.name, field.metadata["range"])
    for field in dataclasses.fields(Settings)
    if field.metadata["range"] is not None
}


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environ({})
    assert (settings.redis_url, settings.database_url) == (None, None)
    assert (settings.host, settings.port, settings.worker_port) == ("127.0.0.1", 8400, 8402)
    assert settings.keyring == settings.data_dir / "keyring.json"
    assert settings == Settings()


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environ({"STREAMGAUGE_PORT": "", "DATABASE_URL": " "}) == Settings()


def test_our_own_variable_wins_over_the_common_one_and_an_option_over_both() -> None:
    environ = {"STREAMGAUGE_REDIS_URL": "redis://ours", "REDIS_URL": "redis://common", "REDIS_HOST": "host"}
    assert Settings.from_environ(environ).redis_url == "redis://ours"
    del environ["STREAMGAUGE_REDIS_URL"]
    assert Settings.from_environ(environ).redis_url == "redis://common"
    assert Settings.from_environ(environ, redis_url="redis://option").redis_url == "redis://option"
    assert Settings.from_environ(environ, redis_url=None).redis_url == "redis://common"


def test_a_redis_url_is_composed_from_its_parts() -> None:
    environ = {"REDIS_HOST": "cache", "REDIS_PORT": "6380", "REDIS_DB": "3", "REDIS_PASSWORD": "a/b@c"}
    assert Settings.from_environ(environ).redis_url == "redis://:a%2Fb%40c@cache:6380/3"
    assert Settings.from_environ({"REDIS_HOST": "::1"}).redis_url == "redis://[::1]:6379/0"
    assert Settings.from_environ({"REDIS_PORT": "6380"}).redis_url is None


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("postgresql+asyncpg://u:p@h:5/d?x=1", "postgresql://u:p@h:5/d?x=1"),
        ("postgres://h/d", "postgresql://h/d"),
        ("postgresql:///d?host=/run", "postgresql:///d?host=/run"),
    ],
)
def test_postgresql_addresses_take_the_form_every_client_understands(given_url: str, kept: str) -> None:
    assert Settings.from_environ({"DATABASE_URL": given_url}).database_url == kept


@pytest.mark.parametrize(
    "url", ["mysql://h/d", "h:5432", "postgresql://", "", "postgresql://h:port/d", "postgresql://h:99999/d"]
)
def test_an_address_that_is_none_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="STREAMGAUGE_DATABASE_URL"):
        Settings(database_url=url)
    with pytest.raises(SettingsError) as caught:
        Settings(database_url="mysql://user:secret@host/d")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("variable", NUMBERS)
def test_a_number_outside_its_range_is_refused_by_name_value_and_range(variable: str) -> None:
    _, (low, high) = NUMBERS[variable]
    for text in (str(low - 1), str(high + 1), "many", "1.5"):
        expected = rf"{variable} is '?{re.escape(text)}'?: give a whole number from {low} to {high}"
        with pytest.raises(SettingsError, match=expected):
            Settings.from_environ({variable: text})


@pytest.mark.parametrize("variable", NUMBERS)
def test_the_ends_of_a_range_are_allowed(variable: str) -> None:
    name, (low, high) = NUMBERS[variable]
    for number in (low, high):
        if variable == "STREAMGAUGE_PORT" and number == high:
            continue  # the worker's port is 2 above it
        found = getattr(Settings.from_environ({variable: str(number)}), name)
        assert found == (8402 if (variable, number) == ("STREAMGAUGE_WORKER_PORT", 0) else number)


def test_a_worker_port_beyond_the_last_one_is_refused() -> None:
    with pytest.raises(SettingsError, match="STREAMGAUGE_WORKER_PORT"):
        Settings(port=65535)
    assert Settings(port=65535, worker_port=9000).worker_port == 9000


def test_the_server_and_the_worker_cannot_share_a_port() -> None:
    with pytest.raises(SettingsError, match="STREAMGAUGE_WORKER_PORT and STREAMGAUGE_PORT are both 9000"):
        Settings(port=9000, worker_port=9000)


@pytest.mark.parametrize(
    "environ",
    [
        {"STREAMGAUGE_LOG_LEVEL": "loud"},
        {"STREAMGAUGE_STREAM_PREFIX": "a{b}"},
        {"STREAMGAUGE_STREAM_PREFIX": "x" * 65},
        {"STREAMGAUGE_HOST": "two words"},
        {"REDIS_HOST": "h", "REDIS_PORT": "0"},
        {"REDIS_HOST": "h", "REDIS_DB": "x"},
    ],
)
def test_text_that_cannot_be_used_is_refused_by_the_variable_s_name(environ: dict[str, str]) -> None:
    name, value = list(environ.items())[-1]
    with pytest.raises(SettingsError, match=rf"{name} is .*{re.escape(value[:60])}"):
        Settings.from_environ(environ)


def test_settings_do_not_show_passwords() -> None:
    settings = Settings(
        redis_url="redis://:secret@h/0", database_url="postgresql://u:se:cr@et@h/d?password=secret&x=1"
    )
    shown = f"{settings!r} {settings} {settings.safe()}"
    assert "secret" not in shown
    assert "cr@et" not in shown
    assert "postgresql://u:***@h/d?password=***&x=1" in shown


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=3))
def test_no_password_survives_hiding(password: str) -> None:
    assert without_password(f"redis://user:{password}@host/0") == "redis://user:***@host/0"


def test_the_example_explains_every_setting_with_its_default_and_range() -> None:
    text = ENV_EXAMPLE.read_text()
    assigned = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))
    fields = {field.metadata["env"][0]: field for field in dataclasses.fields(Settings)}
    assert assigned.keys() == fields.keys()
    for variable, field in fields.items():
        default = field.default if field.default not in (None, Path()) else ""
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        assert assigned[variable] == shown, variable
        comment = text.partition(f"\n{variable}=")[0].rpartition("\n\n")[2]
        assert comment.startswith("#"), variable
        for alternative in field.metadata["env"][1:]:
            assert alternative in comment, alternative
        if field.metadata["range"] is not None:
            low, high = field.metadata["range"]
            assert f"{low} to {high}" in comment, variable


@pytest.mark.parametrize(("text", "flag"), [("true", True), ("1", True), ("Off", False), ("no", False)])
def test_a_switch_takes_the_usual_words(text: str, flag: bool) -> None:
    assert Settings.from_environ({"STREAMGAUGE_ENABLED": text}).enabled is flag


def test_a_switch_that_is_neither_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match=r"STREAMGAUGE_ENABLED is 'maybe': give true or false"):
        Settings.from_environ({"STREAMGAUGE_ENABLED": "maybe"})


def test_origins_are_a_list_without_paths() -> None:
    settings = Settings(cors_origins="https://a.example, http://[::1]:8000,https://a.example")
    assert settings.origins == ("https://a.example", "http://[::1]:8000")
    for wrong in ("*", "https://a.example/", "a.example", "null"):
        with pytest.raises(SettingsError, match="STREAMGAUGE_CORS_ORIGINS"):
            Settings(cors_origins=wrong)


def test_a_tenant_has_a_name_of_bounded_length() -> None:
    for wrong in ("", "x" * 101, "a\0b"):
        with pytest.raises(SettingsError, match="STREAMGAUGE_TENANT"):
            Settings(tenant=wrong)


def test_every_setting_is_described() -> None:
    assert all(len(field.metadata["doc"]) > 20 for field in dataclasses.fields(Settings))
