"""A file of xAPI statements as events: one statement on each line, a JSON list of them, or what a Learning Record Store answered."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge.domains.learning.declarations import EVENT_TYPES
from streamgauge.errors import InputError
from streamgauge.event import Event
from streamgauge.ingest.items import EPOCH, instant
from streamgauge.xapi.statements import RefusedError, Statement, id_of, read_statement
from streamgauge.xapi.voiding import Voided
from streamgauge_imports.batches import VERSION, Frame
from streamgauge_imports.facts import Facts, RejectedRows, UnusableError
from streamgauge_imports.framing import Made, framed
from streamgauge_imports.text_files import BOM, MAX_LINE, TextFile, content_of, lines_of

#: A list is read into memory whole, which takes ten times as much there.
MOST_BYTES: Final = 64 * 1024 * 1024
_MICROSECOND = timedelta(microseconds=1)


class Found(NamedTuple):
    """A statement with its number: of its line, or its place in the list. None: it is no JSON, or too long."""

    number: int
    given: Any
    wrong: str = ""


def read_file(path: Path) -> Iterator[Found]:
    """Every statement of a file that was examined. Raises InputError for a list that is no JSON, or too large."""
    first = next((line for _, line in lines_of(path) if line.strip()), b"").lstrip()
    given = _decoded(first)
    if isinstance(given, dict) and "statements" not in given:
        yield from _lines(path)
    elif first.startswith(b"["):
        yield from _numbered(_document(path))
    else:
        try:
            found = _document(path)
        except InputError:
            # No document, then lines, of which the first is none.
            yield from _lines(path)
        else:
            yield from _numbered(found)


def _numbered(found: Any) -> Iterator[Found]:
    if isinstance(found, dict):
        found = found.get("statements", [found])
    yield from (
        Found(place, each) for place, each in enumerate(found if isinstance(found, list) else [found], 1)
    )


def _lines(path: Path) -> Iterator[Found]:
    for number, line in lines_of(path):
        if len(line) > MAX_LINE:
            yield Found(number, None, f"too_long: has more than {MAX_LINE:,} bytes")
        elif line.strip():
            given = _decoded(line)
            yield Found(number, given, "" if given is not None else "not_json: is no JSON")


def _document(path: Path) -> Any:
    with content_of(path) as content:
        whole = content.read(MOST_BYTES + 1)
    if len(whole) > MOST_BYTES:
        raise InputError(
            f"{path} is a list of more than {MOST_BYTES:,} bytes, which is read whole: write one statement on each line instead",
            "file",
        )
    try:
        return orjson.loads(whole.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path} is no JSON: {error}", "file") from None


def _decoded(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


@dataclass(frozen=True)
class XapiFile:
    """The events of a file of statements: a `Source`."""

    file: TextFile
    keys: TenantKeys
    shards: int
    batch: int
    rejects: Path

    def options(self) -> dict[str, object]:
        """See `Source.options`."""
        return {"version": VERSION, "key": self.keys.fingerprint, "shards": self.shards, "batch": self.batch}

    def frames(self, summary: dict[str, Any]) -> Iterator[Frame]:
        """One event for each statement that means one, in the file's order; see `framed`. Raises InputError as `read_file` does, too."""
        facts = Facts(self.keys, EVENT_TYPES, self.shards)
        yield from framed(self._events, facts, [self.file], self.shards, self.batch, self.rejects, summary)

    def _events(self, facts: Facts, rejects: RejectedRows) -> Made:
        voided = Voided.among(self._given(), self._given())
        for number, given, wrong in read_file(self.file.path):
            try:
                if wrong:
                    raise UnusableError(*wrong.split(": ", 1))
                made = self._event(facts, voided, number, given)
            except UnusableError as error:
                rejects.refuse(number, error.reason, error.detail)
                continue
            yield number, made

    def _given(self) -> Iterator[Any]:
        return (found.given for found in read_file(self.file.path))

    def _event(self, facts: Facts, voided: Voided, number: int, given: Any) -> tuple[int, Event]:
        try:
            # Statements without an id are told apart by their place.
            key = id_of(given) or f"xapi {self.file.digest.hex()} {number}"
            if voided.holds(given):
                raise UnusableError("voided", "another statement of this file takes it back")
            found = read_statement(given)
            if not isinstance(found, Statement):
                voided.check(found)
                raise UnusableError("voiding", "it takes back a statement of this file, which is left out")
        except RefusedError as error:
            raise UnusableError(error.reason, f"{error.field}: {error.detail}") from None
        if found.occurred_at is None:
            raise UnusableError("invalid_time", "timestamp and stored are both missing")
        at: datetime = instant(found.occurred_at)
        return facts.event(
            found.name,
            (at - EPOCH) // _MICROSECOND,
            found.properties,
            key,
            actor=found.actor,
            session=found.session,
        )
