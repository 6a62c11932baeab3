"""One line in a host's application."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.testclient import TestClient

from streamgauge.capture.gauge import Streamgauge
from streamgauge.errors import SettingsError
from streamgauge.settings import Settings
from streamgauge.testing import recording_gauge

from .sending import LESSON


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/lessons/{number}")
    def lesson(number: int) -> int:
        return number

    return app


def test_an_instrumented_application_is_measured_and_knows_its_gauge() -> None:
    app = application()
    with recording_gauge(actor=lambda request: request.headers.get("x-user")) as gauge:
        gauge.instrument(app)
        assert app.state.streamgauge is gauge
        with TestClient(app) as client:
            assert client.get("/lessons/7", headers={"x-user": "ada"}).status_code == 200
        (event,) = gauge.of("http.request")
        assert event.properties["http.route"] == "/lessons/{number}"
        assert gauge.is_about(event, "ada")


def test_instrumenting_twice_counts_once() -> None:
    app = application()
    with recording_gauge() as gauge:
        gauge.instrument(app)
        gauge.instrument(app)
        with TestClient(app) as client:
            client.get("/lessons/7")
        assert len(gauge.events) == 1


def test_two_gauges_for_one_application_are_refused() -> None:
    app = application()
    recording_gauge().instrument(app)
    with pytest.raises(SettingsError, match="another gauge"):
        recording_gauge().instrument(app)


def test_an_application_that_has_started_is_refused_with_what_to_do() -> None:
    app = application()
    with TestClient(app) as client:
        client.get("/lessons/7")
        with pytest.raises(SettingsError, match="right after making it"):
            recording_gauge().instrument(app)
    assert not hasattr(app.state, "streamgauge")


def test_what_is_no_application_of_starlettes_is_refused_with_what_to_do() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(SettingsError, match="wrap it in StreamgaugeMiddleware"):
        recording_gauge().instrument(application)


def test_a_disabled_gauge_leaves_the_application_as_it_was() -> None:
    app = Starlette()
    gauge = Streamgauge(Settings(enabled=False))
    gauge.instrument(app)
    assert app.user_middleware == []
    assert app.state.streamgauge is gauge


def test_inside_a_request_what_is_tracked_is_about_its_actor(tmp_path: Path) -> None:
    app = FastAPI()
    with recording_gauge(event_types=[LESSON], actor=lambda request: request.headers.get("x-user")) as gauge:

        @app.get("/{number}")
        def lesson(number: int) -> bool:
            return bool(gauge.track(LESSON.name, percent=number))

        gauge.instrument(app)
        with TestClient(app) as client:
            assert client.get("/40", headers={"x-user": "ada"}).json() is True
        assert {gauge.is_about(event, "ada") for event in gauge.events} == {True}
        assert [event.name for event in gauge.events] == [LESSON.name, "http.request"]
