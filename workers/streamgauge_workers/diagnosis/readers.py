"""Checks of who reads the streams: workers, their leases, and the generations that are read."""

from collections import Counter
from collections.abc import Iterator

from streamgauge_workers.diagnosis.findings import Finding, ok, problem, warning
from streamgauge_workers.diagnosis.snapshot import Database, Redis, Snapshot
from streamgauge_workers.diagnosis.wording import counted, duration, listed

Findings = Iterator[Finding]

SILENT = 900.0  # seconds for which a worker that went away without a word is told


def workers(snapshot: Snapshot) -> Findings:
    """Somebody reads the streams."""
    database, patience = _database(snapshot), snapshot.settings.lease_seconds
    live = [each for each in database.workers if each.silent <= patience]
    if live:
        names = listed([f"{each.host}:{each.pid}" for each in live])
        yield ok("workers", f"{counted(len(live), 'worker')} at work: {names}.")
        yield from _gone(snapshot)
        return
    last = min((each.silent for each in database.workers), default=None)
    since = "none is known" if last is None else f"the last one was heard of {last:.0f} s ago"
    yield problem(
        "workers",
        f"No worker is at work ({since}), so new events are not counted; they wait in Redis.",
        "Run `streamgauge worker`, and look at the log of the last one.",
    )


def _gone(snapshot: Snapshot) -> Findings:
    """Workers that ended without a word while others go on: one that is stopped takes its leave."""
    patience = snapshot.settings.lease_seconds
    gone = [each for each in _database(snapshot).workers if patience < each.silent <= SILENT]
    if gone:
        names = listed([f"{each.host}:{each.pid} {duration(each.silent)} ago" for each in gone])
        yield warning(
            "workers",
            f"{counted(len(gone), 'worker')} went silent without taking leave: {names}; the others have what it held.",
            "It was killed, hangs, or its machine is cut off: look there, and at its log. Nothing is lost or counted twice by that.",
        )


def shards(snapshot: Snapshot) -> Findings:
    """As many as configured, and each of them held by somebody alive."""
    database = _database(snapshot)
    if not database.shards:
        yield warning("shards", "No worker has ever run here.", "Run `streamgauge worker`.")
        return
    yield from _layout(snapshot)
    live = {each.worker_id for each in database.workers if each.silent <= snapshot.settings.lease_seconds}
    alone = [str(each.shard) for each in database.shards if each.holder not in live]
    if not alone:
        yield ok("leases", f"All {len(database.shards)} shards are held by workers that are alive.")
    elif live:
        yield warning(
            "leases",
            f"Nobody alive holds shards {listed(alone)}; a worker takes them over within "
            f"{snapshot.settings.lease_seconds} seconds.",
            "Run `streamgauge doctor` again; if it stays so, look at the workers' logs.",
        )


def fights(snapshot: Snapshot) -> Findings:
    """Shards that went from one worker to another while they were looked at."""
    moved = [str(each.shard) for each in _database(snapshot).shards if each.changed_hands]
    if moved:
        yield warning(
            "leases",
            f"Shards {listed(moved)} went from one worker to another within the last second.",
            "That is normal when workers start or stop. If it goes on, two of them fight: streamgauge_transactions_fenced_total grows. "
            "They are too busy to renew a lease of STREAMGAUGE_LEASE_SECONDS; raise it for all of them.",
        )


def retired(snapshot: Snapshot) -> Findings:
    """Generations that nobody reads any more, and somebody sends to."""
    assert isinstance(snapshot.redis, Redis)  # noqa: S101 - a check of the pipeline
    for generation, entries in sorted(snapshot.redis.retired.items()):
        yield problem(
            "shards",
            f"Generation {generation} is retired, and its streams hold {entries:,} {'entry' if entries == 1 else 'entries'} again that nobody counts: an application "
            "still sends to it, or has sent what waited in its files.",
            f"`streamgauge shards reopen {generation}` has them counted, once; then give that application the STREAMGAUGE_GENERATION and "
            "STREAMGAUGE_SHARDS of `streamgauge shards`.",
        )


def _layout(snapshot: Snapshot) -> Findings:
    """Whether these settings name streams that are read, and the newest of them."""
    shards = Counter(each.generation for each in _database(snapshot).shards if not each.overflow)
    settings = snapshot.settings
    mine, newest = shards.get(settings.generation), max(shards)
    if mine is None:
        yield problem(
            "shards",
            f"STREAMGAUGE_GENERATION is {settings.generation} here, and nobody reads its streams: what is sent to them is not counted.",
            f"Set STREAMGAUGE_GENERATION={newest} and STREAMGAUGE_SHARDS={shards[newest]} for every process, then run "
            f"`streamgauge shards reopen {settings.generation}` if something was sent meanwhile.",
        )
    elif mine != settings.shards:
        yield problem(
            "shards",
            f"STREAMGAUGE_SHARDS is {settings.shards} here, and the database knows {mine} shards.",
            f"Set STREAMGAUGE_SHARDS={mine} for every process.",
        )
    elif settings.generation != newest:
        yield warning(
            "shards",
            f"The number of shards was changed to {shards[newest]}, and these settings still name the {mine} of before.",
            f"Set STREAMGAUGE_GENERATION={newest} and STREAMGAUGE_SHARDS={shards[newest]} for every process and restart it; "
            "then run `streamgauge shards retire`.",
        )


def _database(snapshot: Snapshot) -> Database:
    assert isinstance(snapshot.database, Database)  # noqa: S101 - a check of the tables
    return snapshot.database
