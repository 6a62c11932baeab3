"""The cardinality limit of one stripe: which dimension values have rows of their own, kept in PostgreSQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from streamgauge.database import Connection
from streamgauge.summaries.admission import Admission, rank
from streamgauge.summaries.fold import RESERVED
from streamgauge_workers.queries import SQL
from streamgauge_workers.tenants import Tenants

MOST_CACHED = 200_000  # values


class Cell(NamedTuple):
    """A dimension of a tenant on one local day (UTC second of its start)."""

    tenant_id: int
    dimension: str
    day: int


@dataclass(frozen=True, slots=True)
class Eviction:
    """A value whose rows of that day have to be merged into "(other)"."""

    cell: Cell
    value: str


class Admissions:
    """One shard's admissions. Belongs to a token: drop it on any error (rule P5)."""

    def __init__(self, shard: int, limit: int, tenants: Tenants, queries: Mapping[str, str] = SQL) -> None:
        self.shard = shard
        self.queries = queries
        self.limit = limit
        self.tenants = tenants
        self.cells: dict[Cell, Admission] = {}
        self.loaded: set[tuple[int, int]] = set()
        self._stored: set[tuple[Cell, str]] = set()
        self._touched: dict[Cell, set[str]] = {}

    async def load(self, connection: Connection, days: set[tuple[int, int]]) -> None:
        """Make sure the admissions of these (tenant id, day) pairs are in memory."""
        if len(self._stored) > MOST_CACHED:
            self.cells, self.loaded, self._stored = {}, set(), set()
        missing = sorted(days - self.loaded)
        if not missing:
            return
        columns = [list(column) for column in zip(*missing, strict=True)]
        for row in await connection.fetch(self.queries["admissions_load"], self.shard, *columns):
            cell = Cell(row["tenant_id"], row["dimension"], row["day"])
            self._of(cell).offer(row["value"], row["rank"])
            self._stored.add((cell, row["value"]))
        for row in await connection.fetch(self.queries["admissions_overflowed"], self.shard, *columns):
            self._of(Cell(row["tenant_id"], row["dimension"], row["day"])).overflowed = True
        self.loaded.update(missing)

    def admit(self, tenant_id: int, dimension: str, day: int, values: list[str]) -> list[bool]:
        """Offer values; says of each whether it keeps rows of its own. The days must have been loaded."""
        cell = Cell(tenant_id, dimension, day)
        admission = self._of(cell)
        fresh = [value for value in values if value not in admission.ranks]
        if fresh:
            key = self.tenants.by_id[tenant_id].cardinality_key
            touched = self._touched.setdefault(cell, set())
            for value in fresh:
                evicted = admission.offer(value, rank(key, dimension, value))
                touched.update({value} if evicted is None else {value, evicted})
        return [value in admission.ranks for value in values]

    def keeps(self, cell: Cell, value: str) -> bool:
        """Whether a value has rows of its own by now."""
        return value in RESERVED or value in self._of(cell).ranks

    async def store(self, connection: Connection) -> list[Eviction]:
        """Write what changed since the last call; returns the stored values that had to leave."""
        added, evictions, overflowed = [], [], []
        for cell, values in self._touched.items():
            admission = self.cells[cell]
            if admission.overflowed:
                overflowed.append(tuple(cell))
            for value in sorted(values):
                place = admission.ranks.get(value)
                if place is not None and (cell, value) not in self._stored:
                    added.append((*cell, place, value))
                    self._stored.add((cell, value))
                elif place is None and (cell, value) in self._stored:
                    evictions.append(Eviction(cell, value))
                    self._stored.discard((cell, value))
        self._touched = {}
        for query, rows in (
            ("admissions_store", added),
            ("admissions_remove", [(*eviction.cell, eviction.value) for eviction in evictions]),
            ("overflow_store", overflowed),
        ):
            if rows:
                await connection.execute(
                    self.queries[query], self.shard, *[list(column) for column in zip(*rows, strict=True)]
                )
        return evictions

    def _of(self, cell: Cell) -> Admission:
        return self.cells.setdefault(cell, Admission(self.limit))
