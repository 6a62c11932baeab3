"""Typed calls for the learning domain's events."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamgauge.capture.gauge import Streamgauge


class Learning:
    """What `gauge.learning` is."""

    def __init__(self, gauge: "Streamgauge") -> None:
        self._gauge = gauge
