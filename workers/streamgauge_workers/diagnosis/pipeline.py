"""Checks of the pipeline between the servers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from shlex import quote

from streamgauge_workers.diagnosis.findings import Finding, ok, problem, warning
from streamgauge_workers.diagnosis.lagging import lag
from streamgauge_workers.diagnosis.readers import fights, retired, shards, workers
from streamgauge_workers.diagnosis.reasons import MEANINGS, NAME
from streamgauge_workers.diagnosis.retention import archive, event_log
from streamgauge_workers.diagnosis.snapshot import Database, Hole, Redis, Refusals, Snapshot
from streamgauge_workers.diagnosis.wording import capitalised, counted, listed

Findings = Iterator[Finding]

ATTEMPTS_SUSPECT = 3
CLOCKS_APART, CLOCKS_WRONG = 2.0, 60.0  # seconds; events five minutes ahead are refused


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
        if shard.history is not None
        and shard.shard in snapshot.redis.histories
        and snapshot.redis.histories[shard.shard] != shard.history
    ]
    if changed:
        yield warning(
            "history",
            f"The streams of shards {listed(changed)} are not those the database knows: Redis was restarted, restored, "
            "emptied or replaced.",
            "Nothing is counted twice: a worker reads what is there from the beginning. If none is running, start one. What is "
            "missing then is told as losses.",
        )
        return
    times = [f"{each.shard} ({each.epoch})" for each in _database(snapshot).shards if each.epoch]
    also = f" How often they were replaced so far, by shard: {listed(times)}." if times else ""
    yield ok("history", f"The positions belong to the streams that are there.{also}")


def stopped(snapshot: Snapshot) -> Findings:
    """Shards that wait before they would refuse nearly everything."""
    for stop in _database(snapshot).stops:
        since = _minute(stop.stopped_at)
        most = max(stop.reasons, key=stop.reasons.__getitem__, default="")
        meaning = next((found for reason, found in MEANINGS.items() if reason == most), None)
        why = f", most of them as {most} ({meaning.means})" if meaning else ""
        yield problem(
            "stopped",
            f"Shard {stop.shard} stopped at {since}: of {counted(stop.processed, 'event')} {stop.refused:,} would have been refused"
            f"{why}. Nothing is lost; what came since waits in Redis.",
            f"{capitalised(meaning.fix).rstrip('.') if meaning else 'Look for the cause'}; then let it go on with "
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
    newest = _minute(refusals.newest)
    verb = singular if refusals.events == 1 else plural
    why = f" ({meaning.means})" if meaning else ""
    return warning(
        check,
        f"{counted(refusals.events, 'event')} {verb} as {refusals.reason}{why}; the latest about {newest}.",
        capitalised("; ".join(filter(None, (meaning.fix, meaning.after))))
        if meaning
        else f"Look at them: `streamgauge dead-letters list --reason {refusals.reason}`.",
    )


def losses(snapshot: Snapshot) -> Findings:
    """Whether everything announced arrived."""
    database = _database(snapshot)
    if database.lost:
        yield warning(
            "losses",
            f"{counted(database.lost, 'event')} announced by producers did not arrive (so far){_missing(database.holes)}.",
            "Look for crashed hosts or a Redis that lost data; spooled events count as soon as they are sent again. Find what a host "
            "still keeps with `streamgauge doctor` there.",
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


def _missing(holes: Sequence[Hole]) -> str:
    """Of which lanes."""
    told = [
        f"{each.lost:,} of lane {each.lane[:8]} of shard {each.shard} (begun {_minute(each.born)}, last heard of "
        f"{_minute(each.heard)}, {'ended' if each.closed else 'not ended'})"
        for each in holes
    ]
    return f": {'; '.join(told)}" if told else ""


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


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
    if not isinstance(snapshot.redis, Redis):
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
    workers, shards, retired, fights, lag, history, attempts, stopped, dead_letters, rejected, losses, partitions, event_log, archive, clocks,
)  # fmt: skip
