"""Which stream an event goes to: everything about one actor meets in one shard, in every process, forever.

The number of a shard is a 64-bit number modulo the number of shards. Pseudonyms and event ids are keyed digests, uniform already:
their last 8 bytes are taken, big-endian. Sessions and producers are hashed with BLAKE2b first.
"""

from hashlib import blake2b

from streamgauge.errors import InputError


def shard_of(
    actor: bytes | None, session: str | None, key: bytes | None, producer: bytes, shards: int
) -> int:
    """The shard, from 0, of an event.

    Args:
        actor: its pseudonym; decides when there is one.
        session: decides next.
        key: the 16-byte id made from a caller's key; decides next, so that a repetition always meets its first copy.
        producer: a random or stable id of whoever sends it; decides last, and keeps its events together.
        shards: how many there are. Raises InputError when that is less than 1.
    """
    if shards < 1:
        raise InputError(f"there must be at least one shard, not {shards}", "shards")
    if actor is not None:
        return int.from_bytes(actor[-8:]) % shards
    if session is not None:
        return _hashed(b"session", session.encode("utf-8", "surrogatepass")) % shards
    if key is not None:
        return int.from_bytes(key[-8:]) % shards
    return _hashed(b"producer", producer) % shards


def overflow_of(shards: int) -> int:
    """The number of the stream behind so many shards: for events above their tenant's quota, whosever they are."""
    return shards


def _hashed(kind: bytes, value: bytes) -> int:
    return int.from_bytes(blake2b(value, digest_size=8, person=b"sg " + kind).digest())
