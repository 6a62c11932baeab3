"""The example school's directory: names of students who signed in, once the school was given a token."""

from pathlib import Path

from examples.school.app import create_app
from examples.school.events import EVENT_TYPES
from examples.school.sessions import session_of, student_of
from fastapi.testclient import TestClient

from streamgauge.capture.host_keys import HostKeys
from streamgauge.directory import host
from streamgauge.settings import Settings
from streamgauge.testing import RecordingGauge

TOKEN = "a-token-of-the-tests"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}


def school(settings: Settings) -> TestClient:
    return TestClient(
        create_app(RecordingGauge(settings, event_types=EVENT_TYPES, actor=student_of, session=session_of))
    )


def test_the_school_tells_the_names_of_students_who_signed_in(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, tenant="demo-school", directory_token=TOKEN)
    ada, alan = (
        HostKeys(settings).tenant("demo-school").pseudonym("actor", each).hex() for each in ("ada-17", "alan")
    )
    question = {"tenant": "demo-school", "actors": [ada, alan]}
    with school(settings) as browser:
        assert browser.post("/login", json={"student": "ada-17"}).status_code == 204
        assert browser.post(host.PREFIX, json=question).status_code == 401
        assert browser.post(host.PREFIX, json=question, headers=SHOWN).json() == {"names": {ada: "Ada 17"}}
        for tenant, q, found in (
            ("demo-school", "ADA", ["ada-17"]),
            ("demo-school", "b", []),
            ("other", "ada", []),
        ):
            answer = browser.post(f"{host.PREFIX}/search", json={"tenant": tenant, "q": q}, headers=SHOWN)
            assert answer.json() == {"external_ids": found}


def test_a_school_without_a_token_tells_nobody() -> None:
    with school(Settings(tenant="demo-school")) as browser:
        assert browser.post(host.PREFIX, json={}, headers=SHOWN).status_code == 404
