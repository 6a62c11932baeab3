"""Checks of the pipeline between the servers."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC
from shlex import quote

from streamgauge_workers.diagnosis.findings import Finding, ok, problem, warning
from streamgauge_workers.diagnosis.reasons import MEANINGS, NAME
from streamgauge_workers.diagnosis.retention import archive, event_log
from streamgauge_workers.diagnosis.snapshot import Database, Redis, Refusals, Shard, Snapshot
from streamgauge_workers.diagnosis.wording import capitalised, counted, listed

Findings = Iterator[Finding]

ATTEMPTS_SUSPECT = 3
LAG_FINE = 10.0  # seconds
CLOCKS_APART, CLOCKS_WRONG = 2.0, 60.0  # seconds; events five minutes ahead are refused


def workers(snapshot: Snapshot) -> Findings:
    """Somebody reads the streams."""
    database, patience = _database(snapshot), snapshot.settings.lease_seconds
    live = [each for each in database.workers if each.silent <= patience]
    if live:
        names = listed([f"{each.host}:{each.pid}" for each in live])
        yield ok("workers", f"{counted(len(live), 'worker')} at work: {names}.")
        return
    last = min((each.silent for each in database.workers), default=None)
    since = "none is known" if last is None else f"the last one was heard of {last:.0f} s ago"
    yield problem(
        "workers",
        f"No worker is at work ({since}), so new events are not counted; they wait in Redis.",
        "Run `streamgauge worker`, and look at the log of the last one.",
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


def _layout(snapshot: Snapshot) -> Findings:
    """Whether these settings name streams that are read, and the newest of them."""
    shards, settings = Counter(each.generation for each in _database(snapshot).shards), snapshot.settings
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


def attempts(snapshot: Snapshot) -> Findings:
    """Shards whose batch fails again and again."""
    for shard in _database(snapshot).shards:
        if shard.attempts > ATTEMPTS_SUSPECT:
            yield problem(
                "attempts",
                f"Shard {shard.shard} was tried {shard.attempts} times without a commit; an entry may kill its worker.",
                "Look for `shard read again` or a crash in the workers' logs; the entry is put aside in the end.",
            )


def history(snapshot: Snapshot) -> Findings:
    """Whether positions belong to the streams that are there."""
    assert isinstance(snapshot.redis, Redis)  # noqa: S101 - a check of the pipeline
    changed = [
        str(shard.shard)
        for shard in _database(snapshot).shards
        if shard.history is not None and snapshot.redis.histories.get(shard.shard) != shard.history
    ]
    if changed:
        yield warning(
            "history",
            f"The streams of shards {listed(changed)} are not those the database knows: Redis was restarted, restored, "
            "emptied or replaced.",
            "Nothing is counted twice: a worker reads what is there from the beginning. If none is running, start one.",
        )
    else:
        yield ok("history", "The positions belong to the streams that are there.")


def lag(snapshot: Snapshot) -> Findings:
    """Whether workers keep up."""
    assert isinstance(snapshot.redis, Redis)  # noqa: S101 - as above
    behind = [
        finding
        for shard in _database(snapshot).shards
        if (finding := _lag_of(shard, snapshot.redis)) is not None
    ]
    yield from behind
    if not behind:
        yield ok("lag", "All that was sent has been counted.")


def _lag_of(shard: Shard, redis: Redis) -> Finding | None:
    if shard.shard not in redis.backlogs:
        return None
    before, after = redis.backlogs[shard.shard]
    if after.seconds <= LAG_FINE:
        return None
    says = f"Shard {shard.shard} is {after.seconds:.0f} seconds behind"
    if shard.later == shard.position:
        advice = "Look whether a worker runs, and at its log."
        return problem("lag", f"{says} and does not move.", advice)
    if after.seconds < before.seconds:
        return warning("lag", f"{says} and is catching up.", "Wait, or start another worker.")
    advice = "Start another worker, or raise STREAMGAUGE_BATCH_EVENTS."
    return problem("lag", f"{says}, and falls back further while it works.", advice)


def stopped(snapshot: Snapshot) -> Findings:
    """Shards that wait before they would refuse nearly everything."""
    for stop in _database(snapshot).stops:
        since = stop.stopped_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
        most = max(stop.reasons, key=stop.reasons.__getitem__, default="")
        meaning = next((found for reason, found in MEANINGS.items() if reason == most), None)
        why = f", most of them as {most} ({meaning.means})" if meaning else ""
        yield problem(
            "stopped",
            f"Shard {stop.shard} stopped at {since}: of {counted(stop.processed, 'event')} {stop.refused:,} would have been refused"
            f"{why}. Nothing is lost; what came since waits in Redis.",
            f"{capitalised(meaning.fix) if meaning else 'Look for the cause'}; then let it go on with "
            f"`streamgauge dead-letters allow {stop.shard}`.",
        )


def dead_letters(snapshot: Snapshot) -> Findings:
    """What was refused and kept."""
    found = _database(snapshot).dead_letters
    for each in found:
        yield _refusal("dead letters", each, "was put aside", "were put aside")
    if not found:
        yield ok("dead letters", "Nothing was put aside.")


def rejected(snapshot: Snapshot) -> Findings:
    """What was refused and only counted."""
    own = snapshot.settings.tenant
    missing = own not in {name for name, _ in _database(snapshot).tenants}
    for each in _database(snapshot).rejected:
        found = _refusal("rejected", each, "was rejected", "were rejected")
        # Which tenants they named is not counted; the one that is known to be missing is the likeliest.
        advice = (found.next or "").replace(NAME, quote(own) if missing else NAME)
        yield replace(found, next=advice)


def _refusal(check: str, refusals: Refusals, singular: str, plural: str) -> Finding:
    meaning = next((found for reason, found in MEANINGS.items() if reason == refusals.reason), None)
    newest = refusals.newest.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    verb = singular if refusals.events == 1 else plural
    why = f" ({meaning.means})" if meaning else ""
    return warning(
        check,
        f"{counted(refusals.events, 'event')} {verb} as {refusals.reason}{why}; the latest about {newest}.",
        capitalised(meaning.fix) if meaning else "Look at the table dead_letters.",
    )


def losses(snapshot: Snapshot) -> Findings:
    """Whether everything announced arrived."""
    database = _database(snapshot)
    if database.lost:
        yield warning(
            "losses",
            f"{counted(database.lost, 'event')} announced by producers did not arrive (so far).",
            "Look for crashed hosts or a Redis that lost data; spooled events count as soon as they are sent again.",
        )
    if database.forgotten_lanes:
        yield warning(
            "losses",
            f"{counted(database.forgotten_lanes, 'producer')} ended without saying goodbye and "
            f"{counted(database.lost_forgotten, 'event')} of theirs never came.",
            "See the table forgotten_lanes; nothing can be done for them any more.",
        )
    if not database.lost and not database.forgotten_lanes:
        yield ok("losses", "Every event that was announced has arrived.")


def partitions(snapshot: Snapshot) -> Findings:
    """The event log's partitions, which workers make ahead of time."""
    database = _database(snapshot)
    if not database.applied_today or (database.partition_today and database.partition_tomorrow):
        yield ok("partitions", "The event log has the partitions it needs.")
    else:
        yield warning(
            "partitions",
            "The event log lacks its partition of today or tomorrow; workers make them with the next batch.",
            "If it stays so, look at the workers' logs; their user must be allowed to create tables.",
        )


def clocks(snapshot: Snapshot) -> Findings:
    """How far apart the clocks are that judge lateness."""
    if isinstance(snapshot.redis, str):
        return
    ahead = {
        "this host": 0.0,
        snapshot.redis.info.product: snapshot.redis.info.ahead,
        "PostgreSQL": _database(snapshot).ahead,
    }
    first, last = max(ahead, key=ahead.__getitem__), min(ahead, key=ahead.__getitem__)
    apart = ahead[first] - ahead[last]
    if apart < CLOCKS_APART:
        yield ok("clocks", "The clocks of this host, Redis and PostgreSQL agree.")
        return
    level = problem if apart >= CLOCKS_WRONG else warning
    yield level(
        "clocks",
        f"The clock of {first} is {apart:.0f} seconds ahead of that of {last}; lateness is judged by PostgreSQL's.",
        "Let NTP set the clocks of all machines.",
    )


def _database(snapshot: Snapshot) -> Database:
    assert isinstance(snapshot.database, Database)  # noqa: S101 - a check of the tables
    return snapshot.database


#: These need the tables alone.
OF_THE_TABLES: tuple[Callable[[Snapshot], Findings], ...] = (
    workers, shards, attempts, stopped, dead_letters, rejected, losses, partitions, event_log, archive,
)  # fmt: skip
#: These are told when everything answers.
OF_THE_PIPELINE: tuple[Callable[[Snapshot], Findings], ...] = (
    workers, shards, lag, history, attempts, stopped, dead_letters, rejected, losses, partitions, event_log, archive, clocks,
)  # fmt: skip
