"""When the provider is asked for its keys, and which of them are used."""

import asyncio
import json
import threading
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from streamgauge.access.jwks import (
    ASYMMETRIC,
    BETWEEN_ATTEMPTS,
    BETWEEN_REFRESHES,
    FRESH,
    STALE,
    Jwks,
    parse_keys,
)
from streamgauge.errors import ServerError, SettingsError
from tests.unit.access.identity_provider import Clock, Published, jwk, jwk_set, private_key

SOURCE = "https://login.example.org/keys"


class Remembering:
    """Keys of a provider, a clock, and how often it was asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.clock = Clock()
        self.published = Published(*keys)
        self.jwks = Jwks(SOURCE, self.published, self.clock)

    async def knows(self, kid: str | None, algorithm: str = "RS256") -> bool:
        """Whether there is such a key."""
        return await self.jwks.key(kid, algorithm) is not None

    @property
    def asked(self) -> int:
        """How often the provider was."""
        return self.published.asked


async def test_keys_are_fetched_when_first_needed_and_remembered_for_five_minutes() -> None:
    provider = Remembering()
    assert FRESH == 300
    assert provider.asked == 0
    for passed in (0, 1, FRESH - 2):
        provider.clock.now += passed
        assert await provider.knows("rsa")
    assert provider.asked == 1
    provider.clock.now += 1
    assert await provider.knows("rsa")
    assert provider.asked == 2


async def test_names_somebody_makes_up_ask_the_provider_once_in_thirty_seconds() -> None:
    provider = Remembering()
    assert BETWEEN_REFRESHES == 30
    assert await provider.knows("rsa")
    for number in range(1000):
        assert not await provider.knows(f"made-up-{number}")
    assert provider.asked == 1
    provider.clock.now += BETWEEN_REFRESHES - 1
    assert not await provider.knows("made-up")
    assert provider.asked == 1
    for step in range(5):
        provider.clock.now += BETWEEN_REFRESHES
        for number in range(100):
            assert not await provider.knows(f"made-up-{step}-{number}")
        assert provider.asked == step + 2


async def test_names_somebody_makes_up_do_not_ask_a_silent_provider_more_often() -> None:
    provider = Remembering()
    assert await provider.knows("rsa")
    provider.published.failing = ServerError("away")
    provider.clock.now += BETWEEN_REFRESHES
    for number in range(100):
        assert not await provider.knows(f"made-up-{number}")
        assert await provider.knows("rsa")
    assert provider.asked == 2


async def test_a_known_name_with_another_algorithm_does_not_ask_the_provider() -> None:
    provider = Remembering()
    assert await provider.knows("rsa")
    provider.clock.now += BETWEEN_REFRESHES
    assert not await provider.knows("rsa", "ES256")
    assert not await provider.knows(None, "ES512")
    assert provider.asked == 1


async def test_a_new_key_is_known_thirty_seconds_after_it_was_first_named() -> None:
    provider = Remembering(jwk("rsa"))
    assert await provider.knows("rsa")
    provider.published.keys = jwk_set(jwk("rsa"), jwk("rsa-2"))
    provider.clock.now += BETWEEN_REFRESHES
    assert await provider.knows("rsa-2")
    assert await provider.knows("rsa")
    assert provider.asked == 2


async def test_a_key_that_was_withdrawn_is_refused_after_five_minutes() -> None:
    provider = Remembering(jwk("rsa"), jwk("rsa-2"))
    assert await provider.knows("rsa")
    provider.published.keys = jwk_set(jwk("rsa-2"))
    provider.clock.now += FRESH - 1
    assert await provider.knows("rsa")
    provider.clock.now += 1
    assert not await provider.knows("rsa")
    assert await provider.knows("rsa-2")


async def test_a_provider_that_withdraws_all_keys_is_believed() -> None:
    provider = Remembering()
    assert await provider.knows("rsa")
    provider.published.keys = b'{"keys":[]}'
    provider.clock.now += FRESH
    assert not await provider.knows("rsa")


async def test_keys_are_used_for_an_hour_while_the_provider_is_away() -> None:
    provider = Remembering()
    assert STALE == 3600
    assert await provider.knows("rsa")
    provider.published.failing = ServerError("away")
    for _ in range(int(STALE / FRESH) - 1):
        provider.clock.now += FRESH
        assert await provider.knows("rsa")
    provider.clock.now += FRESH - 1
    assert await provider.knows("rsa")
    provider.clock.now += 1
    with pytest.raises(ServerError, match="cannot be verified now"):
        await provider.knows("rsa")
    provider.published.failing = None
    provider.clock.now += BETWEEN_ATTEMPTS
    assert await provider.knows("rsa")


async def test_a_silent_provider_is_asked_every_thirty_seconds_while_keys_are_remembered() -> None:
    provider = Remembering()
    assert await provider.knows("rsa")
    provider.published.failing = ServerError("away")
    provider.clock.now += FRESH
    for _ in range(90):
        assert await provider.knows("rsa")
        provider.clock.now += 1
    assert provider.asked == 1 + 3


async def test_a_silent_provider_is_asked_every_five_seconds_while_no_key_is_known() -> None:
    provider = Remembering()
    provider.published.failing = ServerError("away")
    assert BETWEEN_ATTEMPTS == 5
    for _ in range(11):
        with pytest.raises(ServerError, match="cannot be verified now"):
            await provider.knows("rsa")
        provider.clock.now += 1
    assert provider.asked == 3
    provider.published.failing = None
    provider.clock.now += 5
    assert await provider.knows("rsa")


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'{"keys":{}}', b"{}", b'{"keys":NaN}', b"\xff"])
async def test_an_answer_that_is_no_jwk_set_takes_no_keys_away(answer: bytes) -> None:
    provider = Remembering()
    assert await provider.knows("rsa")
    provider.published.keys = answer
    provider.clock.now += FRESH
    assert await provider.knows("rsa")
    assert provider.asked == 2


class Slow:
    """A provider that answers when told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.was_asked = threading.Event()
        self.may_answer = threading.Event()
        self.published = Published()

    def __call__(self, source: str) -> bytes:
        self.asked += 1
        self.was_asked.set()
        assert self.may_answer.wait(20)
        return self.published(source)


async def asked(slow: Slow) -> None:
    """Wait until the provider was asked."""
    assert await asyncio.to_thread(slow.was_asked.wait, 20)


async def test_many_requests_at_once_fetch_once_and_block_nobody() -> None:
    slow = Slow()
    jwks = Jwks(SOURCE, slow)
    waiting = [asyncio.create_task(jwks.key(kid, "RS256")) for kid in ["rsa", "made-up"] * 100]
    await asked(slow)
    # The loop runs on while a thread waits for the provider.
    await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    slow.may_answer.set()
    found = await asyncio.gather(*waiting)
    assert [each is not None for each in found] == [True, False] * 100
    assert slow.asked == 1


async def test_a_fetch_that_takes_long_is_waited_for_and_not_begun_again() -> None:
    slow = Slow()
    clock = Clock()
    jwks = Jwks(SOURCE, slow, clock)
    first = asyncio.create_task(jwks.key("rsa", "RS256"))
    await asked(slow)
    clock.now += BETWEEN_REFRESHES
    second = asyncio.create_task(jwks.key("rsa", "RS256"))
    await asyncio.sleep(0)
    slow.may_answer.set()
    assert None not in await asyncio.gather(first, second)
    assert slow.asked == 1


async def test_a_request_that_is_given_up_does_not_take_the_keys_from_the_others() -> None:
    slow = Slow()
    jwks = Jwks(SOURCE, slow)
    first = asyncio.create_task(jwks.key("rsa", "RS256"))
    await asked(slow)
    second = asyncio.create_task(jwks.key("rsa", "RS256"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    slow.may_answer.set()
    assert await second is not None
    assert slow.asked == 1


async def test_known_keys_are_used_while_an_unknown_one_is_asked_for() -> None:
    slow = Slow()
    clock = Clock()
    jwks = Jwks(SOURCE, slow, clock)
    slow.may_answer.set()
    assert await jwks.key("rsa", "RS256") is not None
    slow.was_asked.clear()
    slow.may_answer.clear()
    clock.now += BETWEEN_REFRESHES
    unknown = asyncio.create_task(jwks.key("made-up", "RS256"))
    await asked(slow)
    assert await jwks.key("rsa", "RS256") is not None
    assert not unknown.done()
    slow.may_answer.set()
    assert await unknown is None


async def test_a_provider_that_never_answers_is_waited_for_no_longer_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgauge.access.jwks.DEADLINE", -0.9)
    slow = Slow()
    try:
        with capture_logs() as logs, pytest.raises(ServerError, match="cannot be verified now"):
            await Jwks(SOURCE, slow).key("rsa", "RS256")
    finally:
        slow.may_answer.set()
    assert [each["detail"] for each in logs] == ["the identity provider does not answer in time"]


async def test_why_keys_are_not_to_be_had_is_for_the_log_alone() -> None:
    provider = Remembering()
    provider.published.failing = ServerError("there is no /etc/streamgauge/keys.json")
    with capture_logs() as logs, pytest.raises(ServerError) as raised:
        await provider.knows("rsa")
    assert "keys.json" not in str(raised.value)
    assert [each["detail"] for each in logs] == ["there is no /etc/streamgauge/keys.json"]


def names(*keys: dict[str, Any]) -> list[str | None]:
    """The names of the keys that can be used."""
    return [key.kid for key in parse_keys(jwk_set(*keys))]


@pytest.mark.parametrize(
    ("name", "algorithms"),
    [
        ("rsa", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("ec256", {"ES256"}),
        ("ec384", {"ES384"}),
        ("ec521", {"ES512"}),
        ("ed", {"EdDSA"}),
    ],
)
def test_a_key_fits_the_algorithms_of_its_type_and_curve(name: str, algorithms: set[str]) -> None:
    (key,) = parse_keys(jwk_set(jwk(name)))
    assert key.algorithms == algorithms
    assert key.algorithms <= ASYMMETRIC
    only = min(algorithms)
    (key,) = parse_keys(jwk_set(jwk(name, alg=only)))
    assert key.algorithms == {only}
    assert names(jwk(name, alg="HS256")) == []


def test_nothing_symmetric_may_ever_be_accepted() -> None:
    assert not [each for each in ASYMMETRIC if each.startswith(("HS", "none", "dir", "A"))]
    assert len(ASYMMETRIC) == 10


def test_rsa_keys_of_less_than_2048_bits_are_refused() -> None:
    assert names(jwk("rsa1024")) == []
    assert names(jwk("rsa1024"), jwk("rsa")) == ["rsa"]


def test_a_published_private_key_is_refused() -> None:
    for name, member in (("rsa", "d"), ("rsa", "p"), ("ec", "d"), ("ed", "d")):
        assert names(jwk(name, **{member: jwk("ed")["x"]})) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"use": 1},
        {"use": "SIG"},
        {"use": None, "key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"key_ops": []},
        {"kty": "oct"},
        {"kty": "rsa"},
        {"kty": None},
        {"kty": 1},
        {"kid": 1},
        {"kid": ["rsa"]},
        {"alg": 1},
        {"alg": ["RS256"]},
        {"alg": ""},
        {"n": None},
        {"n": 1},
        {"n": ""},
        {"n": "!!!"},
        {"e": "AA"},
        {"e": "AQ"},
        {"e": {}},
    ],
    ids=str,
)
def test_an_entry_that_is_no_key_for_signatures_is_left_out(changes: dict[str, Any]) -> None:
    assert names(jwk("rsa", **changes), jwk("ec")) == ["ec"]


@pytest.mark.parametrize(
    "changes",
    [
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"crv": None},
        {"crv": 1},
        {"x": None},
        {"x": "AA"},
        {"y": "A" * 43},
        {"kty": "OKP"},
    ],
    ids=str,
)
def test_a_point_that_is_not_on_its_curve_is_left_out(changes: dict[str, Any]) -> None:
    assert names(jwk("ec", **changes), jwk("rsa")) == ["rsa"]


def test_entries_that_are_no_objects_are_left_out() -> None:
    data = json.dumps({"keys": [None, 1, "key", [], {}, jwk("rsa")], "more": 1}).encode()
    assert [key.kid for key in parse_keys(data)] == ["rsa"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["keys", "kty", "kid", "n", "e", "crv", "x", "y", "alg", "use"])
                | st.text(max_size=3),
                inner | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB", "RS256"]),
                max_size=8,
            )
        ),
    )
)
def test_any_answer_is_keys_or_an_error_of_ours(found: Any) -> None:
    for answer in (found, {"keys": [found]}, {"keys": found}, {"keys": [{**jwk("ec"), "x": found}]}):
        try:
            data = orjson.dumps(answer)
        except TypeError:
            continue
        try:
            assert all(key.algorithms for key in parse_keys(data))
        except ServerError:
            continue


def test_a_deeply_nested_answer_is_an_error_of_ours() -> None:
    with pytest.raises(ServerError, match="not JSON"):
        parse_keys(b'{"keys":' + b"[" * 100_000)


async def test_several_keys_of_one_name_are_told_apart_by_the_algorithm_or_not_used() -> None:
    provider = Remembering(jwk("rsa", kid="one"), jwk("ec", kid="one"))
    assert await provider.knows("one", "RS256")
    assert await provider.knows("one", "ES256")
    provider = Remembering(jwk("rsa", kid="one"), jwk("rsa-2", kid="one"))
    assert not await provider.knows("one", "RS256")


def test_tests_use_keys_of_the_sizes_they_say() -> None:
    assert private_key("rsa1024").key_size == 1024  # type: ignore[union-attr]  # it is an RSA key


@pytest.mark.parametrize(
    "source",
    [
        "",
        " ",
        "a\0b",
        "http://login.example.org/keys",
        "http://10.0.0.1/keys",
        "http://169.254.169.254/keys",
        "http://127.0.0.1.example.org/keys",
        "http://localhost.example.org/keys",
        "http://0.0.0.0/keys",
        "http://2130706433/keys",
        "http://user@127.0.0.1/keys",
        "https://user:password@login.example.org/keys",
        "https://login.example.org/keys#part",
        "https://",
        "https:///keys",
        "https://login.example.org:port/keys",
        "https://login.example.org:99999/keys",
        "https://login.example.org/ke ys",
        "https://login.example.org/keys\n",
        "http://local\nhost/keys",
        "ftp://login.example.org/keys",
        "file:///etc/keys",
        "data://text,keys",
        "https://[::1/keys",
        "https://log\u00edn.example.org/keys",
    ],
    ids=repr,
)
def test_keys_come_over_https_from_this_machine_or_from_a_file(source: str) -> None:
    with pytest.raises(SettingsError, match="STREAMGAUGE_JWT_JWKS") as raised:
        Jwks(source)
    assert "password@" not in str(raised.value)


@pytest.mark.parametrize(
    "source",
    [
        "https://login.example.org/keys?version=1",
        "HTTPS://login.example.org:8443",
        "http://localhost:8080/keys",
        "http://127.0.0.1/keys",
        "http://127.8.9.1:1/keys",
        "http://[::1]:8080/keys",
        "keys.json",
        "/etc/streamgauge/keys.json",
        "~keys",
    ],
)
def test_where_keys_may_come_from(source: str) -> None:
    Jwks(source)
