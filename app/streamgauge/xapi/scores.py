"""Numbers of a statement's result as the whole numbers of our events."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import Any, Final

from streamgauge.domains.learning.declarations import MAX_SCORE, MOST_SCORE, SCORE
from streamgauge.errors import InputError
from streamgauge.event import Value

CMI5_PROGRESS: Final = "https://w3id.org/xapi/cmi5/result/extensions/progress"
THOUSANDTHS: Final = 1_000


def score_of(score: Mapping[str, Any]) -> tuple[dict[str, Value], tuple[str, ...]]:
    """Points reached and to be reached, and the members that nothing could be made of.

    Raw points of a maximum stay as they are, and become thousandths when one of them is not whole; a scaled score alone becomes
    thousandths of 1,000. Raw points without a maximum say nothing. Halves are rounded to even. Raises InputError.
    """
    raw, most, scaled = (_number(score, name) for name in ("raw", "max", "scaled"))
    if raw is not None and most is not None:
        _check(raw, 0, min(most, Fraction(MOST_SCORE)), "raw", "0 to score.max")
        _check(most, Fraction(1, THOUSANDTHS), MOST_SCORE, "max", f"above 0 and up to {MOST_SCORE}")
        unit = 1 if raw.denominator == most.denominator == 1 else THOUSANDTHS
        _check(most * unit, 0, MOST_SCORE, "max", f"up to {MOST_SCORE // unit} where points are not whole")
        return {SCORE: round(raw * unit), MAX_SCORE: round(most * unit)}, ()
    if scaled is not None:
        _check(scaled, 0, 1, "scaled", "0 to 1; below 0 there is no place for it")
        return {SCORE: round(scaled * THOUSANDTHS), MAX_SCORE: THOUSANDTHS}, ()
    return {}, () if raw is most is None else ("result.score",)


def progress_of(extensions: Mapping[str, Any]) -> int:
    """Whole per cent of cmi5's extension, rounded down: what is not finished is not 100. Raises InputError."""
    found = extensions.get(CMI5_PROGRESS)
    if found is None:
        raise InputError(f"progressed needs the extension {CMI5_PROGRESS}", "extensions")
    progress = _exact(found, f"extensions.{CMI5_PROGRESS}")
    _check(progress, 0, 100, f"extensions.{CMI5_PROGRESS}", "0 to 100")
    return int(progress)


def _number(score: Mapping[str, Any], name: str) -> Fraction | None:
    found = score.get(name)
    return None if found is None else _exact(found, f"score.{name}")


def _exact(found: Any, field: str) -> Fraction:
    """The number that was written: 0.1 is a tenth, and not the double next to it."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
        raise InputError("it is no number", field)
    return Fraction(Decimal(repr(found)))


def _check(number: Fraction, least: Fraction | int, most: Fraction | int, name: str, limit: str) -> None:
    if not least <= number <= most:
        field = name if name.startswith("extensions") else f"score.{name}"
        raise InputError(f"it is not within {limit}", field)
