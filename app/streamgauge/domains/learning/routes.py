"""`/api/v1/learning/…`: reports about learners, and the routes of the catalogue and of progress."""

from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from streamgauge.domains.learning import course_routes, progress_routes
from streamgauge.domains.learning.content import LearningContent, content
from streamgauge.domains.learning.courses import load_courses
from streamgauge.domains.learning.heatmap import LearningHeatmap, heatmap
from streamgauge.domains.learning.overview import LearningOverview, overview
from streamgauge.domains.learning.weekly_xp import DAYS, WeeklyXp, weekly_xp
from streamgauge.entities.view import (
    ActorParameter,
    DaysParameter,
    Enter,
    GroupParameter,
    LimitParameter,
    View,
)
from streamgauge.people.documented import answers
from streamgauge.read.problem_document import PROBLEMS, problem_response

router = APIRouter(prefix="/api/v1/learning", tags=["learning"], responses=PROBLEMS)
router.include_router(progress_routes.router)
router.include_router(course_routes.router)

ACTION: Final = "learning.read"
_NOT_THERE: Final[dict[int | str, dict[str, Any]]] = {
    404: problem_response(
        "There is no such actor or group, or it may not be seen: nothing tells the one from the other."
    )
}
_OVERVIEW: Final[dict[str, Any]] = {
    "first": "2026-10-23",
    "last": "2026-11-21",
    "activity": {
        "sessions": 41, "seconds": 88214.5, "materials_viewed": 310, "materials_completed": 96, "xp": 2140, "active_days": 22,
        "streak": None,
    },
    "completion_average": 64.25,
    "quiz_average": 78.333,
    "learners": {"active": 24, "total": 28, "engagement": 0.857143},
    "courses": {"active": 3, "total": 4},
    "enrolments": {"active": 61, "total": 84, "attendance": 0.72619},
    "assignments": {"submitted": 52, "with_due_date": 50, "on_time": 44, "score": 81.5},
    "left_out": [],
}  # fmt: skip
_HEATMAP: Final[dict[str, Any]] = {
    "events": 5,
    "calendar": [{"date": "2026-11-20", "events": 0}, {"date": "2026-11-21", "events": 5}],
    "hour_of_week": [*([[0] * 24] * 5), [0] * 9 + [3, 2] + [0] * 13, [0] * 24],
}
_WEEKLY: Final[dict[str, Any]] = {
    "days": [{"date": f"2026-11-{day}", "xp": 20 * (day % 2)} for day in range(15, 22)],
    "total": 80,
    "daily_mean": 11.429,
    "streak": 3,
}
_CONTENT: Final[dict[str, Any]] = {
    "materials": [{"id": "cells-film", "type": "video", "views": 120, "viewers": 26, "completions": 19}],
    "courses": [
        {
            "id": "biology-7", "name": "Biology 7", "subject": "biology", "lessons_started": 50, "lessons_completed": 41,
            "completion_rate": 0.82, "learners": 28, "declared_lessons": 2, "declared_completion_rate": 0.732143,
        }
    ],
    "daily": [{"date": "2026-11-21", "views": 14, "viewers": 9, "completions": 3}],
}  # fmt: skip


@router.get(
    "/overview",
    summary="What learners did, and how far they are",
    response_model=LearningOverview,
    responses={**answers(_OVERVIEW), **_NOT_THERE},
)
async def learning_overview(
    entrance: Enter, days: DaysParameter = 30, actor: ActorParameter = None, group: GroupParameter = None
) -> Response:
    """Of oneself, of an actor, of a group's members, or of everybody whom the caller may see.

    Figures of enrolments, lessons and submissions come from what is kept for all time, and are as it is at present.
    """
    async with entrance.view(ACTION, actor=actor, group=group, report="overview", days=days) as view:
        courses = await load_courses(view.connection, view.tenant.tenant_id)
        members = None if group is None else view.actors
        report = await overview(
            view.tallies, courses, view.days(days), view.tenant.calendar, one=_one(view), members=members
        )
    return entrance.respond(report)


@router.get(
    "/heatmap",
    summary="When people learn",
    response_model=LearningHeatmap,
    responses={**answers(_HEATMAP), **_NOT_THERE},
)
async def learning_heatmap(
    entrance: Enter, days: DaysParameter = 30, actor: ActorParameter = None, group: GroupParameter = None
) -> Response:
    """Learning events by local day and by hour of the week: of oneself, an actor, a group's members, or everybody whom the caller may see."""
    async with entrance.view(ACTION, actor=actor, group=group, report="heatmap", days=days) as view:
        report = await heatmap(view.tallies, view.days(days), view.tenant.calendar)
    return entrance.respond(report)


@router.get(
    "/weekly-xp",
    summary="Points of the last seven days",
    response_model=WeeklyXp,
    responses={**answers(_WEEKLY), **_NOT_THERE},
)
async def learning_weekly_xp(entrance: Enter, actor: ActorParameter = None) -> Response:
    """By local day, today included: of oneself, an actor, or everybody together whom the caller may see."""
    async with entrance.view(ACTION, actor=actor, report="weekly-xp") as view:
        report = await weekly_xp(view.tallies, view.days(DAYS), view.tenant.calendar, one=_one(view))
    return entrance.respond(report)


@router.get(
    "/content",
    summary="What is looked at, and which courses are completed",
    response_model=LearningContent,
    responses={**answers(_CONTENT), **_NOT_THERE},
)
async def learning_content(
    entrance: Enter,
    days: DaysParameter = 30,
    actor: ActorParameter = None,
    group: GroupParameter = None,
    limit: LimitParameter = 20,
) -> Response:
    """The most viewed materials, completion by course, and use by local day: of oneself, an actor, a group's members, or everybody whom the
    caller may see.
    """
    async with entrance.view(
        ACTION, actor=actor, group=group, report="content", days=days, limit=limit
    ) as view:
        courses = await load_courses(view.connection, view.tenant.tenant_id)
        report = await content(view.tallies, courses, view.days(days), view.tenant.calendar, limit)
    return entrance.respond(report)


def _one(view: View) -> bool:
    return view.actors is not None and len(view.actors) == 1
