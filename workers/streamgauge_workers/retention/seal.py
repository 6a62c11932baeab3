"""What is kept of an archive in PostgreSQL: enough to verify with, even when its file is gone.

A seal holds how its events were counted, which numbers of which lanes they are, and the summary rows that they alone amount to. Summary
rows merge, so those of sealed days and those recomputed from the rest give what the tables have to hold.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import orjson
import zstandard
from pyroaring import BitMap

from streamgauge.errors import ArchiveError
from streamgauge.ranges import Ranges
from streamgauge.summaries.histogram import Histogram
from streamgauge.summaries.measures import Measures
from streamgauge_workers.canonical import RowName, Rows

#: Events by UTC hour of application (seconds), tenant (0: unknown) and the outcome's code.
Counts = Counter[tuple[int, int, int]]
LEVEL = 9


@dataclass(slots=True)
class Seal:
    """The figures of one archive."""

    counts: Counts = field(default_factory=Counter)
    lanes: dict[bytes, Ranges] = field(default_factory=dict)
    rows: Rows = field(default_factory=dict)

    def encoded(self) -> tuple[str, bytes, bytes, bytes]:
        """Counts, lanes and rows as they are stored, and the digest over them."""
        counts = orjson.dumps([[*key, events] for key, events in sorted(self.counts.items()) if events])
        lanes = orjson.dumps(
            {lane.hex(): [list(each) for each in ranges] for lane, ranges in sorted(self.lanes.items())}
        )
        packed = _pack(lanes), _pack(_rows(self.rows))
        return counts.decode(), *packed, digest(counts.decode(), *packed)

    def without(self, tenant_id: int, erased: int) -> "Seal":
        """The same without a tenant's rows, its events counted for nobody (0) as `erased`."""
        counts: Counts = Counter()
        for (hour, owner, code), events in self.counts.items():
            counts[(hour, 0, erased) if owner == tenant_id else (hour, owner, code)] += events
        rows = {name: measures for name, measures in self.rows.items() if name.tenant_id != tenant_id}
        return Seal(counts, self.lanes, rows)


def read(counts: str, lanes: bytes, summaries: bytes, stored: bytes) -> Seal:
    """The seal of these columns. Raises ArchiveError when they are not what was sealed."""
    if digest(counts, lanes, summaries) != stored:
        raise ArchiveError("its seal does not match its digest")
    tallied: Counts = Counter(
        {(hour, owner, code): events for hour, owner, code, events in orjson.loads(counts)}
    )
    numbers = {
        bytes.fromhex(lane): Ranges((first, end) for first, end in ranges)
        for lane, ranges in orjson.loads(_unpack(lanes)).items()
    }
    return Seal(tallied, numbers, dict(_read_rows(_unpack(summaries))))


def digest(counts: str, lanes: bytes, summaries: bytes) -> bytes:
    """32 bytes over a seal. Of counts, what they say: PostgreSQL keeps JSON in a form of its own."""
    said = orjson.dumps(orjson.loads(counts))
    parts = (hashlib.sha256(part).digest() for part in (said, lanes, summaries))
    return hashlib.sha256(b"".join(parts)).digest()


def of_tenants(rows: Rows, tenant_ids: Collection[int]) -> Iterator[tuple[RowName, Measures]]:
    """The rows of these tenants."""
    return ((name, measures) for name, measures in rows.items() if name.tenant_id in tenant_ids)


def _rows(rows: Rows) -> bytes:
    """Rows as lines of JSON, sorted, so that equal rows give equal bytes."""
    return b"\n".join(orjson.dumps(line) for line in _lines(rows))


def _lines(rows: Rows) -> Iterable[list[Any]]:
    for name in sorted(rows):
        each = rows[name]
        histogram = "" if each.histogram is None else each.histogram.encode().hex()
        members = each.members.serialize().hex() if each.members else ""
        # Sums are of any size: texts keep every digit.
        totals = [None if total is None else str(total) for total in each.totals]
        measures = [
            each.count,
            each.errors,
            each.observed,
            str(each.sum),
            each.min,
            each.max,
            histogram,
            members,
            totals,
        ]
        yield [*name, *measures]


def _read_rows(lines: bytes) -> Iterator[tuple[RowName, Measures]]:
    for line in lines.split(b"\n") if lines else ():
        grain, tenant_id, metric, grouping, dimensions, bucket, *measures = orjson.loads(line)
        count, errors, observed, total, least, greatest, histogram, members, totals = measures
        name = RowName(cast(Literal["h", "d"], grain), tenant_id, metric, grouping, tuple(dimensions), bucket)
        yield name, Measures(
            count, errors, observed, int(total), least, greatest,
            Histogram.decode(bytes.fromhex(histogram)) if histogram else None,
            BitMap.deserialize(bytes.fromhex(members)) if members else BitMap(),
            tuple(None if each is None else int(each) for each in totals),
        )  # fmt: skip


def _pack(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL).compress(data)


def _unpack(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)
