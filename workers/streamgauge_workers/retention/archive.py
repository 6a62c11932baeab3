"""A row of the table `archives`: one file, and what is known of it."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Self

from asyncpg import Record

from streamgauge.sql import named_queries
from streamgauge_workers.retention import seal
from streamgauge_workers.retention.archive_file import sha256_of
from streamgauge_workers.retention.seal import Seal

SQL = named_queries("streamgauge_workers.retention", "retention.sql")


@dataclass(frozen=True, slots=True)
class Archive:
    """One day, shard and part of the event log in a file of its own."""

    applied_day: date
    shard: int
    part: int
    state: str  #: `written`: the log holds the entries too; `archived`: it does not
    revision: int
    file: str  #: its name in the directory of archives
    size: int  #: of the file, in bytes
    sha256: bytes
    content: bytes
    entries: int
    events: int
    first_applied: datetime
    last_applied: datetime
    first_at: datetime
    last_at: datetime
    tenants: frozenset[int]  #: whose events the file holds, 0 for unknown ones'
    expired: frozenset[int]  #: whose events were taken out since their retention was over
    counts: str
    lanes: bytes
    summaries: bytes
    metrics: tuple[str, ...]
    sealed: bytes
    obsolete: tuple[str, ...]  #: former files that are still to be removed

    @classmethod
    def of_row(cls, row: Record) -> Self:
        """An archive as the table has it."""
        values = dict(row.items())
        del values["written_at"]
        values["sealed"], values["size"] = values.pop("seal"), values.pop("bytes")
        values |= {name: frozenset(values[name]) for name in ("tenants", "expired")}
        values |= {name: tuple(values[name]) for name in ("metrics", "obsolete")}
        return cls(**values)

    @property
    def seal(self) -> Seal:
        """Its seal. Raises ArchiveError when that was changed."""
        return seal.read(self.counts, self.lanes, self.summaries, self.sealed)

    @property
    def key(self) -> tuple[date, int, int]:
        """What names it in the table."""
        return self.applied_day, self.shard, self.part

    def problem(self, directory: Path) -> str | None:
        """Why its file cannot be read, or None. Reads all of it, and blocks."""
        path = directory / self.file
        try:
            if not path.is_file():
                return "is not there"
            if path.stat().st_size != self.size or sha256_of(path) != self.sha256:
                return "is damaged: it is not what was written"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return None


def file_name(day: date, shard: int, part: int, revision: int) -> str:
    """The name of a file, different for whatever it may hold."""
    return f"event_log_{day:%Y%m%d}_shard{shard}_part{part}_{revision}.parquet"
