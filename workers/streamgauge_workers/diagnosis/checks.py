"""The checks, in the order they are told. Each is a pure function from the snapshot to findings.

To add one: write it below, with the kind of its argument saying what it needs, and put it into the tuple of its kind.
"""

from collections.abc import Callable, Iterator
from datetime import UTC

from streamgauge.errors import ServerError
from streamgauge.redis_stream import check_version
from streamgauge_workers.diagnosis.findings import Finding, ok, problem, warning
from streamgauge_workers.diagnosis.reasons import MEANINGS
from streamgauge_workers.diagnosis.snapshot import Database, Redis, Refusals, Shard, Snapshot

Findings = Iterator[Finding]

ATTEMPTS_SUSPECT = 3
LAG_FINE = 10.0  # seconds
NEARLY_FULL = 0.8  # of maxmemory
MOST_OF_MACHINE = 0.5  # without a limit
LEAST_FREE = 512 * 1024 * 1024  # bytes
CLOCKS_APART, CLOCKS_WRONG = 2.0, 60.0  # seconds; events five minutes ahead are refused
SHOWN = 5  # names in one sentence


def examine(snapshot: Snapshot) -> list[Finding]:
    """Every finding on a snapshot."""
    found = [finding for check in OF_THE_MACHINE for finding in check(snapshot)]
    redis, database = snapshot.redis, snapshot.database
    if isinstance(redis, str):
        found.append(
            problem(
                "redis",
                f"Redis does not answer: {redis}.",
                "Start it, or correct STREAMGAUGE_REDIS_URL.",
            )
        )
    else:
        found += [finding for redis_check in OF_REDIS for finding in redis_check(redis)]
    if isinstance(database, str):
        found.append(
            problem(
                "postgresql",
                f"PostgreSQL does not answer: {database}.",
                "Start it, or correct STREAMGAUGE_DATABASE_URL.",
            )
        )
    else:
        found += [finding for database_check in OF_POSTGRESQL for finding in database_check(database)]
    usable = isinstance(database, Database) and database.refused is None
    if usable and not isinstance(redis, str):
        found += [finding for check in OF_THE_PIPELINE for finding in check(snapshot)]
    elif usable:
        found += [finding for check in OF_THE_TABLES for finding in check(snapshot)]
    return found


def settings(snapshot: Snapshot) -> Findings:
    """They could be read; who may reach the server."""
    given = snapshot.settings
    if given.host in ("127.0.0.1", "::1", "localhost"):
        yield ok("settings", f"The settings are usable; the server listens on {given.host}:{given.port}.")
    else:
        yield warning(
            "settings",
            f"The server listens on {given.host}, where other machines reach it.",
            "Put an authenticating proxy in front of it, or set STREAMGAUGE_HOST=127.0.0.1.",
        )


def keys(snapshot: Snapshot) -> Findings:
    """The keyring is there when pseudonyms are, and private."""
    machine = snapshot.machine
    if machine.keyring_is_open:
        yield problem(
            "keys",
            f"Others may read the keyring {machine.keyring}, and so undo pseudonyms.",
            f"chmod 600 {machine.keyring}",
        )
    elif machine.keyring_exists:
        yield ok("keys", f"The keyring {machine.keyring} is there and private.")
    elif isinstance(snapshot.database, Database) and snapshot.database.has_pseudonyms:
        yield warning(
            "keys",
            f"The database holds pseudonyms, but there is no keyring at {machine.keyring}: "
            "nobody can be found or erased by name here.",
            "Restore it from its backup, or set STREAMGAUGE_KEYRING to where it is.",
        )
    else:
        yield ok("keys", "There is no keyring yet; it is made when the first key is needed.")


def disk(snapshot: Snapshot) -> Findings:
    """Room below the data directory."""
    machine = snapshot.machine
    if machine.free < LEAST_FREE:
        yield problem(
            "disk",
            f"The disk of {machine.data_dir} has {megabytes(machine.free)} free.",
            "Free some, or move it with --data-dir.",
        )
    else:
        yield ok("disk", f"The disk of {machine.data_dir} has {megabytes(machine.free)} free.")


def redis_server(redis: Redis) -> Findings:
    """Its version, and whether it can keep the contract."""
    info = redis.info
    name = "valkey_version" if info.product == "Valkey" else "redis_version"
    try:
        check_version({name: info.version, "redis_version": info.version})
    except ServerError as error:
        yield problem("redis", f"{error}.", f"Upgrade {info.product}.")
        return
    if redis.refused is not None:
        says = f"{info.product} {info.version} answers, but cannot be used as it is."
        yield problem("redis", says, capitalised(redis.refused))
        return
    yield ok("redis", f"{info.product} {info.version} answers and evicts nothing.")


def redis_memory(redis: Redis) -> Findings:
    """Room for events."""
    info = redis.info
    limit, whose = (info.limit, "it may use") if info.limit else (info.machine, "its machine has")
    says = f"{info.product} uses {megabytes(info.used)} of the {megabytes(limit)} {whose}"
    if not limit:
        yield ok("redis memory", f"{info.product} uses {megabytes(info.used)}; it does not tell its limit.")
    elif info.limit and info.used > NEARLY_FULL * limit:
        yield problem(
            "redis memory",
            f"{says}; when it is full, events are refused.",
            "Raise maxmemory, lower STREAMGAUGE_STREAM_MAX_BYTES, or let the workers catch up.",
        )
    elif not info.limit and info.used > MOST_OF_MACHINE * limit:
        yield problem(
            "redis memory",
            f"{says}, and has no limit.",
            "Set maxmemory (with maxmemory-policy noeviction), and let the workers catch up.",
        )
    else:
        yield ok("redis memory", f"{says}.")


def redis_persistence(redis: Redis) -> Findings:
    """Whether a crash loses what is not applied yet."""
    info = redis.info
    if info.append_only and info.append_failed:
        yield problem(
            "redis persistence",
            f"{info.product} could not write its append-only file last time.",
            "Look at its log and free disk space.",
        )
    elif info.append_only:
        yield ok("redis persistence", f"{info.product} keeps an append-only file.")
    else:
        also = " beyond its last snapshot" if info.snapshots else ""
        yield warning(
            "redis persistence",
            f"{info.product} keeps no append-only file: when it crashes, events not applied yet are lost{also}.",
            "CONFIG SET appendonly yes, and the same in its configuration file.",
        )


def postgresql_server(database: Database) -> Findings:
    """Its version, schema and writability."""
    if database.refused is not None:
        says = f"PostgreSQL {database.version} answers, but cannot be used as it is."
        yield problem("postgresql", says, capitalised(database.refused))
    else:
        yield ok("postgresql", f"PostgreSQL {database.version} answers, its schema is current.")
    if database.read_only:
        yield problem(
            "postgresql disk",
            "PostgreSQL only reads, as a replica does.",
            "Give the primary's address in STREAMGAUGE_DATABASE_URL.",
        )
    elif database.write_error is not None:
        yield problem(
            "postgresql disk", f"PostgreSQL cannot write: {database.write_error}.", "Free space on its disk."
        )
    else:
        yield ok("postgresql disk", "PostgreSQL can write.")


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
    database, wanted = _database(snapshot), snapshot.settings.shards
    if not database.shards:
        yield warning("shards", "No worker has ever run here.", "Run `streamgauge worker`.")
        return
    if len(database.shards) != wanted:
        yield problem(
            "shards",
            f"STREAMGAUGE_SHARDS is {wanted} here, and the database knows {len(database.shards)} shards.",
            f"Set STREAMGAUGE_SHARDS={len(database.shards)} for every process.",
        )
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
        if shard.history is not None and snapshot.redis.histories.get(shard.number) != shard.history
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
    if shard.number not in redis.backlogs:
        return None
    before, after = redis.backlogs[shard.number]
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


def dead_letters(snapshot: Snapshot) -> Findings:
    """What was refused and kept."""
    found = _database(snapshot).dead_letters
    for each in found:
        yield _refusal("dead letters", each, "was put aside", "were put aside")
    if not found:
        yield ok("dead letters", "Nothing was put aside.")


def rejected(snapshot: Snapshot) -> Findings:
    """What was refused and only counted."""
    for each in _database(snapshot).rejected:
        yield _refusal("rejected", each, "was rejected", "were rejected")


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


def tenants(snapshot: Snapshot) -> Findings:
    """Whose dashboards are empty because nothing came."""
    known = _database(snapshot).tenants
    if not known:
        yield warning(
            "tenants",
            "There is no tenant yet, so nothing can be counted.",
            "Import a log (`streamgauge import access-log FILE --tenant NAME`) or make events (`streamgauge load`).",
        )
        return
    empty = [name for name, has_events in known if not has_events]
    if empty:
        yield warning(
            "tenants",
            f"No event was ever applied for {listed(empty)}.",
            "Look whether its producers run, use this Redis and prefix, and spell the tenant so.",
        )
    else:
        yield ok("tenants", f"{counted(len(known), 'tenant')}, all with events.")


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


OF_THE_MACHINE: tuple[Callable[[Snapshot], Findings], ...] = (settings, keys, disk)
OF_REDIS: tuple[Callable[[Redis], Findings], ...] = (redis_server, redis_memory, redis_persistence)
OF_POSTGRESQL: tuple[Callable[[Database], Findings], ...] = (postgresql_server,)
#: These need the tables alone.
OF_THE_TABLES: tuple[Callable[[Snapshot], Findings], ...] = (
    workers, shards, attempts, dead_letters, rejected, losses, tenants, partitions,
)  # fmt: skip
#: These are told when everything answers.
OF_THE_PIPELINE: tuple[Callable[[Snapshot], Findings], ...] = (
    workers, shards, lag, history, attempts, dead_letters, rejected, losses, tenants, partitions, clocks,
)  # fmt: skip


def _database(snapshot: Snapshot) -> Database:
    assert isinstance(snapshot.database, Database)  # noqa: S101 - a check of the tables
    return snapshot.database


def counted(number: int, noun: str) -> str:
    """`1 event`, `2,000 events`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: list[str]) -> str:
    """The first few of them."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def megabytes(size: int) -> str:
    """Of bytes, in MiB."""
    return f"{size / 1024 / 1024:,.0f} MiB"


def capitalised(text: str) -> str:
    """As a sentence."""
    return f"{text[0].upper()}{text[1:]}."
