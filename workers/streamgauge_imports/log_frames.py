"""An access log as frames of `http.request` events. No address and no user agent leaves this module but as a pseudonym."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TextIO, get_args

from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge.domains.web.access_log import LogFormat, LogLine, content_digest, parse_line, read_lines
from streamgauge.domains.web.declarations import BYTES, METHOD, PATH, REQUEST, ROUTE, STATUS
from streamgauge.domains.web.routes import RouteTable
from streamgauge.errors import InputError, ServerError
from streamgauge.event import Event, Value
from streamgauge.sharding import shard_of
from streamgauge_imports.batches import VERSION, Batches, Frame

SHOWN = 10  # malformed lines told one by one
VISITORS_KEPT = 200_000
LOOKED_AT = 1_000  # lines that tell whether the format is another


class Signature(NamedTuple):
    """What tells that a file was not written to between two looks."""

    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "Signature":
        """A file's, as it is now."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class LogFile(NamedTuple):
    """A log that has been read once, whole."""

    path: Path
    digest: bytes  #: of its uncompressed content
    lines: int
    signature: Signature


def examine(path: Path, format: LogFormat) -> LogFile:
    """Read a log to its end before anything of it is sent.

    Raises InputError for a file that cannot be read whole, is not a log, or is one in the other format.
    """
    # First the lines: what is missing, a folder or binary is told here. Then `path` is a file that stat can be asked about.
    lines = 0
    fitting: Counter[str] = Counter()
    for lines, line in read_lines(path):
        if lines <= LOOKED_AT:
            fitting.update(
                each for each in get_args(LogFormat) if isinstance(parse_line(line, each), LogLine)
            )
    if fitting and not fitting[format]:
        other = next(iter(fitting))
        raise InputError(
            f"{path} is not in the format {format!r}, but looks like {other!r}: say --format {other}",
            "format",
        )
    signature = Signature.of(path)
    return LogFile(path, content_digest(path), lines, signature)


class Rejects:
    """Malformed lines: counted, the first told, and all of them in a file when they are many. Never what they hold."""

    def __init__(self, path: Path) -> None:
        """`path` is where the file goes, should there be one."""
        self.path = path
        self.counts: Counter[str] = Counter()
        self.first: list[tuple[int, str]] = []
        self._file: TextIO | None = None

    def add(self, number: int, reason: str) -> None:
        """Take note of a line. Raises ServerError when the file cannot be written."""
        self.counts[reason] += 1
        if len(self.first) < SHOWN:
            self.first.append((number, reason))
            return
        try:
            if self._file is None:
                descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                self._file = open(descriptor, "w", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
                self._file.writelines(["line\treason\n", *(f"{each}\t{why}\n" for each, why in self.first)])
            self._file.write(f"{number}\t{reason}\n")
        except OSError as error:
            raise self._failure(error) from error

    def summary(self) -> dict[str, Any]:
        """Counts by reason, the first lines, and the file if there is one."""
        return {
            "rejected": dict(self.counts),
            "rejected_lines": self.first,
            "rejected_file": str(self.path) if self._file is not None else None,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as failure:
                raise self._failure(failure) from failure

    def _failure(self, error: OSError) -> ServerError:
        return ServerError(
            f"the list of malformed lines, {self.path}, cannot be written ({error.strerror}): free space, or give another "
            "--data-dir"
        )


@dataclass(frozen=True)
class AccessLog:
    """The events of an access log: a `Source`."""

    path: Path
    signature: Signature
    format: LogFormat
    keys: TenantKeys
    routes: str | None  #: text of the table of routes
    shards: int
    batch: int
    rejects: Path

    def options(self) -> dict[str, object]:
        """See `Source.options`."""
        routes = None if self.routes is None else blake2b(self.routes.encode(), digest_size=8).hexdigest()
        return {
            "version": VERSION,
            "format": self.format,
            "routes": routes,
            "key": self.keys.fingerprint,
            "shards": self.shards,
            "batch": self.batch,
        }

    def frames(self, summary: dict[str, Any]) -> Iterator[Frame]:
        """One event for each well-formed line, in the file's order.

        Raises InputError when the file is written to meanwhile: its digest would no longer be its identity.
        """
        batches = Batches(self.shards, self.batch)
        number = events = 0
        with Rejects(self.rejects) as rejects:
            for number, event, shard in self._events(rejects):
                events += 1
                frame = batches.add(shard, event, number)
                if frame is not None:
                    yield self._unchanged(frame)
        for frame in batches.rest(number):
            yield self._unchanged(frame)
        summary.update(rejects.summary(), rows=events + rejects.counts.total())

    def _events(self, rejects: Rejects) -> Iterator[tuple[int, Event, int]]:
        visitors: dict[tuple[bytes, bytes | None], tuple[bytes, int]] = {}
        routes = RouteTable.parse(self.routes) if self.routes is not None else None
        format, name, tenant = self.format, REQUEST.name, self.keys.tenant
        for number, line in read_lines(self.path):
            row = parse_line(line, format)
            if not isinstance(row, LogLine):
                rejects.add(number, row.reason)
                continue
            visitor = visitors.get((row.host, row.agent))
            if visitor is None:
                if len(visitors) >= VISITORS_KEPT:
                    visitors.clear()
                visitor = visitors[row.host, row.agent] = self._visitor(row)
            properties: dict[str, Value] = {
                METHOD: row.method, STATUS: row.status, BYTES: row.bytes, PATH: row.path,
            }  # fmt: skip
            if routes is not None:
                properties[ROUTE] = routes.route(row.path, row.method)
            actor, shard = visitor
            yield number, Event(name, row.at_us, tenant, actor, source="import", properties=properties), shard

    def _visitor(self, row: LogLine) -> tuple[bytes, int]:
        """A visitor's pseudonym and shard: host and agent, or the host alone where the format has no agent."""
        parts = (row.host,) if self.format == "common" else (row.host, row.agent or b"-")
        pseudonym = self.keys.pseudonym("visitor", *parts)
        return pseudonym, shard_of(pseudonym, None, None, b"", self.shards)

    def _unchanged(self, frame: Frame) -> Frame:
        """The frame, if the file is still the one that was examined: asked after its rows were read, before they are sent."""
        if Signature.of(self.path) != self.signature:
            raise InputError(
                f"{self.path} was written to while it was imported: import a file that is complete, such as a rotated log",
                "file",
            )
        return frame
