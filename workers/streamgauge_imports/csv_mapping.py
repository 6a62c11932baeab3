"""The file that says what the columns of a table mean: JSON or TOML, checked before a row is read.

event = {constant = "quiz.attempted"}
occurred_at = "submitted"
actor = "student"

[properties]
"quiz.id" = "quiz"
score = {column = "points", type = "int"}
max_score = {constant = 100}
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import orjson

from streamgauge.capture.properties import Vocabulary
from streamgauge.errors import InputError
from streamgauge.summaries.rollups import EventType
from streamgauge.summaries.zones import load_zone

MOST_BYTES: Final = 1024 * 1024
IDENTITIES: Final = ("actor", "session", "group", "idempotency_key")
TYPES: Final = {"str": str, "int": int, "float": float, "bool": bool}
ISO, UNIX_SECONDS, UNIX_MILLISECONDS = "iso8601", "unix_seconds", "unix_milliseconds"
_SOME_TIME: Final = datetime(2026, 3, 21, 13, 45, 50, tzinfo=UTC)
_MEMBERS: Final = (
    "event", "occurred_at", *IDENTITIES, "properties", "delimiter", "time_format", "time_zone",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: a column, or the same for every row."""

    column: str | None = None
    constant: str | int | float | bool | None = None
    kind: type | None = None  #: of a column; None: as the event type declares it
    times: int = 1  #: whole numbers are multiplied by this: 1,000,000 makes microseconds of seconds


@dataclass(frozen=True)
class ColumnMapping:
    """What becomes of a row."""

    event: Origin
    occurred_at: str  #: the column
    identities: Mapping[str, Origin]
    properties: Mapping[str, Origin]
    event_types: tuple[EventType, ...]  #: those that a row can become
    delimiter: str = ","
    time_format: str = ISO  #: or one of the others, or a pattern of strptime
    time_zone: str | None = None  #: of times without an offset; None: the tenant's
    digest: bytes = field(default=b"", compare=False)  #: of what it says, however it is written

    @property
    def columns(self) -> list[str]:
        """Every column that is read, once."""
        origins = (self.event, *self.identities.values(), *self.properties.values())
        return list(dict.fromkeys([self.occurred_at, *(each.column for each in origins if each.column)]))


def load_mapping(path: Path, event_types: Collection[EventType]) -> ColumnMapping:
    """The mapping in a file, TOML if its name ends so, else JSON. Raises InputError, naming the member."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"the mapping {path} cannot be read: {error.strerror}", "mapping") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"the mapping {path} is longer than {MOST_BYTES:,} bytes", "mapping")
    try:
        toml = path.suffix.lower() == ".toml"
        found = tomllib.loads(content.decode("utf-8-sig")) if toml else orjson.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the mapping {path} is no {'TOML' if toml else 'JSON'}: {error}", "mapping"
        ) from error
    return parse_mapping(found, event_types)


def parse_mapping(given: Any, event_types: Collection[EventType]) -> ColumnMapping:
    """A mapping from what its file holds. Raises InputError, naming the member."""
    if not isinstance(given, dict):
        raise InputError(f"a mapping is an object with {', '.join(_MEMBERS)}", "mapping")
    for name in given:
        if name not in _MEMBERS:
            raise InputError(f"mapping: {name!r:.100} is not among {', '.join(_MEMBERS)}", str(name)[:100])
    event = _origin("event", given.get("event"))
    types = {each.name: each for each in event_types}
    if event.constant is not None and event.constant not in types:
        raise InputError(f"mapping: no event type {event.constant!r:.100} is declared", "event")
    occurred_at = _origin("occurred_at", given.get("occurred_at")).column
    if occurred_at is None:
        raise InputError("mapping: occurred_at has to name a column", "occurred_at")
    properties = given.get("properties", {})
    if not isinstance(properties, dict):
        raise InputError("mapping: properties is an object of properties and their columns", "properties")
    mapping = ColumnMapping(
        event,
        occurred_at,
        {name: _origin(name, given[name]) for name in IDENTITIES if name in given},
        {name: _origin(f"properties.{name}", each) for name, each in properties.items()},
        tuple(types.values() if event.column else [types[str(event.constant)]]),
        _delimiter(given.get("delimiter", ",")),
        _text(given, "time_format") or ISO,
        _text(given, "time_zone"),
        blake2b(orjson.dumps(given, option=orjson.OPT_SORT_KEYS, default=str), digest_size=16).digest(),
    )
    if mapping.time_zone is not None:
        load_zone(mapping.time_zone)
    _check_time_format(mapping.time_format)
    _check_properties(mapping)
    return mapping


def _check_time_format(given: str) -> None:
    if given in (ISO, UNIX_SECONDS, UNIX_MILLISECONDS):
        return
    try:
        # What is written with it has to be read with it, to the day.
        if datetime.strptime(_SOME_TIME.strftime(given), given).date() != _SOME_TIME.date():
            raise ValueError
    except ValueError:
        raise InputError(
            f"mapping: time_format is {ISO}, {UNIX_SECONDS}, {UNIX_MILLISECONDS}, or a pattern with year, month and day such as "
            "%d.%m.%Y %H:%M",
            "time_format",
        ) from None


def _check_properties(mapping: ColumnMapping) -> None:
    """Raise InputError for properties that no row could have."""
    Vocabulary(mapping.event_types)
    for name, origin in mapping.properties.items():
        declared = [each.properties[name] for each in mapping.event_types if name in each.properties]
        field = f"properties.{name}"[:200]
        if not declared:
            whose = f"of {mapping.event.constant}" if mapping.event.constant else "of any event type"
            raise InputError(f"mapping: {name!r:.100} is no property {whose}", field)
        if origin.kind is not None and all(origin.kind is not each.type for each in declared):
            wanted = next(iter(declared)).type.__name__
            raise InputError(f"mapping: {name!r} is declared as {wanted}, not {origin.kind.__name__}", field)
        if origin.times != 1 and all(each.type is not int for each in declared):
            raise InputError(f"mapping: {name!r} is no whole number, and cannot have times", field)
        if origin.constant is not None and all(type(origin.constant) is not each.type for each in declared):
            raise InputError(f"mapping: the constant of {name!r} is no {declared[0].type.__name__}", field)


def _origin(name: str, given: Any) -> Origin:
    if isinstance(given, str) and given:
        return Origin(column=given)
    if not isinstance(given, dict) or len({"column", "constant"} & given.keys()) != 1:
        raise InputError(
            f'mapping: {name} names a column, as "column" or {{"column": "..."}}, or is {{"constant": ...}}',
            name,
        )
    more = ("type", "times") if name.startswith("properties.") else ()
    if wrong := [each for each in given if each not in ("column", "constant", *more)]:
        raise InputError(f"mapping: {name} cannot have {wrong[0]!r:.100}", name)
    column, constant, times = given.get("column"), given.get("constant"), given.get("times", 1)
    if "column" in given and (not isinstance(column, str) or not column):
        raise InputError(f"mapping: {name}.column is the name of a column", name)
    if "constant" in given and (
        not isinstance(constant, str | int | float) or (not more and not isinstance(constant, str))
    ):
        raise InputError(
            f"mapping: {name}.constant is {'a text, number or flag' if more else 'a text'}", name
        )
    if type(times) is not int or not 1 <= times <= 10**9:
        raise InputError(f"mapping: {name}.times is a whole number from 1 to 1,000,000,000", name)
    if "type" in given and given["type"] not in TYPES:
        raise InputError(f"mapping: {name}.type is one of {', '.join(TYPES)}", name)
    return Origin(column, constant, TYPES.get(given.get("type", "")), times)


def _delimiter(given: Any) -> str:
    if not isinstance(given, str) or len(given) != 1 or given in '"\r\n' or not given.isascii():
        raise InputError("mapping: delimiter is one character of ASCII, such as ; or a tab", "delimiter")
    return given


def _text(given: Mapping[str, Any], name: str) -> str | None:
    found = given.get(name)
    if found is not None and not isinstance(found, str):
        raise InputError(f"mapping: {name} is a text", name)
    return found
