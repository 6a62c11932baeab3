"""Which events are looked for, and whether an entry can hold any."""

from dataclasses import dataclass

import numpy as np
import orjson

from streamgauge.table import Ints, Labels, Mask, Table

MOST_SEARCHED = 4  # actors whose bytes are searched for before an entry is decoded


@dataclass(frozen=True, slots=True)
class Wanted:
    """Events of one tenant; None does not narrow. `session` is the digest that events carry."""

    tenant: str
    actors: frozenset[bytes] | None = None  #: with it, an event without an actor is never wanted
    name: str | None = None
    session: str | None = None

    def may_be_in(self, content: bytes) -> bool:
        """False when a frame's bytes show that nothing wanted is in it, which is far cheaper to find out than what is.

        Frames hold pseudonyms as they are, and texts as JSON.
        """
        few = self.actors if self.actors is not None and len(self.actors) <= MOST_SEARCHED else None
        if few is not None and not any(actor in content for actor in few):
            return False
        return all(
            orjson.dumps(text) in content
            for text in (self.tenant, self.name, self.session)
            if text is not None
        )

    def rows(self, table: Table, applied: Mask, start: int, end: int) -> Ints:
        """The places of wanted events that were applied and occurred from `start` to before `end`, in microseconds."""
        chosen = applied & (table.occurred_at >= start) & (table.occurred_at < end)
        # An entry mixes tenants: nothing but this keeps the others' events out of an answer.
        chosen &= _is(table.tenant, self.tenant)
        if self.name is not None:
            chosen &= _is(table.name, self.name)
        if self.session is not None:
            chosen &= _is(table.session, self.session)
        if self.actors is not None:
            # One more for code -1, none.
            among = np.array([actor in self.actors for actor in table.actor.values] + [False], np.bool_)
            chosen &= among[table.actor.codes]
        return np.flatnonzero(chosen)


def _is(labels: Labels, value: str) -> Mask:
    try:
        code = labels.values.index(value)
    except ValueError:
        return np.zeros(len(labels.codes), np.bool_)
    found: Mask = labels.codes == code
    return found
