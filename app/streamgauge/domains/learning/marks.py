"""Means of points reached out of points there were."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from streamgauge.read.tally import rounded

_SCALE: Final = 10**30
_EXACT: Final = 20  # decimals

Mark = tuple[int, int]  # points reached, and points there were


def mean_percent(marks: Iterable[Mark]) -> float | None:
    """The mean of all shares in per cent, to 3 decimals, half to even; each mark counts as much as any other. None without marks.

    The same in any order. Shares are added up to 30 decimals each: the exact sum of a hundred thousand fractions could have a
    denominator of a million digits. What is lost is far below the 20 decimals that the mean is then taken as, so ties stay ties.
    """
    total = count = 0
    for score, most in marks:
        total += (2 * score * _SCALE + most) // (2 * most)
        count += 1
    return rounded(round(Fraction(100 * total, count * _SCALE), _EXACT)) if count else None
