"""Typed calls for the coach domain's events."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamgauge.capture.gauge import Streamgauge


class Coach:
    """What `gauge.coach` is."""

    def __init__(self, gauge: "Streamgauge") -> None:
        self._gauge = gauge
