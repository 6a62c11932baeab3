"""The system's metrics as they are told: to a tenant's admin of the tenant, to an owner of the installation. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from streamgauge.read.api.pipeline import PipelineReport
from streamgauge.read.api.pipeline import told as pipeline_told
from streamgauge.read.report import rfc3339
from streamgauge.read.tally import rounded
from streamgauge.summaries.grid import HOUR
from streamgauge.system.installation import InstallationState, Memory
from streamgauge.system.tenant import TenantMetrics

#: What is told about a server that does not answer, to who is not to know more of it.
AWAY: Final = "{} does not answer"
NEVER: Final = "no worker has looked after a stream yet"
FOR_OWNERS: Final = "it is told to owners of the platform"
OF_NO_TENANT: Final = "an owner sees no tenant's figures: ask with a key of the tenant"


@dataclass(frozen=True, slots=True)
class Processing:
    """Whether events get from the streams into the figures; the same for every tenant.

    `lag_seconds`: the age of the oldest entry, of whomever, that is not counted yet: how old figures may be. `unattended_shards`: of
    how many stripes no worker holds the lease; their events wait. `workers_live`: processes heard of within a lease.
    """

    postgresql_answers: bool
    redis_answers: bool
    lag_seconds: float | None
    shards: int | None
    unattended_shards: int | None
    workers_live: int | None


@dataclass(frozen=True, slots=True)
class Queue:
    """Entries (batches of events) in the streams behind the workers' positions.

    Redis tells how many entries a stream holds and whether all of them wait, not how many of them do: where some wait and some are kept
    although they are counted, it is at least 1 and at most all that are kept.
    """

    entries_at_least: int
    entries_at_most: int


@dataclass(frozen=True, slots=True)
class ProcessedEvents:
    """Events of all tenants that were processed in the last full hour of UTC, whatever became of them; a second: to 3 decimals."""

    hour_start: str
    events: int
    events_per_second: float


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """PostgreSQL: bytes of its database (null where that may not be asked), and sessions of those it allows (max_connections)."""

    version: str
    size_bytes: int | None
    connections_used: int
    connections_allowed: int


@dataclass(frozen=True, slots=True)
class InstallationMetrics:
    """The whole installation, of all tenants together: its pipeline as `GET /api/v1/pipeline` tells it, and the servers under it.

    `pipeline.workers` are the workers' processes and when each was heard of, `pipeline.dropped_before_sending` what producers gave up,
    by reason. `redis` has an entry per primary of a cluster, one without.
    """

    pipeline: PipelineReport
    queue: Queue | None
    throughput: ProcessedEvents | None
    database: DatabaseHealth | None
    redis: tuple[Memory, ...] | None


@dataclass(frozen=True, slots=True)
class SystemMetrics:
    """What the caller may be told. `unavailable` says of each part that is null for want of a right or an answer, why."""

    scope: Literal["tenant", "installation"]
    processing: Processing
    unavailable: Mapping[str, str]
    tenant: TenantMetrics | None = None
    installation: InstallationMetrics | None = None


def of_tenant(found: TenantMetrics, state: InstallationState, lease_seconds: float) -> SystemMetrics:
    """What a tenant's admin is told: nothing of other tenants, and of the installation only whether it keeps up."""
    why = {"installation": FOR_OWNERS, **_missing(state)}
    if found.errors.types is None:
        why["tenant.errors.types"] = "this installation keeps no summary of exceptions by their class"
    return SystemMetrics("tenant", processing(state, lease_seconds), dict(sorted(why.items())), tenant=found)


def of_installation(state: InstallationState, lease_seconds: float) -> SystemMetrics:
    """What an owner of the platform is told: nothing of a single tenant."""
    why = {"tenant": OF_NO_TENANT, **_missing(state)}
    why |= {f"installation.{part}": reason for part, reason in state.reasons.items()}
    database = state.database
    if database is None:
        why["installation.throughput"] = why["installation.database"]
    elif database.bytes is None:
        why["installation.database.size_bytes"] = (
            "the server's role may not connect to its database by itself"
        )
    found = InstallationMetrics(
        pipeline=pipeline_told(state.pipeline, lease_seconds),
        queue=_queue(state),
        throughput=None if database is None else ProcessedEvents(
            rfc3339(database.hour), database.processed, rounded(Fraction(database.processed, HOUR))
        ),
        database=None if database is None else DatabaseHealth(
            database.version, database.bytes, database.connections_used, database.connections_allowed
        ),
        redis=state.memory,
    )  # fmt: skip
    whole = processing(state, lease_seconds)
    return SystemMetrics("installation", whole, dict(sorted(why.items())), installation=found)


def processing(state: InstallationState, lease_seconds: float) -> Processing:
    """Of one look; None for what did not answer."""
    pipeline = state.pipeline
    known = pipeline.database
    return Processing(
        postgresql_answers=known,
        redis_answers=state.redis_answers,
        lag_seconds=max(pipeline.lag.values()) if pipeline.streams else None,
        shards=len(pipeline.positions) if known else None,
        unattended_shards=len(set(pipeline.positions) - pipeline.held) if known else None,
        workers_live=sum(each.silent < lease_seconds for each in pipeline.workers) if known else None,
    )


def _missing(state: InstallationState) -> dict[str, str]:
    why = {}
    pipeline = state.pipeline
    if not pipeline.streams:
        never = pipeline.database and not pipeline.positions
        lag = NEVER if never else AWAY.format("Redis" if pipeline.database else "PostgreSQL")
        why["processing.lag_seconds"] = lag
    if not pipeline.database:
        for part in ("shards", "unattended_shards", "workers_live"):
            why[f"processing.{part}"] = AWAY.format("PostgreSQL")
    return why


def _queue(state: InstallationState) -> Queue | None:
    if state.backlogs is None:
        return None
    least = most = 0
    for backlog in state.backlogs.values():
        if backlog.oldest is not None:
            least += backlog.retained if backlog.whole else 1
            most += backlog.retained
    return Queue(least, most)
