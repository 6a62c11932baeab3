"""All checks, in the order they are told. Each is a pure function from the snapshot to findings.

To add one: write it into the module of its kind (`machine`, `servers`, `pipeline`, `applications`) and put it into that module's tuple.
"""

from streamgauge_workers.diagnosis.applications import OF_APPLICATIONS
from streamgauge_workers.diagnosis.findings import Finding, problem
from streamgauge_workers.diagnosis.machine import OF_THE_MACHINE
from streamgauge_workers.diagnosis.pipeline import OF_THE_PIPELINE, OF_THE_TABLES
from streamgauge_workers.diagnosis.servers import OF_POSTGRESQL, OF_REDIS
from streamgauge_workers.diagnosis.snapshot import Database, Redis, Snapshot
from streamgauge_workers.diagnosis.unreachable import Unreachable


def examine(snapshot: Snapshot) -> list[Finding]:
    """Every finding on a snapshot."""
    found = [finding for check in OF_THE_MACHINE for finding in check(snapshot)]
    redis, database = snapshot.redis, snapshot.database
    if isinstance(redis, Unreachable):
        advice = redis.next or "Start it, or correct STREAMGAUGE_REDIS_URL."
        found.append(problem("redis", f"Redis does not answer: {redis.why}.", advice))
    else:
        found += [finding for redis_check in OF_REDIS for finding in redis_check(redis)]
    if isinstance(database, Unreachable):
        advice = database.next or "Start it, or correct STREAMGAUGE_DATABASE_URL."
        found.append(problem("postgresql", f"PostgreSQL does not answer: {database.why}.", advice))
    else:
        found += [finding for database_check in OF_POSTGRESQL for finding in database_check(database)]
    usable = isinstance(database, Database) and database.refused is None
    if usable and isinstance(redis, Redis):
        found += [finding for check in OF_THE_PIPELINE for finding in check(snapshot)]
    elif usable:
        found += [finding for check in OF_THE_TABLES for finding in check(snapshot)]
    if usable:
        found += [finding for check in OF_APPLICATIONS for finding in check(snapshot)]
    return found
