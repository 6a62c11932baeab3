"""A table as events, row by row, as a mapping says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamgauge.capture.pseudonyms import TenantKeys
from streamgauge.event import Event, Value
from streamgauge.summaries.calendar import Calendar
from streamgauge.summaries.rollups import EventType
from streamgauge.summaries.zones import load_zone
from streamgauge_imports.batches import VERSION, Frame
from streamgauge_imports.csv_cells import Clock, value_of
from streamgauge_imports.csv_mapping import ColumnMapping, Origin
from streamgauge_imports.facts import Facts, RejectedRows, UnusableError
from streamgauge_imports.framing import Made, framed
from streamgauge_imports.table_rows import BadRow, picked
from streamgauge_imports.tenants import Zones
from streamgauge_imports.text_files import TextFile


class Reader:
    """Makes what an event consists of, from the cells of a row in the order of the mapping's columns. Pure."""

    def __init__(self, mapping: ColumnMapping, zones: Zones) -> None:
        """`zones`: the tenant's."""
        self._mapping = mapping
        self._places = {name: place for place, name in enumerate(mapping.columns)}
        self._types: dict[str, EventType] = {each.name: each for each in mapping.event_types}
        zone = load_zone(mapping.time_zone or zones[-1][1])
        self._clock = Clock(mapping.occurred_at, mapping.time_format, zone, Calendar(zones))

    def name(self, cells: Sequence[str]) -> str:
        """Which event it is. Raises UnusableError."""
        name = self._text(self._mapping.event, cells)
        if name is None:
            raise UnusableError("missing_value", f"column {self._mapping.event.column}: is empty")
        if name not in self._types:
            raise UnusableError(
                "undeclared_event", f"column {self._mapping.event.column}: names no declared event type"
            )
        return name

    def at(self, cells: Sequence[str]) -> int:
        """When it was, in UTC microseconds. Raises UnusableError."""
        text = cells[self._places[self._mapping.occurred_at]]
        if not text.strip():
            raise UnusableError("missing_value", f"column {self._mapping.occurred_at}: is empty")
        return self._clock.read(text)

    def identities(self, cells: Sequence[str]) -> dict[str, str | None]:
        """Actor, session, group and idempotency key, as far as they are mapped and told."""
        return {name: self._text(origin, cells) for name, origin in self._mapping.identities.items()}

    def properties(self, name: str, cells: Sequence[str]) -> dict[str, Value]:
        """The properties that this event has, without those whose cells are empty. Raises UnusableError."""
        found: dict[str, Value] = {}
        for each, origin in self._mapping.properties.items():
            declared = self._types[name].properties.get(each)
            if declared is None:
                continue
            if origin.constant is not None:
                found[each] = origin.constant
            elif (text := self._text(origin, cells)) is not None:
                found[each] = value_of(text, declared.type, origin)
        return found

    def _text(self, origin: Origin, cells: Sequence[str]) -> str | None:
        if origin.column is None:
            return None if origin.constant is None else str(origin.constant)
        text = cells[self._places[origin.column]]
        return text if text.strip() else None


@dataclass(frozen=True)
class CsvFile:
    """The events of a table: a `Source`."""

    file: TextFile
    mapping: ColumnMapping
    zones: Zones
    keys: TenantKeys
    shards: int
    batch: int
    rejects: Path

    def options(self) -> dict[str, object]:
        """See `Source.options`."""
        return {"version": VERSION, "key": self.keys.fingerprint, "shards": self.shards, "batch": self.batch}

    def frames(self, summary: dict[str, Any]) -> Iterator[Frame]:
        """One event for each good row, in the file's order; see `framed`."""
        facts = Facts(self.keys, self.mapping.event_types, self.shards)
        yield from framed(self._events, facts, [self.file], self.shards, self.batch, self.rejects, summary)

    def _events(self, facts: Facts, rejects: RejectedRows) -> Made:
        reader = Reader(self.mapping, self.zones)
        for row in picked(self.file.path, self.mapping.columns, self.mapping.delimiter):
            try:
                if isinstance(row, BadRow):
                    raise UnusableError(row.reason, row.detail)
                made = self._event(facts, reader, row.line, row.cells)
            except UnusableError as error:
                rejects.refuse(row.line, error.reason, error.detail)
                continue
            yield row.line, made

    def _event(self, facts: Facts, reader: Reader, line: int, cells: Sequence[str]) -> tuple[int, Event]:
        name = reader.name(cells)
        identities = reader.identities(cells)
        key = identities.pop("idempotency_key", None) or f"csv {self.file.digest.hex()} {line}"
        return facts.event(name, reader.at(cells), reader.properties(name, cells), key, **identities)
