"""Durations of ISO 8601 as whole microseconds."""

import re
from fractions import Fraction
from typing import Final

from streamgauge.errors import InputError

_NUMBER = r"(\d{1,12}(?:[.,]\d{1,12})?)"
_DURATION: Final = re.compile(
    rf"P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?=\d)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_SECONDS: Final = (7 * 86_400, 86_400, 3_600, 60, 1)
_CALENDAR: Final = re.compile(r"P(?:[\d.,]+Y)?[\d.,]+[YM]")


def microseconds_of(duration: str) -> int:
    """Whole microseconds of a duration such as PT1H30M5.5S or P2W, rounded half to even.

    Raises InputError for what is none, and for years and months, which have no fixed length.
    """
    match = _DURATION.fullmatch(duration) if len(duration) <= 100 else None
    if match is None or not any(match.groups()):
        if _CALENDAR.match(duration[:100]):
            raise InputError(
                "a duration in years or months has no fixed length: give days or hours", "duration"
            )
        raise InputError("a duration is one of ISO 8601, such as PT1H30M5.5S", "duration")
    parts = [Fraction(part.replace(",", ".")) if part else Fraction() for part in match.groups()]
    return round(1_000_000 * sum(part * unit for part, unit in zip(parts, _SECONDS, strict=True)))
