"""Typed calls for the gamification domain's events."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamgauge.capture.gauge import Streamgauge


class Gamification:
    """What `gauge.gamification` is."""

    def __init__(self, gauge: "Streamgauge") -> None:
        self._gauge = gauge
