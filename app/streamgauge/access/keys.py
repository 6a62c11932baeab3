"""Access keys: `sg_<12 characters that name it>_<43 characters nobody can guess>`. Only their digests are kept."""

import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256

SECRET_BYTES = 32
ID_LENGTH = 12
_ID_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(r"sg_([0-9a-z]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """A key's public name, and what proves that somebody has it: shown once, then forgotten."""

    key_id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """What a caller sends: `Authorization: Bearer <text>`."""
        return f"sg_{self.key_id}_{self.secret}"

    @property
    def digest(self) -> bytes:
        """SHA-256 of the whole key. At 256 random bits there is nothing to try out, so nothing slower is needed."""
        return sha256(self.text.encode()).digest()


def make_key() -> Key:
    """A new key."""
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(ID_LENGTH))
    return Key(key_id, urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode())


def parse_key(text: str) -> Key | None:
    """The key in a text, or None when it has not the form of one."""
    found = _KEY.fullmatch(text)
    return Key(found[1], found[2]) if found else None
