"""Summary rows that only seals have any more, for a recount."""

from collections.abc import Callable, Collection, Iterator
from typing import TypeAlias

from streamgauge.summaries.fold import RESERVED
from streamgauge.summaries.rollups import Catalogue
from streamgauge_workers.canonical import Admitted, DayOf, Rows, add
from streamgauge_workers.log_source import Survey
from streamgauge_workers.retention.archive import Archive
from streamgauge_workers.tenants import Tenants

#: Tenants whose events only the seal has; None: all.
Whose: TypeAlias = Collection[int] | None


def from_seals(known: Survey) -> Iterator[tuple[Archive, Whose]]:
    """The archives of which something has to be taken from the seal, and whose."""
    yield from ((archive, None) for archive in known.sealed)
    yield from ((archive, archive.expired) for archive in known.expired)


class SealedRows:
    """Rows of seals, and how they join those that are recomputed.

    A sealed row bears the dimension values that were admitted when it was sealed. More values can only push out some of them (those
    kept are the smallest ranks), never bring one back, so that cutting again by what is admitted now gives today's row.
    """

    def __init__(self, tenants: Tenants, catalogue: Catalogue) -> None:
        self.tenants = tenants
        self.catalogue = catalogue
        self.day_of = DayOf({each: tenant.scope.calendar for each, tenant in tenants.by_id.items()})
        self.rows: Rows = {}

    def take(self, rows: Rows, whose: Whose) -> None:
        """Add a seal's rows, of tenants that are there and stay."""
        staying = self.tenants.by_id.keys() - set(self.tenants.deleting.values())
        for name, measures in rows.items():
            if name.tenant_id in staying and (whose is None or name.tenant_id in whose):
                add(self.rows, name, measures)

    def offer(self, note: Callable[[int, str, int, list[str]], object]) -> None:
        """Tell of every dimension value that has rows of its own, as a fold does: tenant, dimension, local day, values."""
        for name in self.rows:
            rollup = self.catalogue.rollup(name.metric)
            if rollup is None:
                continue
            day = self.day_of(name.tenant_id, name.bucket)
            for dimension, value in zip(rollup.groupings[name.grouping], name.dimensions, strict=True):
                if value not in RESERVED:
                    note(name.tenant_id, dimension, day, [value])

    def merge_into(self, rows: Rows, admitted: Admitted) -> None:
        """Add the sealed rows to others, by what is admitted over all."""
        for name, measures in self.rows.items():
            day = self.day_of(name.tenant_id, name.bucket)
            add(rows, admitted.cut(self.catalogue, name, day), measures)
