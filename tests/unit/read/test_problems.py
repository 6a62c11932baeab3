"""Errors as answers: what they tell, and what they keep."""

import httpx2 as httpx
import pytest
from fastapi import FastAPI

from streamgauge.errors import FrameError, InputError, ServerError, SettingsError, StreamgaugeError
from streamgauge.read import problems
from streamgauge.read.server import create_app
from streamgauge.settings import Settings
from streamgauge_migrations import require_current

SECRET = "/etc/streamgauge/keyring.json"


async def answer_to(error: Exception) -> httpx.Response:
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return await client.get("/")


@pytest.mark.parametrize("kind", [SettingsError, FrameError, StreamgaugeError, RuntimeError, OSError])
async def test_an_error_that_no_caller_can_help_tells_nothing_of_the_machine(kind: type[Exception]) -> None:
    reply = await answer_to(kind(f"{SECRET} cannot be read"))
    assert (reply.status_code, reply.headers["content-type"]) == (500, problems.MEDIA_TYPE)
    assert SECRET not in reply.text
    assert "log" in reply.json()["detail"]


async def test_what_a_caller_can_help_is_told() -> None:
    refused = await answer_to(InputError("hours is 0: give 1 or more", "hours"))
    assert (refused.status_code, refused.json()["detail"]) == (400, "hours is 0: give 1 or more")
    assert refused.json()["field"] == "hours"
    away = await answer_to(ServerError("postgresql://ada:hunter2@db/x does not answer"))
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    assert "does not answer" in away.json()["detail"]
    assert "hunter2" not in away.text


async def test_no_answer_sends_a_key_to_an_address_from_the_host_header() -> None:
    settings = Settings(database_url="postgresql://nobody@localhost/nothing", redis_url="redis://localhost/0")
    transport = httpx.ASGITransport(create_app(settings, require_current), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        for path in ("/api/v1/summary/", "/health/live/", "/metrics/"):
            reply = await client.get(path, headers={"host": "evil.example"})
            assert (reply.status_code, reply.headers["content-type"]) == (404, problems.MEDIA_TYPE)
            assert "location" not in reply.headers
