"""One archived day and shard as a Parquet file: written to a temporary name, made durable, renamed, and read again.

DuckDB writes and reads it, in few megabytes and one thread. It is loaded when the first archive is, and not before.
"""

import hashlib
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from streamgauge.errors import ArchiveError
from streamgauge.outcomes import Outcomes
from streamgauge.table import Table
from streamgauge_workers.retention import columns
from streamgauge_workers.retention.columns import COLUMNS, EPOCH, FIRST_DAY, OF_THE_ENTRY, Row

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "48MB"  # of DuckDB; beyond it, it uses the disk beside the file
ROW_GROUP = 32_768
MOST_EVENTS = 8_192  # handed to DuckDB at once
MOST_ENTRIES = 64  # read at once
CHUNK = 1 << 20

Pages = Generator[list[dict[str, Any]], None, None]
Entry = tuple[Row, Table, Outcomes]
#: Events by tenant and outcome, as a file holds them; None: neither a tenant's nor for a reason.
Tally = dict[tuple[str | None, str, str | None], int]


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is where it belongs."""

    size: int  #: in bytes
    sha256: bytes


class ArchiveWriter:
    """Writes a file in the order in which entries are added. Everything blocks: call it in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f".{path.name}.partial")
        self.rows = path.with_name(f".{path.name}.rows")
        self.waiting: list[dict[str, Any]] = []
        self.events = 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clear()
        self.connection = _open(self.rows)
        self.made = False

    def add(self, entries: Sequence[Entry]) -> None:
        """Append entries."""
        for entry in entries:
            self.waiting.append(columns.of_entry(*entry))
            self.events += entry[1].n
            if self.events >= MOST_EVENTS:
                self._store()

    def finish(self) -> Written:
        """Write the file, wait for the disk, give it its name."""
        self._store()
        if not self.made:
            raise ArchiveError(f"the archive {self.path.name} would hold nothing")
        quoted = str(self.partial).replace("'", "''")
        self.connection.execute(
            f"COPY (SELECT * FROM rows) TO '{quoted}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"  # noqa: S608 - a name of our own  # nosec B608
        )
        self.close()
        self.partial.chmod(0o600)
        _wait_for_disk(self.partial)
        written = Written(self.partial.stat().st_size, sha256_of(self.partial))
        self.partial.rename(self.path)
        _wait_for_disk(self.path.parent)
        return written

    def close(self) -> None:
        """Leave nothing behind but what `finish` made."""
        self.connection.close()
        for leftover in (self.rows, self.rows.with_name(f"{self.rows.name}.wal")):
            leftover.unlink(missing_ok=True)

    def _clear(self) -> None:
        for leftover in (self.partial, self.rows, self.rows.with_name(f"{self.rows.name}.wal")):
            leftover.unlink(missing_ok=True)

    def _store(self) -> None:
        if not self.waiting:
            return
        batch = {name: np.concatenate([each[name] for each in self.waiting]) for name in self.waiting[0]}
        self.waiting, self.events = [], 0
        chosen = ", ".join(f'{source} AS "{name}"' for name, source in COLUMNS.items())
        self.connection.register("batch", batch)
        into = "INSERT INTO rows" if self.made else "CREATE TABLE rows AS"
        self.connection.execute(f"{into} SELECT {chosen} FROM batch")  # noqa: S608 - names of our own  # nosec B608
        self.connection.unregister("batch")
        self.made = True


def entries_of(path: Path) -> Pages:
    """A file's entries as rows of the event log, some at a time. Blocks. Raises ArchiveError for a file that cannot be read."""
    wanted = ("applied_day", "shard", "applied_at", "lane", "first", "n", *OF_THE_ENTRY)
    chosen = ", ".join(f'"{name}"' for name in wanted[3:])
    with _reading(path) as connection:
        connection.execute(
            f"SELECT applied_day - DATE '1970-01-01', shard, epoch_us(applied_at), {chosen} FROM read_parquet($1) "  # noqa: S608 - as above  # nosec B608
            "WHERE frame IS NOT NULL",
            [str(path)],
        )
        while found := connection.fetchmany(MOST_ENTRIES):
            yield [_row(dict(zip(wanted, values, strict=True))) for values in found]


def tally_of(path: Path) -> Tally:
    """A file's events by tenant's name and outcome. Blocks. Raises ArchiveError for a file that cannot be read."""
    with _reading(path) as connection:
        connection.execute(
            "SELECT tenant, outcome, reason, count(*) FROM read_parquet($1) GROUP BY ALL", [str(path)]
        )
        return {(tenant, outcome, reason): count for tenant, outcome, reason, count in connection.fetchall()}


def sha256_of(path: Path) -> bytes:
    """A file's digest. Blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.digest()


class _reading:
    """A connection for reading one file, whose errors are told in our words."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> "DuckDBPyConnection":
        self.connection = _open(None)
        return self.connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.connection.close()
        if error is not None and type(error).__module__.partition(".")[0] in ("duckdb", "_duckdb"):
            raise ArchiveError(f"the archive {self.path.name} cannot be read: {error}") from error


def _open(database: Path | None) -> "DuckDBPyConnection":
    try:
        import duckdb
    except ImportError:
        raise ArchiveError("archives of the event log need DuckDB: install streamgauge[worker]") from None
    settings: dict[str, str | bool | int | float | list[str]] = {"memory_limit": MEMORY, "threads": "1", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}  # fmt: skip
    return duckdb.connect(":memory:" if database is None else str(database), config=settings)


def _row(values: dict[str, Any]) -> dict[str, Any]:
    """As PostgreSQL would give it."""
    values["applied_day"] = FIRST_DAY + timedelta(days=values["applied_day"])
    values["applied_at"] = EPOCH + timedelta(microseconds=values["applied_at"])
    values["tenants"] = orjson.loads(values.pop("tenant_ids"))
    values["payload"] = values.pop("frame")
    return values


def _wait_for_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
