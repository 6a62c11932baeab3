"""`/api/v1/learning/courses`: what a tenant's admins declare of its courses, for all of its people to read."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from streamgauge.access import Caller, audit
from streamgauge.domains.learning.courses import (
    LONGEST_ID,
    LONGEST_TEXT,
    MOST_ASSIGNMENTS,
    MOST_LESSONS,
    Assignment,
    Course,
    courses_after,
    find_course,
    put_course,
)
from streamgauge.people.desk import refuse_zeros
from streamgauge.people.documented import answers
from streamgauge.read.api.parameters import LONGEST_INSTANT
from streamgauge.read.api.tags import by_content
from streamgauge.read.date_range import parse_instant
from streamgauge.read.problem_document import problem_response
from streamgauge.read.report import rfc3339
from streamgauge.tenants.acting import Limit, acting, asking
from streamgauge.tenants.bodies import documented, json_of

Person = Annotated[Caller, Depends(asking("people"))]
Admin = Annotated[Caller, Depends(asking("admin"))]
CourseId = Annotated[
    str,
    Path(
        alias="id",
        min_length=1,
        max_length=LONGEST_ID,
        description="A course's id, as events carry it in `course.id`; a slash in it may be sent as it is or as `%2F`.",
        examples=["biology-7"],
    ),
]
AfterCourse = Annotated[
    str | None,
    Query(
        max_length=LONGEST_ID,
        description="Begin behind this id: `next` of the answer before.",
        examples=["biology-7"],
    ),
]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXAMPLE: Final[dict[str, Any]] = {
    "name": "Biology 7",
    "subject": "biology",
    "lessons": ["cells", "plants"],
    "assignments": [{"id": "essay", "due_at": "2026-12-01T22:59:59Z"}],
}
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {404: problem_response("There is no such course.")}
_BODY: Final[dict[int | str, dict[str, Any]]] = {
    413: problem_response("The body is too long."),
    415: problem_response("The body is not sent as it has to be."),
}

router = APIRouter()


class AssignmentContent(BaseModel):
    """What is to be handed in."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=LONGEST_ID, description="As events carry it in `assignment.id`.")
    due_at: str | None = Field(
        default=None,
        max_length=LONGEST_INSTANT,
        description="RFC 3339 instant until which it is on time, that instant included; null where there is none.",
    )


class CourseContent(BaseModel):
    """A course as it is to be declared. What is null or left out is not declared, and no figure that would need it is made up."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    name: str | None = Field(default=None, max_length=LONGEST_TEXT)
    subject: str | None = Field(default=None, max_length=LONGEST_TEXT, description="What mastery is told by.")
    lessons: list[Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]] | None = Field(
        default=None,
        max_length=MOST_LESSONS,
        description="Ids of all its lessons, as events carry them in `lesson.id`.",
    )
    assignments: list[AssignmentContent] | None = Field(default=None, max_length=MOST_ASSIGNMENTS)


class DeclaredCourse(CourseContent):
    """A declared course."""

    id: str


class DeclaredCourses(BaseModel):
    """Courses by id; `next` goes on where these end."""

    courses: list[DeclaredCourse]
    next: str | None = Field(description="To be given as `after`; null at the end.")


@router.get(
    "/courses",
    summary="Declared courses",
    response_model=DeclaredCourses,
    responses=answers({"courses": [{"id": "biology-7", **_EXAMPLE}], "next": None}),
)
async def list_courses(
    request: Request, caller: Person, after: AfterCourse = None, limit: Limit = 20
) -> Response:
    """The tenant's catalogue by id (code points) and in pages, the same for everybody. Courses that only events name are not in it."""
    refuse_zeros(after=after)
    async with acting(request, caller) as connection:
        found = await courses_after(connection, caller.tenant_id, after, limit + 1)
    following = found[limit - 1].id if len(found) > limit else None
    return _respond(request, {"courses": [shown(each) for each in found[:limit]], "next": following})


@router.get(
    "/courses/{id:path}",
    summary="One declared course",
    response_model=DeclaredCourse,
    responses={**answers({"id": "biology-7", **_EXAMPLE}), **_UNKNOWN},
)
async def show_course(request: Request, caller: Person, course_id: CourseId) -> Response:
    """What is declared of it; null is what is not."""
    refuse_zeros(id=course_id)
    async with acting(request, caller) as connection:
        found = await find_course(connection, caller.tenant_id, course_id)
    if found is None:
        raise HTTPException(404, "there is no such course in the catalogue")
    return _respond(request, shown(found))


@router.put(
    "/courses/{id:path}",
    summary="Declare a course",
    response_model=DeclaredCourse,
    responses={**answers({"id": "biology-7", **_EXAMPLE}), **_BODY},
    openapi_extra=documented(CourseContent),
)
async def declare_course(
    request: Request,
    caller: Admin,
    course_id: CourseId,
    content: Annotated[CourseContent, Depends(json_of(CourseContent))],
) -> Response:
    """Afterwards the course is declared as given, and nothing else of it is. The same twice changes nothing; an empty object declares nothing.

    Reports go by what is declared when they are asked for, also about days before.
    """
    refuse_zeros(id=course_id)
    course = course_of(course_id, content)
    async with acting(request, caller) as connection:
        changed = await put_course(connection, caller.tenant_id, course)
        detail = {
            "changed": changed,
            "name": course.name,
            "subject": course.subject,
            "lessons": None if course.lessons is None else len(course.lessons),
            "assignments": None if course.assignments is None else len(course.assignments),
        }
        await audit.append(connection, caller, "courses.put", f"/learning/courses/{course.id}", detail)
    return _respond(request, shown(course))


def course_of(course_id: str, content: CourseContent) -> Course:
    """The course that a body declares. Raises InputError for a due date that is no instant."""
    assignments = None
    if content.assignments is not None:
        assignments = tuple(
            Assignment(each.id, _microseconds(each.due_at, f"assignments.{place}.due_at"))
            for place, each in enumerate(content.assignments)
        )
    lessons = None if content.lessons is None else tuple(content.lessons)
    return Course(course_id, content.name, content.subject, lessons, assignments)


def shown(course: Course) -> dict[str, Any]:
    """A course as it is answered."""
    assignments = None
    if course.assignments is not None:
        assignments = [{"id": each.id, "due_at": _instant(each.due_at)} for each in course.assignments]
    return {
        "id": course.id,
        "name": course.name,
        "subject": course.subject,
        "lessons": course.lessons,
        "assignments": assignments,
    }


def _microseconds(text: str | None, field: str) -> int | None:
    return None if text is None else (parse_instant(text, field) - _EPOCH) // timedelta(microseconds=1)


def _instant(at: int | None) -> str | None:
    return None if at is None else rfc3339(_EPOCH + timedelta(microseconds=at))


def _respond(request: Request, found: object) -> Response:
    return by_content(request, orjson.dumps(found))
