"""The newest events of every tenant in one stripe: what a live view shows. Bounded, and forgetful: not part of what is verified."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any, TypeAlias

import numpy as np
import orjson

from streamgauge.database import Connection
from streamgauge.event import Value
from streamgauge.summaries.rollups import KINDS, Catalogue, EventType
from streamgauge.table import Codes, Ints, Labels, Table
from streamgauge_workers.queries import SQL

MOST_SHOWN = 10
MOST_PROPERTIES = 5  # of one activity
LONGEST_TEXT = 200  # characters
MOST_CACHED = 2_000  # tenants, of about 4 kB; beyond that all are forgotten and read again
EARLIEST = -(2**63)

#: When it happened (UTC, microseconds since 1970), and all that is shown of it as JSON.
Activity: TypeAlias = tuple[int, bytes]


class RecentActivity:
    """One shard's newest activities, newest first. Belongs to a token: drop it on any error (rule P5)."""

    def __init__(self, shard: int, catalogue: Catalogue) -> None:
        self.shard = shard
        self.declared = {declared.name: declared for declared in catalogue.event_types}
        self.known: dict[int, list[Activity]] = {}

    async def store(self, connection: Connection, table: Table, tenant_ids: Sequence[int]) -> None:
        """Take in applied events; `tenant_ids` follows the table's tenant labels.

        Runs inside the transaction that swapped the shard's token. Old events, such as an import's, push out no newer ones.
        """
        await self._load(connection, tenant_ids)
        codes, kept = table.tenant.codes, [self.known[tenant_id] for tenant_id in tenant_ids]
        floors = np.array([each[-1][0] if len(each) == MOST_SHOWN else EARLIEST for each in kept])
        candidates = np.flatnonzero(table.occurred_at >= floors[codes])
        chosen = {
            code: candidates[rows][newest(table.occurred_at[candidates[rows]], MOST_SHOWN)]
            for code, rows in _by_code(codes[candidates], len(tenant_ids))
        }
        if not chosen:
            return
        found = iter(activities(table, np.concatenate(list(chosen.values())), self.declared))
        for code, rows in chosen.items():
            fresh = list(islice(found, len(rows)))
            # The sort is stable: of what happened in the same microsecond, the latest applied comes first.
            merged = sorted(fresh + self.known[tenant_ids[code]], key=lambda each: -each[0])
            self.known[tenant_ids[code]] = merged[:MOST_SHOWN]
        changed = [tenant_ids[code] for code in chosen]
        texts = [b"[%b]" % b",".join(text for _, text in self.known[tenant_id]) for tenant_id in changed]
        await connection.execute(
            SQL["activity_store"], self.shard, changed, [text.decode() for text in texts]
        )

    async def _load(self, connection: Connection, tenant_ids: Sequence[int]) -> None:
        if len(self.known) > MOST_CACHED:
            self.known.clear()
        missing = [tenant_id for tenant_id in tenant_ids if tenant_id not in self.known]
        if missing:
            self.known.update((tenant_id, []) for tenant_id in missing)
            for row in await connection.fetch(SQL["activity_load"], self.shard, missing):
                self.known[row["tenant_id"]] = stored(row["activities"])


def stored(text: str) -> list[Activity]:
    """The activities of a row. What is none is left out: a live view must not keep its shard from counting."""
    found = orjson.loads(text)
    if not isinstance(found, list):
        return []
    usable = [each for each in found if isinstance(each, dict) and type(each.get("at")) is int]
    kept = [(each["at"], orjson.dumps(each)) for each in usable if 0 <= each["at"] < 2**63]
    return sorted(kept, key=lambda each: -each[0])[:MOST_SHOWN]


def newest(at: Ints, most: int) -> Ints:
    """Places of the `most` greatest times, the greatest first; of equal ones the later place first."""
    places = np.arange(len(at))
    if len(at) > most:
        least = np.partition(at, len(at) - most)[len(at) - most]
        places = np.flatnonzero(at >= least)
    return places[np.argsort(at[places], kind="stable")[::-1][:most]]


def activities(table: Table, rows: Ints, declared: Mapping[str, EventType]) -> list[Activity]:
    """What is shown of these rows, in their order: declared properties only, a few, and short."""
    properties = _properties(table, rows, declared)
    names, actors, groups = (_values(labels, rows) for labels in (table.name, table.actor, table.group))
    sessions = (table.session.codes[rows] >= 0).tolist()
    shown = []
    for place, at in enumerate(table.occurred_at[rows].tolist()):
        actor, group = actors[place], groups[place]
        activity = {
            "at": at,
            "name": names[place][:LONGEST_TEXT],
            "actor": None if actor is None else actor.hex(),
            "group": None if group is None else group[:LONGEST_TEXT],
            "session": sessions[place],
            "properties": properties[place],
        }
        shown.append((at, orjson.dumps(activity)))
    return shown


def _values(labels: Labels, rows: Ints) -> list[Any]:
    return [None if code < 0 else labels.values[code] for code in labels.codes[rows].tolist()]


def _properties(table: Table, rows: Ints, declared: Mapping[str, EventType]) -> list[dict[str, Value]]:
    types = [declared.get(name) for name in _values(table.name, rows)]
    wanted = {name for each in types if each is not None for name in each.properties}
    found: list[dict[str, Value]] = [{} for _ in types]
    for (name, kind), column in table.columns.items():
        if name not in wanted or not len(column.rows):
            continue
        places = np.minimum(np.searchsorted(column.rows, rows), len(column.rows) - 1)
        for place in np.flatnonzero(column.rows[places] == rows).tolist():
            event_type = types[place]
            if event_type is not None and _is_declared(event_type, name, kind):
                value = column.values[places[place]].item()
                if column.dictionary is not None:
                    value = column.dictionary[value][:LONGEST_TEXT]
                found[place][name] = bool(value) if kind == "b" else value
    # The declaration's order says what matters most.
    order = [() if each is None else tuple(each.properties) for each in types]
    return [
        dict(islice(((name, values[name]) for name in names if name in values), MOST_PROPERTIES))
        for names, values in zip(order, found, strict=True)
    ]


def _is_declared(event_type: EventType, name: str, kind: str) -> bool:
    """Whether a value of this kind may be shown: a text where a number is declared was never looked at."""
    declared = event_type.properties.get(name)
    return declared is not None and (KINDS[declared.type] == kind or (declared.type is float and kind == "i"))


def _by_code(codes: Codes, size: int) -> Iterator[tuple[int, Ints]]:
    """Every code that occurs, with its places in ascending order. `size` is above the largest."""
    if not len(codes):
        return
    # NumPy sorts 16 bits by radix, several times as fast as 32.
    order = np.argsort(codes.astype(np.uint16) if size <= 1 << 16 else codes, kind="stable")
    cuts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    for first, end in pairwise([*cuts.tolist(), len(codes)]):
        yield int(codes[order[first]]), order[first:end]
