"""Whether sending a dead letter again would come to anything. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from streamgauge.table import Table

AHEAD = (
    5 * 60 * 1_000_000
)  # microseconds that an event may be ahead of PostgreSQL's clock, as when it was refused
ERASED = ""  #: the tenant of an event of which nothing was left


@dataclass(frozen=True, slots=True)
class World:
    """What decides about it, as it is now."""

    now: int  #: microseconds since 1970
    tenants: Collection[str] = ()  #: that are there to stay
    #: Names of deleted tenants, and since when (microseconds) they are another tenant's, None: nobody's.
    gone: Mapping[str, int | None] = field(default_factory=dict)


def unready(reason: str, table: Table | None, world: World, *, by_id: bool) -> str | None:
    """Why not; None: it can be sent. `by_id`: somebody chose this very letter, and has looked at it."""
    if table is None:
        return "what it held is not kept, or cannot be read by this version"
    names = [table.tenant.values[code] for code in np.unique(table.tenant.codes).tolist()]
    if names == [ERASED]:
        return "its tenant was deleted, and its content with it"
    if _of_the_gone(table, world.gone):
        return "it holds events of a tenant that was deleted: discard it"
    if reason == "range_conflict" and not by_id:
        return "a part of its numbers is counted already: look whether its events are others, then replay it by its id"
    if reason == "unknown_tenant" and (missing := [name for name in names if name not in world.tenants]):
        return f"there is no tenant {missing[0][:100]!r}: create it, then replay"
    if reason == "future" and int(table.occurred_at.max()) > world.now + AHEAD:
        return "its time is still ahead"
    return None


def _of_the_gone(table: Table, gone: Mapping[str, int | None]) -> bool:
    for code, name in enumerate(table.tenant.values):
        if name in gone:
            since, at = gone[name], table.occurred_at[table.tenant.codes == code]
            if len(at) and (since is None or int(at.min()) < since):
                return True
    return False
