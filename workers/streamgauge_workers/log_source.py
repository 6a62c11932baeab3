"""Every entry that was ever applied, wherever it is now: in the event log, or in an archive of it.

An entry is in exactly one of the two: archives are read once the log holds their entries no more, which is written down in the
transaction that takes them out of it.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from streamgauge.database import Connection
from streamgauge.errors import ArchiveError, FrameError
from streamgauge.outcomes import Outcomes
from streamgauge.table import Table
from streamgauge_workers import event_log
from streamgauge_workers.retention.archive import SQL, Archive
from streamgauge_workers.retention.archive_file import Pages, entries_of
from streamgauge_workers.retention.columns import EXPIRED, Row

Source = Literal["log", "archive"]
PREFETCH = 200  # entries

__all__ = ["EXPIRED", "LogEntry", "Source", "Survey", "of_shard", "survey", "whole"]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An applied entry. `outcomes` holds a code per event (`streamgauge.outcomes`), or EXPIRED where retention has taken it."""

    shard: int
    lane: bytes
    first: int
    n: int
    applied_day: date
    applied_at: datetime
    table: Table
    outcomes: Outcomes
    source: Source
    #: False where an archive's seal tells what became of its events, because some of them were taken out.
    counted: bool = True

    @property
    def name(self) -> str:
        """For people."""
        return f"event_log {self.applied_day} shard {self.shard} lane {self.lane.hex()} first {self.first}"


@dataclass(slots=True)
class Survey:
    """The archives that hold what the log holds no more, and which of them can be read."""

    directory: Path | None = None
    readable: list[Archive] = field(default_factory=list)
    #: Without a file that can be read: what is known of them is their seal.
    sealed: list[Archive] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)  #: of the sealed, by file

    @property
    def all(self) -> list[Archive]:
        """Readable or not."""
        return [*self.readable, *self.sealed]

    @property
    def expired(self) -> list[Archive]:
        """Readable ones from which events were taken since their tenants' retention was over."""
        return [archive for archive in self.readable if archive.expired]

    @property
    def damaged(self) -> list[str]:
        """Files that are there and are not what was written."""
        return [
            f"archive {file} {problem}"
            for file, problem in self.problems.items()
            if problem != "is not there"
        ]

    def require_whole(self) -> None:
        """Raise ArchiveError unless every entry can be read with all its events."""
        if self.problems:
            file, problem = next(iter(self.problems.items()))
            raise ArchiveError(
                f"archive {file} {problem}, and the event log holds its entries no more: put it into "
                f"{self.directory or 'the directory of archives (STREAMGAUGE_ARCHIVE_DIR)'} again"
            )
        if self.expired:
            archive = self.expired[0]
            raise ArchiveError(
                f"archive {archive.file} lacks the events of tenants {sorted(archive.expired)}, whose retention is over: "
                "their summaries cannot be made anew, and are kept as they are"
            )


async def survey(connection: Connection, directory: Path | None, shard: int | None = None) -> Survey:
    """Look at the archives, of one shard or of all. From then on until the transaction ends, no day leaves the log.

    Call it first in a transaction that reads a single snapshot: what left the log before would be in neither. `directory`: where
    archives are; without one, none can be read.
    """
    await connection.execute(SQL["hold"])
    found = Survey(directory)
    for row in await connection.fetch(SQL["archives_alone"], shard):
        archive = Archive.of_row(row)
        problem = "is not there" if directory is None else await asyncio.to_thread(archive.problem, directory)
        if problem is None:
            found.readable.append(archive)
        else:
            found.sealed.append(archive)
            found.problems[archive.file] = problem
    return found


async def of_shard(
    connection: Connection, shard: int, directory: Path | None = None, known: Survey | None = None
) -> AsyncIterator[LogEntry]:
    """Every entry of a shard, archived ones first. Needs a transaction.

    With `known` archives that cannot be read are left out, and the caller has taken account of them. Raises ArchiveError without it
    when anything is missing, FrameError for an entry that is not what was stored.
    """
    if known is None:
        known = await survey(connection, directory, shard)
        known.require_whole()
    async for row, source, counted in _rows(connection, known, shard):
        yield entry_of(row, source, counted)


async def whole(
    connection: Connection,
    directory: Path | None = None,
    known: Survey | None = None,
    damaged: list[str] | None = None,
) -> AsyncIterator[LogEntry]:
    """Every entry of all shards, as `of_shard`. With `damaged`, entries that are not what was stored are named there and left out."""
    if known is None:
        known = await survey(connection, directory)
        known.require_whole()
    async for row, source, counted in _rows(connection, known, None):
        try:
            entry = entry_of(row, source, counted)
        except FrameError as error:
            if damaged is None:
                raise
            damaged.append(f"{name_of(row)}: {error}")
            continue
        if (
            damaged is not None
            and source == "log"
            and (row["first_at"], row["last_at"]) != event_log.span(entry.table)
        ):
            earliest, latest = event_log.span(entry.table)
            damaged.append(
                f"{name_of(row)}: its events lie between {earliest} and {latest}, its row says otherwise"
            )
        yield entry


def name_of(row: Row) -> str:
    """An entry's row, for people."""
    return (
        f"event_log {row['applied_day']} shard {row['shard']} lane {row['lane'].hex()} first {row['first']}"
    )


async def _rows(
    connection: Connection, known: Survey, shard: int | None
) -> AsyncIterator[tuple[Row, Source, bool]]:
    for archive in known.readable:
        assert known.directory is not None  # noqa: S101 - without one, none is readable
        if shard is not None and archive.shard != shard:
            continue
        pages = entries_of(known.directory / archive.file)
        try:
            while page := await asyncio.to_thread(_next, pages):
                for row in page:
                    yield row, "archive", not archive.expired
        finally:
            pages.close()
    async for record in connection.cursor(SQL["log_rows"], shard, prefetch=PREFETCH):
        yield record, "log", True


def _next(pages: Pages) -> list[dict[str, Any]]:
    return next(pages, [])


def entry_of(row: Row, source: Source, counted: bool = True) -> LogEntry:
    """The entry of a row. Raises FrameError when it is not what was stored."""
    table = event_log.read(row)
    outcomes = (
        np.zeros(table.n, np.uint8) if row["outcomes"] is None else np.frombuffer(row["outcomes"], np.uint8)
    )
    if len(outcomes) != table.n:
        raise FrameError(f"it holds {table.n} events and {len(outcomes)} outcomes")
    return LogEntry(
        row["shard"],
        row["lane"],
        row["first"],
        row["n"],
        row["applied_day"],
        row["applied_at"],
        table,
        outcomes,
        source,
        counted,
    )
