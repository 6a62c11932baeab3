"""The one entry to reading: a question as JSON in, its answer as JSON out. For the command line and the API alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from streamgauge.catalogue import CATALOGUE
from streamgauge.database import Connection
from streamgauge.read.plan import make_plan
from streamgauge.read.query import Query, parse_query
from streamgauge.read.report import Answer, Context, report
from streamgauge.read.rows import Tenant, load, load_tenant, snapshot
from streamgauge.settings import Settings
from streamgauge.summaries.rollups import Catalogue


@dataclass(frozen=True, slots=True)
class Terms:
    """What answers depend on beside the rows: as the workers have it."""

    cardinality_limit: int  #: values kept per dimension and local day
    max_lateness: timedelta  #: how late an event may come
    catalogue: Catalogue = CATALOGUE

    @classmethod
    def of(cls, settings: Settings, catalogue: Catalogue) -> "Terms":
        """The terms that settings give."""
        return cls(settings.cardinality_limit, timedelta(days=settings.max_lateness_days), catalogue)


async def ask(connection: Connection, tenant: Tenant, query: Query, terms: Terms) -> Answer:
    """Answer a checked question of a tenant, inside a snapshot. Raises InputError for a range that cannot be answered."""
    instant = query.instant()
    now = tenant.clock // 1_000_000 if instant is None else int(instant.timestamp())
    plan = make_plan(query, terms.catalogue, tenant.calendar, now, tenant.extent)
    rows = await load(connection, plan, tenant, terms.cardinality_limit)
    return report(rows, plan, Context(tenant.time_zone, terms.max_lateness, terms.cardinality_limit))


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
    async with snapshot(connection):
        tenant = await load_tenant(connection, query.tenant)
        found = await ask(connection, tenant, query, Terms(cardinality_limit, max_lateness, catalogue))
    return found.json()
