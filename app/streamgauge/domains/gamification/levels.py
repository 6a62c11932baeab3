"""Levels: what points (XP) add up to, by a declared curve, in whole numbers only."""

from dataclasses import dataclass
from math import isqrt
from typing import Final

from streamgauge.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Level:
    """A level, counted from 1. `xp_into`: points had beyond its beginning; `xp_to_next`: points that the next one is away."""

    level: int
    xp_into: int
    xp_to_next: int


@dataclass(frozen=True, slots=True)
class Curve:
    """Level n begins at `step`·n·(n-1) points, so each level takes 2·`step` points more than the one before.

    Raises SettingsError for a step below 1.
    """

    step: int = 50

    def __post_init__(self) -> None:
        if self.step < 1:
            raise SettingsError(f"a curve's step is a whole number of 1 or more, not {self.step}")

    def start(self, level: int) -> int:
        """The points at which a level begins; levels count from 1."""
        return self.step * level * (level - 1)

    def level_of(self, xp: int) -> Level:
        """The level that so many points (0 or more) make."""
        # n(n-1) <= q is (2n-1)² <= 4q+1: the greatest such n comes of a whole root, exactly, however large q is.
        level = (1 + isqrt(4 * (xp // self.step) + 1)) // 2
        return Level(level, xp - self.start(level), self.start(level + 1) - xp)


#: 0, 100, 300, 600, 1,000, … points.
CURVE: Final = Curve()
