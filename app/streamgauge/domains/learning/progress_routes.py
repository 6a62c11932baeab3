"""`/api/v1/learning/…`: progress, mastery, students, dashboard, summary."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response

from streamgauge.domains.gamification.declarations import BOARD
from streamgauge.domains.learning import dashboard as dashboards
from streamgauge.domains.learning import mastery as masteries
from streamgauge.domains.learning import progress as progresses
from streamgauge.domains.learning import students as learners
from streamgauge.domains.learning import summary as summaries
from streamgauge.domains.learning.courses import LONGEST_ID, load_courses
from streamgauge.domains.learning.dashboard import LearningDashboard, Range, read_dashboard
from streamgauge.domains.learning.mastery import Mastery
from streamgauge.domains.learning.progress import About, ProgressReport, progress_report, read_progress
from streamgauge.domains.learning.students import Students, read_students, students_report
from streamgauge.domains.learning.summary import LearningSummary, dates_of
from streamgauge.entities.standings import Rank
from streamgauge.entities.view import ActorParameter, Enter, GroupParameter, LimitParameter, View
from streamgauge.errors import InputError
from streamgauge.people import cursors
from streamgauge.people.desk import refuse_zeros
from streamgauge.people.documented import Cursor, answers
from streamgauge.people.sight import ID_LENGTH
from streamgauge.read.problem_document import problem_response

ACTION: Final = "learning.read"  # as the audit log calls it
LONGEST_DATE: Final = 10  # characters

router = APIRouter()
_NOT_THERE: Final[dict[int | str, dict[str, Any]]] = {
    404: problem_response(
        "There is no such actor, group or course, or it may not be seen: nothing tells the one from the other."
    )
}
CourseParameter = Annotated[
    str | None,
    Query(
        max_length=LONGEST_ID,
        description="Only this course, as events carry it in `course.id`.",
        examples=["biology-7"],
    ),
]
From = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=LONGEST_DATE,
        description=f"The first local date. {summaries.DAYS} days up to `to` where it is left out, and {summaries.MOST_DAYS} at most.",
        examples=["2026-11-01"],
    ),
]
To = Annotated[
    str | None,
    Query(
        max_length=LONGEST_DATE,
        description="The last local date, which is included; today where it is left out.",
        examples=["2026-11-30"],
    ),
]


def _documented(example: object) -> dict[int | str, dict[str, Any]]:
    return {**answers(orjson.loads(orjson.dumps(example))), **_NOT_THERE}


@router.get(
    "/progress",
    summary="How far learners are",
    response_model=ProgressReport,
    responses=_documented(progresses.EXAMPLE),
)
async def progress(
    entrance: Enter,
    actor: ActorParameter = None,
    group: GroupParameter = None,
    course: CourseParameter = None,
    limit: LimitParameter = 20,
) -> Response:
    """Progress by course, points and rank of one actor, or of a group's members together and one by one.

    About a member itself, unless it gives a group; about `actor` for those who may see it; else about everybody whom the caller may see.
    Who takes which course, and what counts as progress: see `progress` of the answer. What a lesson's last event said counts, in the order of
    times of events and, at the same time, of their ids: an older event that comes late changes nothing. Points and rank are those of
    all courses, also with `course`.

    A course that the catalogue does not declare, and that nobody takes whom this is about, is not there (404), whether anybody else takes
    it or not.
    """
    refuse_zeros(course=course)
    async with entrance.view(
        ACTION, actor=actor, group=group, report="progress", course=course, limit=limit
    ) as view:
        one = _only(view, actor, group)
        courses = await load_courses(view.connection, view.tenant.tenant_id)
        with _of_fewer():
            reading = await read_progress(view.tallies, courses, course)
        if course is not None and course not in courses and not reading.taken:
            raise HTTPException(404, "there is no such course")
        rank = None if one is None else await _rank(view, one)
    names = await view.names(reading.learners(limit)) if one is None else None
    return entrance.respond(progress_report(reading, courses, About(one, group, course), rank, names))


@router.get(
    "/mastery",
    summary="What learners have come to in each subject",
    response_model=Mastery,
    responses=_documented(masteries.EXAMPLE),
)
async def mastery(entrance: Enter, actor: ActorParameter = None, group: GroupParameter = None) -> Response:
    """Mean progress, courses completed and evidence by the subjects that the catalogue declares.

    About a member itself; about `actor` or the members of `group`, or both, or else about everybody whom the caller may see.
    """
    async with entrance.view(ACTION, actor=actor, group=group, report="mastery") as view:
        one = _only(view, actor, group)
        courses = await load_courses(view.connection, view.tenant.tenant_id)
        with _of_fewer():
            found = await masteries.mastery(view.tallies, courses, one, group)
    return entrance.respond(found)


@router.get(
    "/students",
    summary="Learners one by one",
    response_model=Students,
    responses=_documented(learners.EXAMPLE),
)
async def students(
    entrance: Enter,
    group: GroupParameter = None,
    at_risk: Annotated[bool, Query(description="Only who is at risk, by the rule in the answer.")] = False,
    limit: LimitParameter = 20,
    cursor: Cursor = None,
) -> Response:
    """Progress and last activity of those whom the caller may see, by id, and who is at risk by the rule that the answer states.

    A member sees itself. `total` and `at_risk` of the answer are of all of them, whatever is on the page.
    """
    question = ["learning.students", group, at_risk]
    after = None if cursor is None else _position(question, cursor)
    given = cursor and "given"
    async with entrance.view(
        ACTION, group=group, report="students", at_risk=at_risk or None, limit=limit, cursor=given
    ) as view:
        courses = await load_courses(view.connection, view.tenant.tenant_id)
        with _of_fewer():
            reading = await read_students(view.tallies, courses, view.actors, view.tenant.calendar, view.now)
    found = reading.after(after, at_risk, limit + 1)
    page = found[:limit]
    following = cursors.encode(question, [page[-1].hex()]) if len(found) > limit else None
    names = await view.names(page)
    return entrance.respond(students_report(reading, names, view.tenant.calendar, group, following))


@router.get(
    "/dashboard",
    summary="Learning at a glance",
    response_model=LearningDashboard,
    responses=_documented(dashboards.EXAMPLE),
)
async def dashboard(
    entrance: Enter,
    range: Annotated[
        Range,
        Query(
            description="Local days back from now, today included: 1, 7, 30 or 365.",
            examples=["week"],
        ),
    ] = "week",
    group: GroupParameter = None,
) -> Response:
    """Activity, completion and quiz results of some days, who earned most, and what was completed last, of those whom the caller may see."""
    async with entrance.view(ACTION, group=group, report="dashboard", range=range) as view:
        reading = await read_dashboard(view.tallies, view.days(dashboards.RANGES[range]))
    names = await view.names(reading.actors)
    return entrance.respond(dashboards.dashboard(reading, range, view.tenant.calendar, names, group))


@router.get(
    "/summary",
    summary="What learners did from one date to another",
    response_model=LearningSummary,
    responses=_documented(summaries.EXAMPLE),
)
async def summary(
    entrance: Enter, since: From = None, to: To = None, group: GroupParameter = None
) -> Response:
    """Activity, points, lessons, quizzes and assignments: every figure of the same local dates, and of the same people."""
    refuse_zeros(**{"from": since, "to": to})
    async with entrance.view(ACTION, group=group, report="summary", **{"from": since, "to": to}) as view:
        calendar = view.tenant.calendar
        first, last = dates_of(since, to, calendar.date_of(view.now))
        courses = await load_courses(view.connection, view.tenant.tenant_id)
        found = await summaries.summary(view.tallies, courses, first, last, calendar, group)
    return entrance.respond(found)


def _only(view: View, actor: str | None, group: str | None) -> bytes | None:
    """The one actor that a report is about; None: it is about several."""
    if actor is not None:
        return bytes.fromhex(actor)
    return view.caller.actor if view.caller.role == "member" and group is None else None


async def _rank(view: View, actor: bytes) -> Rank | None:
    frame = view.frame(BOARD.name, "all")
    return await (await view.standings(frame)).rank(frame, actor)


def _position(question: object, cursor: str) -> bytes:
    """Behind whom a page begins."""
    (position,) = cursors.decode(question, cursor, (str,))
    cursors.require(len(position) == ID_LENGTH and set(position) <= set("0123456789abcdef"))
    return bytes.fromhex(position)


@contextmanager
def _of_fewer() -> Iterator[None]:
    """Let the refusal of too many rows say what to ask for here, where nothing is of days."""
    try:
        yield
    except InputError as error:
        if error.field != "days":
            raise
        raise InputError(f"{str(error).partition(':')[0]}: ask for a group", "group") from None
