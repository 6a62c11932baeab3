"""Typed calls for the collaboration domain's events."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamgauge.capture.gauge import Streamgauge


class Collaboration:
    """What `gauge.collaboration` is."""

    def __init__(self, gauge: "Streamgauge") -> None:
        self._gauge = gauge
