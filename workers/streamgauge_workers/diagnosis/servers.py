"""Checks of the servers, each by itself."""

from collections.abc import Callable, Iterator

from streamgauge.errors import ServerError
from streamgauge.redis_check import check_version
from streamgauge_workers.diagnosis.durability import postgresql_durability, redis_persistence
from streamgauge_workers.diagnosis.findings import Finding, ok, problem
from streamgauge_workers.diagnosis.sessions import sessions
from streamgauge_workers.diagnosis.snapshot import Database, Redis
from streamgauge_workers.diagnosis.wording import capitalised, listed, megabytes

Findings = Iterator[Finding]

NEARLY_FULL = 0.8  # of maxmemory
MOST_OF_MACHINE = 0.5  # without a limit


def redis_server(redis: Redis) -> Findings:
    """Its version, and whether it can keep the contract."""
    info = redis.info
    name = "valkey_version" if info.product == "Valkey" else "redis_version"
    try:
        check_version({name: info.version, "redis_version": info.version})
    except ServerError as error:
        yield problem("redis", f"{error}.", f"Upgrade {info.product}.")
        return
    if info.silent:
        yield problem(
            "redis",
            f"{len(info.silent)} of the {info.nodes} primaries of the {info.product} cluster do not answer: {listed(list(info.silent))}. "
            "The shards they serve wait, and applications keep what is for them.",
            "Bring them back, or let their replicas take over (CLUSTER FAILOVER FORCE at a replica).",
        )
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
    elif info.limit and info.used >= limit:
        yield problem(
            "redis memory",
            f"{says}: it is full and refuses events, which applications keep in files and memory until these are full too.",
            "Raise maxmemory now (CONFIG SET maxmemory); then find out why workers lag, or lower STREAMGAUGE_STREAM_MAX_BYTES and "
            "STREAMGAUGE_TRIM_LAG_SECONDS.",
        )
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


OF_REDIS: tuple[Callable[[Redis], Findings], ...] = (redis_server, redis_memory, redis_persistence)
OF_POSTGRESQL: tuple[Callable[[Database], Findings], ...] = (
    postgresql_server, postgresql_durability, lambda database: sessions(database.sessions),
)  # fmt: skip
