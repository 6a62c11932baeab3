"""The judge: compares what producers were told with what PostgreSQL holds, event by event (invariants I1 to I4, I6)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import orjson

from streamgauge.database import Connection
from streamgauge.outcomes import APPLIED
from streamgauge.ranges import Ranges
from streamgauge_workers.event_log import read
from tests.faults.catalogue import METRIC, NUMBER, TENANTS
from tests.faults.ledger import Fact, Ledger, Outcome

HOUR, DAY = 3_600_000_000, 86_400_000_000
Grain = str
Cell = tuple[Grain, str, int]  #: grain, tenant, start of the bucket in microseconds

_LANES = 'SELECT done, "end", stray, redelivered, drops FROM lanes'
_SUMS = """
SELECT t.name, (extract(epoch FROM r.bucket) * 1000000)::bigint AS bucket, sum(r.count)::bigint AS events, sum(r.sum)::bigint AS sum
FROM {grain}_summary r JOIN series s USING (shard, series_id) JOIN tenants t ON t.tenant_id = r.tenant_id
WHERE s.metric = $1 AND cardinality(s.dimensions) = 0 GROUP BY 1, 2"""


@dataclass
class Found:
    """What PostgreSQL holds, as far as the judge looks."""

    #: How often each event was applied, according to the event log.
    applied: Counter[int] = field(default_factory=Counter)
    #: Events in the log that were refused.
    refused: Counter[int] = field(default_factory=Counter)
    #: Events applied that carry no number: what a host's middleware says of its requests.
    others: int = 0
    #: (events, sum of values) of every bucket of both tables.
    sums: dict[Cell, tuple[int, int]] = field(default_factory=dict)
    #: Outcome ledger: events by outcome and reason.
    outcomes: Counter[str] = field(default_factory=Counter)
    #: Lanes: numbers done, numbers announced and missing, numbers delivered again, drops by reason.
    done: int = 0
    told_lost: int = 0
    redelivered: int = 0
    drops: Counter[str] = field(default_factory=Counter)


@dataclass
class Verdict:
    """What a run amounts to. `troubles` says in words what is wrong; empty: everything holds."""

    acked: int = 0
    counted: int = 0
    duplicates: int = 0
    #: Acked and not counted, beyond what the gap counters tell.
    lost: int = 0
    #: Counted more than once.
    doubled: int = 0
    #: Lost, and told: the gap counters' figure.
    told: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    #: Acked and not counted, told or not.
    missing: set[int] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)


async def find(connection: Connection) -> Found:
    """Read everything the judge needs, in one snapshot."""
    found = Found()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for row in await connection.fetch("SELECT * FROM event_log"):
            table = read(row)
            codes = (
                np.zeros(table.n, np.uint8)
                if row["outcomes"] is None
                else np.frombuffer(row["outcomes"], np.uint8)
            )
            found.others += int((codes == APPLIED).sum())
            column = table.columns.get((NUMBER, "i"))
            if column is None:
                continue
            kept = codes[column.rows] == APPLIED
            found.others -= int(kept.sum())
            found.applied.update(column.values[kept].tolist())
            found.refused.update(column.values[~kept].tolist())
        for grain in ("hourly", "daily"):
            for row in await connection.fetch(_SUMS.format(grain=grain), METRIC):
                found.sums[grain, row["name"], row["bucket"]] = row["events"], row["sum"]
        for row in await connection.fetch(
            "SELECT outcome, reason, sum(events)::bigint AS n FROM outcome_ledger GROUP BY 1, 2"
        ):
            found.outcomes[" ".join(filter(None, (row["outcome"], row["reason"])))] += row["n"]
        for row in await connection.fetch(_LANES):
            done = Ranges((each.lower, each.upper) for each in row["done"])
            found.done += done.size
            found.told_lost += 0 if row["stray"] else row["end"] - done.size_below(row["end"])
            found.redelivered += row["redelivered"]
            found.drops.update(_counts(row["drops"]))
    return found


def judge(ledger: Ledger, found: Found, junk: int = 0) -> Verdict:
    """Hold what was found against the ledger. `junk`: entries sent that hold no event of the ledger, all of them to be refused."""
    acked, unknown = ledger.numbers(Outcome.ACKED), ledger.numbers(Outcome.UNKNOWN)
    refused = ledger.numbers(Outcome.REFUSED)
    verdict = Verdict(
        len(acked), duplicates=found.redelivered, told=found.told_lost, drops=Counter(found.drops)
    )
    say = verdict.troubles.append
    applied = set(found.applied)
    verdict.counted = sum(found.applied.values())

    # I1 and I3: at most once, and what was acked exactly once unless the gap counters tell of it.
    verdict.doubled = sum(count - 1 for count in found.applied.values())
    spoilt = {number for number, fact in ledger.facts.items() if fact.refusable}
    missing = verdict.missing = acked - applied - spoilt
    quarantined = sum(count for name, count in found.outcomes.items() if not name.startswith("applied"))
    may_be_missing = len(unknown - applied - found.refused.keys())
    # A spoilt event that was lost has to be told as well, and cannot be told from one in an entry that no one could read.
    silent = len(missing) - verdict.told
    verdict.lost = max(silent, 0)
    if verdict.lost:
        say(f"{verdict.lost} acked events are missing and nothing tells of them: {sorted(missing)[:5]}")
    excess = (
        verdict.told - len(missing) - may_be_missing - len(spoilt & (acked | unknown) - found.refused.keys())
    )
    if excess > 0:
        say(f"{excess} events are told as lost that are not missing")

    # I2: nothing invented, nothing counted that must not be.
    for what, numbers in (
        ("that nobody sent", applied - ledger.facts.keys()),
        ("that the host was told are dropped", applied & refused),
        ("that must be refused", applied & spoilt),
    ):
        if numbers:
            say(f"{len(numbers)} events are counted {what}: {sorted(numbers)[:5]}")

    # I4: what was read is what became of it; what must be refused is in quarantine.
    entered = sum(found.outcomes.values())
    if entered != found.done + junk:
        say(f"{found.done} numbers are done and {junk} entries are junk, the outcome ledger holds {entered}")
    if found.outcomes["applied"] != verdict.counted + found.others:
        logged = verdict.counted + found.others
        say(f"the outcome ledger holds {found.outcomes['applied']} applied, the log {logged}")
    expected = len(spoilt & acked) + junk
    if not expected - verdict.told <= quarantined <= expected + len(spoilt & unknown):
        reasons = {name: count for name, count in found.outcomes.items() if not name.startswith("applied")}
        say(f"{quarantined} events are in quarantine, {expected} had to be: {reasons}")

    _compare_sums(ledger.facts, found, verdict)
    return verdict


def _compare_sums(facts: Mapping[int, Fact], found: Found, verdict: Verdict) -> None:
    """Both tables hold what the log's events amount to (I1), and so agree with each other (I6)."""
    known = [facts[number] for number in found.applied.elements() if number in facts]
    want = sums_of(known)
    wrong = [cell for cell in want.keys() | found.sums.keys() if want.get(cell) != found.sums.get(cell)]
    for grain in ("hourly", "daily"):
        have = sum(events for cell, (events, _) in found.sums.items() if cell[0] == grain)
        verdict.doubled += max(have - len(known), 0)
        verdict.lost += max(len(known) - have, 0)
    if wrong:
        cell = min(wrong)
        verdict.troubles.append(
            f"{len(wrong)} buckets differ; {cell}: {found.sums.get(cell)} instead of {want.get(cell)}"
        )
    totals = [
        {tenant: sum_of(found.sums, grain, tenant) for tenant in TENANTS} for grain in ("hourly", "daily")
    ]
    if totals[0] != totals[1]:
        verdict.troubles.append(f"hours and days disagree: {totals}")


def sums_of(facts: Iterable[Fact]) -> dict[Cell, tuple[int, int]]:
    """(events, sum of values) of every bucket that these events make."""
    sums: dict[Cell, tuple[int, int]] = {}
    for fact in facts:
        ahead = TENANTS[fact.tenant][1] * 1_000_000
        for grain, width in (("hourly", HOUR), ("daily", DAY)):
            cell = grain, fact.tenant, (fact.at + ahead) // width * width - ahead
            events, total = sums.get(cell, (0, 0))
            sums[cell] = events + 1, total + fact.value
    return sums


def sum_of(sums: Mapping[Cell, tuple[int, int]], grain: Grain, tenant: str) -> tuple[int, int]:
    """(events, sum of values) of a tenant in one table."""
    found = [pair for cell, pair in sums.items() if cell[:2] == (grain, tenant)]
    return sum(events for events, _ in found), sum(total for _, total in found)


def _counts(drops: object) -> dict[str, int]:
    return dict(orjson.loads(drops)) if isinstance(drops, str) else {}
