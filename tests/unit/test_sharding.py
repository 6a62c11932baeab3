"""Everything about one actor meets in one shard."""

from collections import Counter
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import InputError
from streamgauge.sharding import shard_of

ACTORS = st.binary(min_size=17, max_size=17)
IDS = st.binary(min_size=16, max_size=16)
SHARDS = st.integers(1, 64)


@given(ACTORS, st.none() | st.text(), st.none() | IDS, IDS, IDS, SHARDS)
def test_an_actors_events_meet_whatever_else_they_carry(
    actor: bytes, session: str | None, key: bytes | None, producer: bytes, other: bytes, shards: int
) -> None:
    assert shard_of(actor, session, key, producer, shards) == shard_of(actor, None, None, other, shards)


@given(st.text(), st.none() | IDS, IDS, IDS, SHARDS)
def test_without_an_actor_a_sessions_events_meet(
    session: str, key: bytes | None, producer: bytes, other: bytes, shards: int
) -> None:
    assert shard_of(None, session, key, producer, shards) == shard_of(None, session, None, other, shards)


@given(IDS, IDS, IDS, SHARDS)
def test_without_both_a_repeated_key_meets_its_first_copy_from_any_producer(
    key: bytes, one: bytes, other: bytes, shards: int
) -> None:
    assert shard_of(None, None, key, one, shards) == shard_of(None, None, key, other, shards)


@given(st.none() | ACTORS, st.none() | st.text(), st.none() | IDS, IDS, SHARDS)
def test_a_shard_is_one_of_those_there_are(
    actor: bytes | None, session: str | None, key: bytes | None, producer: bytes, shards: int
) -> None:
    assert 0 <= shard_of(actor, session, key, producer, shards) < shards


@pytest.mark.parametrize("shards", [3, 4, 7, 64])
def test_each_kind_of_identity_spreads_evenly(shards: int) -> None:
    numbers = range(shards * 1000)
    digests = [blake2b(b"%d" % number, digest_size=16).digest() for number in numbers]
    for counts in (
        Counter(shard_of(b"\1" + digest, None, None, b"", shards) for digest in digests),
        Counter(shard_of(None, f"session-{number}", None, b"", shards) for number in numbers),
        Counter(shard_of(None, None, digest, b"", shards) for digest in digests),
        Counter(shard_of(None, None, None, b"host-%d" % number, shards) for number in numbers),
    ):
        # Chi-squared with at most 63 degrees of freedom exceeds 130 once in a million.
        assert sum((counts[shard] - 1000) ** 2 / 1000 for shard in range(shards)) < 130


def test_shards_never_change_between_versions_of_this_program() -> None:
    # Events in streams and event logs were placed by these: other numbers would part an actor's events.
    actor = bytes(range(17))
    assert [shard_of(actor, None, None, b"", shards) for shards in (4, 7, 64)] == [0, 2, 16]
    assert shard_of(None, "session", None, b"", 64) == 9
    assert shard_of(None, None, bytes(range(16)), b"", 64) == 15
    assert shard_of(None, None, None, b"producer", 64) == 31


def test_no_shards_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="at least one shard"):
        shard_of(None, None, None, b"producer", 0)
