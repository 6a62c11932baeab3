"""Tokens (JWT, RFC 7519) of the host's identity provider, verified as RFC 8725 advises: what a token says of itself decides nothing.

The signature is PyJWT's to check. What the payload says is checked here: PyJWT takes a text for a time and a name given twice.
"""

import base64
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import jwt
import structlog

from streamgauge.access.claims import ClaimNames, Claims, RefusedTokenError, parse_object, read_claims
from streamgauge.access.jwks import ASYMMETRIC, Fetch, Jwks
from streamgauge.access.key_source import read_source
from streamgauge.errors import SettingsError
from streamgauge.settings import Settings

LONGEST_TOKEN: Final = 8192  # bytes
LONGEST_LIFE: Final = 24 * 3600  # seconds from when it was issued, and from now, until it expires
LEEWAY: Final = 30  # seconds that clocks may differ
_FAR = 2**53  # seconds
# Three parts of unpadded base64url: what is encrypted has five, and blanks, padding and further parts are not passed on.
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
#: What a token may call itself (RFC 8725, 3.11): a logout token or a security event is signed with the same keys.
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})

log = structlog.get_logger(__name__)


class Tokens:
    """What tells the claims of a token."""

    def __init__(
        self,
        settings: Settings,
        fetch: Fetch = read_source,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is fetched yet.

        Args:
            settings: `jwt_issuer`, `jwt_audience`, `jwt_jwks`, `jwt_algorithms` and `jwt_claims`.
            fetch: reads `jwt_jwks`.
            clock: POSIX time, for what tokens say.
            monotonic: seconds, for what is remembered.

        Raises:
            SettingsError: one of them is missing or malformed, or an algorithm is not one with public keys.
        """
        for name in ("jwt_issuer", "jwt_audience", "jwt_jwks"):
            if not getattr(settings, name):
                raise SettingsError(
                    f"STREAMGAUGE_{name.upper()} is not set: tokens take STREAMGAUGE_JWT_ISSUER, STREAMGAUGE_JWT_AUDIENCE "
                    "and STREAMGAUGE_JWT_JWKS, all three"
                )
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._names = ClaimNames.from_setting(settings.jwt_claims)
        self._algorithms = _algorithms(settings.jwt_algorithms)
        self._keys = Jwks(settings.jwt_jwks, fetch, monotonic)
        self._clock = clock
        self._signatures = jwt.PyJWS(sorted(self._algorithms), {"enforce_minimum_key_length": True})

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """None where nothing is said about tokens: keys are all there is then. Raises SettingsError where half is."""
        if settings.jwt_issuer or settings.jwt_audience or settings.jwt_jwks:
            return cls(settings)
        return None

    async def verify(self, credential: str) -> Claims | None:
        """The claims of a token; None for one that is not to be believed, whatever the reason, which the log tells at level debug.

        Raises ServerError when the provider's keys cannot be had and none are remembered.
        """
        try:
            header = _header(credential)
            payload = parse_object(await self._signed(credential, header))
            expires_at = self._check(payload)
            return read_claims(payload, self._names, expires_at)
        except RefusedTokenError as error:
            log.debug("a token was refused", reason=str(error))
            return None

    async def _signed(self, credential: str, header: Mapping[str, Any]) -> bytes:
        """The payload, once its signature is seen to be the provider's."""
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise RefusedTokenError("its algorithm is not one of STREAMGAUGE_JWT_ALGORITHMS")
        if kid is not None and not isinstance(kid, str):
            raise RefusedTokenError("its kid is not a text")
        key = await self._keys.key(kid, algorithm)
        if key is None:
            raise RefusedTokenError("the provider has not exactly one key for its kid and algorithm")
        try:
            signed: bytes = self._signatures.decode(credential, key.public, [algorithm])
        except jwt.PyJWTError as error:
            raise RefusedTokenError(f"its signature does not hold ({type(error).__name__})") from None
        return signed

    def _check(self, payload: Mapping[str, Any]) -> float:
        """When a token expires that is meant for us and in force now. Raises RefusedTokenError for any other."""
        audience = payload.get("aud")
        listed = audience if isinstance(audience, list) else [audience]
        if payload.get("iss") != self._issuer:
            raise RefusedTokenError("its iss is not STREAMGAUGE_JWT_ISSUER")
        if self._audience not in listed or not all(isinstance(each, str) for each in listed):
            raise RefusedTokenError("its aud is not STREAMGAUGE_JWT_AUDIENCE")
        now = self._clock()
        expires_at = _time(payload, "exp", None)
        issued_at = _time(payload, "iat", now)
        if now >= expires_at + LEEWAY:
            raise RefusedTokenError("it has expired")
        if max(issued_at, _time(payload, "nbf", now)) > now + LEEWAY:
            raise RefusedTokenError("it is not valid yet")
        if expires_at - min(issued_at, now) > LONGEST_LIFE + LEEWAY:
            raise RefusedTokenError(f"it lives longer than {LONGEST_LIFE // 3600} hours")
        return expires_at


def _algorithms(setting: str) -> frozenset[str]:
    found = frozenset(part.strip() for part in setting.split(","))
    if wrong := sorted(found - ASYMMETRIC):
        raise SettingsError(
            f"STREAMGAUGE_JWT_ALGORITHMS holds {wrong[0]!r}: give some of {', '.join(sorted(ASYMMETRIC))}, which are checked with "
            "public keys"
        )
    return found


def _header(credential: str) -> dict[str, Any]:
    """What a token says of itself, if it has the form of one that can be used at all."""
    if len(credential) > LONGEST_TOKEN or not _FORM.fullmatch(credential):
        raise RefusedTokenError(
            f"it is not three parts of base64url in at most {LONGEST_TOKEN} bytes: it is not a signed JWT"
        )
    part = credential.partition(".")[0]
    try:
        header = parse_object(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        raise RefusedTokenError("its header is not base64url") from None
    # Keys it brings or names (jwk, jku, x5c, x5u) are not looked at.
    if "crit" in header or "b64" in header:
        raise RefusedTokenError("its header asks for an extension (crit, b64), and none is understood")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise RefusedTokenError("its typ is neither JWT nor at+jwt")
    return header


def _time(payload: Mapping[str, Any], name: str, default: float | None) -> float:
    """A NumericDate (RFC 7519, 2): seconds, whole or not."""
    found = payload.get(name, default)
    # NaN is not smaller than anything; infinity, and integers no float can hold, are not smaller than this.
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < _FAR:
        raise RefusedTokenError(f"its {name} is missing, or not a number of seconds")
    return found
