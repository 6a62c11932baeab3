"""The text of a cell as a value, or what is wrong with it. The cell itself is never told."""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from math import isfinite
from typing import Final

from streamgauge.capture.properties import LARGEST_INTEGER
from streamgauge.errors import InputError
from streamgauge.event import Value
from streamgauge.ingest.items import EPOCH
from streamgauge.summaries.calendar import Calendar
from streamgauge_imports.csv_mapping import ISO, UNIX_MILLISECONDS, UNIX_SECONDS, Origin
from streamgauge_imports.facts import UnusableError
from streamgauge_imports.local_days import noon

_NUMBER: Final = re.compile(r"[+-]?\d{1,20}(\.\d{1,12})?", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MICROSECOND = timedelta(microseconds=1)


def value_of(text: str, declared: type, origin: Origin) -> Value:
    """A cell as the type that its property has. Raises UnusableError, naming the column."""
    if declared is str:
        return text
    plain = text.strip()
    if declared is bool:
        if plain.lower() not in _FLAGS:
            raise UnusableError("invalid_value", f"column {origin.column}: is none of {', '.join(_FLAGS)}")
        return _FLAGS[plain.lower()]
    if declared is int:
        number = Decimal(plain) * origin.times if _NUMBER.fullmatch(plain) else None
        if number is None or number != number.to_integral_value() or abs(number) > LARGEST_INTEGER:
            raise UnusableError("invalid_number", f"column {origin.column}: is no whole number within ±2**53")
        return int(number)
    try:
        found = float(plain)
        if not isfinite(found):
            raise ValueError
    except ValueError:
        raise UnusableError("invalid_number", f"column {origin.column}: is no number") from None
    return found


class Clock:
    """Reads instants of one column."""

    def __init__(self, column: str, time_format: str, zone: tzinfo, calendar: Calendar) -> None:
        """`zone`: of what is written without an offset. Of a time that a clock shows twice, the first is meant."""
        self._column, self._format, self._zone, self._calendar = column, time_format, zone, calendar

    def read(self, text: str) -> int:
        """UTC microseconds. A date alone is its noon in the tenant's zone. Raises UnusableError, naming the column."""
        plain = text.strip()
        try:
            if self._format in (UNIX_SECONDS, UNIX_MILLISECONDS):
                if not _NUMBER.fullmatch(plain):
                    raise ValueError
                return int(Decimal(plain) * (1_000_000 if self._format == UNIX_SECONDS else 1_000))
            if self._format == ISO and _DATE.fullmatch(plain):
                return noon(self._calendar, date.fromisoformat(plain))
            iso = self._format == ISO
            found = datetime.fromisoformat(plain) if iso else datetime.strptime(plain, self._format)
            if found.tzinfo is None:
                found = found.replace(tzinfo=self._zone)
            return (found.astimezone(UTC) - EPOCH) // _MICROSECOND
        except (ValueError, OverflowError, InputError):
            raise UnusableError(
                "invalid_time", f"column {self._column}: is no time in {self._format!r}"
            ) from None
