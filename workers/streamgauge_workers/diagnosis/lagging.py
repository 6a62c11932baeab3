"""Checks of how far the workers are behind, and why."""

from collections.abc import Iterator

from streamgauge_workers.diagnosis.findings import Finding, ok, problem, warning
from streamgauge_workers.diagnosis.sessions import LONG_LOCK
from streamgauge_workers.diagnosis.snapshot import Database, Redis, Shard, Snapshot
from streamgauge_workers.diagnosis.wording import counted, listed

Findings = Iterator[Finding]

LAG_FINE = 10.0  # seconds


def lag(snapshot: Snapshot) -> Findings:
    """Whether workers keep up."""
    database, redis = snapshot.database, snapshot.redis
    assert isinstance(database, Database)  # noqa: S101 - a check of the pipeline is asked when both answer
    assert isinstance(redis, Redis)  # noqa: S101 - as above
    behind = [
        finding for shard in database.shards if (finding := _lag_of(shard, redis, snapshot)) is not None
    ]
    yield from behind
    if redis.unread:
        why = sorted(set(redis.unread.values()))
        yield problem(
            "lag",
            f"The streams of shards {listed([str(shard) for shard in sorted(redis.unread)])} cannot be looked at: {'; '.join(why)}.",
            "Bring the nodes of Redis back that serve them. Events for them wait in the applications meanwhile.",
        )
    elif not behind:
        yield ok("lag", "All that was sent has been counted.")


def _lag_of(shard: Shard, redis: Redis, snapshot: Snapshot) -> Finding | None:
    if shard.shard not in redis.backlogs:
        return None
    before, after = redis.backlogs[shard.shard]
    if after.seconds <= LAG_FINE:
        return None
    says = f"Shard {shard.shard} is {after.seconds:.0f} seconds behind"
    if shard.later == shard.position:
        why, advice = _why(shard, redis, snapshot)
        return problem("lag", f"{says} and does not move{why}.", advice)
    if after.seconds < before.seconds:
        return warning("lag", f"{says} and is catching up.", "Wait, or start another worker.")
    advice = "More is sent than is counted: start another worker on another machine, or raise STREAMGAUGE_BATCH_EVENTS."
    return problem("lag", f"{says}, and falls back further while it works.", advice)


def _why(shard: Shard, redis: Redis, snapshot: Snapshot) -> tuple[str, str]:
    """What keeps a shard where it is, and what to do about that."""
    database = snapshot.database
    assert isinstance(database, Database)  # noqa: S101 - as above
    live = {each.worker_id for each in database.workers if each.silent <= snapshot.settings.lease_seconds}
    if shard.shard in redis.newer:
        return (
            ": its next entry is of a newer version than this program",
            "Replace the workers by ones of the newer version; nothing is lost until then.",
        )
    if any(stop.shard == shard.shard for stop in database.stops):
        return ": it was stopped", f"See what is said about shard {shard.shard} under stopped."
    if shard.holder not in live:
        return (
            ": no worker that is alive holds it",
            "Run `streamgauge worker`, and look at the log of the last one.",
        )
    waiting = [each for each in database.sessions if each.of_worker and each.blocked_by]
    if any(each.since >= LONG_LOCK for each in waiting):
        return ": workers wait for a lock in PostgreSQL", "See what is said under locks."
    slow = max((each.since for each in database.sessions if each.of_worker), default=0.0)
    if slow >= LONG_LOCK and not waiting:
        return (
            f": a worker is {counted(int(slow), 'second')} into one step of a transaction",
            "PostgreSQL is slow or hangs: look at its disk and its log.",
        )
    return (
        ", though its worker is alive: it cannot commit, or cannot read the stream",
        "Look for `shard read again` in the workers' logs: it names the error.",
    )
