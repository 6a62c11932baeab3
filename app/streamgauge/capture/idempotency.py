"""The keys by which a caller's repetitions are recognised."""

import re
from hashlib import blake2b

LONGEST_KEY = 2_048  # characters
_LONGEST_PLAIN = 400
_DIGEST_BYTES = 16
_SEPARATORS = re.compile("[%&=?]")


def idempotency_key(name: str, /, **parts: object) -> str:
    """A key of an event's name and what it is about, the same for any order of the parts.

    Parts are told apart by their texts: 7 and "7" are the same part. Use what always has the same text: identifiers, numbers,
    dates. Keys of many characters become a digest.

    >>> idempotency_key("lesson.completed", user="u1", lesson=7)
    'lesson.completed?lesson=7&user=u1'
    """
    text = f"{_plain(name)}?{'&'.join([f'{_plain(part)}={_plain(parts[part])}' for part in sorted(parts)])}"
    if len(text) <= _LONGEST_PLAIN:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES, person=b"sg key")
    return f"blake2b:{digest.hexdigest()}"


def _plain(value: object) -> str:
    """The value's text, in which nothing looks like what separates the parts."""
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - this is called in the host's code, which must not fail for it
        text = type(value).__name__
    return _SEPARATORS.sub(lambda found: f"%{ord(found[0]):02X}", text)
