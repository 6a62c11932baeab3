"""The one entry to reading: a question as JSON in, its answer as JSON out. For the command line and the API alike."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from streamgauge.catalogue import CATALOGUE
from streamgauge.database import Connection
from streamgauge.read.plan import make_plan
from streamgauge.read.query import parse_query
from streamgauge.read.report import Context, report
from streamgauge.read.rows import load, load_tenant, snapshot
from streamgauge.summaries.rollups import Catalogue


async def answer(
    connection: Connection,
    question: bytes | str | Mapping[str, Any],
    *,
    cardinality_limit: int,
    max_lateness: timedelta,
    catalogue: Catalogue = CATALOGUE,
) -> bytes:
    """Answer a question from one snapshot of the summary tables.

    `cardinality_limit` is the number of values kept per dimension and local day, `max_lateness` how late an event may come:
    both as the workers have them. Raises InputError for a question that cannot be answered, naming the field; ServerError when
    it takes too long.
    """
    query = parse_query(question, catalogue)
    instant = query.instant()
    async with snapshot(connection):
        tenant = await load_tenant(connection, query.tenant)
        now = tenant.clock // 1_000_000 if instant is None else int(instant.timestamp())
        plan = make_plan(query, catalogue, tenant.calendar, now, tenant.extent)
        rows = await load(connection, plan, tenant, cardinality_limit)
    return report(rows, plan, Context(tenant.time_zone, max_lateness, cardinality_limit)).json()
