"""An identity provider for tests: real keys, tokens good and forged, and what a server would be told about it."""

import base64
import json
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from streamgauge.settings import Settings

ISSUER = "https://login.example.org/"
AUDIENCE = "streamgauge"
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@cache
def private_key(name: str) -> PrivateKey:
    """The key of that name, by its first letters: rsa (with its bits, if not 2048), ec (with its curve, if not 256), ed."""
    kind = name.partition("-")[0]
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    if kind.startswith("ec"):
        curves = {"": ec.SECP256R1(), "256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}
        return ec.generate_private_key(curves[kind[2:]])
    return ed25519.Ed25519PrivateKey.generate()


def jwk(name: str, **changes: Any) -> dict[str, Any]:
    """The public key of that name as a provider publishes it; None removes a member."""
    public: Any = private_key(name).public_key()
    if isinstance(public, rsa.RSAPublicKey):
        found = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        found = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        found = OKPAlgorithm.to_jwk(public, as_dict=True)
    return _without_none({**found, "kid": name, "use": "sig", **changes})


def jwk_set(*keys: dict[str, Any]) -> bytes:
    """What the provider answers."""
    return json.dumps({"keys": list(keys or (jwk("rsa"), jwk("ec"), jwk("ed")))}).encode()


def pem(name: str) -> bytes:
    """The public key of that name as PEM."""
    public: PublicKeyTypes = private_key(name).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def claims(**changes: Any) -> dict[str, Any]:
    """What the provider says of a teacher; None removes a claim."""
    now = int(time.time())
    usual = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": now + 4 * 3600,
        "iat": now,
        "sub": "teacher-7",
        "tenant": "school",
        "role": "analyst",
        "groups": ["class-1", "class-2"],
    }
    return _without_none({**usual, **changes})


def token(
    name: str = "rsa",
    algorithm: str | None = None,
    payload: Mapping[str, Any] | None = None,
    **header: Any,
) -> str:
    """A token signed with the key of that name; a header may say anything, and one of None is left out."""
    signing = algorithm or default_algorithm(name)
    said = {"alg": signing, "typ": "JWT", "kid": name, **header}
    return signed(name, signing, said, json.dumps(claims() if payload is None else payload).encode())


def default_algorithm(name: str) -> str:
    """What tokens are signed with by that key."""
    return "RS256" if name.startswith("rsa") else "ES256" if name.startswith("ec") else "EdDSA"


def signed(name: str, algorithm: str, header: Mapping[str, Any] | bytes, payload: bytes) -> str:
    """Any payload under any header, signed with that key and algorithm whatever the header says."""
    said = header if isinstance(header, bytes) else json.dumps(_without_none(header)).encode()
    text = f"{encoded(said)}.{encoded(payload)}"
    signature: bytes = jwt.get_algorithm_by_name(algorithm).sign(text.encode(), private_key(name))
    return f"{text}.{encoded(signature)}"


def encoded(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def told(**changes: Any) -> Settings:
    """The settings of a server that trusts this provider."""
    usual = {
        "jwt_issuer": ISSUER,
        "jwt_audience": AUDIENCE,
        "jwt_jwks": "https://login.example.org/keys",
        "jwt_algorithms": ",".join(ALGORITHMS),
    }
    return Settings(**{**usual, **changes})


def _without_none(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


class Published:
    """What the provider publishes, and how often it was asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = jwk_set(*keys)
        self.asked = 0
        self.failing: Exception | None = None

    def __call__(self, source: str) -> bytes:
        self.asked += 1
        if self.failing is not None:
            raise self.failing
        return self.keys


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now
