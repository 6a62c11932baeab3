"""What the school answers."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, Field

from streamgauge import idempotency_key
from streamgauge.integrations.fastapi import Tracker

from .page import page
from .sessions import Student

COURSES = {"python": ("variables", "loops", "functions"), "sql": ("select", "join")}
QUIZZES = ("python-basics", "sql-basics")
PASSED_AT = 60  # points of 100
PASSED_XP = 50

school = APIRouter()
books = APIRouter()

Name = Annotated[str, Field(min_length=1, max_length=40)]
Percent = Annotated[int, Field(ge=0, le=100)]


class Login(BaseModel):
    """Who comes in."""

    student: Name


class Progress(BaseModel):
    """How much of a lesson is done."""

    percent: Percent


class Attempt(BaseModel):
    """A finished quiz. `attempt` is made up when it begins, so that sending it twice is no second attempt."""

    attempt: Name
    score: Percent


class ReportError(Exception):
    """A report could not be made."""


def known_lesson(course: str, lesson: str) -> str:
    """The lesson of the path. Raises HTTPException 404 for one that is not there."""
    if lesson not in COURSES.get(course, ()):
        raise HTTPException(404, f"There is no lesson {lesson!r} in a course {course!r}.")
    return lesson


Lesson = Annotated[str, Depends(known_lesson)]


@school.get("/", response_class=HTMLResponse)
async def home(request: Request) -> str:
    """The page, which says itself that it was viewed."""
    return page("home", COURSES, request.app.state.notice)


@school.get("/health/ready")
async def ready() -> dict[str, str]:
    """For those who wait until the school answers. Not counted: /health is among what `instrument` leaves out."""
    return {"status": "ok"}


@school.post("/login", status_code=204)
async def login(request: Request, response: Response, given: Login) -> None:
    """Counted, but as nobody's: /login is among what `instrument` never asks the actor of."""
    request.app.state.sessions.begin(given.student, response)


@school.get("/courses")
async def list_courses() -> list[str]:
    """All courses."""
    return list(COURSES)


@school.get("/courses/{course}/lessons/{lesson}")
async def read_lesson(course: str, lesson: Lesson) -> dict[str, str]:
    """Counted under this template, never under the address with the names in it."""
    return {"course": course, "lesson": lesson}


@school.post("/courses/{course}/lessons/{lesson}/progress", status_code=204)
async def report_progress(
    course: str, lesson: Lesson, student: Student, done: Progress, gauge: Tracker
) -> None:
    """However often a page reports the same progress, it counts once: the key says what makes it the same."""
    key = idempotency_key("progress", student=student, course=course, lesson=lesson, percent=done.percent)
    gauge.learning.lesson_progressed(
        course=course, lesson=lesson, percent=done.percent, group=course, idempotency_key=key
    )


@school.post("/quizzes/{quiz}/attempts")
async def attempt_quiz(quiz: str, student: Student, given: Attempt, gauge: Tracker) -> dict[str, bool]:
    """The event's actor and session are those of this request."""
    if quiz not in QUIZZES:
        raise HTTPException(404, f"There is no quiz {quiz!r}.")
    key = idempotency_key("attempt", student=student, quiz=quiz, attempt=given.attempt)
    gauge.learning.quiz_attempted(quiz=quiz, score=given.score, max_score=100, idempotency_key=key)
    passed = given.score >= PASSED_AT
    if passed:
        # Earned once for each quiz, however often it is passed.
        earned = idempotency_key("passed", student=student, quiz=quiz)
        gauge.gamification.xp_earned(xp=PASSED_XP, reason="quiz passed", idempotency_key=earned)
    return {"passed": passed}


@school.post("/courses/{course}/enrolment", status_code=204)
async def enrol(course: str, student: Student, gauge: Tracker) -> None:
    """Taking a course twice is taking it once."""
    if course not in COURSES:
        raise HTTPException(404, f"There is no course {course!r}.")
    key = idempotency_key("enrolment", student=student, course=course)
    gauge.learning.course_enrolled(course=course, group=course, idempotency_key=key)


@school.get("/courses/{course}/export")
async def export(course: str) -> StreamingResponse:
    """A stream, measured to its last byte."""

    async def rows() -> AsyncIterator[str]:
        yield "course,lesson\n"
        for lesson in COURSES.get(course, ()):
            yield f"{course},{lesson}\n"

    return StreamingResponse(rows(), media_type="text/csv")


@school.get("/reports/broken")
async def broken_report() -> None:
    """Fails on purpose. Counted as an error of its class; messages are not recorded, they hold what people entered."""
    raise ReportError("this report fails on purpose")


@books.get("/books/{book}")
async def read_book(book: int) -> dict[str, int]:
    """In a mounted application; counted as /library/books/{book}."""
    return {"book": book}
