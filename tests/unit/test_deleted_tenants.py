"""What workers know of deleted tenants: whose events are refused, from when on, and that an older answer never replaces a newer one."""

import asyncio
from typing import Any, cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.database import Connection
from streamgauge.event import Event
from streamgauge.frame import freeze
from streamgauge.table import thaw
from streamgauge_workers.acceptance import of_deleted_tenants
from streamgauge_workers.erased_log import cleaned
from streamgauge_workers.queries import SQL
from streamgauge_workers.tenants import Tenants

NAMES = st.sampled_from(["gone", "again", "stays"])
DELETED = {"gone": None, "again": 1_000, "elsewhere": None}


def refused(tenant: str, at: int, trusted: bool) -> bool:
    """The rule, said another way."""
    return tenant == "gone" or (tenant == "again" and at < 1_000 and not trusted)


@given(st.lists(st.tuples(NAMES, st.integers(990, 1_010), st.booleans()), min_size=1, max_size=20))
def test_events_of_a_gone_tenant_are_refused_and_of_one_made_again_those_from_before_that(
    rows: list[tuple[str, int, bool]],
) -> None:
    table = thaw(freeze([Event("page.viewed", at, tenant) for tenant, at, _ in rows]))
    found = of_deleted_tenants(table, np.array([trusted for _, _, trusted in rows]), DELETED)
    assert found.tolist() == [refused(*row) for row in rows]
    assert not of_deleted_tenants(table, np.zeros(table.n, np.bool_), {}).any()


class SlowConnection:
    """A database whose answers can be held back; each says what it knew when it was asked."""

    def __init__(self) -> None:
        self.deleting: list[dict[str, Any]] = []
        self.answers = asyncio.Event()

    async def fetch(self, query: str) -> list[dict[str, Any]]:
        known = list(self.deleting)
        await self.answers.wait()
        return known if query == SQL["tenants_deleted"] else []


async def test_an_answer_from_before_a_deletion_does_not_replace_one_that_shows_it() -> None:
    tenants, earlier, later = Tenants(), SlowConnection(), SlowConnection()
    later.deleting = [{"name": "acme", "deleting": 7, "again": None}]
    later.answers.set()
    first = asyncio.create_task(tenants.load(cast(Connection, earlier)))
    await asyncio.sleep(0)
    second = asyncio.create_task(tenants.load(cast(Connection, later)))
    for _ in range(10):
        await asyncio.sleep(0)
    earlier.answers.set()
    await asyncio.gather(first, second)
    assert tenants.deleting == {"acme": 7}
    assert tenants.deleted == {"acme": None}


MIXED = freeze([Event("a.b", 1, "école"), Event("c.d", 2, "acme")])


def test_a_refused_frame_keeps_what_others_had_in_it() -> None:
    left = cleaned(MIXED, True, "école")
    assert left is not None
    assert thaw(left).event(1) == Event("c.d", 2, "acme")
    assert "école".encode() not in left
    assert cleaned(MIXED, True, "other") == MIXED


def test_refused_bytes_that_cannot_be_read_are_kept_unless_they_name_the_tenant() -> None:
    damaged = MIXED[:-1]
    assert cleaned(damaged, True, "other") == damaged
    assert cleaned(damaged, True, "école") is None
    for named in ('{"tenant":"école"}', '{"tenant": "\\u00e9cole"}', '{"tenant":"école"}'.encode().hex()):
        assert cleaned(named.encode(), False, "école") is None
        assert cleaned(named.encode(), False, "col") == named.encode()
