"""Promises about levels: whole numbers, exact however many points there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.domains.gamification.levels import CURVE, Curve, Level
from streamgauge.errors import SettingsError

steps = st.integers(1, 10_000)


@pytest.mark.parametrize(
    ("xp", "level"),
    [(0, 1), (99, 1), (100, 2), (299, 2), (300, 3), (599, 3), (600, 4), (999, 4), (1_000, 5)],
)
def test_the_default_curve_is_50_times_n_times_n_less_one(xp: int, level: int) -> None:
    assert CURVE.level_of(xp).level == level


@given(steps, st.integers(0, 10**40))
def test_points_are_within_their_level_exactly(step: int, xp: int) -> None:
    curve = Curve(step)
    found = curve.level_of(xp)
    assert curve.start(found.level) <= xp < curve.start(found.level + 1)
    assert found.xp_into == xp - curve.start(found.level)
    assert found.xp_to_next == curve.start(found.level + 1) - xp
    assert found.level >= 1


@given(steps, st.integers(1, 10**20))
def test_a_level_begins_where_the_curve_says_and_not_a_point_before(step: int, level: int) -> None:
    curve = Curve(step)
    assert curve.level_of(curve.start(level)) == Level(level, 0, 2 * step * level)
    if level > 1:
        assert curve.level_of(curve.start(level) - 1).level == level - 1


@given(steps, st.integers(0, 10**30), st.integers(0, 10**30))
def test_more_points_are_never_a_lower_level(step: int, one: int, other: int) -> None:
    low, high = sorted([one, other])
    assert Curve(step).level_of(low).level <= Curve(step).level_of(high).level


def test_a_curve_that_does_not_rise_is_refused() -> None:
    with pytest.raises(SettingsError, match="1 or more, not 0"):
        Curve(0)
