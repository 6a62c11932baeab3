"""Whatever is done to a good token: it is believed if and only if it is still that token."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamgauge.access.claims import ClaimNames, Claims, RefusedTokenError, parse_object, read_claims
from streamgauge.access.tokens import Tokens
from tests.unit.access.identity_provider import Published, claims, encoded, jwk, signed, token, told

NAMES = ("rsa", "ec", "ed")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+/= \n\0{é"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
PAYLOAD = claims()


async def believed(credential: str) -> bool:
    return await Tokens(told(), Published()).verify(credential) is not None


@given(data=st.data(), name=st.sampled_from(NAMES))
async def test_a_token_with_other_characters_is_not_believed(data: st.DataObject, name: str) -> None:
    good = token(name, payload=PAYLOAD)
    characters = list(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(characters) - 1))
        change = data.draw(st.sampled_from(["replace", "insert", "remove", "swap", "repeat", "cut"]))
        if change == "replace":
            characters[at] = data.draw(st.sampled_from(ALPHABET))
        elif change == "insert":
            characters.insert(at, data.draw(st.sampled_from(ALPHABET)))
        elif change == "remove":
            del characters[at]
        elif change == "swap":
            characters[at], characters[-1 - at] = characters[-1 - at], characters[at]
        elif change == "repeat":
            characters[at:at] = characters[at : at + 4]
        else:
            characters = characters[: max(at, 1)]
    changed = "".join(characters)
    assert await believed(changed) == (changed == good)


@given(data=st.data(), name=st.sampled_from(NAMES))
async def test_a_token_with_other_bytes_in_a_part_is_not_believed(data: st.DataObject, name: str) -> None:
    parts = token(name, payload=PAYLOAD).split(".")
    which = data.draw(st.integers(0, 2))
    raw = bytearray(base64.urlsafe_b64decode(parts[which] + "=" * (-len(parts[which]) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    parts[which] = encoded(bytes(raw))
    assert not await believed(".".join(parts))


@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "zip", "cty"]), JSON)
)
@example(header={"alg": "none"})
@example(header={"kid": None})
async def test_no_header_makes_a_key_verify_what_it_did_not_sign(header: dict[str, Any]) -> None:
    said = {"alg": "RS256", "kid": "rsa", **header}
    raw = json.dumps(said).encode()
    assert not await believed(signed("rsa-attacker", "RS256", raw, json.dumps(PAYLOAD).encode()))


@given(
    header=st.one_of(JSON, st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit"]), JSON)),
    payload=JSON,
)
async def test_nothing_signed_or_unsigned_raises_an_error(header: Any, payload: Any) -> None:
    for raw in (json.dumps(header).encode(), b'{"alg":"EdDSA","kid":"ed"}'):
        assert not await believed(signed("ed", "EdDSA", raw, json.dumps(payload).encode()))


@given(
    changes=st.dictionaries(
        st.sampled_from(["exp", "nbf", "iat", "iss", "aud", "sub", "tenant", "role", "groups"]),
        JSON,
        min_size=1,
    )
)
async def test_signed_claims_of_any_kind_are_believed_only_as_they_should_be(changes: dict[str, Any]) -> None:
    payload = {**PAYLOAD, **changes}
    found = await Tokens(told(), Published()).verify(
        signed("ed", "EdDSA", {"alg": "EdDSA", "kid": "ed"}, json.dumps(payload).encode())
    )
    if found is not None:
        assert payload["iss"] == PAYLOAD["iss"]
        assert payload["aud"] == PAYLOAD["aud"]
        assert payload["role"] == found.role == "analyst"
        assert (found.subject, found.tenant) == (payload["sub"], payload["tenant"])
        assert found.groups == frozenset(payload["groups"] or ())


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        assert isinstance(parse_object(data), dict)
    except RefusedTokenError:
        return
    assert json.loads(data) == parse_object(data)


@given(
    payload=st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON),
    names=st.lists(st.sampled_from("abc"), min_size=1),
)
def test_any_way_into_any_payload_is_a_claim_or_refused(payload: dict[str, Any], names: list[str]) -> None:
    way = tuple(names)
    try:
        found = read_claims(payload, ClaimNames(way, ("a",), ("b",), way), 0.0)
    except RefusedTokenError:
        return
    assert isinstance(found, Claims)
    assert found.role in ("member", "analyst", "admin", "writer")


async def test_what_is_changed_above_is_believed_unchanged() -> None:
    for name in NAMES:
        assert await believed(token(name, payload=PAYLOAD))


@pytest.mark.parametrize("name", NAMES)
async def test_a_token_of_other_keys_is_believed_by_those_alone(name: str) -> None:
    other = Tokens(told(), Published(jwk(f"{name}-attacker", kid=name)))
    assert await other.verify(token(f"{name}-attacker", kid=name)) is not None
    assert await other.verify(token(name)) is None
