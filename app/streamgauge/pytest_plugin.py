"""Fixtures for the tests of a host application: `pytest_plugins = ["streamgauge.pytest_plugin"]`.

`recording_gauge` is a gauge that keeps what it is given. For event types of your own, override one fixture:

    @pytest.fixture
    def streamgauge_event_types() -> Iterable[EventType]:
        return EVENT_TYPES
"""

from collections.abc import Iterable, Iterator

import pytest

from streamgauge.summaries.rollups import EventType
from streamgauge.testing import RecordingGauge
from streamgauge.testing import recording_gauge as make


@pytest.fixture
def streamgauge_event_types() -> Iterable[EventType]:
    """The event types that `recording_gauge` knows beside those of the built-in domains."""
    return ()


@pytest.fixture
def recording_gauge(streamgauge_event_types: Iterable[EventType]) -> Iterator[RecordingGauge]:
    """A gauge that keeps what it is given, and needs no servers."""
    with make(event_types=streamgauge_event_types) as gauge:
        yield gauge
