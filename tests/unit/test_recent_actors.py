"""Distinct actors of ten-second buckets, gathered from a table."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.table import join, thaw
from streamgauge_workers.recent_actors import BUCKET, Bucket, RecentActors, gather

FIRST = 1_000_000  # the Unix second of the first bucket
IDS = {"a": 3, "b": 7}

rows = st.lists(
    st.tuples(
        st.integers(FIRST * 10**6 - 10**8, FIRST * 10**6 + 10**8),
        st.sampled_from("ab"),
        st.sampled_from([-1, 0, 1, 5, 2**31, 2**32 - 1]),
    ),
    min_size=1,
    max_size=80,
)


@given(rows)
def test_every_bucket_holds_its_tenants_actors_once_and_nothing_from_before_the_first(
    events: list[tuple[int, str, int]],
) -> None:
    expected: dict[Bucket, set[int]] = {}
    for at, tenant, actor in events:
        if at >= FIRST * 10**6 and actor >= 0:
            expected.setdefault(Bucket(IDS[tenant], at // 10**7 * BUCKET), set()).add(actor)
    # Joined from single frames, so that tenants come in any order and some may be of no row.
    table = join([thaw(freeze([Event("a.b", at, tenant)])) for at, tenant, _ in events])
    ids = [IDS[name] for name in table.tenant.values]
    actors = np.array([actor for _, _, actor in events], np.int64)
    found = gather(table, actors, ids, FIRST)
    assert {bucket: set(members) for bucket, members in found.items()} == expected


class Written:
    """A stand-in for the table: remembers the parts that were written."""

    def __init__(self) -> None:
        self.parts: list[BitMap] = []

    async def fetch(self, *_: object) -> list[object]:
        return []

    async def execute(self, *arguments: Any) -> None:
        self.parts += [BitMap.deserialize(members) for members in arguments[-1]]


async def test_only_who_is_new_in_a_bucket_is_written() -> None:
    now = datetime.fromtimestamp(FIRST, UTC)
    table = thaw(freeze([Event("a.b", FIRST * 10**6 + place, "a") for place in range(3)]))
    written, recent = Written(), RecentActors(0)
    for ids in ([1, 2, 2], [2, 1, 1], [2, 5, 1]):
        await recent.store(written, table, np.array(ids), [3], now)  # type: ignore[arg-type]  # a stand-in for a connection
    assert written.parts == [BitMap([1, 2]), BitMap([5])]


@pytest.mark.parametrize(("at", "actor"), [(FIRST * 10**6 - 1, 1), (FIRST * 10**6, -1)])
def test_without_anybody_new_enough_there_is_nothing(at: int, actor: int) -> None:
    assert gather(thaw(freeze([Event("a.b", at, "a")])), np.array([actor]), [3], FIRST) == {}
