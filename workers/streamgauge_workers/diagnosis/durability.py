"""Checks of what a crash of Redis, of PostgreSQL or of their machines would take."""

from collections.abc import Iterator

from streamgauge_workers.diagnosis.findings import Finding, ok, problem, told, warning
from streamgauge_workers.diagnosis.snapshot import Database, Redis

Findings = Iterator[Finding]


def redis_persistence(redis: Redis) -> Findings:
    """Whether a crash loses what is not applied yet."""
    info = redis.info
    if info.refuses:
        yield problem(
            "redis persistence",
            f"{info.product} could not write its last snapshot and refuses all events for that (MISCONF); applications keep them in "
            "files and memory.",
            "Look at its log and its disk (room, rights), then BGSAVE. It takes events again as soon as one succeeds.",
        )
    elif info.append_only and info.append_failed:
        yield problem(
            "redis persistence",
            f"{info.product} could not write its append-only file last time, and refuses events meanwhile (MISCONF).",
            "Look at its log and free disk space.",
        )
    elif info.append_only and info.fsync == "no":
        yield warning(
            "redis persistence",
            f"{info.product} leaves it to its system when its append-only file is written (appendfsync no): a crash of its machine "
            "takes the last half minute of events that are not applied yet.",
            "CONFIG SET appendfsync everysec, and the same in its configuration file.",
        )
    elif info.append_only and info.fsync == "everysec":
        yield told(
            "redis persistence",
            f"{info.product} keeps an append-only file, and writes it every second: a crash of its machine takes the last second or "
            "two of events that are not applied yet, which are told as losses.",
            "If that is too much: appendfsync always, or STREAMGAUGE_CAPTURE_MODE=durable where the events are made.",
        )
    elif info.append_only:
        yield ok("redis persistence", f"{info.product} keeps an append-only file.")
    else:
        also = " beyond its last snapshot" if info.snapshots else ""
        failed = " That one could not be written, either." if info.snapshots and info.snapshot_failed else ""
        yield warning(
            "redis persistence",
            f"{info.product} keeps no append-only file: when it crashes, events not applied yet are lost{also}.{failed}",
            "CONFIG SET appendonly yes, and the same in its configuration file.",
        )


def postgresql_durability(database: Database) -> Findings:
    """Whether a crash of its machine leaves a database."""
    weak = [
        name for name, on in (("fsync", database.fsync), ("full_page_writes", database.full_pages)) if not on
    ]
    if weak:
        yield warning(
            "postgresql durability",
            f"PostgreSQL runs with {' and '.join(f'{name} = off' for name in weak)}: a crash of its machine may damage the whole "
            "database, beyond repair.",
            f"Set {' and '.join(f'{name} = on' for name in weak)} in postgresql.conf, unless the data are for trying things out.",
        )
    elif database.synchronous == "off":
        yield told(
            "postgresql durability",
            "PostgreSQL's synchronous_commit is off: a crash takes the last commits of commands and API. What workers counted then is "
            "counted again from the streams.",
            "Set synchronous_commit = on in postgresql.conf; workers choose for themselves.",
        )
    else:
        yield ok("postgresql durability", "What PostgreSQL has committed survives a crash.")
