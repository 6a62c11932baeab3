"""What became of every row that was read: exact, from the event log and the dead letters of the import's lane."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from streamgauge.database import Connection
from streamgauge.outcomes import CODES, Outcome
from streamgauge_imports.queries import SQL
from streamgauge_imports.registry import Import

Decided = Counter[Outcome]


@dataclass(frozen=True)
class Result:
    """The account of one run. Rows, apart from `redelivered` (events the workers saw again) and the times."""

    read: int
    applied: int = 0
    duplicate: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    rejected_lines: Sequence[tuple[int, str]] = ()  #: number and reason of the first ones
    rejected_file: str | None = None  #: where all of them are listed, when they are many
    dead_lettered: Mapping[str, int] = field(default_factory=dict)
    redelivered: int = 0
    seconds: float = 0.0
    finished_before: str | None = None  #: when an earlier run had finished all of this

    @property
    def accounted(self) -> bool:
        """Whether nothing is missing: read = applied + duplicate + rejected + dead_lettered."""
        refused = sum(self.rejected.values()) + sum(self.dead_lettered.values())
        return self.read == self.applied + self.duplicate + refused

    @property
    def lines_per_second(self) -> int:
        """Rows per second from the first to all of them being in the tables."""
        return round(self.read / self.seconds) if self.seconds else 0

    def as_json(self) -> dict[str, Any]:
        """In JSON's types."""
        return {
            **asdict(self),
            "seconds": round(self.seconds, 3),
            "lines_per_second": self.lines_per_second,
            "accounted": self.accounted,
        }


async def decided(connection: Connection, found: Import, shards: Sequence[int]) -> Decided:
    """How many of an import's events have which outcome by now."""
    row = await connection.fetchrow(SQL["outcomes"], found.lane, shards, found.started_at)
    assert row is not None  # noqa: S101 - an aggregate always has a row
    counts: Decided = Counter({CODES[0]: row["applied"] or 0})
    for outcomes in row["outcomes"] or ():
        for code, count in enumerate(np.bincount(np.frombuffer(outcomes, np.uint8)).tolist()):
            counts[CODES[code]] += count
    for batch in await connection.fetch(SQL["dead_batches"], found.lane):
        counts[Outcome("dead_lettered", batch["reason"])] += batch["events"]
    return counts


def account(before: Decided, after: Decided, summary: Mapping[str, Any]) -> Result:
    """The account of a run from what was decided when it began and when it ended; `summary` is the source's own."""
    fresh = after - before
    rejected = Counter[str](summary.get("rejected", {}))
    dead_lettered: Counter[str] = Counter()
    for (name, reason), count in fresh.items():
        if name == "rejected":
            rejected[reason] += count
        elif name == "dead_lettered":
            dead_lettered[reason] += count
    return Result(
        summary["rows"],
        fresh[CODES[0]],
        before.total() + fresh[CODES[1]],
        dict(rejected),
        [(number, reason) for number, reason in summary.get("rejected_lines", ())],
        summary.get("rejected_file"),
        dict(dead_lettered),
    )


def repeated(found: Import) -> Result:
    """The account of a run that had nothing to do, because an earlier one finished."""
    summary = found.counts["summary"]
    malformed: dict[str, int] = summary.get("rejected", {})
    lines = [(number, reason) for number, reason in summary.get("rejected_lines", ())]
    return Result(
        summary["rows"],
        duplicate=summary["rows"] - sum(malformed.values()),
        rejected=malformed,
        rejected_lines=lines,
        finished_before=found.finished_at.isoformat(timespec="seconds") if found.finished_at else None,
    )
