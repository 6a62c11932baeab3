"""The example school, tested as its owners would: with a recording gauge, and no servers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest
import uvicorn
from examples.school import traffic
from examples.school.app import create_app, measure
from examples.school.events import EVENT_TYPES
from examples.school.sessions import session_of, student_of
from fastapi.testclient import TestClient

from streamgauge.testing import RecordingGauge, recording_gauge

ROUTE = "http.route"


@pytest.fixture
def gauge() -> Iterator[RecordingGauge]:
    with recording_gauge(event_types=EVENT_TYPES, actor=student_of, session=session_of) as recording:
        yield recording


@pytest.fixture
def browser(gauge: RecordingGauge) -> Iterator[TestClient]:
    with TestClient(create_app(gauge), raise_server_exceptions=False) as client:
        yield client


def sign_in(browser: TestClient, student: str = "ada") -> None:
    assert browser.post("/login", json={"student": student}).status_code == 204


def routes(gauge: RecordingGauge) -> list[object]:
    return [event.properties[ROUTE] for event in gauge.of("http.request")]


def test_requests_are_counted_by_route_and_never_by_address(
    browser: TestClient, gauge: RecordingGauge
) -> None:
    for path in (
        "/",
        "/courses/python/lessons/loops",
        "/courses/sql/export",
        "/library/books/7",
        "/no-such-page",
    ):
        browser.get(path)
    assert routes(gauge) == [
        "/",
        "/courses/{course}/lessons/{lesson}",
        "/courses/{course}/export",
        "/library/books/{book}",
        "__unmatched__",
    ]


def test_whether_it_is_there_is_not_counted(browser: TestClient, gauge: RecordingGauge) -> None:
    assert browser.get("/health/ready").json() == {"status": "ok"}
    assert gauge.events == []


def test_a_student_is_an_actor_once_signed_in_and_never_while_signing_in(
    browser: TestClient, gauge: RecordingGauge
) -> None:
    sign_in(browser)
    browser.get("/courses")
    login, courses = gauge.of("http.request")
    assert login.actor is None
    assert gauge.is_about(courses, "ada")
    assert courses.properties["authenticated"] is True


def test_a_mounted_application_knows_the_student_too(browser: TestClient, gauge: RecordingGauge) -> None:
    sign_in(browser)
    browser.get("/library/books/7")
    assert gauge.is_about(gauge.of("http.request")[-1], "ada")


def test_progress_is_tracked_with_its_student_session_and_course(
    browser: TestClient, gauge: RecordingGauge
) -> None:
    sign_in(browser)
    browser.post("/courses/python/lessons/loops/progress", json={"percent": 40})
    (progress,) = gauge.of("lesson.progressed")
    assert progress.properties == {"course.id": "python", "lesson.id": "loops", "percent": 40}
    assert progress.group == "python"
    assert gauge.is_about(progress, "ada")
    cookie = browser.cookies["school_session"]
    assert progress.session is not None
    assert cookie not in progress.session  # a cookie is a secret


def test_the_same_progress_has_the_same_key_and_another_one_another(
    browser: TestClient, gauge: RecordingGauge
) -> None:
    sign_in(browser)
    for percent in (40, 40, 50):
        browser.post("/courses/python/lessons/loops/progress", json={"percent": percent})
    first, again, other = (event.key for event in gauge.of("lesson.progressed"))
    assert first == again
    assert first != other


def test_a_quiz_is_passed_with_sixty_points(browser: TestClient, gauge: RecordingGauge) -> None:
    sign_in(browser)
    for attempt, score in (("one", 59), ("two", 60)):
        given = {"attempt": attempt, "score": score}
        answer = browser.post("/quizzes/sql-basics/attempts", json=given)
        assert answer.json() == {"passed": score >= 60}
        browser.post("/quizzes/sql-basics/attempts", json=given)  # a retry
    attempts = [(event.properties["score"], event.key) for event in gauge.of("quiz.attempted")]
    assert [score for score, _ in attempts] == [59, 59, 60, 60]
    assert len({key for _, key in attempts}) == 2
    earned = gauge.of("xp.earned")
    assert {event.properties["xp"] for event in earned} == {50}
    assert len({event.key for event in earned}) == 1


def test_who_gets_the_ring_leaves_the_school_as_a_pseudonym(
    browser: TestClient, gauge: RecordingGauge
) -> None:
    sign_in(browser)
    assert browser.post("/drafts/essay").status_code == 204
    assert browser.post("/drafts/essay/segments").status_code == 204
    assert browser.post("/drafts/essay/ring", json={"to": "grace"}).status_code == 204
    taken, passed = gauge.of("ring.passed")
    assert taken.properties["to"] == gauge.recorded.keys.tenant(taken.tenant).pseudonym("actor", "ada").hex()
    grace = gauge.recorded.keys.tenant(passed.tenant).pseudonym("actor", "grace")
    assert passed.properties["to"] == grace.hex()
    assert gauge.is_about(passed, "ada")
    assert "grace" not in repr(gauge.events)


def test_of_a_talk_with_the_coach_no_word_is_recorded(browser: TestClient, gauge: RecordingGauge) -> None:
    sign_in(browser)
    asked = {"conversation": "c1", "helpful": True, "question": "how do loops end?"}
    assert browser.post("/coach/questions", json=asked).status_code == 204
    names = [event.name for event in gauge.events if event.name != "http.request"]
    assert names == ["conversation.started", "message.exchanged", "feedback.rated", "conversation.ended"]
    assert "loops" not in repr(gauge.events)


def test_taking_a_course_is_tracked_once(browser: TestClient, gauge: RecordingGauge) -> None:
    sign_in(browser)
    for _ in range(2):
        assert browser.post("/courses/python/enrolment").status_code == 204
    assert browser.post("/courses/latin/enrolment").status_code == 404
    keys = {event.key for event in gauge.of("course.enrolled")}
    assert len(keys) == 1
    assert None not in keys


def test_nothing_is_tracked_for_those_who_are_not_signed_in(
    browser: TestClient, gauge: RecordingGauge
) -> None:
    assert browser.post("/courses/python/lessons/loops/progress", json={"percent": 40}).status_code == 401
    assert browser.post("/quizzes/sql-basics/attempts", json={"attempt": "x", "score": 1}).status_code == 401
    assert {event.name for event in gauge.events} == {"http.request"}


def test_a_failure_is_counted_with_its_class_and_without_its_message(
    browser: TestClient, gauge: RecordingGauge
) -> None:
    assert browser.get("/reports/broken").status_code == 500
    (request,) = gauge.of("http.request")
    assert request.properties["error.type"] == "ReportError"
    assert request.properties["http.response.status_code"] == 500
    assert "on purpose" not in repr(request)


def test_the_page_says_that_it_was_viewed_and_nothing_else_is_taken_from_it(
    browser: TestClient, gauge: RecordingGauge
) -> None:
    sign_in(browser)
    assert "/streamgauge/events" in browser.get("/").text
    viewed = {"name": "page.viewed", "properties": {"page": "home"}}
    assert browser.post("/streamgauge/events", json=viewed).json()["events"][0]["accepted"] is True
    forged = {"name": "quiz.attempted", "properties": {"quiz": "sql-basics", "score": 100}}
    assert browser.post("/streamgauge/events", json=forged).json()["events"][0]["accepted"] is False
    (view,) = gauge.of("page.viewed")
    assert view.source == "browser"
    assert gauge.is_about(view, "ada")
    assert gauge.of("quiz.attempted") == []


def test_its_gauge_is_configured_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_TENANT", "demo-school")
    monkeypatch.setenv("STREAMGAUGE_ENABLED", "false")
    made = measure()
    assert (made.settings.tenant, made.enabled) == ("demo-school", False)


@contextmanager
def served(gauge: RecordingGauge) -> Iterator[str]:
    """The school at a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(gauge), log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def test_demo_traffic_is_bounded_and_of_many_people(gauge: RecordingGauge) -> None:
    with served(gauge) as url:
        assert traffic.use(url, most_requests=0) == 0
        assert traffic.use(url, seconds=0) == 0
        assert gauge.events == []
        assert traffic.use(url, most_requests=250, per_second=10_000) == 250
    requests = gauge.of("http.request") + gauge.of("bot.request")
    # What pages tell about themselves is no request of the application.
    assert len(requests) + len(gauge.of("page.viewed")) == 250
    assert len({event.actor for event in requests}) > 20
    assert {event.actor for event in gauge.of("bot.request")} == {None}
    assert {"page.viewed", "lesson.progressed", "bot.request"} <= {event.name for event in gauge.events}


def test_demo_traffic_that_gets_no_answer_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setattr(traffic, "OPENING_ATTEMPTS", 1)
    assert traffic.use(nobody, most_requests=5, per_second=10_000) == 0


def test_a_visit_signs_in_before_it_does_what_takes_a_student() -> None:
    for seed in range(50):
        steps = [step.path for step in traffic.visit(Random(seed), "ada")]
        guarded = [place for place, path in enumerate(steps) if path.endswith(("/progress", "/attempts"))]
        assert guarded
        assert min(guarded) > steps.index("/login")
        looks = [step.path for step in traffic.visit(Random(seed), None)]
        assert not [path for path in looks if path.endswith(("/progress", "/attempts", "/login"))]
