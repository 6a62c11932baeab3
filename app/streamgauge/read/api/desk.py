"""What a server process answers from: one per application, in `app.state.desk`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

import orjson

from streamgauge.database import Connection, Pool
from streamgauge.read.answer import Terms
from streamgauge.read.api.kept_answers import KeptAnswers
from streamgauge.read.api.tags import quoted
from streamgauge.read.api.version import Versions
from streamgauge.read.connections import lent_snapshot
from streamgauge.read.declared import Declared, declared


@dataclass(frozen=True)
class Desk:
    """The connections, what answers depend on beside the rows, and what is remembered between requests."""

    pool: Pool
    terms: Terms
    versions: Versions
    kept: KeptAnswers
    declared: Declared
    #: Another program, catalogue or setting gives other answers from the same rows.
    fingerprint: str

    @classmethod
    def over(cls, pool: Pool, terms: Terms) -> "Desk":
        """A desk that remembers nothing yet."""
        told = declared(terms.catalogue, terms.cardinality_limit)
        depends = [version("streamgauge"), told, terms.max_lateness.total_seconds()]
        return cls(pool, terms, Versions(pool), KeptAnswers(), told, quoted(orjson.dumps(depends)))

    @asynccontextmanager
    async def snapshot(self, tenant_id: int) -> AsyncIterator[Connection]:
        """A connection in a snapshot of a tenant; see `lent_snapshot`."""
        async with lent_snapshot(self.pool, tenant_id) as connection:
            yield connection
