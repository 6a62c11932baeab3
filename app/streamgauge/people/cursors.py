"""Cursors: where an answer goes on. Opaque to callers, and of no use for another question."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson

from streamgauge.errors import InputError

LONGEST: Final = 400  # characters


def encode(question: object, position: Sequence[object]) -> str:
    """The cursor of a position in the answers to a question: numbers, texts, and lists of them."""
    content = orjson.dumps([_fingerprint(question), *position])
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def decode(question: object, cursor: str, kinds: Sequence[type | tuple[type, ...]]) -> list[Any]:
    """The position. Raises InputError for what is no cursor, and for one of another question."""
    try:
        content = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        fingerprint, *position = list[Any](content)
    except (ValueError, TypeError):
        raise _unusable() from None
    if fingerprint != _fingerprint(question) or len(position) != len(kinds):
        raise _unusable()
    if any(
        isinstance(each, bool) or not isinstance(each, kind)
        for each, kind in zip(position, kinds, strict=True)
    ):
        raise _unusable()
    if any(isinstance(each, int) and not -(2**62) < each < 2**62 for each in position):
        raise _unusable()
    return position


def require(holds: bool) -> None:
    """Raise InputError, as `decode` does, unless a position can be one."""
    if not holds:
        raise _unusable()


def _fingerprint(question: object) -> str:
    return blake2b(orjson.dumps(question), digest_size=6).hexdigest()


def _unusable() -> InputError:
    return InputError(
        "cursor is none: give the next_cursor of an answer to the same question, as it was", "cursor"
    )
