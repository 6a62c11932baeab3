"""The identity provider's public keys (JWK set, RFC 7517): fetched when needed, remembered, seldom asked for."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jwt
import orjson
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from streamgauge.access.key_source import DEADLINE, check_source, read_source
from streamgauge.errors import ServerError

FRESH: Final = 300.0  # seconds; a key the provider withdrew is refused after that at the latest
BETWEEN_REFRESHES: Final = 30.0  # seconds at least, whatever keys tokens name
BETWEEN_ATTEMPTS: Final = 5.0  # seconds at least, while no key is known
STALE: Final = 3600.0  # seconds that keys are used while the provider is away
LEAST_RSA_BITS: Final = 2048  # NIST SP 800-131A
#: Which signatures a key of a type and curve can have made (RFC 7518, 8037).
_ALGORITHMS: Final[dict[tuple[str, str | None], frozenset[str]]] = {
    ("RSA", None): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
#: All that may be accepted: each checked with a public key. With HS256 who knows that key could sign.
ASYMMETRIC: Final = frozenset[str]().union(*_ALGORITHMS.values())
_PRIVATE = frozenset({"d", "p", "q", "k"})

log = structlog.get_logger(__name__)
PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
#: Reads what is at a source, in a thread; raises ServerError.
Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key of the provider."""

    kid: str | None  #: its name, only ever compared
    algorithms: frozenset[str]  #: what it may verify
    public: PublicKey


class Jwks:
    """The keys of one provider, in one process and event loop."""

    def __init__(
        self, source: str, fetch: Fetch = read_source, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is fetched yet.

        Args:
            source: an https:// address, an http:// address of this machine, or a file. Raises SettingsError for anything else.
            fetch: reads it.
            clock: seconds.
        """
        check_source(source)
        self._source = source
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[VerificationKey, ...] = ()
        self._fetched = self._tried = -math.inf
        self._refreshing: asyncio.Task[None] | None = None

    async def key(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The one key of that name that may verify the algorithm; without a name, the one key at all that may. None: none or several.

        Raises ServerError when the keys cannot be had and none are remembered.
        """
        keys = await self._not_older_than(FRESH)
        if kid is not None and all(kid != each.kid for each in keys):
            # The provider may have a new key. Anybody can make names up, so this asks it seldom.
            keys = await self._not_older_than(BETWEEN_REFRESHES)
        fitting = [each for each in keys if kid in (None, each.kid) and algorithm in each.algorithms]
        return fitting[0] if len(fitting) == 1 else None

    async def _not_older_than(self, seconds: float) -> tuple[VerificationKey, ...]:
        """The keys, fetched anew where they are older; while that fails, what is remembered."""
        now = self._clock()
        pause = BETWEEN_REFRESHES if now - self._fetched < STALE else BETWEEN_ATTEMPTS
        if now - self._fetched >= seconds:
            if self._refreshing is None and now - self._tried >= pause:
                self._tried = now
                self._refreshing = asyncio.create_task(self._refresh(now))
            if self._refreshing is not None:
                # Who waits may be gone before the others are.
                await asyncio.shield(self._refreshing)
        if self._clock() - self._fetched >= STALE:
            # Why is for the log: this is told to anybody who sends something like a token.
            raise ServerError("tokens cannot be verified now: the identity provider's keys are not to be had")
        return self._keys

    async def _refresh(self, began: float) -> None:
        try:
            # A name that nobody resolves takes longer than the connection's own limits say.
            async with asyncio.timeout(DEADLINE + 1):
                self._keys = await asyncio.to_thread(self._load)
            # Counted from before the fetch: what is withdrawn since then must be seen in time.
            self._fetched = began
        except (ServerError, TimeoutError) as error:
            reason = str(error) or "the identity provider does not answer in time"
            log.warning("the identity provider's keys cannot be fetched", detail=reason)
        finally:
            self._refreshing = None

    def _load(self) -> tuple[VerificationKey, ...]:
        return parse_keys(self._fetch(self._source))


def parse_keys(data: bytes) -> tuple[VerificationKey, ...]:
    """The keys of a JWK set that can be used; others in it are left out, such as those for encryption.

    Raises ServerError when it is no JWK set at all.
    """
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ServerError(f"the JWK set is not JSON ({error})") from None
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise ServerError('the JWK set is not an object with a list of "keys"')
    return tuple(key for each in listed if isinstance(each, dict) and (key := _parse(each)) is not None)


def _parse(found: dict[str, Any]) -> VerificationKey | None:
    """The key in an entry, None when it is not one for signatures that we know, or a weak one."""
    kid, kind, curve = found.get("kid"), found.get("kty"), found.get("crv")
    if not all(each is None or isinstance(each, str) for each in (kid, kind, curve)):
        return None
    algorithms = _ALGORITHMS.get((kind or "", None if kind == "RSA" else curve), frozenset())
    if (stated := found.get("alg")) is not None:
        algorithms = frozenset(each for each in algorithms if each == stated)
    operations = found.get("key_ops", ["verify"])
    if found.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    # A private key that is published proves nothing any more.
    if not algorithms or not _PRIVATE.isdisjoint(found):
        return None
    try:
        public = jwt.PyJWK(found, min(algorithms)).key
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError):
        return None
    if isinstance(public, RSAPublicKey) and public.key_size < LEAST_RSA_BITS:
        return None
    return VerificationKey(kid, algorithms, public) if isinstance(public, PublicKey) else None
