"""What one look at this machine, Redis and PostgreSQL found. The checks judge it and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

from streamgauge.entry import EntryId
from streamgauge.settings import Settings
from streamgauge.stream import Backlog, History
from streamgauge_workers.diagnosis.server_info import ServerInfo
from streamgauge_workers.diagnosis.sessions import Session
from streamgauge_workers.diagnosis.spool_look import SpoolDirectory
from streamgauge_workers.diagnosis.unreachable import Unreachable

NOT_RUNNING = Unreachable("no address was given, and none is running here")


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine, as far as it concerns us."""

    data_dir: Path
    #: Bytes below each entry of the data directory; empty when there is none.
    sizes: Mapping[str, int]
    free: int
    keyring: Path
    keyring_exists: bool
    keyring_is_open: bool  #: others than its owner may read it
    #: Tenants that the keyring holds keys of; None when it cannot be read.
    keyring_tenants: frozenset[str] | None = frozenset()
    archive_dir: Path = Path()
    archive_free: int | None = None  #: bytes of its disk; None: it cannot be told
    spools: SpoolDirectory | None = None


@dataclass(frozen=True, slots=True)
class Redis:
    """What Redis said. `refused`: why it cannot keep the contract, although it answers."""

    info: ServerInfo
    refused: str | None
    #: By shard: its stream's history, and what lies behind its position.
    histories: Mapping[int, History | None] = field(default_factory=dict)
    backlogs: Mapping[int, tuple[Backlog, Backlog]] = field(default_factory=dict)
    #: Shards whose streams could not be looked at, and why.
    unread: Mapping[int, str] = field(default_factory=dict)
    #: Shards whose next entry is of a newer version than this program.
    newer: frozenset[int] = frozenset()
    #: Entries in streams of generations that nobody reads any more, by generation.
    retired: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard's row, and who holds it."""

    shard: int
    number: int
    position: EntryId
    history: History | None
    attempts: int
    applied_at: datetime | None
    holder: UUID | None  #: None when no lease runs
    #: The position at the second look.
    later: EntryId
    generation: int = 0
    epoch: int = 0  #: how often its stream's history has changed
    overflow: bool = False  #: its generation's overflow, which no setting counts
    retired: bool = False
    #: Its lease went to another worker between the two looks.
    changed_hands: bool = False


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that said it is there."""

    worker_id: UUID
    host: str
    pid: int
    silent: float  #: seconds since it last said so


@dataclass(frozen=True, slots=True)
class Refusals:
    """Events refused for one reason."""

    reason: str
    events: int
    newest: datetime


@dataclass(frozen=True, slots=True)
class Stop:
    """A shard that waits because too large a share of its events would be refused."""

    shard: int
    stopped_at: datetime
    processed: int
    refused: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Hole:
    """A lane with numbers that were announced and are not there."""

    shard: int
    lane: str
    lost: int
    closed: bool  #: its producer said that nothing more comes
    born: datetime
    heard: datetime  #: when something of it came last


@dataclass(frozen=True, slots=True)
class ArchiveFiles:
    """Files that alone hold days of the event log, compared with the table by name and size."""

    count: int = 0
    is_here: bool = True  #: whether their directory is on this machine
    missing: Sequence[str] = ()
    altered: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Database:
    """What PostgreSQL said. Everything below `refused` is empty when that is set."""

    version: str
    ahead: float  #: seconds by which its clock is ahead of ours
    read_only: bool
    write_error: str | None
    refused: str | None  #: why its schema or version cannot be used
    shards: Sequence[Shard] = ()
    workers: Sequence[Worker] = ()
    dead_letters: Sequence[Refusals] = ()
    rejected: Sequence[Refusals] = ()
    lost: int = 0
    lost_forgotten: int = 0
    forgotten_lanes: int = 0
    #: Names of tenants, and whether they have events.
    tenants: Sequence[tuple[str, bool]] = ()
    partition_today: bool = True
    partition_tomorrow: bool = True
    applied_today: bool = False
    #: Tenants with actors under pseudonyms made with the tenant's key.
    pseudonymous: Sequence[str] = ()
    #: Tenants without a valid key that may read.
    keyless: Sequence[str] = ()
    #: What applications dropped, by reason.
    drops: Sequence[tuple[str, int]] = ()
    #: Of the last day: all events that were read, and those refused for their time.
    processed: int = 0
    late: int = 0
    future: int = 0
    stops: Sequence[Stop] = ()
    log_bytes: int = 0
    log_oldest: int = 0  #: days since the event log's oldest day
    sessions: Sequence[Session] = ()
    holes: Sequence[Hole] = ()  #: the greatest of them
    #: Names and bytes of archives whose days the log holds no more.
    archives: Mapping[str, int] = field(default_factory=dict)
    #: Shards of generations that nobody reads any more.
    retired: Sequence[Shard] = ()
    #: Settings that decide what a crash of its machine takes.
    fsync: bool = True
    full_pages: bool = True
    synchronous: str = "on"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the checks judge. A server that did not answer is why it did not."""

    settings: Settings
    machine: Machine
    redis: Redis | Unreachable
    database: Database | Unreachable
    archives: ArchiveFiles = ArchiveFiles()
