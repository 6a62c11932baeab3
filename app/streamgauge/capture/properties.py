"""What an event may carry: the declarations as allow-list and validator, fast enough for a request's path."""

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any, Final

from streamgauge.capture.identity import LONGEST_IDENTIFIER, text_of
from streamgauge.errors import SettingsError
from streamgauge.event import Value
from streamgauge.summaries.rollups import KINDS, EventType

LARGEST_INTEGER: Final = 2**53  # exact in JSON and in doubles, too
LONGEST_TEXT: Final = 2_048  # bytes of UTF-8, as the worker admits them
LONGEST_NAME: Final = 200  # characters of an event's or a property's name
#: Estimated bytes in memory of an event without its texts, and of one property.
EVENT_SIZE: Final = 500
PROPERTY_SIZE: Final = 80


class Person(str):
    """Somebody's identifier among an event's properties: a type of its own, so that it cannot be sent by mistake."""

    __slots__ = ()


class InvalidPropertyError(Exception):
    """A declared property has a value that cannot be kept. Tells the property and what is wrong, never the value."""


class Declaration:
    """One event type, as `track` needs it."""

    __slots__ = ("bounds", "kinds", "name", "within")

    def __init__(self, declared: EventType) -> None:
        """Raises SettingsError when the name or a property cannot be stored or has no type we know."""
        self.name = declared.name
        self.kinds: dict[str, type] = {
            name: Person if each.identity else each.type for name, each in declared.properties.items()
        }
        for name in (declared.name, *self.kinds):
            if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
                raise SettingsError(
                    f"event type {declared.name!r}: {name!r} is no name of 1 to {LONGEST_NAME} printable characters"
                )
        for name, each in declared.properties.items():
            if each.type not in KINDS or (each.identity and each.type is not str):
                known = "str" if each.identity else ", ".join(kind.__name__ for kind in KINDS)
                raise SettingsError(
                    f"event type {declared.name!r}: property {name!r} is a {each.type!r}; it can be one of {known}"
                )
        self.bounds = {
            name: (each.least, each.most)
            for name, each in declared.properties.items()
            if each.least is not None or each.most is not None
        }
        self.within = declared.within

    def admit(self, given: dict[str, Any]) -> tuple[dict[str, Value], int, tuple[str, ...]]:
        """The properties to keep, their estimated bytes, and the names of those that are not declared.

        Values of a declared type stay as they are; None counts as not given; a whole number where a float is declared becomes
        one; members of enumerations and other subclasses become what they are made of. `given` itself may be returned.

        Raises InvalidPropertyError when a declared property has another type, or a value that could not be stored.
        """
        kinds = self.kinds
        size = EVENT_SIZE + PROPERTY_SIZE * len(given)
        for name, value in given.items():
            kind = type(value)
            if kind is not kinds.get(name):
                return self._amended(given)
            if kind is str:
                if value.isascii():
                    length = len(value)
                    if length > LONGEST_TEXT or "\0" in value:
                        raise InvalidPropertyError(f"{name!r} {_wrong_text(value)}")
                    size += length
                else:
                    size += _length(name, value)
            elif kind is int:
                if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
                    raise InvalidPropertyError(f"{name!r} is not within ±2**53")
            elif kind is float and not isfinite(value):
                raise InvalidPropertyError(f"{name!r} is not finite")
        if self.bounds or self.within:
            self._check_bounds(given)
        return given, size, ()

    def _check_bounds(self, given: Mapping[str, Any]) -> None:
        for name, (least, most) in self.bounds.items():
            value = given.get(name)
            if value is not None and (
                (least is not None and value < least) or (most is not None and value > most)
            ):
                raise InvalidPropertyError(f"{name!r} is not within {_shown(least)} to {_shown(most)}")
        for smaller, larger in self.within:
            if smaller in given and larger in given and given[smaller] > given[larger]:
                raise InvalidPropertyError(f"{smaller!r} is above {larger!r}")

    def _amended(self, given: Mapping[str, Any]) -> tuple[dict[str, Value], int, tuple[str, ...]]:
        kept: dict[str, Any] = {}
        undeclared = []
        for name, value in given.items():
            declared = self.kinds.get(name)
            if declared is None:
                undeclared.append(name)
            elif value is not None:
                kept[name] = _person(name, value) if declared is Person else _plain(name, value, declared)
        found, size, _ = self.admit(kept)
        return found, size, tuple(undeclared)


class Vocabulary:
    """Every declared event type, by name."""

    def __init__(self, declared: Iterable[EventType]) -> None:
        """Raises SettingsError when a declaration is unusable, or two of the same name differ."""
        types: dict[str, EventType] = {}
        for each in declared:
            if types.setdefault(each.name, each) != each:
                raise SettingsError(
                    f"event type {each.name!r} is declared twice, and differently: give one of them another name"
                )
        self.types = types
        self.declarations = {name: Declaration(each) for name, each in types.items()}


def _plain(name: str, value: Any, declared: type) -> Value:
    """The value as exactly the declared type."""
    # Called on the type itself: a subclass may have a text of its own (enumerations do).
    if declared is str and isinstance(value, str):
        return str.__str__(value)
    if not isinstance(value, bool):
        if declared is int and isinstance(value, int):
            return int.__int__(value)
        if declared is float and isinstance(value, float):
            return float.__float__(value)
        if declared is float and isinstance(value, int) and abs(value) <= LARGEST_INTEGER:
            return float(int.__int__(value))
    elif declared is bool:
        return value
    raise InvalidPropertyError(f"{name!r} is declared as {declared.__name__}, not {type(value).__name__}")


def _shown(bound: int | None) -> str:
    return "any" if bound is None else str(bound)


def _person(name: str, value: Any) -> Person:
    text = text_of(value)
    if type(text) is not str or not is_storable(text, LONGEST_IDENTIFIER):
        raise InvalidPropertyError(f"{name!r} is no identifier of 1 to {LONGEST_IDENTIFIER} characters")
    return Person(text)


def with_pseudonyms(
    properties: Mapping[str, Value], pseudonym: Callable[[str], bytes]
) -> Mapping[str, Value]:
    """The properties as they are sent: a pseudonym, in hexadecimal, for everybody who is named in them."""
    for value in properties.values():
        if type(value) is Person:
            return {
                name: pseudonym(each).hex() if isinstance(each, Person) else each
                for name, each in properties.items()
            }
    return properties


def _length(name: str, text: str) -> int:
    wrong = _wrong_text(text)
    if wrong:
        raise InvalidPropertyError(f"{name!r} {wrong}")
    return len(text.encode())


def _wrong_text(text: str) -> str:
    """Why a text cannot be stored; empty when it can."""
    if "\0" in text:
        return "holds U+0000"
    try:
        length = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return "is not Unicode: it holds a lone surrogate"
    return f"has more than {LONGEST_TEXT} bytes" if length > LONGEST_TEXT else ""


def is_storable(text: str, longest: int) -> bool:
    """Whether a text of 1 to `longest` characters can be sent and stored as it is."""
    return 0 < len(text) <= longest and not _wrong_text(text)
