"""The catalogue of courses, as a tenant's admins declare it: what events cannot tell, such as how many lessons there are."""

from dataclasses import dataclass
from typing import Final

import orjson
from asyncpg import Record

from streamgauge.database import Connection
from streamgauge.errors import InputError
from streamgauge.sql import named_queries

SQL = named_queries("streamgauge.domains.learning")
LONGEST_ID: Final = 200  # characters of a course's, a lesson's or an assignment's id
LONGEST_TEXT: Final = 200  # characters of a name or a subject
MOST_COURSES: Final = 1_000  # of a tenant
MOST_LESSONS: Final = 1_000  # of a course
MOST_ASSIGNMENTS: Final = 1_000
#: Lessons and assignments of all courses of a tenant: reports read the whole catalogue.
MOST_PARTS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Assignment:
    """What is to be handed in. `due_at`: UTC microseconds, None where nothing is said."""

    id: str
    due_at: int | None


@dataclass(frozen=True, slots=True)
class Course:
    """A course. None is what was not declared, which is not the same as declared to be empty."""

    id: str
    name: str | None
    subject: str | None
    lessons: tuple[str, ...] | None
    assignments: tuple[Assignment, ...] | None

    @property
    def parts(self) -> int:
        """How many lessons and assignments it declares."""
        return len(self.lessons or ()) + len(self.assignments or ())


async def load_courses(connection: Connection, tenant_id: int) -> dict[str, Course]:
    """Every declared course of a tenant, by id and in the order of ids."""
    return {course.id: course for course in await courses_after(connection, tenant_id, None, MOST_COURSES)}


async def courses_after(
    connection: Connection, tenant_id: int, after: str | None, limit: int
) -> list[Course]:
    """Declared courses in the order of ids (by code points), after one of them."""
    return [_course(row) for row in await connection.fetch(SQL["courses"], tenant_id, None, after, limit)]


async def find_course(connection: Connection, tenant_id: int, course_id: str) -> Course | None:
    """One declared course."""
    row = await connection.fetchrow(SQL["courses"], tenant_id, course_id, None, 1)
    return None if row is None else _course(row)


async def put_course(connection: Connection, tenant_id: int, course: Course) -> bool:
    """Let a course be declared so; whether anything is different now.

    Raises InputError for an id that is given twice or cannot be kept, and for more courses, lessons or assignments than a tenant may
    have; then nothing has changed.
    """
    check(course)
    others = await connection.fetchrow(SQL["courses_beside"], tenant_id, course.id)
    if others is not None and others["courses"] >= MOST_COURSES:
        raise InputError(f"a tenant declares up to {MOST_COURSES} courses, and has as many others", "id")
    if others is not None and others["parts"] + course.parts > MOST_PARTS:
        raise InputError(
            f"a tenant declares up to {MOST_PARTS} lessons and assignments in all: there are {others['parts']} others, and {course.parts} "
            "are given",
            "lessons",
        )
    assignments = None
    if course.assignments is not None:
        assignments = orjson.dumps(course.assignments).decode()
    stored = await connection.fetchval(
        SQL["course_put"],
        tenant_id,
        course.id,
        course.name,
        course.subject,
        None if course.lessons is None else list(course.lessons),
        assignments,
        course.parts,
    )
    return stored is not None


def check(course: Course) -> None:
    """Raise InputError for what a course cannot be declared to be. The field of assignments' ids is `assignments`."""
    for field, text in (("name", course.name), ("subject", course.subject)):
        if text is not None and (len(text) > LONGEST_TEXT or not text.isprintable()):
            raise InputError(f"{field} has up to {LONGEST_TEXT} characters, all of which can be shown", field)
    lessons, assignments = course.lessons or (), [each.id for each in course.assignments or ()]
    for field, ids, most in (
        ("id", (course.id,), 1),
        ("lessons", lessons, MOST_LESSONS),
        ("assignments", assignments, MOST_ASSIGNMENTS),
    ):
        if len(ids) > most:
            raise InputError(f"a course has up to {most} {field}: {len(ids)} are given", field)
        if not all(0 < len(each) <= LONGEST_ID and "\0" not in each for each in ids):
            raise InputError(f"{field}: an id has 1 to {LONGEST_ID} characters, none of them U+0000", field)
        if len(set(ids)) < len(ids):
            raise InputError(f"{field} holds an id twice: give each once", field)


def _course(row: Record) -> Course:
    lessons, assignments = row["lessons"], row["assignments"]
    return Course(
        row["course_id"],
        row["name"],
        row["subject"],
        None if lessons is None else tuple(lessons),
        None if assignments is None else tuple(Assignment(**each) for each in orjson.loads(assignments)),
    )
