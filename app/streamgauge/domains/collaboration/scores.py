"""Scores of collaboration, in whole numbers: what counts how much, and for how long."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from streamgauge.read.tally import rounded

Metric = Literal["collaboration", "consistency", "momentum"]
HALF_LIFE: Final = 7  # days
_BITS: Final = 32
#: Momentum is counted in 2^-32 points.
SCALE: Final = 1 << _BITS
#: 2^32 times the 7th roots of 2^0, 2^-1, … 2^-6, rounded down: the greatest whole numbers whose 7th power is at most 2^(224 - r).
_ROOTS: Final = (4294967296, 3890053517, 3523313525, 3191148436, 2890298655, 2617811889, 2371014176)
#: The age in days from which on a day weighs nothing.
OLDEST: Final = _BITS * HALF_LIFE + 1


@dataclass(slots=True)
class Deeds:
    """What somebody did. `created` and `contributed` are different drafts; `rings`: how often a ring was passed to them."""

    created: int = 0
    contributed: int = 0
    segments: int = 0
    rings: int = 0


def collaboration(deeds: Deeds) -> int:
    """Segments three times, rings held twice, drafts contributed to once."""
    return deeds.segments * 3 + deeds.rings * 2 + deeds.contributed


def consistency(deeds: Deeds) -> int:
    """Drafts created five times, drafts contributed to (those created are among them) twice."""
    return deeds.created * 5 + deeds.contributed * 2


def momentum(days: Iterable[tuple[int, Deeds]]) -> int:
    """Segments, and drafts created five times, of each local day, weighted by its age in days; in 2^-32 points.

    Weights are rounded down, so the score is below the true one by less than 2^-32 for each point.
    """
    return sum((deeds.segments + deeds.created * 5) * weight(age) for age, deeds in days)


def weight(age: int) -> int:
    """2^32 times 2^(-age/7), rounded down: exact, so no day weighs more than a later one. `age`: whole days, from 0."""
    # Rounding down twice is rounding down once when the second divisor is a whole number.
    return _ROOTS[age % HALF_LIFE] >> age // HALF_LIFE


def shown(metric: Metric, score: int) -> int | float:
    """A score as it is told: momentum in points, rounded half to even to 3 decimals; the others are whole."""
    return rounded(Fraction(score, SCALE)) if metric == "momentum" else score
